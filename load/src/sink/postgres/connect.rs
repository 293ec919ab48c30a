//! Getting to the server: the URL, TLS, a bounded number of connections, and what each of them is told first.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::fault::SinkFault;

/// How long a connection may take, TLS and login included.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a caller waits for a free connection.
const FREE: Duration = Duration::from_mins(1);
/// The oldest server whose ways are known here.
const OLDEST: (u32, &str) = (140_000, "14");
/// What a URL may say beside host, user and database. Anything else is refused by name, never by value.
const KNOWN: [&str; 16] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
];

/// What every connection is told first: nothing waits for ever, and a session that was forgotten is ended by the server.
const GREETING: &str = "set statement_timeout = '10min'; set lock_timeout = '60s'; \
     set idle_in_transaction_session_timeout = '6h'; set timezone = 'UTC'; set extra_float_digits = 3; \
     set bytea_output = 'hex'; set datestyle = 'ISO, YMD'; set client_min_messages = 'warning'";

/// How the sink is reached, with the password where nothing prints it.
pub(super) struct PostgresPool {
    options: PgConnectOptions,
    /// Host, port and database, for people.
    at: String,
    permits: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<PgConnection>>>,
}

impl fmt::Debug for PostgresPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.at)
    }
}

/// A connection, counted while it lives. Dropping it closes it, and the server rolls back what was open.
pub(super) struct PostgresSession {
    connection: Option<PgConnection>,
    idle: Arc<Mutex<Vec<PgConnection>>>,
    _permit: OwnedSemaphorePermit,
}

impl fmt::Debug for PostgresSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session")
    }
}

impl PostgresSession {
    /// The connection underneath; an error after [`PostgresSession::end`] or [`PostgresSession::park`] took it.
    pub(super) fn get(&mut self) -> Result<&mut PgConnection, SinkFault> {
        self.connection.as_mut().ok_or_else(|| SinkFault::passing("the connection is closed", "run again"))
    }

    /// Says goodbye, so that the server lets go of locks at once.
    pub(super) async fn end(mut self) {
        if let Some(connection) = self.connection.take() {
            let _ = tokio::time::timeout(CONNECT, connection.close()).await;
        }
    }

    /// Keeps the connection for the next caller. It must be outside of any transaction.
    pub(super) fn park(mut self) {
        if let Some(connection) = self.connection.take() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
    }
}

impl PostgresPool {
    /// Checks the URL. Nothing is connected.
    pub(super) fn new(url: &str, pool: u32) -> Result<Self, SinkFault> {
        let form = "the form is `postgres://user:password@host:5432/database?sslmode=verify-full&sslrootcert=FILE`; \
             percent-encode `@ : / ? #` in a password";
        let parsed = url::Url::parse(url)
            .ok()
            .filter(|it| matches!(it.scheme(), "postgres" | "postgresql"))
            .ok_or_else(|| SinkFault::new("expected a URL of a Postgres server, found something else", form))?;
        if let Some((key, _)) = parsed.query_pairs().find(|(key, _)| !KNOWN.contains(&key.as_ref())) {
            return Err(SinkFault::new(
                format!("expected parameters of a Postgres URL, found `{key}`"),
                format!("the known ones are {}", KNOWN.join(", ")),
            ));
        }
        if parsed.path().trim_start_matches('/').contains(['/', '@']) {
            return Err(SinkFault::new("expected the name of a database after the host, found `/` or `@` in it", form));
        }
        if pool < 2 {
            return Err(SinkFault::new(
                format!("expected a pool of 2 connections or more, found {pool}"),
                "one holds the lock of a table while another writes",
            ));
        }
        let mut options = PgConnectOptions::from_str(url)?.disable_statement_logging();
        if options.get_application_name().is_none() {
            options = options.application_name("onggi");
        }
        // To libpq, `require` with a CA means `verify-ca`. The TLS library below has two providers compiled in and could not choose there.
        let names_ca =
            parsed.query_pairs().any(|(key, _)| matches!(key.as_ref(), "sslrootcert" | "ssl-root-cert" | "ssl-ca"));
        // Where nothing is said of it, a server that is not this machine must prove who it is.
        let says_mode = parsed.query_pairs().any(|(key, _)| matches!(key.as_ref(), "sslmode" | "ssl-mode"));
        let is_here = options.get_socket().is_some() || is_this_machine(options.get_host());
        if !says_mode && !is_here && std::env::var_os("PGSSLMODE").is_none() {
            options = options.ssl_mode(PgSslMode::VerifyFull);
        }
        let mode = options.get_ssl_mode();
        if matches!(mode, PgSslMode::VerifyCa) || (names_ca && matches!(mode, PgSslMode::Require)) {
            return Err(SinkFault::new(
                "`verify-ca` (which is also `require` with an `sslrootcert`) would trust any host that the CA signed: it is not supported",
                "say `sslmode=verify-full`, which checks the host too, or `sslmode=require` without `sslrootcert`, which checks nothing",
            ));
        }
        let at = format!(
            "{}:{}/{}",
            options.get_host(),
            options.get_port(),
            options.get_database().unwrap_or(options.get_username())
        );
        let permits = Arc::new(Semaphore::new(usize::try_from(pool).unwrap_or(2)));
        Ok(Self { options, at, permits, idle: Arc::default() })
    }

