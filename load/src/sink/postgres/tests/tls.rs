//! Encrypted, and to the server that is meant.

use std::path::Path;
use std::process::Command;

use super::*;
use crate::sink::Sink as _;

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
async fn the_modes_of_tls_mean_what_libpq_says() {
    let Some(server) = services::postgres_trgm().map(services::Postgres::own) else { return };
    let dir = tempfile::TempDir::new().unwrap();
    if !certificates(dir.path()) {
        eprintln!("skipped: certificates are made with the openssl command, which is not here");
        return;
    }
    for file in ["server.key", "server.crt"] {
        std::fs::copy(dir.path().join(file), server.data().join(file)).unwrap();
    }
    assert!(Command::new("chmod").arg("600").arg(server.data().join("server.key")).status().unwrap().success());
    let settings = server.data().join("postgresql.conf");
    let before = std::fs::read_to_string(&settings).unwrap();
    std::fs::write(&settings, before + "ssl = on\n").unwrap();
    server.kill();
    server.start_again();
    let url = server.database();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let (ca, other, localhost) = (at("ca.crt"), at("other.crt"), url.replace("127.0.0.1", "localhost"));
    for (url, expected) in [
        (format!("{url}?sslmode=verify-full&sslrootcert={ca}"), Ok("TLSv1.3")),
        (format!("{url}?sslmode=require"), Ok("TLSv1.3")),
        (format!("{url}?sslmode=prefer"), Ok("TLSv1.3")),
        (format!("{url}?sslmode=disable"), Ok("not encrypted")),
        (format!("{localhost}?sslmode=require"), Ok("TLSv1.3")),
        (format!("{localhost}?sslmode=verify-full&sslrootcert={ca}"), Err("sslrootcert")),
        (format!("{url}?sslmode=verify-full&sslrootcert={other}"), Err("sslrootcert")),
        (format!("{url}?sslmode=verify-full"), Err("sslrootcert")),
        (format!("{url}?sslmode=verify-full&sslrootcert={}", at("nothing.crt")), Err("")),
    ] {
        match (database(&url).doctor().await, expected) {
            (Ok(line), Ok(expected)) => assert!(line.contains(expected), "{url}: {line}"),
            (Err(error), Err(hint)) => {
                assert!(told(&error).contains(hint) && error.hint().is_some(), "{url}: {}", told(&error));
                assert!(!told(&error).contains(services::PASSWORD));
            }
            (found, expected) => panic!("{url}: expected {expected:?}, found {found:?}"),
        }
    }
    for mode in ["verify-ca", "require"] {
        let error = Postgres::new(&options(&format!("{url}?sslmode={mode}&sslrootcert={ca}"))).unwrap_err();
        assert!(told(&error).contains("sslmode=verify-full"), "{}", told(&error));
    }
}
