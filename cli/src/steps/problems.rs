//! What is wrong with the steps of a project, as far as its files say: before anything is asked or built.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use arrow::datatypes::SchemaRef;
use catalog::{Diagnostic, Layer, TableName};
use extract::Source;
use extract::source::Keys;
use transform::{Graph, ModelFile};

use super::{ORDER_HINT, enrichments, no_order, nodes, targets};
use crate::config::search;
use crate::project::{self, Project};
use crate::toml_error;

/// What is wrong with `[enrich]`, `[sync]` and the key queries of sources, and with the order of all steps. `schemas` are the
/// columns of the tables that no model makes.
pub(crate) fn problems(project: &Project, schemas: &BTreeMap<TableName, SchemaRef>) -> Vec<Diagnostic> {
    let mut found = sections(project, schemas);
    found.extend(columns(project, schemas));
    found.extend(hosts(project));
    found.extend(searched(project, schemas));
    found.extend(key_queries(project, schemas));
    // What cannot be read has no place in the order.
    if found.is_empty() {
        found.extend(order(project));
    }
    found
}

/// What `[enrich]` and `[sync]` name: a table that the project makes, and the key that it declares.
fn sections(project: &Project, schemas: &BTreeMap<TableName, SchemaRef>) -> Vec<Diagnostic> {
    let file = project.file.display().to_string();
    let text = std::fs::read_to_string(&project.file).unwrap_or_default();
    let enriched = enrichments(project).into_iter().map(|it| (it.into.clone(), it.from, it.key));
    let synced = targets(project).into_iter().map(|it| (it.table.clone(), it.table, it.key));
    let mut found = Vec::new();
    for (section, table, key) in enriched.chain(synced) {
        let mut report = |(line, column): (usize, usize), message: String, hint: String| {
            found.push(Diagnostic { file: file.clone(), line, column, message, hint: Some(hint) });
        };
        let Some(model) = project.models.get(&table) else {
            if !schemas.contains_key(&table) {
                let message = format!("expected a table that the project makes, found `{table}`");
                let hint = "`onggi plan` lists the steps and what they make".to_owned();
                report(toml_error::find(&text, &format!("\"{table}\"")), message, hint);
            }
            continue;
        };
        let declared = model.key();
        if declared != [key.as_str()] {
            let found = match declared.as_slice() {
                [] => "no key".to_owned(),
                columns => format!("`{}`", columns.join(", ")),
            };
            report(
                in_section(&text, &section, &format!("\"{key}\"")),
                format!("expected `{key}` to be the key of `{table}`, which declares {found}"),
                format!("write `-- key: {key}` into `{}`: its rows are then checked to be one for each", model.path()),
            );
        }
    }
    found
}

/// What `[enrich]` and `[sync]` say of columns, where those are known before anything is built.
fn columns(project: &Project, schemas: &BTreeMap<TableName, SchemaRef>) -> Vec<Diagnostic> {
    let file = project.file.display().to_string();
    let text = std::fs::read_to_string(&project.file).unwrap_or_default();
    let made = project.models.schemas(&|name| schemas.get(name).cloned());
    let known = |table: &TableName| made.get(table).or_else(|| schemas.get(table));
    let mut found = Vec::new();
    let mut report = |section: &TableName, message: String, hint: Option<String>| {
        // The first name of the message is that of a column.
        let named = message.split('`').nth(1).unwrap_or_default();
        let (line, column) = in_section(&text, section, &format!("\"{named}\""));
        found.push(Diagnostic { file: file.clone(), line, column, message: format!("`{section}`: {message}"), hint });
    };
    for enrichment in enrichments(project) {
        if matches!(enrichment.into.layer(), Layer::Raw | Layer::Ops) {
            let message = format!("an enrichment can't make `{}`", enrichment.into);
            let hint = "raw tables are written by sources and ops tables by runs; use `staging` or `marts`".to_owned();
            report(&enrichment.into, message, Some(hint));
        }
        if let Some(schema) = known(&enrichment.from)
            && let Err(enrich::Error::Config { message, hint, .. }) = enrichment.check(schema)
        {
            report(&enrichment.into, message, hint);
        }
    }
    for target in targets(project) {
        let Some(schema) = known(&target.table) else { continue };
        let said = [target.check(schema), load::sink::can_have(&target, schema)];
        if let Some(load::Error::Config { message, hint, .. }) = said.into_iter().find_map(Result::err) {
            report(&target.table, message, hint);
        }
    }
    found
}

