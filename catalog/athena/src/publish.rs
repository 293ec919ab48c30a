//! Every table of a lake in Glue, and nothing that is not in the lake.
//!
//! Two steps, kept apart: what Glue says is read and compared with what the lake says, and then only the difference is
//! written. One database a layer, so that `layer.table` is the same name on both sides. A table of Glue is ours if its
//! parameters name the project; everything else is left alone, whatever it is called.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_glue::types::{DatabaseInput, Table};
use catalog::{Lake, Layer, TableName, backoff, fresh_fraction};

use crate::client::{self, Glue};
use crate::error::{Error, Result};
use crate::registration::{self, Foreign, OWNER, Refused, Registration};

/// How often a table that somebody else is changing at the same moment is tried.
const CONTENDED_ATTEMPTS: u32 = 5;

/// What to publish, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PublishOptions {
    /// The project that the lake belongs to: tables in Glue are marked with it.
    pub project: String,
    /// What stands before the layer in a database's name.
    pub database_prefix: String,
    /// Whether tables that are no longer in the lake are removed from Glue. No data is touched.
    pub prune: bool,
    /// Whether to say what would be done and change nothing.
    pub dry_run: bool,
    /// Where the lake is, when that isn't the lake's own URL: readers may know its bucket by another name.
    pub location: Option<String>,
}

/// A table that was written again, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Its name in Glue, `database.table`.
    pub name: String,
    /// What was different.
    pub changes: Vec<String>,
}

/// What a pass did. Tables are called by their names in Glue, `database.table`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Published {
    /// Databases that were made.
    pub databases: Vec<String>,
    /// Tables that were not there.
    pub created: Vec<String>,
    /// Tables that were not as they should be.
    pub updated: Vec<Changed>,
    /// Tables that were.
    pub unchanged: Vec<String>,
    /// Tables that are no longer in the lake and were removed.
    pub removed: Vec<String>,
    /// Tables that are no longer in the lake and still stand in Glue.
    pub gone: Vec<String>,
    /// Columns that keep their tables from being published.
    pub refused: Vec<Refused>,
    /// Tables of others whose names are taken.
    pub foreign: Vec<Foreign>,
}

impl Published {
    /// Whether every table of the lake is in Glue as it should be.
    pub fn is_complete(&self) -> bool {
        self.refused.is_empty() && self.foreign.is_empty()
    }
}

/// Brings Glue in line with the lake.
///
/// A table that can't be published is in the answer and doesn't keep the others from it. A request that fails ends the pass;
/// what was done by then stands, and the next pass goes on from there.
pub async fn publish(lake: &Lake, glue: &Glue, options: &PublishOptions) -> Result<Published> {
    let root = location(lake, options)?;
    let names = lake.tables().await.map_err(in_lake("listing its tables"))?;
    if names.is_empty() {
        // With `prune` this would empty the catalog, and a lake without tables is rather a misspelt URL.
        return Err(Error::EmptyLake { uri: lake.uri().to_string() });
    }
    let mut done = Published::default();
    let mut wanted = Vec::new();
    for name in &names {
        let table = lake.table(name).await.map_err(in_lake(&format!("reading `{name}`")))?;
        let database = database(options, name.layer());
        let location = format!("{root}{}/", catalog::path::table_folder(name));
        let project = options.project.clone();
        match Registration::new(name.clone(), database, location, project, &table.schema(), table.is_partitioned()) {
            Ok(registration) => wanted.push(registration),
            Err(refused) => done.refused.extend(refused),
        }
    }
    for layer in Layer::ALL {
        let database = database(options, layer);
        let here: Vec<&Registration> = wanted.iter().filter(|it| it.table.layer() == layer).collect();
        let found = match glue.tables(&database).await? {
            Some(found) => found,
            None if here.is_empty() => continue,
            None => {
                if !options.dry_run {
                    glue.create_database(&database, layer, &options.project).await?;
                }
                done.databases.push(database.clone());
                BTreeMap::new()
            }
        };
        for registration in here {
            glue.register(registration, found.get(registration.table.name()), options.dry_run, &mut done).await?;
        }
        let in_lake = |table: &str| names.iter().any(|name| name.layer() == layer && name.name() == table);
        let ours = found.values().filter(|table| registration::owner(table) == Some(options.project.as_str()));
        for table in ours.filter(|table| !in_lake(table.name())) {
            let name = format!("{database}.{}", table.name());
            if options.prune {
                if !options.dry_run {
                    glue.delete(&database, table.name()).await?;
                }
                done.removed.push(name);
            } else {
                done.gone.push(name);
            }
        }
    }
    Ok(done)
}

/// The name of a layer's database in Glue.
pub(crate) fn database(options: &PublishOptions, layer: Layer) -> String {
    format!("{}{layer}", options.database_prefix)
}

/// The lake's URL as Athena takes it, ending in `/`.
///
/// # Errors
/// [`Error::NotOnS3`] or [`Error::OddLocation`] if Athena could not read it.
pub fn location(lake: &Lake, options: &PublishOptions) -> Result<String> {
    let mut uri = options.location.clone().unwrap_or_else(|| lake.uri().to_string());
    if !uri.ends_with('/') {
        uri.push('/');
    }
    let Some(rest) = uri.strip_prefix("s3://") else { return Err(Error::NotOnS3 { uri }) };
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./".contains(letter);
    if rest.starts_with('/') || rest.contains("//") || !rest.chars().all(plain) {
        return Err(Error::OddLocation { uri });
    }
    Ok(uri)
}

fn in_lake(what: &str) -> impl FnOnce(catalog::Error) -> Error {
    move |source| Error::Lake { what: what.to_owned(), source: Box::new(source) }
}

/// What is to be done about one table.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Create,
    Update(Vec<String>),
    Leave,
    Foreign(Option<String>),
}

