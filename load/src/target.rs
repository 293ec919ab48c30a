//! What is synced where: a table, its key, and what each of its columns is to a search.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use arrow::datatypes::Schema;
use catalog::{TableName, Version};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::value::{Kind, content_hash};

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
}

impl SinkKind {
    /// Each of them, in the order in which they are synced.
    pub const ALL: [Self; 4] = [Self::Sqlite, Self::Keywords, Self::Vectors, Self::Postgres];

    /// Those under the lake's own folder.
    pub const EMBEDDED: [Self; 3] = [Self::Sqlite, Self::Keywords, Self::Vectors];

    /// The name in configuration and on the screen.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Keywords => "keywords",
            Self::Vectors => "vectors",
            Self::Postgres => "postgres",
        }
    }

    /// Whether it is a folder of ours, with a lock of its own.
    pub const fn is_embedded(self) -> bool {
        !matches!(self, Self::Postgres)
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
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| format!("expected a sink of `sqlite`, `keywords`, `vectors`, `postgres`, found `{text}`"))
    }
}

/// A table that is served, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncTarget {
    /// The mart.
    pub table: TableName,
    /// Its key: text or integer, never null, never twice.
    pub key: String,
    /// Where it goes.
    pub sinks: Vec<SinkKind>,
    /// What a keyword search reads: text columns, or lists of text.
    #[serde(default)]
    pub texts: Vec<String>,
    /// What a person calls a row.
    #[serde(default)]
    pub title: Option<String>,
    /// Set where a row is a text *about* something else (a review): whose key it carries.
    #[serde(default)]
    pub entity: Option<Entity>,
    /// What a vector search reads.
    #[serde(default)]
    pub vector: Option<VectorColumn>,
}

/// Rows of this target belong to rows of another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entity {
    /// The column that holds the other's key.
    pub column: String,
    /// The other target.
    pub table: TableName,
}

/// A column of embeddings, and whose they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VectorColumn {
    /// A list of 32-bit floats.
    pub column: String,
    /// [`Model::id`](crate::llm::Model::id) of the embedder; queries must be embedded by the same.
    pub model: String,
}

/// How far a sink has come with a table, stored together with its rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The version of the table that the rows are from.
    pub version: Version,
    /// [`Wanted::shape`]: other columns or other roles make the same version a new one.
    pub shape: String,
}

/// What one sink takes of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// In the order of the table.
    pub columns: Vec<String>,
    /// Rows where this column is null are not for this sink.
    pub required: Option<String>,
    /// Part of every row hash: what each column is to this sink.
    pub seed: String,
    /// Hash of the seed and of the columns with their kinds.
    pub shape: String,
}

/// Raise it when a sink would store the same row in another way: everything is then synced anew.
const FORMAT: u32 = 1;

impl SyncTarget {
    /// What `sink` takes of this target, checked against the table's schema.
    pub fn wanted(&self, sink: SinkKind, schema: &Schema) -> Result<Wanted> {
        self.check(schema)?;
        let mut names: BTreeSet<&str> = BTreeSet::from([self.key.as_str()]);
        let mut required = None;
        let roles = match sink {
            SinkKind::Sqlite => {
                names.extend(schema.fields().iter().map(|f| f.name().as_str()));
                format!("key={}", self.key)
            }
            SinkKind::Keywords => {
                names.extend(self.texts.iter().chain(&self.title).map(String::as_str));
                names.extend(self.entity.iter().map(|e| e.column.as_str()));
                format!("key={} texts={:?} title={:?} entity={:?}", self.key, self.texts, self.title, self.entity)
            }
            SinkKind::Vectors => {
                let vector = self.vector.as_ref().ok_or_else(|| Error::Config {
                    table: self.table.clone(),
                    message: "expected a vector column for the vectors sink, found none".into(),
                    hint: Some("name its `vector` column, or take `vectors` off its sinks".into()),
                })?;
                names.insert(&vector.column);
                required = Some(vector.column.clone());
                format!("key={} vector={} model={}", self.key, vector.column, vector.model)
            }
            SinkKind::Postgres => {
                names.extend(schema.fields().iter().map(|f| f.name().as_str()));
                let vector = self.vector.as_ref().map(|it| (&it.column, &it.model));
                format!(
                    "key={} texts={:?} title={:?} entity={:?} vector={vector:?}",
                    self.key, self.texts, self.title, self.entity
                )
            }
        };
        let seed = format!("{FORMAT} {sink} {roles}");
        let kept: Vec<_> = schema.fields().iter().filter(|f| names.contains(f.name().as_str())).collect();
        let kinds: Vec<String> = kept.iter().map(|f| format!("{}:{:?}", f.name(), Kind::of(f.data_type()))).collect();
        let shape = content_hash(std::iter::once(&seed).chain(&kinds).map(String::as_bytes));
        Ok(Wanted { columns: kept.into_iter().map(|f| f.name().clone()).collect(), required, seed, shape })
    }

