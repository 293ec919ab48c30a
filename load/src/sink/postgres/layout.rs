//! A serving table in the database: its columns, its indexes, and how it follows the mart's schema.
//!
//! A new column is added in place, and an index that is missing is made. Any other difference – a column that went or changed its type,
//! another key, another role of a column, another embedder – means a new table, filled beside the old one and put in its place in the same
//! transaction: readers have one of the two.

use std::time::Duration;

use arrow::datatypes::{DataType, SchemaRef};
use catalog::{Layer, TableName};
use sqlx::Row as _;
use sqlx::postgres::PgConnection;

use super::connect::within;
use super::sql::{self, Column, HASH, Name, TEXT, Type};
use super::state::{PostgresState, SHORT};
use crate::fault::SinkFault;
use crate::target::SyncTarget;
use rows::content_hash;

/// The longest name that Postgres keeps whole (bytes).
const MAX_NAME: usize = 63;
/// What every table has anyway.
const SYSTEM: [&str; 6] = ["ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"];
/// For statements about all rows.
pub(super) const LONG: Duration = Duration::from_hours(12);

/// The name of a mart's table: `marts.places` is `places`, any other layer comes first (`staging.reviews` is `staging_reviews`).
pub(super) fn relation(table: &TableName) -> String {
    match table.layer() {
        Layer::Marts => table.name().to_owned(),
        layer => format!("{}_{}", layer.as_str(), table.name()),
    }
}

/// The type that a column of this Arrow type has.
pub(super) fn type_of(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "boolean".into(),
        DataType::Int8 | DataType::UInt8 | DataType::Int16 => "smallint".into(),
        DataType::UInt16 | DataType::Int32 => "integer".into(),
        DataType::UInt32 | DataType::Int64 => "bigint".into(),
        DataType::UInt64 => "numeric(20,0)".into(),
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) | DataType::Decimal128(p, s) => {
            format!("numeric({p},{s})")
        }
        DataType::Float16 | DataType::Float32 => "real".into(),
        DataType::Float64 => "double precision".into(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            "bytea".into()
        }
        DataType::Date32 => "date".into(),
        DataType::Date64 | DataType::Timestamp(..) => "timestamp with time zone".into(),
        DataType::Dictionary(_, values) => type_of(values),
        other if is_document(other) => "jsonb".into(),
        // Text, and what has no type of its own here, as Arrow prints it.
        other => list_item(other).map_or_else(|| "text".into(), |item| format!("{}[]", type_of(item))),
    }
}

/// Whether a column of this type is kept as a document: structs, maps, lists of them and of lists.
pub(super) fn is_document(data_type: &DataType) -> bool {
    match data_type {
        DataType::Struct(_) | DataType::Map(..) => true,
        DataType::List(_)
        | DataType::LargeList(_)
        | DataType::FixedSizeList(..)
        | DataType::ListView(_)
        | DataType::LargeListView(_) => list_item(data_type).is_none(),
        _ => false,
    }
}

/// The item type of a flat list.
pub(super) fn list_item(data_type: &DataType) -> Option<&DataType> {
    let item = match data_type {
        DataType::List(f)
        | DataType::LargeList(f)
        | DataType::FixedSizeList(f, _)
        | DataType::ListView(f)
        | DataType::LargeListView(f) => f.data_type(),
        _ => return None,
    };
    (list_item(item).is_none() && !matches!(item, DataType::Struct(_) | DataType::Map(..))).then_some(item)
}

/// A serving table as it should be.
#[derive(Debug, Clone)]
pub(super) struct PostgresLayout {
    pub(super) table: Name,
    pub(super) target: SyncTarget,
    pub(super) columns: Vec<Column>,
    /// The schema of pgvector, where the target has a vector.
    pub(super) vectors: Option<String>,
}

/// Why a table of these columns can't be in any database, if it can't.
pub(crate) fn refused(target: &SyncTarget, fields: &SchemaRef) -> Option<SinkFault> {
    PostgresLayout::new("", target, fields, None).err()
}

/// What must happen before rows can be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PostgresPlan {
    /// The table is as it should be, but for these columns and indexes.
    Keep { add: Vec<Column>, index: Vec<&'static str> },
    /// It is made anew; `swap` tells whether an old one is in its place.
    Create { swap: bool },
}

/// What stands in the database now.
#[derive(Debug, Clone)]
pub(super) struct PostgresTable {
    pub(super) plan: PostgresPlan,
    pub(super) state: Option<PostgresState>,
    /// Of the vector column.
    pub(super) dimension: Option<usize>,
}

