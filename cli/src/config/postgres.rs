//! `[postgres]`: the database that serving tables are kept in.

use std::sync::Arc;

use load::SinkKind;
use load::sink::Sink;
use load::sink::postgres::{Postgres, PostgresOptions};
use serde::Deserialize;

use super::SecretRef;
use super::servers::{SectionProblem, ServerSection, bounds};

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

impl ServerSection for PostgresSection {
    fn kind(&self) -> SinkKind {
        SinkKind::Postgres
    }

    fn url(&self) -> &SecretRef {
        &self.url
    }

    fn problem(&self) -> Option<SectionProblem> {
        let why = "one holds the lock of a table while another writes; 4 is enough";
        bounds(self.pool, 2..=64, why, self.rows_per_second)
    }

    fn sink(&self, url: String, project: &str) -> anyhow::Result<Arc<dyn Sink>> {
        let options = PostgresOptions {
            url,
            schema: self.schema.clone(),
            pool: self.pool,
            rows_per_second: self.rows_per_second,
            project: project.to_owned(),
        };
        Ok(Arc::new(Arc::new(Postgres::new(&options)?)))
    }
}
