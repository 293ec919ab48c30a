//! What is synced where: a table, its key, and what each of its columns is to a search.

use arrow::datatypes::Schema;
use catalog::{Snapshot, TableName, Version};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::kind::SinkKind;
use rows::Kind;

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
    /// [`Model::id`](enrich::Model::id) of the embedder; queries must be embedded by the same.
    pub model: String,
}

/// How far a sink has come with a table, stored together with its rows. A version alone is a small number that another table, or
/// another lake, has too: what says that nothing is to be done is `content`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// [`Lake::id`](catalog::Lake::id) of the lake that is followed; empty where an older program wrote it.
    #[serde(default)]
    pub lake: String,
    /// Delta's own id of the table.
    #[serde(default)]
    pub table_id: String,
    /// The version of the table that the rows are from, for people.
    pub version: Version,
    /// [`Snapshot::content_id`] of that version: which files the rows are from.
    #[serde(default)]
    pub content: String,
    /// How many rows the sink holds of it.
    #[serde(default)]
    pub rows: u64,
    /// `SinkProjection::shape`: other columns or other roles make the same version a new one.
    pub shape: String,
}

impl Cursor {
    /// Where a sink of this shape is once it follows `snapshot`; its rows are counted by the sync.
    pub(crate) fn at(lake: &str, snapshot: &Snapshot, shape: &str) -> Result<Self> {
        Ok(Self {
            lake: lake.to_owned(),
            table_id: snapshot.table_id().to_owned(),
            version: snapshot.version(),
            content: snapshot.content_id(None)?,
            rows: 0,
            shape: shape.to_owned(),
        })
    }

    /// Whether a sink with this cursor has nothing to do to be at `goal`.
    pub(crate) fn is_at(&self, goal: &Self) -> bool {
        (&self.lake, &self.content, &self.shape) == (&goal.lake, &goal.content, &goal.shape)
    }

    /// Whether what it followed is surely not what is followed now: another lake and another table. A lake whose id was lost still
    /// has its tables, and a table that was made again still has its lake.
    pub(crate) fn is_of_another_lake(&self, goal: &Self) -> bool {
        !self.lake.is_empty() && self.lake != goal.lake && self.table_id != goal.table_id
    }
}

impl SyncTarget {
    /// What each column is to a search: rows that were written for other roles are not right for these.
    pub(crate) fn roles(&self) -> impl PartialEq + use<'_> {
        (&self.key, &self.texts, &self.title, &self.entity, &self.vector)
    }

    /// Whether a table of these columns has what the target names.
    ///
    /// # Errors
    /// [`Error::Config`] with the first that it has not, or has as another type.
    pub fn check(&self, schema: &Schema) -> Result<()> {
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

    pub(crate) fn config(&self, message: String, hint: &str) -> Error {
        Error::Config { table: self.table.clone(), message, hint: Some(hint.to_owned()) }
    }
}