impl PostgresLayout {
    pub(super) fn new(
        schema: &str,
        target: &SyncTarget,
        fields: &SchemaRef,
        vectors: Option<String>,
    ) -> Result<Self, SinkFault> {
        let relation = relation(&target.table);
        if let Some(field) = fields.fields().iter().find(|field| SYSTEM.contains(&field.name().as_str())) {
            return Err(SinkFault::new(
                format!("expected no column of the server's own, found `{}`", field.name()),
                "every table of Postgres has one of that name: give it another in the model",
            ));
        }
        let long = fields.fields().iter().map(|f| f.name()).chain([&relation]).find(|name| name.len() > MAX_NAME);
        if let Some(name) = long {
            return Err(SinkFault::new(
                format!("expected names of at most {MAX_NAME} bytes, found `{name}`"),
                "Postgres would cut it: give it a shorter name in the model",
            ));
        }
        if relation == sql::STATE {
            return Err(SinkFault::new(
                format!("the name `{relation}` is kept for the watermarks"),
                "rename the model",
            ));
        }
        let vector = target.vector.as_ref().map(|it| it.column.as_str());
        let columns = fields.fields().iter().map(|field| Column {
            name: field.name().clone(),
            is: match &vectors {
                Some(schema) if vector == Some(field.name()) => {
                    Type::HalfVec { schema: schema.clone(), dimension: None }
                }
                _ => Type::Plain(type_of(field.data_type())),
            },
        });
        Ok(Self { table: Name::new(schema, relation), target: target.clone(), columns: columns.collect(), vectors })
    }

    /// The columns in the order in which rows are sent.
    pub(super) fn sent(&self) -> Vec<String> {
        let mut names: Vec<String> = self.columns.iter().map(|column| column.name.clone()).collect();
        names.push(HASH.to_owned());
        if self.has_texts() {
            names.push(TEXT.to_owned());
        }
        names
    }

    pub(super) fn has_texts(&self) -> bool {
        !self.target.texts.is_empty()
    }

    /// The column that holds the key.
    pub(super) fn key(&self) -> &str {
        &self.target.key
    }

    pub(super) fn key_type(&self) -> Type {
        let column = self.columns.iter().find(|column| column.name == self.target.key);
        column.map_or_else(|| Type::Plain("text".into()), |column| column.is.clone())
    }

    /// The table that rows are written to before it takes the place of an old one.
    pub(super) fn fresh(&self) -> Name {
        self.table.beside(short("_new", &self.table.name))
    }

    /// The name of an index, once the table is in its place.
    pub(super) fn index_name(&self, of: &str) -> String {
        short(&self.table.name, of)
    }

    /// The vector column with a dimension.
    pub(super) fn vector_column(&self, dimension: usize) -> Option<Column> {
        let name = &self.target.vector.as_ref()?.column;
        Some(Column {
            name: name.clone(),
            is: Type::HalfVec { schema: self.vectors.clone()?, dimension: Some(dimension) },
        })
    }

    /// Looks at what is there, and says what must happen.
    ///
    /// # Errors
    /// If the name is taken by something that is not ours.
    pub(super) async fn stand(
        &self,
        connection: &mut PgConnection,
        states: Vec<PostgresState>,
        project: &str,
    ) -> Result<PostgresTable, SinkFault> {
        let table = self.target.table.to_string();
        if let Some(other) = states.iter().find(|it| it.table != table && it.relation == self.table.name) {
            return Err(SinkFault::new(
                format!("`{}` and `{table}` would both be the table {}", other.table, self.table),
                "rename one of the two models",
            ));
        }
        let state = states.into_iter().find(|it| it.table == table);
        if let Some(other) = state.as_ref().filter(|it| it.project != project) {
            return Err(SinkFault::new(
                format!("{} is kept by the project `{}`, this one is `{project}`", self.table, other.project),
                "give this project a schema of its own: `[postgres] schema`",
            ));
        }
        let Some(held) = held(connection, &self.table).await? else {
            return Ok(PostgresTable { plan: PostgresPlan::Create { swap: false }, state, dimension: None });
        };
        let ours = held.iter().any(|column| column.name == HASH && column.is == "bytea");
        if state.is_none() && !ours {
            return Err(SinkFault::new(
                format!("{} is there, and it is not ours", self.table),
                "name another schema in `[postgres] schema`, or move that table away",
            ));
        }
        let dimension = held.iter().find_map(|column| column.dimension);
        let same_roles =
            state.as_ref().and_then(|it| it.target.as_ref()).is_some_and(|it| it.roles() == self.target.roles());
        let texts = held.iter().any(|column| column.name == TEXT);
        let fits = |there: &PostgresColumn| {
            there.name == HASH
                || there.name == TEXT
                || self.columns.iter().any(|column| column.name == there.name && there.fits(&column.is))
        };
        if !same_roles || !ours || texts != self.has_texts() || !held.iter().all(fits) {
            return Ok(PostgresTable { plan: PostgresPlan::Create { swap: true }, state, dimension: None });
        }
        let there = indexes(connection, &self.table).await?;
        if !there.iter().any(|(_, key)| key.as_deref() == Some(self.key())) {
            return Ok(PostgresTable { plan: PostgresPlan::Create { swap: true }, state, dimension: None });
        }
        let add = self.columns.iter().filter(|column| !held.iter().any(|it| it.name == column.name)).cloned().collect();
        let wanted = [("entity", self.target.entity.is_some()), ("vector", dimension.is_some())];
        let missing = |of: &str| !there.iter().any(|(name, _)| *name == self.index_name(of));
        let index = wanted.into_iter().filter(|(of, wanted)| *wanted && missing(of)).map(|(of, _)| of).collect();
        Ok(PostgresTable { plan: PostgresPlan::Keep { add, index }, state, dimension })
    }
}

