//! Real servers on loopback for tests and benches: started, waited for, stopped.
//!
//! Each function starts its server once a process and hands it out to whoever asks; a fresh bucket, queue or database keeps users
//! apart. A server ends when the process that started it ends, however that happens: see [`guard`]. `.ci/services` installs what is
//! needed; what is missing makes the function answer `None` after it has said so, and the test that asked then skips. Where
//! `ONGGI_REQUIRE_SERVICES` is set, as in continuous integration, a missing server is a failure instead.
//!
//! Only tests and benches depend on this crate, hence its panics: a server that is installed and does not start is a finding.

#![expect(
    clippy::panic,
    clippy::missing_panics_doc,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "support of tests: a broken server is a failed test"
)]
#![expect(clippy::disallowed_methods, reason = "tests find their servers through the environment")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

pub mod guard;
mod mysql;
mod postgres;
mod trino;

pub use mysql::Mysql;
pub use postgres::{PASSWORD, Postgres};
pub use trino::{TRINO_CATALOG, Trino, trino};

use guard::{Ready, Server, free_port};

/// The region that the servers are in.
pub const REGION: &str = "us-east-1";
/// The key id that the servers know.
pub const ACCESS_KEY: &str = "onggi-test";
/// The secret that goes with it.
pub const SECRET_KEY: &str = "canary-7f3a91-of-aws";

/// An S3 server: `MinIO`.
#[derive(Debug)]
pub struct S3 {
    endpoint: String,
    _server: Server,
}

/// SQS, Glue, Athena and S3 as moto plays them, at one endpoint. Its S3 checks `If-None-Match` without a lock: no lake belongs on it.
#[derive(Debug)]
pub struct Aws {
    endpoint: String,
    _server: Server,
}

/// The S3 server of this process.
pub fn s3() -> Option<&'static S3> {
    static ONE: OnceLock<Option<S3>> = OnceLock::new();
    ONE.get_or_init(|| {
        let program = installed("bin/minio", "the S3 server MinIO")?;
        let (port, console) = (free_port(), free_port());
        let endpoint = format!("http://127.0.0.1:{port}");
        let server = Server::start("minio", Ready::Http(port, "/minio/health/ready"), "TERM", |dir| {
            let mut command = Command::new(program);
            command.args(["server", "--quiet", "--address", &format!("127.0.0.1:{port}")]);
            command.args(["--console-address", &format!("127.0.0.1:{console}")]).arg(dir.join("data"));
            command.env("MINIO_ROOT_USER", ACCESS_KEY).env("MINIO_ROOT_PASSWORD", SECRET_KEY);
            command.env("MINIO_BROWSER", "off").env("MINIO_UPDATE", "off").env("HOME", dir);
            command
        });
        Some(S3 { endpoint, _server: server })
    })
    .as_ref()
}

impl S3 {
    /// Its address.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// [`ACCESS_KEY`].
    pub fn access_key(&self) -> &str {
        ACCESS_KEY
    }

    /// [`SECRET_KEY`].
    pub fn secret_key(&self) -> &str {
        SECRET_KEY
    }

    /// Makes an empty bucket and says its name.
    pub fn bucket(&self) -> String {
        let name = fresh("bucket");
        signed(&self.endpoint, "s3", &format!("/{name}"), &["-X", "PUT"]);
        name
    }
}

/// The AWS double of this process.
pub fn aws() -> Option<&'static Aws> {
    static ONE: OnceLock<Option<Aws>> = OnceLock::new();
    ONE.get_or_init(|| {
        let program = installed("venv/bin/moto_server", "the AWS double moto")?;
        let port = free_port();
        let endpoint = format!("http://127.0.0.1:{port}");
        let server = Server::start("moto", Ready::Http(port, "/moto-api/"), "TERM", |_| {
            let mut command = Command::new(program);
            command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
            command
        });
        Some(Aws { endpoint, _server: server })
    })
    .as_ref()
}

impl Aws {
    /// Its address, for every service.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Makes a queue with a dead-letter queue after 5 receives, and says both names.
    pub fn queue(&self) -> (String, String) {
        let name = fresh("tasks");
        let dead = format!("{name}-dead");
        self.sqs(&format!("Action=CreateQueue&QueueName={dead}"));
        let arn = format!("arn:aws:sqs:{REGION}:123456789012:{dead}");
        let policy = format!("%7B%22deadLetterTargetArn%22%3A%22{arn}%22%2C%22maxReceiveCount%22%3A5%7D");
        self.sqs(&format!(
            "Action=CreateQueue&QueueName={name}&Attribute.1.Name=RedrivePolicy&Attribute.1.Value={policy}"
        ));
        (name, dead)
    }

