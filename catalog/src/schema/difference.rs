//! What a table has against what is declared.
//!
//! Nothing here decides: a declaration that has a column more, or one less, is how tables live on, and both go on at once in a
//! house where one worker has today's file and another yesterday's. Only a column of another type, and another split by days,
//! are changes that somebody has to mean.

use std::fmt;

use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};

use super::describe;

/// A table's columns, as they are kept, and whether it is split by day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableShape {
    /// The columns, with the types that are kept.
    pub schema: SchemaRef,
    /// Whether it is split by the day column `dt`.
    pub partitioned: bool,
}

/// One way in which a declaration is not as the table is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SchemaDifference {
    /// The declaration has a column that the table has not. It is added, and null in the rows that are there.
    Added {
        /// The new column.
        field: FieldRef,
    },
    /// The table has a column that is no longer declared. It stays, and is null in new rows.
    Gone {
        /// The column.
        field: FieldRef,
    },
    /// A column is declared with another type, or as one that may be null where the table has it as one that never is.
    Retyped {
        /// The column.
        column: String,
        /// What the table has, in words.
        stored: String,
        /// What is declared, in words.
        declared: String,
    },
    /// One is split by day and the other is not.
    Partitioning {
        /// Whether the table is split by day.
        stored: bool,
        /// Whether it is declared so.
        declared: bool,
    },
}

impl SchemaDifference {
    /// Whether the table can't take rows of the declaration as it is, nor with a column more.
    pub fn is_breaking(&self) -> bool {
        matches!(self, Self::Retyped { .. } | Self::Partitioning { .. })
    }
}

impl fmt::Display for SchemaDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added { field } => write!(f, "`{}` is new ({})", field.name(), describe(field.data_type())),
            Self::Gone { field } => {
                write!(f, "`{}` is no longer declared ({})", field.name(), describe(field.data_type()))
            }
            Self::Retyped { column, stored, declared } => write!(f, "`{column}` was {stored} and is {declared}"),
            Self::Partitioning { stored, declared } => {
                write!(f, "the table was {} and is {}", split(*stored), split(*declared))
            }
        }
    }
}

/// How a table lies, in words.
pub(crate) fn split(partitioned: bool) -> &'static str {
    if partitioned { "split by day" } else { "in one piece" }
}

/// Compares what is there with what is declared: first the split, then the declared columns in their order, then those gone.
pub fn differences(stored: &TableShape, declared: &TableShape) -> Vec<SchemaDifference> {
    let mut found = Vec::new();
    if stored.partitioned != declared.partitioned {
        found.push(SchemaDifference::Partitioning { stored: stored.partitioned, declared: declared.partitioned });
    }
    for field in declared.schema.fields() {
        match stored.schema.field_with_name(field.name()) {
            Ok(kept) => found.extend(retyped(kept, field)),
            Err(_) => found.push(SchemaDifference::Added { field: FieldRef::clone(field) }),
        }
    }
    let gone = |field: &&FieldRef| declared.schema.field_with_name(field.name()).is_err();
    found.extend(
        stored
            .schema
            .fields()
            .iter()
            .filter(gone)
            .map(|field| SchemaDifference::Gone { field: FieldRef::clone(field) }),
    );
    found
}

fn retyped(kept: &Field, declared: &Field) -> Option<SchemaDifference> {
    let column = kept.name().clone();
    if kept.data_type() != declared.data_type() {
        let (stored, declared) = (describe(kept.data_type()), describe(declared.data_type()));
        return Some(SchemaDifference::Retyped { column, stored, declared });
    }
    (!kept.is_nullable() && declared.is_nullable()).then(|| SchemaDifference::Retyped {
        column,
        stored: "never null".to_owned(),
        declared: "nullable".to_owned(),
    })
}

/// Whether every column that `rows` have is in `table`, of the same type.
pub(crate) fn holds(table: &Schema, rows: &Schema) -> bool {
    rows.fields().iter().all(|field| {
        table
            .field_with_name(field.name())
            .is_ok_and(|kept| kept.data_type() == field.data_type() && (kept.is_nullable() || !field.is_nullable()))
    })
}
