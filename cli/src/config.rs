//! `onggi.toml`, read once, here and nowhere else.
//!
//! A misspelt key is an error with its line and the key that was probably meant. Secrets are only ever references
//! (`env:NAME`, `file:PATH`); the value they point at has no printable form.

mod athena;
mod crawl;
#[cfg(test)]
mod documented;
mod enrich;
mod lake;
mod llm;
mod mysql;
mod postgres;
mod queue;
pub(crate) mod search;
mod secret;
mod servers;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use catalog::{Diagnostic, TableName};
use load::SinkKind;
use serde::Deserialize;

use crate::exit::{Failure, Problems};
use crate::toml_error;

use athena::AthenaSection;
pub(crate) use crawl::{CrawlSection, HostSection};
pub(crate) use enrich::EnrichSection;
pub(crate) use lake::{AwsSection, LakeSection};
pub(crate) use llm::{LlmSection, Provider};
use mysql::MysqlSection;
use postgres::PostgresSection;
pub(crate) use queue::QueueSection;
use search::SearchSection;
pub(crate) use secret::SecretRef;
pub(crate) use servers::ServerSection;

/// The file's name in a project's folder.
pub(crate) const FILE: &str = "onggi.toml";

/// What a project says about itself.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// What it is called and where its parts lie.
    pub project: ProjectSection,
    /// Where its tables are.
    #[serde(default)]
    pub lake: LakeSection,
    /// The account and the region that its AWS parts share.
    #[serde(default)]
    pub aws: AwsSection,
    /// Where tasks wait.
    #[serde(default)]
    pub queue: QueueSection,
    /// How reviewers are made unrecognisable.
    pub identity: IdentitySection,
    /// How fast and with what it crawls.
    #[serde(default)]
    pub crawl: CrawlSection,
    /// Where hosts really are, for tests and mirrors: the host as the sources name it → where to go instead.
    #[serde(default)]
    pub hosts: BTreeMap<String, HostSection>,
    /// Summaries and embeddings: the table that is made → what it is made from.
    #[serde(default)]
    pub enrich: BTreeMap<TableName, EnrichSection>,
    /// Who summarises and embeds.
    #[serde(default)]
    pub llm: LlmSection,
    /// Serving: the mart → the sinks that follow it.
    #[serde(default)]
    pub sync: BTreeMap<TableName, SyncSection>,
    /// What `onggi search` looks at, weighs and shows.
    #[serde(default)]
    pub search: SearchSection,
    /// The lake in AWS: Glue's tables and Athena's answers.
    pub athena: Option<AthenaSection>,
    /// The database that serving tables are kept in, where a table has the sink `postgres`.
    postgres: Option<PostgresSection>,
    /// The database that they are kept in where a table has the sink `mysql`.
    mysql: Option<MysqlSection>,
    /// Bounds on this machine's resources.
    #[serde(default)]
    pub limits: LimitsSection,
}

/// `[project]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProjectSection {
    /// The project's name: a lake belongs to one project.
    pub name: String,
    /// The time zone in which a day begins and ends.
    pub timezone: String,
    /// Folder of the source files.
    pub sources: PathBuf,
    /// Folder of the models.
    pub models: PathBuf,
}

/// `[identity]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct IdentitySection {
    /// Where the key of the identity hash is: `env:NAME` or `file:PATH`. It never lies in the lake.
    pub key: SecretRef,
}

/// `[sync."marts.…"]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SyncSection {
    /// The column that names a row.
    pub key: String,
    /// The serving stores that follow the table.
    pub sinks: Vec<SinkKind>,
    /// What a row is about, where that isn't the row itself: a review is about a place.
    pub entity: Option<EntitySection>,
    /// The column that an answer is headed with.
    pub title: Option<String>,
    /// The columns that keyword search reads.
    #[serde(default)]
    pub text: Vec<String>,
    /// The column that vector search compares.
    pub vector: Option<String>,
    /// The share of a sink's rows that a sync may remove, from 0 to 1.
    #[serde(default = "max_deleted")]
    pub max_deleted: f64,
}

