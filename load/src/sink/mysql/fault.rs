//! What the server and the driver say, as what is to be done about it.

use std::io;

use mysql_async::{DriverError, Error as Mysql, IoError, ServerError};

use crate::fault::SinkFault;

/// What to do when the server is not proved to be the one that is meant.
const TLS: &str = "`ssl-ca=FILE` names the CA that signed the server's certificate, and the host of `[mysql] url` must be in it; \
     `ssl-mode=required` encrypts and trusts anybody, `ssl-mode=disabled` sends all in clear";

/// A statement was ended from outside (`ER_QUERY_INTERRUPTED`).
pub(super) const INTERRUPTED: &str = "1317";
/// A lock was not given in time (`ER_LOCK_WAIT_TIMEOUT`).
pub(super) const LOCKED: &str = "1205";

/// By the server's number: what to do, and whether trying again may help.
fn advice(code: u16) -> (Option<&'static str>, bool) {
    match code {
        1045 | 1698 | 3118 => (
            Some(
                "check user and password in `[mysql] url` (percent-encode `@ : / ? #` in a password), and from which hosts the user may come",
            ),
            false,
        ),
        1049 => (Some("create the database, or correct its name in `[mysql] url`"), false),
        1044 | 1142 | 1143 | 1227 | 1370 => (
            Some(
                "the user needs `select, insert, update, delete, create, drop, alter, index, references, trigger, create temporary tables` \
                 on the database",
            ),
            false,
        ),
        1290 | 1792 | 1836 => (Some("`[mysql] url` names a read-only server: name the primary"), false),
        1021 | 1114 | 3675 => (
            Some(
                "the server's disk is full: free some space; nothing was published and the next sync goes on from the lake",
            ),
            false,
        ),
        1037 | 1038 | 1041 => (Some("the server is out of memory: lower its load, or give it more"), true),
        1040 | 1203 | 1226 => {
            (Some("the server has no free connection: lower `pool` or raise its `max_connections`"), true)
        }
        1153 => (Some("raise the server's `max_allowed_packet`: a row is longer"), false),
        1205 => (Some("another session holds the table or its rows; wait for it to end"), true),
        1213 | 1020 => (Some("another session wrote the same rows; the next try usually passes"), true),
        1053 | 1077 | 1079 | 1158..=1161 | 1927 => {
            (Some("the server is stopping or starting; what was not committed is rolled back"), true)
        }
        1317 | 3024 | 1969 => (Some("the statement was cancelled: by its timeout, or by a person"), false),
        _ => (None, false),
    }
}

fn of_server(error: &ServerError) -> SinkFault {
    let (hint, retryable) = advice(error.code);
    let hint = hint.map(str::to_owned);
    SinkFault::of_server(format!("{} ({})", error.message, error.code), hint, retryable, Some(error.code.to_string()))
}

fn of_io(error: &io::Error) -> SinkFault {
    if error.kind() == io::ErrorKind::InvalidData {
        return SinkFault::new(format!("no trusted TLS connection: {error}"), TLS);
    }
    let hint = match error.kind() {
        io::ErrorKind::ConnectionRefused => "start the server, or correct host and port of `[mysql] url`",
        io::ErrorKind::NotFound => "a file that `[mysql] url` names is not there",
        io::ErrorKind::TimedOut => "check that the server can be reached from here (host, port, firewall)",
        _ => "the connection was cut; what was not committed is rolled back by the server",
    };
    let retryable = error.kind() != io::ErrorKind::NotFound;
    SinkFault::of_server(error.to_string(), Some(hint.to_owned()), retryable, None)
}

impl From<Mysql> for SinkFault {
    fn from(error: Mysql) -> Self {
        match error {
            Mysql::Server(error) => of_server(&error),
            Mysql::Io(IoError::Io(error)) => of_io(&error),
            Mysql::Io(IoError::Tls(error)) => Self::new(format!("no trusted TLS connection: {error}"), TLS),
            Mysql::Driver(DriverError::NoClientSslFlagFromServer) => Self::new("the server does not support TLS", TLS),
            Mysql::Driver(error @ (DriverError::ConnectionClosed | DriverError::PacketOutOfOrder)) => {
                Self::passing(error.to_string(), "the connection was cut or is out of step")
            }
            // MySQL says so of users that are not there too, lest anybody learn who is.
            Mysql::Driver(DriverError::UnknownAuthPlugin { name }) => Self::new(
                format!("the server asks for the password by `{name}`, which is not known here"),
                "check user and password in `[mysql] url`; the user must be identified with `caching_sha2_password` or `mysql_native_password`",
            ),
            // Of these the text would show what was sent or received.
            Mysql::Driver(DriverError::FromValue { .. } | DriverError::FromRow { .. }) => Self::new(
                "the server answered in a form that is not expected",
                "`onggi doctor` says which server it is",
            ),
            Mysql::Url(_) => Self::new("the URL can't be read", "correct `[mysql] url`"),
            other => Self::of_server(other.to_string(), None, false, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_says_comes_with_a_way_out() {
        let fault = |code| {
            SinkFault::from(Mysql::Server(ServerError { code, message: "it said so".into(), state: "HY000".into() }))
        };
        for (code, hint, retryable) in [
            (1045, "check user and password", false),
            (1049, "create the database", false),
            (1114, "free some space", false),
            (1290, "name the primary", false),
            (1205, "wait for it to end", true),
            (1213, "usually passes", true),
            (1053, "rolled back", true),
        ] {
            let fault = fault(code);
            assert!(fault.hint().unwrap().contains(hint), "{code}: {fault:?}");
            assert_eq!((fault.is_retryable(), fault.to_string()), (retryable, format!("it said so ({code})")));
        }
        assert_eq!((fault(9_999).hint(), fault(9_999).is_retryable()), (None, false));
    }
}
