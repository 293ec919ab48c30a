//! Getting to the server: the URL, TLS, a bounded number of connections, and what each of them is told first.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts, OptsBuilder, SslOpts};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::sql;
use crate::fault::SinkFault;

/// How long a connection may take, TLS and login included.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a caller waits for a free connection.
const FREE: Duration = Duration::from_mins(1);
/// For statements about a few rows.
pub(super) const SHORT: Duration = Duration::from_mins(2);
/// For statements about all rows.
pub(super) const LONG: Duration = Duration::from_hours(12);
/// The fewest connections: one holds the lock of a table, one writes, and one ends a statement that holds up readers.
pub(super) const FEWEST: u32 = 3;
/// The oldest servers whose ways are known here.
const OLDEST_MYSQL: [u32; 2] = [8, 4];
const OLDEST_MARIADB: [u32; 2] = [10, 11];

const FORM: &str = "the form is `mysql://user:password@host:3306/database?ssl-mode=verify_identity&ssl-ca=FILE`; \
     percent-encode `@ : / ? #` in a password";
const MODES: &str = "`ssl-mode=verify_identity` (which holds where nothing is said) proves the server, `required` encrypts and trusts \
     anybody, `disabled` sends all in clear";

/// What every connection is told first, so that nothing hangs on the server's own settings: what does not fit is an error, times are in
/// UTC, nothing waits for ever, and names come back quoted as they are here.
const GREETING: &str = "set sql_mode = 'STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION', \
     time_zone = '+00:00', lock_wait_timeout = 60, innodb_lock_wait_timeout = 50, net_read_timeout = 600, net_write_timeout = 600, \
     wait_timeout = 28800, autocommit = 1, sql_quote_show_create = 1";

/// Which of the two servers answers, and what it can do.
#[derive(Debug, Clone)]
pub(super) struct Server {
    /// As it says itself.
    pub(super) version: String,
    pub(super) is_mariadb: bool,
    /// Whether it takes `load data local infile`.
    pub(super) takes_files: bool,
}

impl Server {
    /// The collation under which texts are the same only if their bytes are: not even blanks at the end are left out.
    pub(super) fn collation(&self) -> &'static str {
        if self.is_mariadb { "utf8mb4_nopad_bin" } else { "utf8mb4_0900_bin" }
    }

    pub(super) fn name(&self) -> &'static str {
        if self.is_mariadb { "MariaDB" } else { "MySQL" }
    }

    fn refuse_old(&self) -> Result<(), SinkFault> {
        let mut parts = self.version.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
        let found = [parts.next().unwrap_or(0), parts.next().unwrap_or(0)];
        let oldest = if self.is_mariadb { OLDEST_MARIADB } else { OLDEST_MYSQL };
        if found >= oldest {
            return Ok(());
        }
        Err(SinkFault::new(
            format!("expected {} {}.{} or newer, found {}", self.name(), oldest[0], oldest[1], self.version),
            "upgrade the server",
        ))
    }
}

/// How the sink is reached, with the password where nothing prints it.
pub(super) struct MysqlPool {
    opts: Opts,
    /// Host, port and database, for people.
    at: String,
    database: String,
    permits: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<(Conn, Server)>>>,
}

impl fmt::Debug for MysqlPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.at)
    }
}

/// A connection, counted while it lives. Dropping it closes it, and the server rolls back what was open.
pub(super) struct MysqlSession {
    connection: Option<(Conn, Server)>,
    idle: Arc<Mutex<Vec<(Conn, Server)>>>,
    _permit: OwnedSemaphorePermit,
}

impl fmt::Debug for MysqlSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session")
    }
}

impl MysqlSession {
    /// The connection underneath; an error after [`MysqlSession::end`] or [`MysqlSession::park`] took it.
    pub(super) fn get(&mut self) -> Result<&mut Conn, SinkFault> {
        let connection = self.connection.as_mut().map(|(connection, _)| connection);
        connection.ok_or_else(|| SinkFault::passing("the connection is closed", "run again"))
    }

    /// Who answers.
    pub(super) fn server(&self) -> Result<&Server, SinkFault> {
        let server = self.connection.as_ref().map(|(_, server)| server);
        server.ok_or_else(|| SinkFault::passing("the connection is closed", "run again"))
    }

    /// A statement that answers nothing.
    pub(super) async fn run(&mut self, limit: Duration, statement: &str) -> Result<(), SinkFault> {
        within(limit, self.get()?.query_drop(statement)).await
    }

    /// The connection alone, as anybody has one.
    #[cfg(test)]
    pub(super) fn into_connection(mut self) -> Conn {
        self.connection.take().unwrap().0
    }

