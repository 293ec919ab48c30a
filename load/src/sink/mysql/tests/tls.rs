//! Encrypted, and to the server that is meant.

use std::path::Path;
use std::process::Command;

use mysql_async::prelude::Queryable as _;

use super::*;

fn openssl(dir: &Path, arguments: &str) -> bool {
    let done = Command::new("openssl").args(arguments.split(' ')).current_dir(dir).output();
    done.is_ok_and(|it| it.status.success())
}

/// A CA, and the server's certificate for 127.0.0.1, signed by it; a second CA that signed nothing.
fn certificates(dir: &Path) -> bool {
    std::fs::write(dir.join("names"), "subjectAltName=IP:127.0.0.1").unwrap();
    let ca = |name: &str| {
        openssl(
            dir,
            &format!(
                "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=onggi-test-{name} -keyout {name}.key -out {name}.crt"
            ),
        )
    };
    ca("ca")
        && ca("other")
        && openssl(dir, "req -newkey rsa:2048 -nodes -subj /CN=127.0.0.1 -keyout server.key -out server.csr")
        && openssl(
            dir,
            "x509 -req -in server.csr -days 2 -CA ca.crt -CAkey ca.key -CAcreateserial -extfile names -out server.crt",
        )
}

#[tokio::test]
async fn the_modes_of_tls_mean_what_they_say() {
    for server in servers() {
        let dir = tempfile::TempDir::new().unwrap();
        if !certificates(dir.path()) {
            eprintln!("skipped: certificates are made with the openssl command, which is not here");
            return;
        }
        let at = |name: &str| dir.path().join(name).display().to_string();
        let settings = format!("ssl-cert={}\nssl-key={}\nssl-ca={}", at("server.crt"), at("server.key"), at("ca.crt"));
        let server = own(server, &settings);
        let url = server.database();
        let url = url.split('?').next().unwrap();
        let (ca, other, localhost) = (at("ca.crt"), at("other.crt"), url.replace("127.0.0.1", "localhost"));
        for (url, expected) in [
            (format!("{url}?ssl-ca={ca}"), Ok("TLSv1.3")),
            (format!("{url}?ssl-mode=verify_identity&ssl-ca={ca}"), Ok("TLSv1.3")),
            (format!("{url}?ssl-mode=required"), Ok("TLSv1.3")),
            (format!("{url}?ssl-mode=disabled"), Ok("")),
            (format!("{localhost}?ssl-mode=required"), Ok("TLSv1.3")),
            (format!("{localhost}?ssl-ca={ca}"), Err("ssl-ca")),
            (format!("{url}?ssl-ca={other}"), Err("ssl-ca")),
            (url.to_owned(), Err("ssl-ca")),
            (format!("{url}?ssl-ca={}", at("nothing.crt")), Err("is not there")),
        ] {
            let found = async {
                let mut session = database(&url).door.open().await?;
                let query = session.get()?.query_first("show session status like 'Ssl_version'");
                Ok::<_, crate::fault::SinkFault>(query.await?)
            };
            let found: Result<Option<(String, String)>, _> = found.await;
            match (found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found.unwrap().1, expected, "{url}"),
                (Err(fault), Err(hint)) => assert!(fault.hint().unwrap_or_default().contains(hint), "{url}: {fault:?}"),
                (found, _) => panic!("{url}: {found:?}"),
            }
        }
    }
}
