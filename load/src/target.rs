//! What is synced where: a table, its key, and what each of its columns is to a search.

use std::collections::BTreeSet;

use arrow::datatypes::Schema;
use catalog::{Snapshot, TableName, Version};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::sink::{Roles, SinkKind};
use rows::{Kind, content_hash};

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
    /// [`SinkProjection::shape`]: other columns or other roles make the same version a new one.
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

/// What one sink takes of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkProjection {
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
    pub fn projection(&self, sink: SinkKind, schema: &Schema) -> Result<SinkProjection> {
        self.check(schema)?;
        let Roles { columns, required, text } = (sink.member().roles)(self, schema)?;
        let names: BTreeSet<&str> = columns.iter().map(String::as_str).chain([self.key.as_str()]).collect();
        let seed = format!("{FORMAT} {sink} {text}");
        let kept: Vec<_> = schema.fields().iter().filter(|f| names.contains(f.name().as_str())).collect();
        let kinds: Vec<String> = kept.iter().map(|f| format!("{}:{:?}", f.name(), Kind::of(f.data_type()))).collect();
        let shape = content_hash(std::iter::once(&seed).chain(&kinds).map(String::as_bytes));
        Ok(SinkProjection { columns: kept.into_iter().map(|f| f.name().clone()).collect(), required, seed, shape })
    }

    /// What each column is to a search: rows that were written for other roles are not right for these.
    pub(crate) fn roles(&self) -> impl PartialEq + use<'_> {
        (&self.key, &self.texts, &self.title, &self.entity, &self.vector)
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

    pub(crate) fn config(&self, message: String, hint: &str) -> Error {
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
        assert_eq!(target.projection(SinkKind::Sqlite, &schema).unwrap().columns.len(), 5);
        assert_eq!(target.projection(SinkKind::Keywords, &schema).unwrap().columns, ["id", "name", "tags"]);
        let vectors = target.projection(SinkKind::Vectors, &schema).unwrap();
        assert_eq!(
            (vectors.columns, vectors.required),
            (vec!["id".to_owned(), "embedding".to_owned()], Some("embedding".to_owned()))
        );
    }

    #[test]
    fn a_shape_follows_roles_and_not_encodings() {
        let shape = |target: &SyncTarget, text| target.projection(SinkKind::Keywords, &schema(text)).unwrap().shape;
        assert_eq!(shape(&target(), DataType::Utf8), shape(&target(), DataType::Utf8View));
        let other = SyncTarget { texts: vec!["name".into()], ..target() };
        assert_ne!(shape(&target(), DataType::Utf8), shape(&other, DataType::Utf8));
    }

    #[test]
    fn a_wrong_column_is_named_with_a_way_out() {
        let check = |target: SyncTarget, message: &str| {
            let error = target.projection(SinkKind::Keywords, &schema(DataType::Utf8)).unwrap_err();
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