    /// Says goodbye, so that the server lets go of locks at once.
    pub(super) async fn end(mut self) {
        if let Some((connection, _)) = self.connection.take() {
            let _ = tokio::time::timeout(CONNECT, connection.disconnect()).await;
        }
    }

    /// Keeps the connection for the next caller. It must be outside of any transaction, and hold no lock.
    pub(super) fn park(mut self) {
        if let Some(connection) = self.connection.take() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
    }
}

impl MysqlPool {
    /// Checks the URL. Nothing is connected.
    pub(super) fn new(url: &str, pool: u32) -> Result<Self, SinkFault> {
        let parsed = url::Url::parse(url)
            .ok()
            .filter(|it| {
                matches!(it.scheme(), "mysql" | "mariadb") && it.host_str().is_some_and(|host| !host.is_empty())
            })
            .ok_or_else(|| SinkFault::new("expected a URL of a MySQL server, found something else", FORM))?;
        let ssl = tls(&parsed)?;
        let mut plain = parsed.clone();
        plain.set_query(None);
        plain.set_fragment(None);
        // Of two special schemes neither becomes the other one; these two are none.
        let _ = plain.set_scheme("mysql");
        let opts = Opts::from_url(plain.as_str())
            .map_err(|_| SinkFault::new("expected a URL of a MySQL server, found something else", FORM))?;
        let database = opts.db_name().unwrap_or_default().to_owned();
        if database.is_empty() || database.contains(['/', '@']) {
            return Err(SinkFault::new(
                "expected the name of a database after the host, found none, or `/` or `@` in it",
                FORM,
            ));
        }
        if pool < FEWEST {
            return Err(SinkFault::new(
                format!("expected a pool of {FEWEST} connections or more, found {pool}"),
                "one holds the lock of a table, one writes, and one ends a statement that holds up readers",
            ));
        }
        let at = format!("{}:{}/{database}", opts.ip_or_hostname(), opts.tcp_port());
        let opts = OptsBuilder::from_opts(opts)
            // A local server may listen on a socket too: what the URL says is what is asked.
            .prefer_socket(Some(false))
            .ssl_opts(ssl)
            .client_found_rows(true)
            .init(vec![GREETING.to_owned(), "set session transaction isolation level repeatable read".to_owned()])
            .into();
        let permits = Arc::new(Semaphore::new(usize::try_from(pool).unwrap_or(4)));
        Ok(Self { opts, at, database, permits, idle: Arc::default() })
    }

    pub(super) fn at(&self) -> &str {
        &self.at
    }

    pub(super) fn database(&self) -> &str {
        &self.database
    }

    /// A new connection.
    pub(super) async fn open(&self) -> Result<MysqlSession, SinkFault> {
        let permit = self.permit().await?;
        let connection = self.connect().await?;
        Ok(MysqlSession { connection: Some(connection), idle: Arc::clone(&self.idle), _permit: permit })
    }