    pub(super) fn at(&self) -> &str {
        &self.at
    }

    /// A new connection.
    pub(super) async fn open(&self) -> Result<PostgresSession, SinkFault> {
        let permit = self.permit().await?;
        let connection = self.connect().await?;
        Ok(PostgresSession { connection: Some(connection), idle: Arc::clone(&self.idle), _permit: permit })
    }

    /// A connection for a question: a parked one that still answers, else a new one.
    pub(super) async fn borrow(&self) -> Result<PostgresSession, SinkFault> {
        let permit = self.permit().await?;
        let parked = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match parked {
            Some(mut connection) => match tokio::time::timeout(CONNECT, connection.ping()).await {
                Ok(Ok(())) => connection,
                _ => self.connect().await?,
            },
            None => self.connect().await?,
        };
        Ok(PostgresSession { connection: Some(connection), idle: Arc::clone(&self.idle), _permit: permit })
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, SinkFault> {
        match tokio::time::timeout(FREE, Arc::clone(&self.permits).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(SinkFault::passing(
                format!("no connection of the pool became free within {}s", FREE.as_secs()),
                "raise `[postgres] pool`, or run fewer syncs at the same time",
            )),
        }
    }

    async fn connect(&self) -> Result<PgConnection, SinkFault> {
        let connect = async {
            let mut connection = self.options.connect().await?;
            connection.execute(GREETING).await?;
            Ok::<_, SinkFault>(connection)
        };
        let connection = tokio::time::timeout(CONNECT, connect).await.map_err(|_| {
            SinkFault::passing(
                format!("no connection within {}s", CONNECT.as_secs()),
                "check that the server can be reached from here (host, port, firewall)",
            )
        })??;
        match connection.server_version_num() {
            Some(version) if version < OLDEST.0 => Err(SinkFault::new(
                format!("expected PostgreSQL {} or newer, found version number {version}", OLDEST.1),
                "upgrade the server",
            )),
            _ => Ok(connection),
        }
    }
}

/// At most `limit` for something that the server may never answer.
pub(super) async fn within<T>(
    limit: Duration,
    what: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, SinkFault> {
    match tokio::time::timeout(limit, what).await {
        Ok(done) => done.map_err(SinkFault::from),
        Err(_) => Err(SinkFault::passing(
            format!("the server did not answer within {}s", limit.as_secs()),
            "look at what it is busy with (`select * from pg_stat_activity`)",
        )),
    }
}

/// Whether a host is this machine: by address, by its usual name, or as the folder of a socket.
fn is_this_machine(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host.starts_with('/') || host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_is_wrong_is_told_without_its_secrets() {
        for (url, expected) in [
            ("canary", "a URL of a Postgres server"),
            ("https://u:canary@h/db", "a URL of a Postgres server"),
            ("postgres://u:can/ary@h/db", "a URL of a Postgres server"),
            ("postgres://u:12/canary@h/db", "the name of a database"),
            ("postgres://u:p@h/db?passwd=canary", "found `passwd`"),
            ("postgres://u:canary@h/db?sslmode=maybe", "ssl"),
        ] {
            let fault = PostgresPool::new(url, 2).unwrap_err();
            assert!(fault.to_string().contains(expected), "{url}: {fault}");
            assert!(!format!("{fault} {fault:?}").contains("canary"), "{fault:?}");
        }
        let door = PostgresPool::new("postgres://u:canary@db.example:6000/serving", 4).unwrap();
        assert_eq!(format!("{door:?}"), "db.example:6000/serving");
        assert!(PostgresPool::new("postgres://u:p@h/db", 1).is_err());
    }

    #[test]
    fn a_server_elsewhere_proves_who_it_is_unless_something_else_is_said() {
        for (rest, mode) in [
            ("db.example/serving", PgSslMode::VerifyFull),
            ("10.0.0.5/serving", PgSslMode::VerifyFull),
            ("db.example/serving?sslmode=prefer", PgSslMode::Prefer),
            ("db.example/serving?sslmode=disable", PgSslMode::Disable),
            ("localhost/serving", PgSslMode::Prefer),
            ("127.0.0.1:5433/serving", PgSslMode::Prefer),
            ("[::1]/serving", PgSslMode::Prefer),
            ("%2Fvar%2Frun%2Fpostgresql/serving", PgSslMode::Prefer),
        ] {
            let pool = PostgresPool::new(&format!("postgres://u:p@{rest}"), 2).unwrap();
            assert_eq!(format!("{:?}", pool.options.get_ssl_mode()), format!("{mode:?}"), "{rest}");
        }
    }
}
