//! `[mysql]`: the MySQL or MariaDB database that serving tables are kept in.

use std::sync::Arc;

use load::SinkKind;
use load::sink::Sink;
use load::sink::mysql::{Mysql, MysqlOptions};
use serde::Deserialize;

use super::SecretRef;
use super::servers::{SectionProblem, ServerSection, bounds};

/// `[mysql]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MysqlSection {
    /// Where the URL is: `mysql://user:password@host/database?ssl-mode=verify_identity&ssl-ca=FILE`.
    pub url: SecretRef,
    /// Connections at the same time, at most.
    #[serde(default = "pool")]
    pub pool: u32,
    /// Rows written in a second, at most; as many as the server takes if not given.
    pub rows_per_second: Option<u32>,
}

fn pool() -> u32 {
    4
}

impl ServerSection for MysqlSection {
    fn kind(&self) -> SinkKind {
        SinkKind::Mysql
    }

    fn url(&self) -> &SecretRef {
        &self.url
    }

    fn problem(&self) -> Option<SectionProblem> {
        let why =
            "one holds the lock of a table, one writes, and one ends a statement that holds up readers; 4 is enough";
        bounds(self.pool, 3..=64, why, self.rows_per_second)
    }

    fn sink(&self, url: String, project: &str) -> anyhow::Result<Arc<dyn Sink>> {
        let (pool, rows_per_second) = (self.pool, self.rows_per_second);
        let options = MysqlOptions { url, pool, rows_per_second, project: project.to_owned() };
        Ok(Arc::new(Arc::new(Mysql::new(&options)?)))
    }
}
