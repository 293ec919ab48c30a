//! The table that a model is kept in: its columns and its split by day, and how they stand against the table that is there.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use catalog::schema::SchemaDifference;
use catalog::{Table, TableSpec};

use crate::model::Model;

/// A text longer than an id makes statistics large and prunes nothing: these endings are ids.
const SHORT_TEXTS: [&str; 4] = ["_id", "_hash", "_key", "_type"];

/// The table that a model declares, with the columns that its query gives.
pub(crate) fn spec(model: &Model, wanted: &Schema) -> TableSpec {
    let order = keys_first(model, wanted);
    let fields: Vec<_> = order.iter().filter_map(|name| wanted.field_with_name(name).ok().cloned()).collect();
    let key = model.key();
    let short = |name: &str, kind: &DataType| match kind {
        DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => {
            key.contains(&name) || SHORT_TEXTS.iter().any(|ending| name.ends_with(ending))
        }
        DataType::Date32 | DataType::Boolean | DataType::Timestamp(..) => true,
        other => other.is_numeric(),
    };
    let stats_columns = fields
        .iter()
        .filter(|field| short(field.name(), field.data_type()))
        .map(|field| field.name().clone())
        .collect();
    TableSpec {
        name: model.name().clone(),
        schema: Arc::new(Schema::new(fields)),
        partitioned: is_partitioned(model),
        stats_columns,
    }
}

/// Whether the table is split by day.
pub(crate) fn is_partitioned(model: &Model) -> bool {
    model.materialization().is_by_day()
}

/// Whether the table can't take the model's rows without being made anew, all of it, in another shape.
pub(crate) fn breaks(spec: &TableSpec, table: &Table) -> catalog::Result<bool> {
    Ok(table.differences(spec)?.iter().any(SchemaDifference::is_breaking))
}

/// The query's columns: what names a row comes first, so that readers find it and files have statistics of it.
pub(crate) fn keys_first(model: &Model, query: &Schema) -> Vec<String> {
    let key = model.key();
    let (mut first, rest): (Vec<_>, Vec<_>) =
        query.fields().iter().map(|field| field.name().clone()).partition(|name| key.contains(&name.as_str()));
    first.sort_by_key(|name| key.iter().position(|column| column == name));
    first.into_iter().chain(rest).collect()
}
