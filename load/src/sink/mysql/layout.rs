//! A serving table in the database: its columns, its indexes, and how it follows the mart's schema.
//!
//! A new column is added in place, and an index that is missing is made. Any other difference – a column that went or changed its type,
//! another key, another embedder – means a new table, filled beside the old one and put in its place by one `rename table`.

use arrow::datatypes::{DataType, SchemaRef};
use catalog::{Layer, TableName};
use mysql_async::prelude::Queryable as _;

use super::column::MysqlColumn;
use super::connect::{MysqlSession, SHORT, within};
use super::sql::{self, HASH};
use super::state::MysqlState;
use crate::fault::SinkFault;
use crate::kind::SinkKind;
use crate::target::SyncTarget;
use rows::{Kind, content_hash};

/// The longest name that MySQL takes (characters).
const MAX_NAME: usize = 64;
/// Characters of a text that an index keeps whole: 3,072 bytes (`innodb_page_size` of 16 KiB), 4 of them for each.
pub(super) const MAX_INDEXED: usize = 768;
/// Digits of a decimal, and those behind its point.
const MAX_DECIMAL: (u8, i8) = (65, 30);

/// The name of a mart's table: `marts.places` is `places`, any other layer comes first (`staging.reviews` is `staging_reviews`).
pub(super) fn relation(table: &TableName) -> String {
    match table.layer() {
        Layer::Marts => table.name().to_owned(),
        layer => format!("{}_{}", layer.as_str(), table.name()),
    }
}

/// The type that a column of this Arrow type has.
///
/// # Errors
/// Of a decimal that has more digits than the server keeps.
fn type_of(data_type: &DataType) -> Result<String, String> {
    Ok(match data_type {
        DataType::Int8 => "tinyint".into(),
        DataType::UInt8 => "tinyint unsigned".into(),
        DataType::Int16 => "smallint".into(),
        DataType::UInt16 => "smallint unsigned".into(),
        DataType::Int32 => "int".into(),
        DataType::UInt32 => "int unsigned".into(),
        DataType::UInt64 => "bigint unsigned".into(),
        DataType::Dictionary(_, values) => type_of(values)?,
        other => match Kind::of(other) {
            // What `boolean` is another word for.
            Kind::Bool => "tinyint".into(),
            Kind::Int => "bigint".into(),
            Kind::Float => "double".into(),
            Kind::Bytes => "longblob".into(),
            Kind::Date => "date".into(),
            Kind::Time => "datetime(6)".into(),
            Kind::List(_) | Kind::Struct(_) | Kind::Map(..) => "json".into(),
            Kind::Decimal(digits, behind) => decimal(digits, behind)?,
            // Text, and what has no type of its own here, as Arrow prints it.
            Kind::Text | Kind::Other(_) => "longtext".into(),
        },
    })
}

fn decimal(digits: u8, behind: i8) -> Result<String, String> {
    // A negative scale means zeros before the point.
    let whole = i16::from(digits) - i16::from(behind.min(0));
    if whole <= i16::from(MAX_DECIMAL.0) && behind <= MAX_DECIMAL.1 {
        return Ok(format!("decimal({whole},{})", behind.max(0)));
    }
    let (most, most_behind) = MAX_DECIMAL;
    Err(format!(
        "expected decimals of at most {most} digits, {most_behind} of them behind the point, found decimal({digits},{behind})"
    ))
}

/// A serving table as it should be.
#[derive(Debug, Clone)]
pub(super) struct MysqlLayout {
    pub(super) table: String,
    pub(super) target: SyncTarget,
    pub(super) columns: Vec<MysqlColumn>,
}

/// Why a table of these columns can't be in any database, if it can't.
pub(crate) fn refused(target: &SyncTarget, fields: &SchemaRef) -> Option<SinkFault> {
    MysqlLayout::new(target, fields).err()
}

/// What must happen before rows can be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum MysqlPlan {
    /// The table is as it should be, but for these columns and the index.
    Keep { add: Vec<MysqlColumn>, index: bool },
    /// It is made anew; `swap` tells whether an old one is in its place.
    Create { swap: bool },
}

/// What stands in the database now.
#[derive(Debug, Clone)]
pub(super) struct MysqlTable {
    pub(super) plan: MysqlPlan,
    pub(super) state: Option<MysqlState>,
}