/// `base_of`, cut to a name's length without losing what makes it unique.
fn short(base: &str, of: &str) -> String {
    let name = format!("{base}_{of}");
    if name.len() <= MAX_NAME {
        return name;
    }
    let mark = &content_hash([name.as_bytes()])[..12];
    let mut end = MAX_NAME - mark.len() - 1;
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}_{mark}", &name[..end])
}

/// A column as the server describes it.
struct PostgresColumn {
    name: String,
    is: String,
    dimension: Option<usize>,
}

impl PostgresColumn {
    fn fits(&self, wanted: &Type) -> bool {
        match wanted {
            Type::Plain(name) => *name == self.is,
            Type::HalfVec { .. } => self.is == "halfvec",
        }
    }
}

/// The columns of a table; `None` when there is none.
async fn held(connection: &mut PgConnection, table: &Name) -> Result<Option<Vec<PostgresColumn>>, SinkFault> {
    let query = sqlx::query(
        "select a.attname::text, case when t.typname = 'halfvec' then 'halfvec' else format_type(a.atttypid, a.atttypmod) end,
            case when t.typname = 'halfvec' and a.atttypmod > 0 then a.atttypmod end, c.relkind::text
         from pg_class c join pg_namespace n on n.oid = c.relnamespace
         join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
         join pg_type t on t.oid = a.atttypid
         where n.nspname = $1 and c.relname = $2 order by a.attnum",
    );
    let rows = within(SHORT, query.bind(&table.schema).bind(&table.name).fetch_all(connection)).await?;
    let mut columns = Vec::with_capacity(rows.len());
    for row in &rows {
        let (kind, dimension): (String, Option<i32>) = (row.try_get(3)?, row.try_get(2)?);
        if kind != "r" {
            return Err(SinkFault::new(
                format!("{table} is there, and it is no plain table"),
                "name another schema in `[postgres] schema`, or move it away",
            ));
        }
        let dimension = dimension.and_then(|n| usize::try_from(n).ok());
        columns.push(PostgresColumn { name: row.try_get(0)?, is: row.try_get(1)?, dimension });
    }
    Ok((!columns.is_empty()).then_some(columns))
}

/// The indexes of a table, and which column each is the primary key of, where it is one over one column.
async fn indexes(connection: &mut PgConnection, table: &Name) -> Result<Vec<(String, Option<String>)>, SinkFault> {
    let query = sqlx::query(
        "select i.relname::text, case when x.indisprimary and x.indnkeyatts = 1 then a.attname::text end
         from pg_index x join pg_class c on c.oid = x.indrelid join pg_namespace n on n.oid = c.relnamespace
         join pg_class i on i.oid = x.indexrelid
         left join pg_attribute a on a.attrelid = c.oid and a.attnum = x.indkey[0]
         where n.nspname = $1 and c.relname = $2 and x.indisvalid",
    );
    let rows = within(SHORT, query.bind(&table.schema).bind(&table.name).fetch_all(connection)).await?;
    Ok(rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect::<Result<_, sqlx::Error>>()?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{Field, TimeUnit};

    use super::*;

    #[test]
    fn a_mart_keeps_its_name_and_another_layer_comes_first() {
        assert_eq!(relation(&"marts.places".parse().unwrap()), "places");
        assert_eq!(relation(&"staging.reviews".parse().unwrap()), "staging_reviews");
    }

    #[test]
    fn each_arrow_type_has_one_of_postgres() {
        let list = |t| DataType::List(Arc::new(Field::new("element", t, true)));
        for (arrow, postgres) in [
            (DataType::Int32, "integer"),
            (DataType::Utf8View, "text"),
            (DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)), "text"),
            (DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), "timestamp with time zone"),
            (DataType::Decimal128(12, 2), "numeric(12,2)"),
            (list(DataType::Utf8), "text[]"),
            (list(DataType::Float32), "real[]"),
            (list(list(DataType::Int64)), "jsonb"),
            (DataType::Struct(vec![Field::new("a", DataType::Int64, true)].into()), "jsonb"),
            (DataType::UInt64, "numeric(20,0)"),
        ] {
            assert_eq!(type_of(&arrow), postgres, "{arrow}");
        }
    }

    #[test]
    fn a_long_name_is_cut_and_stays_its_own() {
        let (one, two) = (short(&"가".repeat(20), "text"), short(&"가".repeat(20), "vector"));
        assert!(one.len() <= MAX_NAME && two.len() <= MAX_NAME && one != two, "{one} {two}");
        assert_eq!(short("places", "text"), "places_text");
    }
}
