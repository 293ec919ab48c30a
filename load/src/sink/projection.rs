//! What each sink takes of a target.

use std::collections::BTreeSet;

use arrow::datatypes::Schema;
use rows::{Kind, content_hash};

use super::{Roles, member};
use crate::error::Result;
use crate::kind::SinkKind;
use crate::target::SyncTarget;

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
        let Roles { columns, required, text } = (member(sink).roles)(self, schema)?;
        let names: BTreeSet<&str> = columns.iter().map(String::as_str).chain([self.key.as_str()]).collect();
        let seed = format!("{FORMAT} {sink} {text}");
        let kept: Vec<_> = schema.fields().iter().filter(|f| names.contains(f.name().as_str())).collect();
        let kinds: Vec<String> = kept.iter().map(|f| format!("{}:{:?}", f.name(), Kind::of(f.data_type()))).collect();
        let shape = content_hash(std::iter::once(&seed).chain(&kinds).map(String::as_bytes));
        Ok(SinkProjection { columns: kept.into_iter().map(|f| f.name().clone()).collect(), required, seed, shape })
    }
}

impl SinkKind {
    /// Whether what was written for one target is right for the other: what each column is to this sink is the same. It is what
    /// moves the shape of a cursor too, so that a sync makes right what is not.
    pub(crate) fn takes_alike(self, one: &SyncTarget, other: &SyncTarget) -> bool {
        let text = |target| (member(self).roles)(target, &Schema::empty()).ok().map(|roles| roles.text);
        text(one).is_some_and(|one| text(other) == Some(one))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field};

    use super::*;
    use crate::target::VectorColumn;

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