fn max_deleted() -> f64 {
    load::Rules::MAX_DELETED
}

/// `entity = { column = "…", table = "…" }`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EntitySection {
    /// The column that holds the other row's key.
    pub column: String,
    /// The synced table that the other row is in.
    pub table: TableName,
}

/// Memory that queries can be given, in MiB: with less not even a small table is sorted, and more no machine has.
const SOME_MEMORY: std::ops::RangeInclusive<usize> = 16..=(16 << 20);

/// `[limits]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LimitsSection {
    /// Memory that queries may take before they spill to disk.
    pub memory_mib: usize,
}

impl Default for LimitsSection {
    fn default() -> Self {
        // Fits a small server beside a browser; queries beyond it spill.
        Self { memory_mib: 2048 }
    }
}

impl Config {
    /// Reads the configuration of the project in `folder`: the file `given`, or the folder's own.
    ///
    /// # Errors
    /// A [`Failure`] if there is none, [`Problems`] with file, line and column if it is wrong.
    pub(crate) fn read(folder: &Path, given: Option<&Path>) -> anyhow::Result<Self> {
        let path = Self::path(folder, given);
        let text = std::fs::read_to_string(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound if given.is_some() => Failure::usage(
                format!("expected a configuration in `{}`, found no file", path.display()),
                "name the file with `--config FILE`, or leave it out to read the project's onggi.toml",
            ),
            std::io::ErrorKind::NotFound => Failure::usage(
                format!("expected a project in `{}`, found no {FILE}", folder.display()),
                "name the project's folder with `--project DIR`, or make a project with `onggi --project DIR init`",
            ),
            std::io::ErrorKind::InvalidData => Failure::usage(
                format!("expected `{}` in UTF-8, found another encoding", path.display()),
                "save it as UTF-8",
            ),
            _ => Failure::failed(format!("reading `{}`: {error}", path.display()), "check the file's permissions"),
        })?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// Where the configuration is: the file `given` on the command line, else the project's own.
    pub(crate) fn path(folder: &Path, given: Option<&Path>) -> PathBuf {
        folder.join(given.unwrap_or(Path::new(FILE)))
    }

    /// Parses the text of an `onggi.toml`; `file` is how errors call it.
    ///
    /// # Errors
    /// [`Problems`] with file, line and column.
    pub(crate) fn parse(file: &str, text: &str) -> anyhow::Result<Self> {
        let config: Self = toml::from_str(text).map_err(|error| {
            let problem = toml_error::diagnostic(file, text, &error);
            let hint = problem.hint.clone().or_else(|| of_a_source(&problem.message));
            Problems(vec![Diagnostic { hint, ..problem }])
        })?;
        let mut problems = config.problems(file, text);
        problems.extend(search::problems(&config, file, text));
        if problems.is_empty() { Ok(config) } else { Err(Problems(problems).into()) }
    }

    /// The time zone, which [`Config::parse`] has proved to exist.
    pub(crate) fn timezone(&self) -> jiff::tz::TimeZone {
        jiff::tz::TimeZone::get(&self.project.timezone).unwrap_or(jiff::tz::TimeZone::UTC)
    }

    /// The servers that sinks are on, as far as they have a section.
    pub(crate) fn servers(&self) -> impl Iterator<Item = &dyn ServerSection> {
        let all = [
            self.postgres.as_ref().map(|section| section as &dyn ServerSection),
            self.mysql.as_ref().map(|section| section as &dyn ServerSection),
        ];
        all.into_iter().flatten()
    }

