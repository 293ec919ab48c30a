//! `[postgres]`: the database that serving tables are kept in.

use serde::Deserialize;

use super::SecretRef;

/// `[postgres]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PostgresSection {
    /// Where the URL is: `postgres://user:password@host/database?sslmode=verify-full&sslrootcert=FILE`.
    pub url: SecretRef,
    /// The schema that holds the tables; made where it is missing.
    #[serde(default = "schema")]
    pub schema: String,
    /// Connections at the same time, at most.
    #[serde(default = "pool")]
    pub pool: u32,
    /// Rows written in a second, at most; as many as the server takes if not given.
    pub rows_per_second: Option<u32>,
}

fn schema() -> String {
    "onggi".to_owned()
}

fn pool() -> u32 {
    4
}

impl PostgresSection {
    /// What the types cannot say: the key, what is wrong with it, and a way out.
    pub(super) fn problem(&self) -> Option<(&'static str, String, &'static str)> {
        if !(2..=64).contains(&self.pool) {
            let message = format!("expected a pool of 2 to 64 connections, found {}", self.pool);
            return Some(("pool", message, "one holds the lock of a table while another writes; 4 is enough"));
        }
        if self.rows_per_second == Some(0) {
            let message = "expected a rate above 0 rows a second, found 0".to_owned();
            return Some(("rows_per_second", message, "leave it out for no bound"));
        }
        None
    }
}