    fn sqs(&self, body: &str) {
        signed(&self.endpoint, "sqs", "/", &["-d", body]);
    }
}

/// PostgreSQL with pgvector, without `pg_trgm`.
pub fn postgres() -> Option<&'static Postgres> {
    static ONE: OnceLock<Option<Postgres>> = OnceLock::new();
    ONE.get_or_init(|| Some(Postgres::start(&installed("pgvector/bin", "PostgreSQL with pgvector")?, false))).as_ref()
}

/// Debian's PostgreSQL with `pg_trgm`, without pgvector.
pub fn postgres_trgm() -> Option<&'static Postgres> {
    static ONE: OnceLock<Option<Postgres>> = OnceLock::new();
    ONE.get_or_init(|| Some(Postgres::start(&installed("debian/bin", "Debian's PostgreSQL")?, false))).as_ref()
}

/// MySQL.
pub fn mysql() -> Option<&'static Mysql> {
    static ONE: OnceLock<Option<Mysql>> = OnceLock::new();
    ONE.get_or_init(|| {
        installed("mysql/root/usr/sbin/mysqld", "MySQL")?;
        Some(Mysql::start(&home().join("mysql"), false, false))
    })
    .as_ref()
}

/// Debian's MariaDB.
pub fn mariadb() -> Option<&'static Mysql> {
    static ONE: OnceLock<Option<Mysql>> = OnceLock::new();
    ONE.get_or_init(|| {
        installed("mariadb/mariadbd", "Debian's MariaDB")?;
        Some(Mysql::start(&home().join("mariadb"), true, false))
    })
    .as_ref()
}

/// An interpreter that has moto, boto3 and sqlglot.
pub fn python() -> Option<PathBuf> {
    installed("venv/bin/python", "Python with sqlglot")
}

/// Where `.ci/services` puts things.
fn home() -> PathBuf {
    if let Some(home) = std::env::var_os("ONGGI_SERVICES") {
        return home.into();
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cache")));
    cache.unwrap_or_default().join("onggi/services")
}

/// The path of an installed thing; says what is missing otherwise.
fn installed(part: &str, what: &str) -> Option<PathBuf> {
    let path = home().join(part);
    if path.exists() {
        return Some(path);
    }
    let message = format!("{what} is not installed ({} is missing); `.ci/services` installs it", path.display());
    assert!(std::env::var_os("ONGGI_REQUIRE_SERVICES").is_none(), "{message}");
    eprintln!("skipped: {message}");
    None
}

/// A name that nobody used before in this server.
fn fresh(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("onggi-{what}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// One signed request; a refusal is a panic with the answer.
fn signed(endpoint: &str, service: &str, path: &str, arguments: &[&str]) {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--fail-with-body", "--aws-sigv4", &format!("aws:amz:{REGION}:{service}")])
        .args(["--user", &format!("{ACCESS_KEY}:{SECRET_KEY}")])
        .args(arguments)
        .arg(format!("{endpoint}{path}"))
        .output()
        .expect("curl runs");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{service}: {}", String::from_utf8_lossy(&said));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_server_that_is_installed_answers() {
        if let Some(s3) = s3() {
            assert_ne!(s3.bucket(), s3.bucket());
        }
        if let Some(aws) = aws() {
            let (queue, dead) = aws.queue();
            assert!(dead.starts_with(&queue));
        }
        for server in [postgres(), postgres_trgm()].into_iter().flatten() {
            let url = server.database();
            assert_eq!(server.psql(&url, "select 1").trim(), "1");
        }
        for server in [mysql(), mariadb()].into_iter().flatten() {
            assert_eq!(server.sql(&server.database(), "select 1").trim(), "1");
        }
    }

    #[test]
    fn a_server_of_ones_own_comes_back_with_its_rows() {
        let Some(server) = postgres() else { return };
        let own = server.own();
        let url = own.database();
        own.psql(&url, "create table t as select 7 as x");
        own.kill();
        own.start_again();
        assert_eq!(own.psql(&url, "select x from t").trim(), "7");
        for server in [mysql(), mariadb()].into_iter().flatten() {
            let own = server.own();
            let url = own.database();
            own.sql(&url, "create table t as select 7 as x");
            own.kill();
            own.start_again();
            assert_eq!(own.sql(&url, "select x from t").trim(), "7");
        }
    }
}
