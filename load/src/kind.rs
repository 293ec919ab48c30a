//! The kinds of sink, listed here and nowhere else.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The kinds of sink that stand today.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SinkKind {
    /// Serving tables in `SQLite`.
    Sqlite,
    /// Substring search in tantivy.
    Keywords,
    /// Nearest neighbours in usearch.
    Vectors,
    /// Tables, keywords and vectors in a PostgreSQL database.
    Postgres,
    /// Tables in a MySQL or MariaDB database.
    Mysql,
}

impl SinkKind {
    /// Each of them, in the order in which they are synced.
    pub const ALL: [Self; 5] = [Self::Sqlite, Self::Keywords, Self::Vectors, Self::Postgres, Self::Mysql];

    /// Those under the lake's own folder.
    pub const EMBEDDED: [Self; 3] = [Self::Sqlite, Self::Keywords, Self::Vectors];

    /// The name in configuration and on the screen.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Keywords => "keywords",
            Self::Vectors => "vectors",
            Self::Postgres => "postgres",
            Self::Mysql => "mysql",
        }
    }

    /// Whether questions are asked of it on a server, whatever lies in the lake's own folder.
    pub const fn answers_elsewhere(self) -> bool {
        matches!(self, Self::Postgres)
    }

    /// Whether it is a folder of ours, with a lock of its own.
    pub fn is_embedded(self) -> bool {
        Self::EMBEDDED.contains(&self)
    }
}

impl fmt::Display for SinkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for SinkKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(|kind| format!("`{kind}`")).join(", ");
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| format!("expected a sink of {}, found `{text}`", names()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_same_wherever_it_is_read() {
        for kind in SinkKind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
        assert!("sqlit".parse::<SinkKind>().unwrap_err().contains("`sqlite`, `keywords`"));
    }
}