    /// What the types cannot say.
    fn problems(&self, file: &str, text: &str) -> Vec<Diagnostic> {
        let mut problems = Vec::new();
        let mut problem = |needle: &str, message: String, hint: &str| {
            let (line, column) = toml_error::find(text, needle);
            problems.push(Diagnostic { file: file.to_owned(), line, column, message, hint: Some(hint.to_owned()) });
        };
        if jiff::tz::TimeZone::get(&self.project.timezone).is_err() {
            problem(
                "timezone",
                format!("expected a time zone such as `Asia/Seoul`, found `{}`", self.project.timezone),
                "the names are those of the IANA time zone database",
            );
        }
        for (key, message, hint) in self.lake.problems().into_iter().chain(self.queue.problems()) {
            problem(key, message, hint);
        }
        let crawled = self.crawl.problems().into_iter().map(|(key, message, hint)| (key.to_owned(), message, hint));
        let hosts = self.hosts.iter().flat_map(|(host, section)| {
            section.problems(host).into_iter().map(|(message, hint)| (host.clone(), message, hint))
        });
        for (key, message, hint) in crawled.chain(hosts) {
            problem(&key, message, hint);
        }
        if !SOME_MEMORY.contains(&self.limits.memory_mib) {
            problem(
                "memory_mib",
                format!(
                    "expected {} to {} MiB of memory, found {}",
                    SOME_MEMORY.start(),
                    SOME_MEMORY.end(),
                    self.limits.memory_mib
                ),
                "2048 suits a small machine",
            );
        }
        let athena = self.athena.as_ref().map(AthenaSection::problems).unwrap_or_default();
        let sections = athena.into_iter().chain(self.llm.problems());
        for (key, message, hint) in sections {
            problem(key, message, hint);
        }
        for (key, message, hint) in self.enrich.values().flat_map(EnrichSection::problems) {
            problem(&key, message, &hint);
        }
        for (table, sync) in &self.sync {
            if sync.sinks.is_empty() {
                problem(
                    &table.to_string(),
                    format!("expected at least one sink for `{table}`"),
                    &format!("{} are there", SinkKind::ALL.map(|kind| format!("`{kind}`")).join(", ")),
                );
            }
            if !(0.0..=1.0).contains(&sync.max_deleted) {
                problem(
                    "max_deleted",
                    format!("expected a share from 0 to 1 for `{table}`, found {}", sync.max_deleted),
                    "0.2 lets a fifth of a sink's rows go at once; 1 lets all go",
                );
            }
            let is_missing = |kind: &SinkKind| !kind.is_embedded() && self.servers().all(|it| it.kind() != *kind);
            for kind in sync.sinks.iter().filter(|kind| is_missing(kind)) {
                problem(
                    &table.to_string(),
                    format!("expected a section `[{kind}]` for the sink `{kind}` of `{table}`, found none"),
                    &format!(
                        "add `[{kind}]` with `url = \"env:NAME\"`, where NAME holds `{kind}://host/database`, the user and the password before the host"
                    ),
                );
            }
            if sync.sinks.contains(&SinkKind::Vectors) && sync.vector.is_none() {
                problem(
                    &table.to_string(),
                    format!("expected `vector = \"column\"` for the sink `vectors` of `{table}`"),
                    "name the column that holds the embedding",
                );
            }
            if sync.sinks.contains(&SinkKind::Keywords) && sync.text.is_empty() {
                problem(
                    &table.to_string(),
                    format!("expected `text = [columns]` for the sink `keywords` of `{table}`"),
                    "name the columns that keyword search reads",
                );
            }
        }
        for (needle, message, hint) in self.servers().filter_map(ServerSection::problem) {
            problem(needle, message, hint);
        }
        problems
    }
}