    /// A connection for a question: a parked one that still answers, else a new one.
    pub(super) async fn borrow(&self) -> Result<MysqlSession, SinkFault> {
        let permit = self.permit().await?;
        let parked = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match parked {
            Some((mut connection, server)) => match tokio::time::timeout(CONNECT, connection.ping()).await {
                Ok(Ok(())) => (connection, server),
                _ => self.connect().await?,
            },
            None => self.connect().await?,
        };
        Ok(MysqlSession { connection: Some(connection), idle: Arc::clone(&self.idle), _permit: permit })
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, SinkFault> {
        match tokio::time::timeout(FREE, Arc::clone(&self.permits).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(SinkFault::passing(
                format!("no connection of the pool became free within {}s", FREE.as_secs()),
                "raise `[mysql] pool`, or run fewer syncs at the same time",
            )),
        }
    }

    async fn connect(&self) -> Result<(Conn, Server), SinkFault> {
        if self.opts.ssl_opts().is_some() && CryptoProvider::get_default().is_none() {
            // The driver takes the one of the process, of which there is none where two are compiled in. Another thread may be faster.
            let _ = aws_lc_rs::default_provider().install_default();
        }
        let connect = async {
            let mut connection = Conn::new(self.opts.clone()).await?;
            let found: Option<(String, i64)> = connection.query_first(sql::SERVER).await?;
            let (version, takes_files) = found.unwrap_or_default();
            let is_mariadb = version.to_ascii_lowercase().contains("mariadb");
            Ok::<_, mysql_async::Error>((connection, Server { version, is_mariadb, takes_files: takes_files != 0 }))
        };
        let connected = tokio::time::timeout(CONNECT, connect).await.map_err(|_| {
            SinkFault::passing(
                format!("no connection within {}s", CONNECT.as_secs()),
                "check that the server can be reached from here (host, port, firewall)",
            )
        })??;
        connected.1.refuse_old()?;
        Ok(connected)
    }
}

/// What the URL says of TLS; `None` where all is to be sent in clear. Anything that is not known is refused by name, never by value.
fn tls(url: &url::Url) -> Result<Option<SslOpts>, SinkFault> {
    let (mut mode, mut ca) = (None, None);
    for (key, value) in url.query_pairs() {
        match key.as_ref() {
            "ssl-mode" => mode = Some(value.to_ascii_lowercase()),
            "ssl-ca" => ca = Some(value.into_owned()),
            _ => {
                return Err(SinkFault::new(
                    format!("expected parameters of a MySQL URL, found `{key}`"),
                    "the known ones are ssl-mode and ssl-ca",
                ));
            }
        }
    }
    let ssl = SslOpts::default();
    match (mode.as_deref(), ca) {
        (None | Some("verify_identity"), None) => Ok(Some(ssl)),
        // Where a CA is named, no other one is believed.
        (None | Some("verify_identity"), Some(ca)) => {
            Ok(Some(ssl.with_disable_built_in_roots(true).with_root_certs(vec![std::path::PathBuf::from(ca).into()])))
        }
        (Some("required"), None) => {
            Ok(Some(ssl.with_danger_accept_invalid_certs(true).with_danger_skip_domain_validation(true)))
        }
        (Some("disabled"), None) => Ok(None),
        (Some("required" | "disabled"), Some(_)) => {
            Err(SinkFault::new("`ssl-ca` says nothing where the server is not proved", MODES))
        }
        (Some(_), _) => Err(SinkFault::new("expected an `ssl-mode` that is known, found another one", MODES)),
    }
}

/// At most `limit` for something that the server may never answer.
pub(super) async fn within<T>(
    limit: Duration,
    what: impl Future<Output = Result<T, mysql_async::Error>>,
) -> Result<T, SinkFault> {
    match tokio::time::timeout(limit, what).await {
        Ok(done) => done.map_err(SinkFault::from),
        Err(_) => Err(silent(limit)),
    }
}

/// What is said of a server that says nothing.
pub(super) fn silent(limit: Duration) -> SinkFault {
    SinkFault::passing(
        format!("the server did not answer within {}s", limit.as_secs()),
        "look at what it is busy with (`show full processlist`)",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_is_wrong_is_told_without_its_secrets() {
        for (url, expected) in [
            ("canary", "a URL of a MySQL server"),
            ("postgres://u:canary@h/db", "a URL of a MySQL server"),
            ("mysql://u:can/ary@h/db", "a URL of a MySQL server"),
            ("mysql://u:12/canary@h/db", "the name of a database"),
            ("mysql://u:canary@h", "the name of a database"),
            ("mysql://u:p@h/db?passwd=canary", "found `passwd`"),
            ("mysql://u:canary@h/db?ssl-mode=canary", "an `ssl-mode` that is known"),
            ("mysql://u:canary@h/db?ssl-mode=required&ssl-ca=canary", "says nothing"),
        ] {
            let fault = MysqlPool::new(url, FEWEST).unwrap_err();
            assert!(fault.to_string().contains(expected), "{url}: {fault}");
            assert!(!format!("{fault} {fault:?}").contains("canary"), "{fault:?}");
        }
        let door = MysqlPool::new("mysql://u:can%40ary@db.example:6000/serving?ssl-mode=DISABLED", 4).unwrap();
        assert_eq!((format!("{door:?}").as_str(), door.opts.pass()), ("db.example:6000/serving", Some("can@ary")));
        assert!(door.opts.ssl_opts().is_none());
        let door = MysqlPool::new("mariadb://u:p@h/db", 4).unwrap();
        assert!(door.opts.ssl_opts().is_some_and(|ssl| !ssl.accept_invalid_certs()), "proved where nothing is said");
        assert!(MysqlPool::new("mysql://u:p@h/db", 2).is_err());
    }

    #[test]
    fn an_old_server_is_refused_by_its_own_count() {
        for (version, is_mariadb, fits) in [
            ("9.7.4-2", false, true),
            ("8.4.0", false, true),
            ("8.0.40", false, false),
            ("5.7.44-log", false, false),
            ("10.11.19-MariaDB-0+deb12u1", true, true),
            ("11.4.2-MariaDB", true, true),
            ("10.6.18-MariaDB", true, false),
        ] {
            let server = Server { version: version.into(), is_mariadb, takes_files: true };
            assert_eq!(server.refuse_old().is_ok(), fits, "{version}");
        }
    }
}