impl MysqlLayout {
    pub(super) fn new(target: &SyncTarget, fields: &SchemaRef) -> Result<Self, SinkFault> {
        let table = relation(&target.table);
        let names = || fields.fields().iter().map(|f| f.name()).chain([&table]);
        let is_odd = |c: char| c == '\0' || c > '\u{ffff}';
        if let Some(name) =
            names().find(|name| name.chars().count() > MAX_NAME || name.ends_with(' ') || name.contains(is_odd))
        {
            return Err(SinkFault::new(
                format!(
                    "expected names of at most {MAX_NAME} characters of the basic plane, with no blank at the end, found `{name}`"
                ),
                "MySQL takes no others: give it another name in the model",
            ));
        }
        if table.starts_with("_onggi") {
            return Err(SinkFault::new(format!("the name `{table}` is kept for tables of ours"), "rename the model"));
        }
        let mut columns: Vec<MysqlColumn> = Vec::with_capacity(fields.fields().len());
        for field in fields.fields() {
            let name = field.name().clone();
            if let Some(other) = columns.iter().find(|it| it.name.to_lowercase() == name.to_lowercase()) {
                return Err(SinkFault::new(
                    format!(
                        "expected columns that differ in more than upper and lower case, found `{}` and `{name}`",
                        other.name
                    ),
                    "to MySQL they are one: rename one of them in the model",
                ));
            }
            let is = type_of(field.data_type()).map_err(|message| {
                SinkFault::new(
                    format!("column `{name}`: {message}"),
                    "cast it to fewer digits, or to text, in the model",
                )
            })?;
            let is_indexed = name == target.key || target.entity.as_ref().is_some_and(|it| it.column == name);
            let is = if is_indexed && is == "longtext" { format!("varchar({MAX_INDEXED})") } else { is };
            columns.push(MysqlColumn { name, is });
        }
        Ok(Self { table, target: target.clone(), columns })
    }

    /// The columns in the order in which rows are sent.
    pub(super) fn sent(&self) -> Vec<MysqlColumn> {
        let hash = MysqlColumn { name: HASH.into(), is: "binary(16)".into() };
        self.columns.iter().cloned().chain([hash]).collect()
    }

    /// The column that holds the key.
    pub(super) fn key(&self) -> &str {
        &self.target.key
    }

    /// Whether keys are numbers, and are to be bound as such.
    pub(super) fn key_is_number(&self) -> bool {
        self.columns.iter().any(|column| column.name == self.target.key && column.is_number())
    }

    /// Where a build writes its rows before they take their place, and where the old table goes then.
    pub(super) fn aside(&self, what: &str, build: &str) -> String {
        format!("{}{}", self.aside_prefix(what), &build[..16.min(build.len())])
    }

    /// What all names of [`MysqlLayout::aside`] begin with, whatever the build.
    pub(super) fn aside_prefix(&self, what: &str) -> String {
        format!("_onggi_{what}_{}_", &content_hash([self.table.as_bytes()])[..12])
    }

    /// Looks at what is there, and says what must happen.
    ///
    /// # Errors
    /// If the name is taken by something that is not ours.
    pub(super) async fn stand(
        &self,
        session: &mut MysqlSession,
        states: Vec<MysqlState>,
        project: &str,
    ) -> Result<MysqlTable, SinkFault> {
        let table = self.target.table.to_string();
        let current = |it: &&MysqlState| it.is_current;
        if let Some(other) = states.iter().filter(current).find(|it| it.table != table && it.relation == self.table) {
            return Err(SinkFault::new(
                format!("`{}` and `{table}` would both be the table `{}`", other.table, self.table),
                "rename one of the two models",
            ));
        }
        let state = states.into_iter().find(|it| it.table == table && it.is_current);
        if let Some(other) = state.as_ref().filter(|it| it.project != project) {
            return Err(SinkFault::new(
                format!("`{}` is kept by the project `{}`, this one is `{project}`", self.table, other.project),
                "give this project a database of its own: `[mysql] url` names it",
            ));
        }
        let Some(held) = held(session, &self.table).await? else {
            return Ok(MysqlTable { plan: MysqlPlan::Create { swap: false }, state: None });
        };
        let ours = held.iter().any(|column| column.name == HASH && column.is == "binary(16)");
        if state.is_none() && !ours {
            return Err(SinkFault::new(
                format!("`{}` is there, and it is not ours", self.table),
                "name another database in `[mysql] url`, or move that table away",
            ));
        }
        let anew = MysqlPlan::Create { swap: true };
        let same_roles = state
            .as_ref()
            .and_then(|it| it.target.as_ref())
            .is_some_and(|it| SinkKind::Mysql.takes_alike(it, &self.target));
        let fits = |there: &MysqlColumn| there.name == HASH || self.columns.contains(there);
        if !same_roles || !ours || !held.iter().all(fits) {
            return Ok(MysqlTable { plan: anew, state });
        }
        let there = indexes(session, &self.table).await?;
        let key: Vec<&str> = there.iter().filter(|it| it.0 == "PRIMARY").map(|it| it.1.as_str()).collect();
        if key != [self.key()] {
            return Ok(MysqlTable { plan: anew, state });
        }
        let add = self.columns.iter().filter(|column| !held.contains(column)).cloned().collect();
        let index = self.target.entity.is_some() && !there.iter().any(|(name, _)| name == sql::ENTITY);
        Ok(MysqlTable { plan: MysqlPlan::Keep { add, index }, state })
    }
}

