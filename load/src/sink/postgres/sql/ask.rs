//! The statements that only read.

use super::{HASH, Name, Sql, TEXT, Type, list, quote};

/// In what form a column is read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::sink::postgres) enum Form {
    /// As the server prints it.
    Text,
    /// Bytes as they are.
    Bytes,
    /// The eight bytes of a double.
    Float,
    /// Days since 1970-01-01, in digits.
    Days,
    /// Microseconds since 2000-01-01, in eight bytes.
    Micros,
    /// A list of doubles.
    Floats,
    /// A list of whatever prints.
    Texts,
    /// A document.
    Json,
    /// pgvector's own bytes, by its function in this schema.
    HalfVec(String),
}

impl Form {
    fn of(&self, column: &str) -> String {
        match self {
            Self::Text | Self::Json => format!("{column}::text"),
            Self::Bytes => column.to_owned(),
            Self::Float => format!("float8send({column}::float8)"),
            Self::Days => format!("({column} - date '1970-01-01')::text"),
            Self::Micros => format!("timestamptz_send({column})"),
            Self::Floats => format!("array_send({column}::float8[])"),
            Self::Texts => format!("array_send({column}::text[])"),
            Self::HalfVec(schema) => format!("{}.halfvec_send({column})", quote(schema)),
        }
    }
}

pub(in crate::sink::postgres) fn count(table: &Name) -> Sql {
    Sql(format!("select count(*) from {table}"))
}

pub(in crate::sink::postgres) fn copy_hashes(table: &Name, key: &str) -> Sql {
    Sql(format!("copy (select {}::text, {HASH} from {table}) to stdout with (format binary)", quote(key)))
}

/// Key and every column of each row, in forms whose bytes are the same for the same value; see `contents.rs`.
pub(in crate::sink::postgres) fn copy_contents(table: &Name, key: &str, columns: &[(String, Form)]) -> Sql {
    let forms = columns.iter().map(|(name, form)| form.of(&quote(name)));
    let list: Vec<String> = std::iter::once(format!("{}::text", quote(key))).chain(forms).collect();
    Sql(format!("copy (select {} from {table}) to stdout with (format binary)", list.join(", ")))
}

/// Key, entity, title and texts, in this order, as a document has them.
fn document(key: &str, entity: Option<&str>, title: Option<&str>, texts: &[String]) -> String {
    let nullable = |name: Option<&str>| name.map_or_else(|| "null::text".to_owned(), |n| format!("{}::text", quote(n)));
    let mut parts = vec![format!("{}::text", quote(key)), nullable(entity), nullable(title), HASH.to_owned()];
    parts.extend(texts.iter().map(|text| quote(text)));
    // Positions name the columns: the same column may be a title and a text.
    parts.iter().enumerate().map(|(i, part)| format!("{part} as c{i}")).collect::<Vec<_>>().join(", ")
}

/// Whether any text of a row is like one of so many patterns, which are the parameters from `first` on.
fn any_like(first: usize, patterns: usize) -> String {
    let one = |at| format!("{TEXT} like ${at}");
    (first..first + patterns).map(one).collect::<Vec<_>>().join(" or ")
}

/// The rows about entities that hold one of so many patterns, the first ones of each; `$1` are the entities, `$2` how many rows of each.
pub(in crate::sink::postgres) fn rows_about(
    table: &Name,
    key: &str,
    (entity, is): (&str, &Type),
    (own, title, texts): (Option<&str>, Option<&str>, &[String]),
    patterns: usize,
) -> Sql {
    Sql(format!(
        "select {} from (select *, row_number() over (partition by {entity} order by {key} collate \"C\") as _row_place
            from {table} where {entity} = any ($1::text[]::{is}[]) and ({})) as found
         where _row_place <= $2 order by {key} collate \"C\"",
        document(key, own, title, texts),
        any_like(3, patterns),
        entity = quote(entity),
        key = format_args!("{}::text", quote(key)),
    ))
}

/// For each entity and each pattern of spellings how many rows show it. `terms` says how many spellings each term has; they are the
/// parameters, one after another.
pub(in crate::sink::postgres) fn mentions(table: &Name, entity: &str, terms: &[usize]) -> Sql {
    let mut next = 1;
    let mut choices = Vec::with_capacity(terms.len());
    for (term, spellings) in terms.iter().enumerate() {
        let cases: Vec<String> =
            (1..=*spellings).map(|choice| format!("when {TEXT} like ${} then {choice}", next + choice - 1)).collect();
        choices.push(format!("case {} else 0 end as c{term}", cases.join(" ")));
        next += spellings;
    }
    let columns: Vec<String> = (0..terms.len()).map(|term| format!("c{term}")).collect();
    let columns = columns.join(", ");
    let entity = quote(entity);
    Sql(format!(
        "select entity, count(*), {columns} from (select {entity}::text as entity, {} from {table}
            where {entity} is not null and ({})) as found
         group by entity, {columns}",
        choices.join(", "),
        any_like(1, next - 1)
    ))
}

/// The entities that most rows of these tables speak of: each table with its column of entities and whether rows are entities. `$1` is
/// the pattern, `$2` how many entities; the last column says how many there are in all.
pub(in crate::sink::postgres) fn most_mentioned(tables: &[(&Name, &str, bool)]) -> Sql {
    let one = |(table, entity, own): &(&Name, &str, bool)| {
        let entity = quote(entity);
        format!(
            "select {entity}::text as entity, count(*) as mentions, {own} as own from {table}
             where {TEXT} like $1 and {entity} is not null group by 1"
        )
    };
    let all: Vec<String> = tables.iter().map(one).collect();
    Sql(format!(
        "select entity, sum(mentions)::bigint, bool_or(own), count(*) over () from ({}) as found
         group by entity order by 2 desc, entity collate \"C\" limit $2",
        all.join(" union all ")
    ))
}

/// Whether any row holds one of so many patterns.
pub(in crate::sink::postgres) fn holds(table: &Name, patterns: usize) -> Sql {
    Sql(format!("select exists (select from {table} where {})", any_like(1, patterns)))
}

/// The entities that rows with these keys are about.
pub(in crate::sink::postgres) fn entities(table: &Name, key: (&str, &Type), entity: &str) -> Sql {
    let (entity, key, is) = (quote(entity), quote(key.0), key.1);
    Sql(format!(
        "select {key}::text, {entity}::text from {table} where {key} = any ($1::text[]::{is}[]) and {entity} is not null"
    ))
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
