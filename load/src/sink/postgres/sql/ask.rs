//! The statements that only read.

use super::{HASH, Name, Sql, TEXT, Type, list, quote};

pub(in crate::sink::postgres) fn count(table: &Name) -> Sql {
    Sql(format!("select count(*) from {table}"))
}

pub(in crate::sink::postgres) fn copy_hashes(table: &Name, key: &str) -> Sql {
    Sql(format!("copy (select {}::text, {HASH} from {table}) to stdout with (format binary)", quote(key)))
}

/// Each row as text, its columns in the order of their names: what is really stored.
pub(in crate::sink::postgres) fn content(table: &Name, columns: &[String]) -> Sql {
    Sql(format!("select row({})::text from {table}", list(columns)))
}

/// Key, entity, title and texts, in this order, as a document has them.
fn document(key: &str, entity: Option<&str>, title: Option<&str>, texts: &[String]) -> String {
    let nullable = |name: Option<&str>| name.map_or_else(|| "null::text".to_owned(), |n| format!("{}::text", quote(n)));
    let mut parts = vec![format!("{}::text", quote(key)), nullable(entity), nullable(title), HASH.to_owned()];
    parts.extend(texts.iter().map(|text| quote(text)));
    // Positions name the columns: the same column may be a title and a text.
    parts.iter().enumerate().map(|(i, part)| format!("{part} as c{i}")).collect::<Vec<_>>().join(", ")
}

pub(in crate::sink::postgres) fn find(
    table: &Name,
    key: &str,
    entity: Option<&str>,
    title: Option<&str>,
    texts: &[String],
) -> Sql {
    Sql(format!("select {} from {table} where {TEXT} like $1", document(key, entity, title, texts)))
}

pub(in crate::sink::postgres) fn get(
    table: &Name,
    key: (&str, &Type),
    entity: Option<&str>,
    title: Option<&str>,
    texts: &[String],
) -> Sql {
    Sql(format!(
        "select {} from {table} where {} = any ($1::text[]::{}[])",
        document(key.0, entity, title, texts),
        quote(key.0),
        key.1
    ))
}

/// How many rows are about each of these entities.
pub(in crate::sink::postgres) fn about(table: &Name, entity: &str, is: &Type) -> Sql {
    let entity = quote(entity);
    Sql(format!(
        "select {entity}::text, count(*) from {table} where {entity} = any ($1::text[]::{is}[]) group by {entity}"
    ))
}

/// Makes the server load pgvector, so that its settings are known.
pub(in crate::sink::postgres) fn touch_vectors(vectors: &str) -> Sql {
    Sql(format!("select '[1]'::{}", Type::HalfVec { schema: vectors.to_owned(), dimension: None }))
}

/// The nearest rows by cosine.
pub(in crate::sink::postgres) fn nearest(
    table: &Name,
    key: &str,
    column: &str,
    vectors: &str,
    dimension: usize,
) -> Sql {
    let (column, half) =
        (quote(column), Type::HalfVec { schema: vectors.to_owned(), dimension: Some(dimension) }.to_string());
    let operator = format!("operator({}.<=>)", quote(vectors));
    Sql(format!(
        "select {}::text, 1 - ({column} {operator} $1::text::{half}) from {table} where {column} is not null
         order by {column} {operator} $1::text::{half} limit $2",
        quote(key)
    ))
}

/// A row as JSON, in the order of the table.
pub(in crate::sink::postgres) fn row(table: &Name, columns: &[String], key: (&str, &Type)) -> Sql {
    Sql(format!(
        "select to_json(found)::text from (select {} from {table} where {} = $1::text::{}) as found",
        list(columns),
        quote(key.0),
        key.1
    ))
}