/// The columns of a table as they are there; `None` when there is none.
pub(super) async fn held(session: &mut MysqlSession, table: &str) -> Result<Option<Vec<MysqlColumn>>, SinkFault> {
    let query = "select c.column_name, c.column_type, coalesce(c.collation_name, ''), t.table_type
         from information_schema.columns c
         join information_schema.tables t on t.table_schema = c.table_schema and t.table_name = c.table_name
         where c.table_schema = database() and c.table_name = ? order by c.ordinal_position";
    let rows: Vec<(String, String, String, String)> = within(SHORT, session.get()?.exec(query, (table,))).await?;
    let is_mariadb = session.server()?.is_mariadb;
    let mut columns = Vec::with_capacity(rows.len());
    for (name, is, collation, kind) in rows {
        if kind != "BASE TABLE" {
            return Err(SinkFault::new(
                format!("`{table}` is there, and it is no plain table"),
                "name another database in `[mysql] url`, or move it away",
            ));
        }
        // To MariaDB `json` is a long text under a collation that no text of ours has.
        let is_json = is_mariadb && is == "longtext" && collation == "utf8mb4_bin";
        columns.push(MysqlColumn { name, is: if is_json { "json".into() } else { plain(&is) } });
    }
    Ok((!columns.is_empty()).then_some(columns))
}

/// A type without the width that integers are shown in, which says nothing and which only some servers print.
fn plain(is: &str) -> String {
    match (is.split_once('('), is.split_once(')')) {
        (Some((head, _)), Some((_, tail))) if head.ends_with("int") => format!("{head}{tail}"),
        _ => is.to_owned(),
    }
}

/// The columns of each index: its name, and one column after the other.
async fn indexes(session: &mut MysqlSession, table: &str) -> Result<Vec<(String, String)>, SinkFault> {
    let query = "select index_name, coalesce(column_name, '') from information_schema.statistics
         where table_schema = database() and table_name = ? order by index_name, seq_in_index";
    within(SHORT, session.get()?.exec(query, (table,))).await
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{Field, Schema, TimeUnit};

    use super::*;
    use crate::testing::{place_target, review_target};

    #[test]
    fn each_arrow_type_has_one_of_mysql() {
        let list = |t| DataType::List(Arc::new(Field::new("element", t, true)));
        for (arrow, mysql) in [
            (DataType::Boolean, "tinyint"),
            (DataType::Int32, "int"),
            (DataType::UInt64, "bigint unsigned"),
            (DataType::Float32, "double"),
            (DataType::Utf8View, "longtext"),
            (DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)), "longtext"),
            (DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), "datetime(6)"),
            (DataType::Date32, "date"),
            (DataType::Decimal128(12, 2), "decimal(12,2)"),
            (DataType::Decimal128(10, -2), "decimal(12,0)"),
            (DataType::Decimal256(65, 30), "decimal(65,30)"),
            (DataType::Binary, "longblob"),
            (list(DataType::Float32), "json"),
            (DataType::Struct(vec![Field::new("a", DataType::Int64, true)].into()), "json"),
        ] {
            assert_eq!(type_of(&arrow).as_deref(), Ok(mysql), "{arrow}");
        }
        for (digits, behind) in [(66, 0), (76, 30), (40, 31)] {
            let told = type_of(&DataType::Decimal256(digits, behind)).unwrap_err();
            assert!(
                told.contains("at most 65 digits, 30 of them") && told.contains(&format!("({digits},{behind})")),
                "{told}"
            );
        }
    }

    #[test]
    fn what_is_indexed_is_a_text_that_an_index_holds() {
        let schema: SchemaRef = Arc::new(Schema::new(
            ["review_id", "place_id", "body"].map(|name| Field::new(name, DataType::Utf8, true)).to_vec(),
        ));
        let layout = MysqlLayout::new(&review_target(), &schema).unwrap();
        let types: Vec<&str> = layout.columns.iter().map(|column| column.is.as_str()).collect();
        assert_eq!(types, ["varchar(768)", "varchar(768)", "longtext"]);
    }

    #[test]
    fn names_that_mysql_has_not_are_refused() {
        let of = |name: &str| {
            let names = ["place_id", "Name", name];
            let fields = names.map(|name| Field::new(name, DataType::Utf8, true)).to_vec();
            MysqlLayout::new(&place_target(), &(Arc::new(Schema::new(fields)) as SchemaRef))
                .map(|_| ())
                .map_err(|e| e.to_string())
        };
        assert_eq!(of("`--/*drop*/'\""), Ok(()));
        assert_eq!(of(&"가".repeat(64)), Ok(()));
        for (name, expected) in [
            ("name", "upper and lower case, found `Name` and `name`"),
            ("blank ", "no blank at the end"),
            ("😀", "of the basic plane"),
            (&"가".repeat(65), "at most 64 characters"),
        ] {
            assert!(of(name).unwrap_err().contains(expected), "{name}");
        }
    }

    #[test]
    fn a_type_is_the_same_on_both_servers() {
        for (shown, is) in [
            ("bigint(20)", "bigint"),
            ("bigint(20) unsigned", "bigint unsigned"),
            ("bigint unsigned", "bigint unsigned"),
            ("tinyint(1)", "tinyint"),
            ("decimal(12,2)", "decimal(12,2)"),
            ("varchar(768)", "varchar(768)"),
            ("datetime(6)", "datetime(6)"),
        ] {
            assert_eq!(plain(shown), is);
        }
    }
}