/// What `[hosts]` names: hosts that some source speaks of. A misspelt one would send its requests to the site itself.
fn hosts(project: &Project) -> Vec<Diagnostic> {
    let folder = project.folder.join(&project.config.project.sources);
    let sources = project::files(&folder, "toml").unwrap_or_default();
    if sources.is_empty() {
        return Vec::new();
    }
    let text = std::fs::read_to_string(&project.file).unwrap_or_default();
    let is_spoken_of = |host: &str| sources.iter().any(|(_, source)| speaks_of(source, host));
    let unknown = project.config.hosts.keys().filter(|host| !is_spoken_of(host));
    unknown
        .map(|host| {
            let (line, column) = toml_error::find(&text, &format!("\"{host}\""));
            let asked: BTreeSet<String> = project.sources.iter().map(Source::host).collect();
            let asked = asked.into_iter().map(|host| format!("`{host}`")).collect::<Vec<_>>().join(", ");
            Diagnostic {
                file: project.file.display().to_string(),
                line,
                column,
                message: format!("expected a host that a source asks, found `{host}`"),
                hint: Some(format!("the sources ask {asked}; a section that none of them needs any more can go")),
            }
        })
        .collect()
}

/// Whether a text names this host, or all below one that it lies below. A part of another name is none.
fn speaks_of(text: &str, host: &str) -> bool {
    let (text, host) = (text.to_lowercase(), host.to_lowercase());
    let above = host.match_indices('.').map(|(at, _)| format!("*{}", &host[at..]));
    let goes_on = |letter: Option<char>| letter.is_some_and(|it| it.is_alphanumeric() || it == '-' || it == '.');
    std::iter::once(host.clone()).chain(above).any(|name| {
        text.match_indices(&name)
            .any(|(at, _)| !goes_on(text[..at].chars().next_back()) && !goes_on(text[at + name.len()..].chars().next()))
    })
}

/// What `[search]` names: columns that its tables have.
fn searched(project: &Project, schemas: &BTreeMap<TableName, SchemaRef>) -> Vec<Diagnostic> {
    if project.config.search.targets.is_empty() {
        return Vec::new();
    }
    let text = std::fs::read_to_string(&project.file).unwrap_or_default();
    let made = project.models.schemas(&|name| schemas.get(name).cloned());
    let columns = |table: &TableName| {
        let schema = made.get(table).or_else(|| schemas.get(table))?;
        Some(schema.fields().iter().map(|field| field.name().clone()).collect())
    };
    let found = project.config.search.unknown_columns(&text, &columns);
    search::diagnostics(&project.file.display().to_string(), found)
}

/// Where a value stands in the section of a table.
fn in_section(text: &str, section: &TableName, value: &str) -> (usize, usize) {
    let start = text.find(&format!(".\"{section}\"]")).unwrap_or(0);
    let offset = text[start..].find(value).map_or(start, |at| start + at);
    toml_error::position(text, offset)
}

/// What is wrong with the queries that sources take their keys from.
fn key_queries(project: &Project, schemas: &BTreeMap<TableName, SchemaRef>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for source in &project.sources {
        let Keys::Query(sql) = source.keys() else { continue };
        let query = ModelFile { path: String::new(), text: sql.clone() };
        let wrong = project.models.check_key_queries(&[query], &|name| schemas.get(name).cloned());
        if !wrong.is_empty() {
            let (file, text) = file_of(project, source);
            let (line, column) = toml_error::find(&text, first_line(sql));
            found.extend(wrong.into_iter().map(|it| Diagnostic {
                file: file.clone(),
                line: line + it.line - 1,
                column: if it.line == 1 { column + it.column - 1 } else { it.column },
                ..it
            }));
        }
    }
    found
}

fn first_line(sql: &str) -> &str {
    sql.lines().next().unwrap_or_default()
}

/// The file of a source, and its text.
fn file_of(project: &Project, source: &Source) -> (String, String) {
    let folder = project.folder.join(&project.config.project.sources);
    let files = project::files(&folder, "toml").unwrap_or_default();
    let is_its = |(path, text): &(String, String)| Source::parse(path, text).is_ok_and(|it| it.name() == source.name());
    files.into_iter().find(is_its).unwrap_or_else(|| (Path::new(&folder).display().to_string(), String::new()))
}

/// Why the steps have no order, if they have none: the same graph as a run makes.
fn order(project: &Project) -> Option<Diagnostic> {
    let (_, nodes) = nodes(project).ok()?;
    let error = Graph::new(nodes).err()?;
    let message = no_order(&error);
    let hint = Some(ORDER_HINT.to_owned());
    let names = error.nodes();
    let source = project.sources.iter().find(|source| names.contains(&source.name().to_string()));
    let (file, (line, column)) = if let Some(source) = source {
        let (file, text) = file_of(project, source);
        let at = match source.keys() {
            Keys::Query(sql) => toml_error::find(&text, first_line(sql)),
            Keys::List(_) => (1, 1),
        };
        (file, at)
    } else {
        let text = std::fs::read_to_string(&project.file).unwrap_or_default();
        let named = names.iter().map(|name| format!("\"{name}\"")).find(|name| text.contains(name.as_str()));
        (project.file.display().to_string(), named.map_or((1, 1), |name| toml_error::find(&text, &name)))
    };
    Some(Diagnostic { file, line, column, message, hint })
}

#[cfg(test)]
mod tests;
