//! One table as Glue keeps it.
//!
//! The shape is the one that Spark and Athena's own `CREATE EXTERNAL TABLE … 'table_type'='DELTA'` leave behind, and every
//! part of it is there because a reader fails without it: the formats name no real format, `path` among the `SerDe`
//! parameters is where readers look first, and a location that begins with `s3a://` makes Athena show an empty table. The
//! columns are for people, Lake Formation and dashboards: Athena itself takes them from the log.

use std::collections::HashMap;

use arrow::datatypes::SchemaRef;
use aws_sdk_glue::error::BuildError;
use aws_sdk_glue::types::{Column, SerDeInfo, StorageDescriptor, Table, TableInput};
use catalog::TableName;

use crate::hive;

/// The parameter that says whose a table is.
pub(crate) const OWNER: &str = "onggi.project";

const TABLE_TYPE: &str = "EXTERNAL_TABLE";
const INPUT_FORMAT: &str = "org.apache.hadoop.mapred.SequenceFileInputFormat";
const OUTPUT_FORMAT: &str = "org.apache.hadoop.hive.ql.io.HiveSequenceFileOutputFormat";
const SERDE: &str = "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe";
/// What readers recognise a Delta table by, each its own word.
const PARAMETERS: [(&str, &str); 4] = [
    ("EXTERNAL", "TRUE"),
    ("classification", "delta"),
    ("spark.sql.sources.provider", "delta"),
    ("table_type", "DELTA"),
];
/// The column that tables are split by, where they are split.
const DT: &str = "dt";

/// A column that keeps its table from being published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The table.
    pub table: TableName,
    /// The column.
    pub column: String,
    /// Its type.
    pub kind: String,
    /// What to write in the model.
    pub instead: String,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "table {}, column `{}`: Athena does not read {}", self.table, self.column, self.kind)
    }
}

/// A table of Glue that has the name of one of ours and is somebody else's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// The table in the lake.
    pub table: TableName,
    /// The table in Glue, `database.table`.
    pub name: String,
    /// The project it says it belongs to, if it says one.
    pub project: Option<String>,
}

impl std::fmt::Display for Foreign {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.project {
            Some(project) => {
                write!(f, "table {}: `{}` in Glue belongs to the project `{project}`", self.table, self.name)
            }
            None => write!(f, "table {}: `{}` in Glue was not made by Onggi", self.table, self.name),
        }
    }
}

/// What Glue is to say of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Registration {
    pub(crate) table: TableName,
    pub(crate) database: String,
    pub(crate) location: String,
    pub(crate) project: String,
    /// Names and types, without the columns that the table is split by.
    columns: Vec<(String, String)>,
    partition_keys: Vec<(String, String)>,
}

