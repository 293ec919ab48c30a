//! What a question is asked of: the embedded indexes or the tables of a database. Above this seam nobody knows which.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use catalog::TableName;
use rusqlite::Connection;
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::serving::{keywords_dir, vectors_dir};
use crate::sink::keywords::index::{Document, KeywordIndex, Seen};
use crate::sink::postgres::Postgres;
use crate::sink::postgres::read::{self, Table};
use crate::sink::sqlite::{self, Sqlite};
use crate::sink::vectors::index::VectorIndex;
use crate::sink::{table_dir, table_dirs};
use crate::target::{SinkKind, SyncTarget};

/// The texts of one table.
pub(super) enum Texts {
    Folder(KeywordIndex),
    Database(Table),
}

/// The vectors of one table.
pub(super) enum Vectors {
    Folder(VectorIndex),
    Database(Table),
}

/// Where the columns of a hit are read.
enum Rows {
    Sqlite(Option<Mutex<Connection>>),
    Database(Vec<Table>),
}

/// One state of everything that can be searched, which stays as it is while a sync writes the next.
pub(super) struct Corpus {
    pub(super) texts: Vec<Texts>,
    pub(super) vectors: Vec<Vectors>,
    rows: Rows,
}

impl Texts {
    pub(super) fn target(&self) -> &SyncTarget {
        match self {
            Self::Folder(index) => &index.target,
            Self::Database(table) => &table.target,
        }
    }

    pub(super) fn documents(&self) -> u64 {
        match self {
            Self::Folder(index) => index.documents(),
            Self::Database(table) => table.documents(),
        }
    }

    /// How many documents are about each of these entities; those with none may be left out.
    pub(super) async fn documents_about(&self, keys: &[&str]) -> Result<HashMap<String, u64>> {
        match self {
            Self::Folder(index) => {
                keys.iter().map(|key| Ok(((*key).to_owned(), index.documents_about(key)?))).collect()
            }
            Self::Database(table) => table.documents_about(keys).await,
        }
    }

    /// The documents with these keys, by key.
    pub(super) async fn get(&self, keys: &[&str]) -> Result<BTreeMap<String, Document>> {
        match self {
            Self::Folder(index) => {
                let mut found = BTreeMap::new();
                for key in keys {
                    found.extend(index.get(key)?.map(|document| ((*key).to_owned(), document)));
                }
                Ok(found)
            }
            Self::Database(table) => {
                Ok(table.get(keys).await?.into_iter().map(|document| (document.key.clone(), document)).collect())
            }
        }
    }

    /// Every document with a text that holds `needle` (folded, not empty), exactly, in the order of the keys.
    pub(super) async fn find(&self, needle: &str, seen: &mut Seen) -> Result<Vec<Arc<Document>>> {
        match self {
            Self::Folder(index) => index.find(needle, seen),
            Self::Database(table) => table.find(needle).await,
        }
    }
}

impl Vectors {
    pub(super) fn target(&self) -> &SyncTarget {
        match self {
            Self::Folder(index) => &index.target,
            Self::Database(table) => &table.target,
        }
    }

    /// Keys of the nearest rows with their cosine, the nearest first; equal ones in the order of the keys.
    pub(super) async fn nearest(&self, query: &[f32], count: usize) -> Result<Vec<(String, f32)>> {
        match self {
            Self::Folder(index) => index.nearest(query, count),
            Self::Database(table) => table.nearest(query, count).await,
        }
    }
}

impl Corpus {
    /// The indexes of a serving folder.
    pub(super) fn folder(dir: &Path) -> Result<Self> {
        let mut texts = Vec::new();
        let root = keywords_dir(dir);
        for table in table_dirs(&root)? {
            texts.extend(KeywordIndex::open(&table_dir(&root, &table))?.map(Texts::Folder));
        }
        let mut vectors = Vec::new();
        let root = vectors_dir(dir);
        for table in table_dirs(&root)? {
            vectors.extend(VectorIndex::open(&table_dir(&root, &table))?.map(Vectors::Folder));
        }
        let rows = Rows::Sqlite(Sqlite::new(sqlite::path(dir)).read()?.map(Mutex::new));
        Ok(Self { texts, vectors, rows })
    }

    /// The tables of a database, in one snapshot.
    pub(super) async fn database(postgres: &Arc<Postgres>) -> Result<Self> {
        let tables = read::tables(postgres).await?;
        let texts = tables.iter().filter(|it| !it.target.texts.is_empty()).cloned().map(Texts::Database).collect();
        let vectors = tables.iter().filter(|it| it.target.vector.is_some()).cloned().map(Vectors::Database).collect();
        Ok(Self { texts, vectors, rows: Rows::Database(tables) })
    }

    /// The question is answered: a connection goes back.
    pub(super) async fn close(&self) {
        if let Rows::Database(tables) = &self.rows {
            read::end(tables).await;
        }
    }

    /// The columns of a row, without the vector; empty where rows are not kept.
    pub(super) async fn fields(&self, table: &TableName, key: &str) -> Result<Map<String, Value>> {
        match &self.rows {
            Rows::Database(tables) => match tables.iter().find(|it| it.target.table == *table) {
                Some(found) => found.row(key).await,
                None => Ok(Map::new()),
            },
            Rows::Sqlite(None) => Ok(Map::new()),
            Rows::Sqlite(Some(connection)) => {
                let targets = self.texts.iter().map(Texts::target).chain(self.vectors.iter().map(Vectors::target));
                let Some(target) = targets.into_iter().find(|t| t.table == *table) else { return Ok(Map::new()) };
                let connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
                let row = sqlite::layout::row(&connection, table, &target.key, key)
                    .map_err(|e| Error::sink(SinkKind::Sqlite, "reading", table.to_string(), e))?;
                let mut row = row.unwrap_or_default();
                if let Some(vector) = &target.vector {
                    row.shift_remove(&vector.column);
                }
                Ok(row)
            }
        }
    }
}