    fn check(&self, schema: &Schema) -> Result<()> {
        self.column(schema, &self.key, "an integer or text", |k| matches!(k, Kind::Text | Kind::Int))?;
        for name in &self.texts {
            self.column(schema, name, "text or a list of text", |k| {
                *k == Kind::Text || matches!(k, Kind::List(item) if **item == Kind::Text)
            })?;
        }
        if let Some(name) = &self.title {
            self.column(schema, name, "text", |k| *k == Kind::Text)?;
        }
        if let Some(entity) = &self.entity {
            self.column(schema, &entity.column, "an integer or text", |k| matches!(k, Kind::Text | Kind::Int))?;
        }
        if let Some(vector) = &self.vector {
            self.column(
                schema,
                &vector.column,
                "a list of floats",
                |k| matches!(k, Kind::List(item) if **item == Kind::Float),
            )?;
        }
        if let Some(field) = schema.fields().iter().find(|f| f.name().starts_with("_row_")) {
            return Err(self.config(
                format!("column `{}` has a name that the sinks keep for themselves", field.name()),
                "rename it in the model",
            ));
        }
        Ok(())
    }

    fn column(&self, schema: &Schema, name: &str, expected: &str, fits: impl Fn(&Kind) -> bool) -> Result<()> {
        let Ok(field) = schema.field_with_name(name) else {
            let known: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
            return Err(self.config(
                format!("expected a column `{name}`, found none"),
                &format!("its columns are {}", known.join(", ")),
            ));
        };
        if fits(&Kind::of(field.data_type())) {
            return Ok(());
        }
        Err(self.config(
            format!("expected column `{name}` to be {expected}, found {}", Kind::of(field.data_type())),
            "name another column, or cast it in the model",
        ))
    }

    fn config(&self, message: String, hint: &str) -> Error {
        Error::Config { table: self.table.clone(), message, hint: Some(hint.to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field};

    use super::*;

    fn schema(text: DataType) -> Schema {
        let list = |t| DataType::List(Arc::new(Field::new("element", t, true)));
        Schema::new(vec![
            Field::new("id", text.clone(), true),
            Field::new("name", text, true),
            Field::new("tags", list(DataType::Utf8), true),
            Field::new("embedding", list(DataType::Float32), true),
            Field::new("rating", DataType::Float64, true),
        ])
    }

    fn target() -> SyncTarget {
        SyncTarget {
            table: "marts.places".parse().unwrap(),
            key: "id".into(),
            sinks: SinkKind::EMBEDDED.to_vec(),
            texts: vec!["name".into(), "tags".into()],
            title: Some("name".into()),
            entity: None,
            vector: Some(VectorColumn { column: "embedding".into(), model: "m@1".into() }),
        }
    }

    #[test]
    fn each_sink_takes_only_what_it_needs() {
        let (target, schema) = (target(), schema(DataType::Utf8));
        assert_eq!(target.wanted(SinkKind::Sqlite, &schema).unwrap().columns.len(), 5);
        assert_eq!(target.wanted(SinkKind::Keywords, &schema).unwrap().columns, ["id", "name", "tags"]);
        let vectors = target.wanted(SinkKind::Vectors, &schema).unwrap();
        assert_eq!(
            (vectors.columns, vectors.required),
            (vec!["id".to_owned(), "embedding".to_owned()], Some("embedding".to_owned()))
        );
    }

    #[test]
    fn a_shape_follows_roles_and_not_encodings() {
        let shape = |target: &SyncTarget, text| target.wanted(SinkKind::Keywords, &schema(text)).unwrap().shape;
        assert_eq!(shape(&target(), DataType::Utf8), shape(&target(), DataType::Utf8View));
        let other = SyncTarget { texts: vec!["name".into()], ..target() };
        assert_ne!(shape(&target(), DataType::Utf8), shape(&other, DataType::Utf8));
    }

    #[test]
    fn a_wrong_column_is_named_with_a_way_out() {
        let check = |target: SyncTarget, message: &str| {
            let error = target.wanted(SinkKind::Keywords, &schema(DataType::Utf8)).unwrap_err();
            assert_eq!(error.to_string(), message);
            assert!(error.hint().is_some());
        };
        check(
            SyncTarget { title: Some("nam".into()), ..target() },
            "`marts.places`: expected a column `nam`, found none",
        );
        check(
            SyncTarget { key: "rating".into(), ..target() },
            "`marts.places`: expected column `rating` to be an integer or text, found a float",
        );
        check(
            SyncTarget { texts: vec!["embedding".into()], ..target() },
            "`marts.places`: expected column `embedding` to be text or a list of text, found a list of floats",
        );
    }
}