impl Registration {
    /// The registration of a table with these columns.
    ///
    /// # Errors
    /// Every column that Athena would not read.
    pub(crate) fn new(
        table: TableName,
        database: String,
        location: String,
        project: String,
        schema: &SchemaRef,
        partitioned: bool,
    ) -> Result<Self, Vec<Refused>> {
        let (mut columns, mut partition_keys, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        for field in schema.fields() {
            let mut refuse = |kind: String, instead: String| {
                refused.push(Refused { table: table.clone(), column: field.name().clone(), kind, instead });
            };
            // Glue keeps names in lower case, and readers compare them without regard to it.
            let name = field.name().to_lowercase();
            if columns.iter().chain(&partition_keys).any(|(other, _)| *other == name) {
                refuse("two names that differ in case only".to_owned(), format!("{} as {name}_2", field.name()));
                continue;
            }
            match hive::name(field.data_type()) {
                Ok(kind) if partitioned && name == DT => partition_keys.push((name, kind)),
                Ok(kind) => columns.push((name, kind)),
                Err(instead) => {
                    let instead = format!("{} as {}", instead.replace("{}", field.name()), field.name());
                    refuse(hive::plain(field.data_type()), instead);
                }
            }
        }
        if refused.is_empty() {
            Ok(Self { table, database, location, project, columns, partition_keys })
        } else {
            Err(refused)
        }
    }

    /// The table's name in Glue, `database.table`.
    pub(crate) fn name(&self) -> String {
        format!("{}.{}", self.database, self.table.name())
    }

    /// What is sent to Glue. What others added to the table that stands there is kept: parameters, comments, a description.
    pub(crate) fn input(&self, found: Option<&Table>) -> Result<TableInput, BuildError> {
        let kept = found.and_then(Table::storage_descriptor);
        let columns = |ours: &[(String, String)], theirs: &[Column]| {
            let column = |(name, kind): &(String, String)| {
                let there = theirs.iter().find(|it| it.name() == name);
                Column::builder()
                    .name(name)
                    .r#type(kind)
                    .set_comment(there.and_then(Column::comment).map(str::to_owned))
                    .set_parameters(there.and_then(Column::parameters).cloned())
                    .build()
            };
            ours.iter().map(column).collect::<Result<Vec<_>, _>>()
        };
        let serde = SerDeInfo::builder()
            .serialization_library(SERDE)
            .set_parameters(Some(merged(
                kept.and_then(StorageDescriptor::serde_info).and_then(SerDeInfo::parameters),
                &self.serde_parameters(),
            )))
            .build();
        let storage = StorageDescriptor::builder()
            .location(&self.location)
            .input_format(INPUT_FORMAT)
            .output_format(OUTPUT_FORMAT)
            .serde_info(serde)
            .set_columns(Some(columns(&self.columns, kept.map_or(&[], StorageDescriptor::columns))?))
            .build();
        let partition_keys = columns(&self.partition_keys, found.map_or(&[], Table::partition_keys))?;
        TableInput::builder()
            .name(self.table.name())
            .table_type(TABLE_TYPE)
            .set_description(found.and_then(Table::description).map(str::to_owned))
            .set_owner(found.and_then(Table::owner).map(str::to_owned))
            .set_parameters(Some(merged(found.and_then(Table::parameters), &self.parameters())))
            .set_partition_keys(Some(partition_keys))
            .storage_descriptor(storage)
            .build()
    }

    /// What would change in the table that Glue has; nothing, if it is as it should be. What Glue and others add to a table
    /// is no difference.
    pub(crate) fn differences(&self, found: &Table) -> Vec<String> {
        let mut differences = Vec::new();
        let mut compare = |what: &str, expected: &str, found: Option<&str>| {
            if found != Some(expected) {
                differences.push(format!("{what} {expected} instead of {}", found.unwrap_or("none")));
            }
        };
        let storage = found.storage_descriptor();
        compare("location", &self.location, storage.and_then(StorageDescriptor::location));
        compare("type", TABLE_TYPE, found.table_type());
        compare("input format", INPUT_FORMAT, storage.and_then(StorageDescriptor::input_format));
        compare("output format", OUTPUT_FORMAT, storage.and_then(StorageDescriptor::output_format));
        let serde = storage.and_then(StorageDescriptor::serde_info);
        compare("SerDe", SERDE, serde.and_then(SerDeInfo::serialization_library));
        for (name, value) in self.serde_parameters() {
            compare(&format!("SerDe parameter {name}"), &value, value_of(serde.and_then(SerDeInfo::parameters), name));
        }
        for (name, value) in self.parameters() {
            compare(&format!("parameter {name}"), &value, value_of(found.parameters(), name));
        }
        differences.extend(changed_columns("column", &self.columns, storage.map_or(&[], StorageDescriptor::columns)));
        differences.extend(changed_columns("partition key", &self.partition_keys, found.partition_keys()));
        differences
    }

    fn serde_parameters(&self) -> [(&'static str, String); 2] {
        [("path", self.location.clone()), ("serialization.format", "1".to_owned())]
    }

    fn parameters(&self) -> Vec<(&'static str, String)> {
        let all = PARAMETERS.iter().map(|(name, value)| (*name, (*value).to_owned()));
        all.chain([(OWNER, self.project.clone())]).collect()
    }
}

/// The project that a table of Glue says it belongs to.
pub(crate) fn owner(table: &Table) -> Option<&str> {
    value_of(table.parameters(), OWNER)
}

fn value_of<'a>(parameters: Option<&'a HashMap<String, String>>, name: &str) -> Option<&'a str> {
    parameters?.get(name).map(String::as_str)
}

/// What is there, with ours on top.
fn merged(there: Option<&HashMap<String, String>>, ours: &[(&'static str, String)]) -> HashMap<String, String> {
    let mut all = there.cloned().unwrap_or_default();
    all.extend(ours.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    all
}

/// What would change among columns, in a person's words.
fn changed_columns(what: &str, wanted: &[(String, String)], found: &[Column]) -> Vec<String> {
    let mut changes = Vec::new();
    for (name, kind) in wanted {
        match found.iter().find(|it| it.name() == name) {
            None => changes.push(format!("new {what} {name} {kind}")),
            Some(there) if there.r#type() != Some(kind) => {
                changes.push(format!("{what} {name} {kind} instead of {}", there.r#type().unwrap_or("no type")));
            }
            Some(_) => {}
        }
    }
    for there in found.iter().filter(|it| wanted.iter().all(|(name, _)| name != it.name())) {
        changes.push(format!("{what} {} is gone", there.name()));
    }
    let order = |names: &mut dyn Iterator<Item = &str>| names.collect::<Vec<_>>().join(", ");
    let (ours, theirs) =
        (order(&mut wanted.iter().map(|(name, _)| name.as_str())), order(&mut found.iter().map(Column::name)));
    if changes.is_empty() && ours != theirs {
        changes.push(format!("{what}s in the order {ours}"));
    }
    changes
}
