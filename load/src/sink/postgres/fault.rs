//! What the server and the driver say, as what is to be done about it.

use std::io;

use sqlx::Error as Sqlx;

use crate::fault::SinkFault;

/// What to do when the server is not proved to be the one that is meant.
const TLS: &str = "`sslrootcert=FILE` names the CA that signed the server's certificate, and the host of `[postgres] url` must be in it; \
     `sslmode=require` encrypts and trusts anybody, `sslmode=disable` sends all in clear";

/// By `SQLSTATE`: what to do, and whether trying again may help.
fn advice(code: &str) -> (Option<&'static str>, bool) {
    match code {
        "28P01" | "28000" => (
            Some(
                "check user and password in `[postgres] url` (percent-encode `@ : / ? #` in a password), and pg_hba.conf",
            ),
            false,
        ),
        "3D000" => (Some("create the database, or correct its name in `[postgres] url`"), false),
        "42501" => (
            Some(
                "the user needs `create` on the schema (or on the database, to make it) and `temporary` on the database",
            ),
            false,
        ),
        "25006" => (Some("`[postgres] url` names a read-only server: name the primary"), false),
        "2BP01" => (
            Some(
                "the table must be made anew and a view depends on it: drop the view, sync, and create it again \
                 (or let it read through `select *` of a table of yours)",
            ),
            false,
        ),
        "42P07" => (
            Some(
                "something of that name stands in the schema: a table that was renamed keeps its indexes under their old names;                  rename them too, or drop what is no longer needed",
            ),
            false,
        ),
        "22021" | "22P05" => (
            Some(
                "Postgres stores no NUL character and only UTF-8: strip it in the model (`replace(column, chr(0), '')`)",
            ),
            false,
        ),
        "53100" => (
            Some(
                "the server's disk is full: free some space; nothing was published and the next sync goes on from the lake",
            ),
            false,
        ),
        "53200" => (Some("the server is out of memory: lower its load, or give it more"), true),
        "53300" => (Some("the server has no free connection: lower `pool` or raise its `max_connections`"), true),
        "57014" => (Some("the statement was cancelled: by its timeout, or by a person"), false),
        "55P03" => (Some("another session holds the table; wait for it to end"), true),
        "40001" | "40P01" => (Some("another session wrote the same rows; the next try usually passes"), true),
        _ if code.starts_with("57P") || code.starts_with("08") => {
            (Some("the server is stopping or starting; what was not committed is rolled back"), true)
        }
        _ => (None, false),
    }
}

fn of_server(error: &dyn sqlx::error::DatabaseError) -> SinkFault {
    let code = error.code().map(std::borrow::Cow::into_owned).unwrap_or_default();
    let (hint, retryable) = advice(&code);
    let hint = hint.map(str::to_owned);
    SinkFault::of_server(format!("{} ({code})", error.message()), hint, retryable, Some(code))
}

fn of_io(error: &io::Error) -> SinkFault {
    if error.kind() == io::ErrorKind::InvalidData {
        return SinkFault::new(format!("no trusted TLS connection: {error}"), TLS);
    }
    let hint = match error.kind() {
        io::ErrorKind::ConnectionRefused => "start the server, or correct host and port of `[postgres] url`",
        io::ErrorKind::NotFound => "a file that `[postgres] url` names is not there",
        io::ErrorKind::TimedOut => "check that the server can be reached from here (host, port, firewall)",
        _ => "the connection was cut; what was not committed is rolled back by the server",
    };
    let retryable = error.kind() != io::ErrorKind::NotFound;
    SinkFault::of_server(error.to_string(), Some(hint.to_owned()), retryable, None)
}

impl From<Sqlx> for SinkFault {
    fn from(error: Sqlx) -> Self {
        match error {
            Sqlx::Database(error) => of_server(error.as_ref()),
            Sqlx::Io(error) => of_io(&error),
            Sqlx::Tls(error) => Self::new(format!("no trusted TLS connection: {error}"), TLS),
            Sqlx::Configuration(error) => Self::new(
                error.to_string(),
                "the form is `postgres://user:password@host:5432/database?sslmode=verify-full`",
            ),
            Sqlx::Protocol(message) => Self::passing(message, "the connection was cut or is out of step"),
            other => Self::of_server(other.to_string(), None, false, None),
        }
    }
}