/// Decides by what stands in Glue.
fn decide(wanted: &Registration, found: Option<&Table>) -> Step {
    let Some(found) = found else { return Step::Create };
    match registration::owner(found) {
        Some(project) if project == wanted.project => {}
        other => return Step::Foreign(other.map(str::to_owned)),
    }
    let changes = wanted.differences(found);
    if changes.is_empty() { Step::Leave } else { Step::Update(changes) }
}

impl Glue {
    /// The tables of a database by name, all pages of them; `None` if there is no such database.
    async fn tables(&self, database: &str) -> Result<Option<BTreeMap<String, Table>>> {
        let mut pages = self.client.get_tables().database_name(database).into_paginator().send();
        let mut tables = BTreeMap::new();
        while let Some(page) = pages.next().await {
            match page {
                Ok(page) => {
                    let found = page.table_list.unwrap_or_default();
                    tables.extend(found.into_iter().map(|table| (table.name().to_owned(), table)));
                }
                Err(error) if client::code(&error) == Some("EntityNotFoundException") => return Ok(None),
                Err(error) => {
                    return Err(client::failed(format!("listing the tables of `{database}` (glue:GetTables)"), error));
                }
            }
        }
        Ok(Some(tables))
    }

    /// Makes a database unless it is there.
    async fn create_database(&self, name: &str, layer: Layer, project: &str) -> Result<()> {
        let what = || format!("making the database `{name}` (glue:CreateDatabase)");
        let input = DatabaseInput::builder()
            .name(name)
            .description(format!("The layer {layer} of the lake of `{project}`"))
            .parameters(OWNER, project)
            .build()
            .map_err(|error| Error::Unreachable { what: what(), source: error.into() })?;
        match self.client.create_database().database_input(input).send().await {
            Ok(_) => Ok(()),
            Err(error) if client::code(&error) == Some("AlreadyExistsException") => Ok(()),
            Err(error) => Err(client::failed(what(), error)),
        }
    }

    /// Makes or corrects one table, and says so in `done`.
    async fn register(
        &self,
        wanted: &Registration,
        found: Option<&Table>,
        dry_run: bool,
        done: &mut Published,
    ) -> Result<()> {
        let mut found = found.cloned();
        for attempt in 1..=CONTENDED_ATTEMPTS {
            let step = decide(wanted, found.as_ref());
            let written = match &step {
                Step::Create | Step::Update(_) if !dry_run => self.write(wanted, found.as_ref()).await?,
                _ => true,
            };
            if written {
                match step {
                    Step::Create => done.created.push(wanted.name()),
                    Step::Update(changes) => done.updated.push(Changed { name: wanted.name(), changes }),
                    Step::Leave => done.unchanged.push(wanted.name()),
                    Step::Foreign(project) => {
                        done.foreign.push(Foreign { table: wanted.table.clone(), name: wanted.name(), project });
                    }
                }
                return Ok(());
            }
            // Somebody else was at the same table: what they left decides.
            tokio::time::sleep(pause(attempt)).await;
            found = self.table(&wanted.database, &wanted.table).await?;
        }
        Err(Error::Refused {
            what: format!("writing `{}` (glue:UpdateTable)", wanted.name()),
            code: "ConcurrentModificationException".to_owned(),
            message: format!("others kept changing the table, {CONTENDED_ATTEMPTS} times in a row"),
        })
    }

    /// Writes one table; `false` if somebody else wrote it at the same moment.
    async fn write(&self, wanted: &Registration, found: Option<&Table>) -> Result<bool> {
        let (verb, right) = if found.is_some() { ("correcting", "UpdateTable") } else { ("making", "CreateTable") };
        let what = format!("{verb} `{}` (glue:{right})", wanted.name());
        let input =
            wanted.input(found).map_err(|error| Error::Unreachable { what: what.clone(), source: error.into() })?;
        let (code, error) = if found.is_some() {
            let sent = self.client.update_table().database_name(&wanted.database).table_input(input).send().await;
            let Err(error) = sent else { return Ok(true) };
            (client::code(&error).map(str::to_owned), client::failed(what, error))
        } else {
            let sent = self.client.create_table().database_name(&wanted.database).table_input(input).send().await;
            let Err(error) = sent else { return Ok(true) };
            (client::code(&error).map(str::to_owned), client::failed(what, error))
        };
        match (code.as_deref(), found) {
            (Some("ConcurrentModificationException"), _)
            | (Some("AlreadyExistsException"), None)
            | (Some("EntityNotFoundException"), Some(_)) => Ok(false),
            _ => Err(error),
        }
    }

    async fn table(&self, database: &str, table: &TableName) -> Result<Option<Table>> {
        match self.client.get_table().database_name(database).name(table.name()).send().await {
            Ok(answer) => Ok(answer.table),
            Err(error) if client::code(&error) == Some("EntityNotFoundException") => Ok(None),
            Err(error) => Err(client::failed(format!("reading `{database}.{}` (glue:GetTable)", table.name()), error)),
        }
    }

    /// Takes a table out of the catalog; its files stay.
    async fn delete(&self, database: &str, table: &str) -> Result<()> {
        match self.client.delete_table().database_name(database).name(table).send().await {
            Ok(_) => Ok(()),
            Err(error) if client::code(&error) == Some("EntityNotFoundException") => Ok(()),
            Err(error) => Err(client::failed(format!("removing `{database}.{table}` (glue:DeleteTable)"), error)),
        }
    }
}

/// How long to wait before trying again: doubling, and random so that two that collided don't collide again.
fn pause(attempt: u32) -> Duration {
    backoff(Duration::from_millis(100), attempt, Duration::from_secs(6), fresh_fraction())
}

#[cfg(test)]
mod tests;