/// The way out where a part that an error names is one of a source's file.
fn of_a_source(message: &str) -> Option<String> {
    const PARTS: [&str; 8] = ["secrets", "keys", "http", "browser", "items", "fields", "fetch", "every"];
    let part = PARTS.iter().find(|part| message.ends_with(&format!("found `{part}`")))?;
    Some(format!("`{part}` belongs into the file of a source, `sources/….toml`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
[project]
name = "reviews"
timezone = "Asia/Seoul"
sources = "sources"
models = "sql"

[identity]
key = "file:.onggi/identity.key"
"#;

    fn error(text: &str) -> String {
        crate::exit::render(&Config::parse("onggi.toml", text).unwrap_err())
    }

    #[test]
    fn a_small_file_is_enough() {
        let config = Config::parse("onggi.toml", GOOD).unwrap();
        assert_eq!(config.lake.uri, "lake");
        assert_eq!(config.crawl.jobs, 2);
    }

    #[test]
    fn a_misspelt_key_is_named_with_its_place_and_its_neighbour() {
        let text = GOOD.replace("timezone", "timezon");
        insta::assert_snapshot!(error(&text), @r"
        error: onggi.toml:4:1: expected one of `name`, `timezone`, `sources`, `models`, found `timezon`
        hint: did you mean `timezone`?
        error: 1 error in the project's files
        ");
    }

    #[test]
    fn a_part_of_a_source_is_sent_there() {
        let error = error(&format!("{GOOD}\n[secrets]\nTOKEN = \"env:TOKEN\"\n"));
        assert!(error.contains("found `secrets`"), "{error}");
        assert!(error.contains("hint: `secrets` belongs into the file of a source"), "{error}");
    }

    #[test]
    fn a_pasted_secret_is_refused_and_not_repeated() {
        let text = GOOD.replace("file:.onggi/identity.key", "s3cr3t-value");
        let error = error(&text);
        assert!(error.contains("env:NAME"), "{error}");
        assert!(!error.contains("s3cr3t"), "{error}");
    }

    #[test]
    fn odd_numbers_are_refused_where_they_stand() {
        let host = |rate: &str| format!("{GOOD}\n[hosts.\"a.example\"]\nurl = \"http://127.0.0.1:1\"\nrate = {rate}\n");
        for rate in ["1e-300", "5e-324", "1e-12", "0.0", "-0.0", "-1.0", "nan", "inf", "-inf", "0.00001"] {
            let error = error(&host(rate));
            assert!(error.contains("onggi.toml:11:9: expected a rate of one request a day or more"), "{rate}: {error}");
        }
        for rate in ["0.0000116", "0.1", "1e6", "1e300"] {
            let config = Config::parse("onggi.toml", &host(rate)).unwrap();
            assert!(extract::source::Rate::per_second(config.hosts["a.example"].rate.unwrap()).is_some(), "{rate}");
        }
        for memory in ["0", "15", "16777217", "9223372036854775807"] {
            let error = error(&format!("{GOOD}\n[limits]\nmemory_mib = {memory}\n"));
            assert!(error.contains("onggi.toml:12:1: expected 16 to 16777216 MiB"), "{memory}: {error}");
        }
    }

    #[test]
    fn an_unknown_time_zone_is_refused() {
        let text = GOOD.replace("Asia/Seoul", "Asia/Soul");
        assert!(error(&text).contains("found `Asia/Soul`"));
    }

    #[test]
    fn a_database_is_described_before_it_is_named() {
        let sync = "[sync.\"marts.places\"]\nkey = \"place_id\"\nsinks = [\"postgres\"]\n";
        assert!(error(&format!("{GOOD}\n{sync}")).contains("expected a section `[postgres]`"));
        let with = |section: &str| format!("{GOOD}\n{sync}\n[postgres]\n{section}\n");
        assert!(Config::parse("onggi.toml", &with("url = \"env:DB\"")).is_ok());
        assert!(error(&with("url = \"env:DB\"\npool = 1")).contains("expected a pool of 2 to 64"));
        let mysql = sync.replace("postgres", "mysql");
        assert!(error(&format!("{GOOD}\n{mysql}")).contains("NAME holds `mysql://host/database`, the user"));
        let few = error(&format!("{GOOD}\n{mysql}\n[mysql]\nurl = \"env:DB\"\npool = 2\n"));
        assert!(few.contains("expected a pool of 3 to 64"), "{few}");
        let pasted = error(&with("url = \"postgres://u:s3cr3t@h/db\""));
        assert!(pasted.contains("env:NAME") && !pasted.contains("s3cr3t"), "{pasted}");
    }

    #[test]
    fn a_sink_without_its_column_is_refused() {
        let text = format!("{GOOD}\n[sync.\"marts.places\"]\nkey = \"place_id\"\nsinks = [\"vectors\"]\n");
        assert!(error(&text).contains("vector = \"column\""));
    }
}
