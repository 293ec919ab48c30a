//! A project: its configuration, its sources and its models, read and checked together.

use std::path::{Path, PathBuf};

use anyhow::Context;
use catalog::{Diagnostic, StoreSettings};
use extract::Source;
use transform::{ModelFile, Models};

use crate::args::Global;
use crate::config::{self, Config, SecretRef};
use crate::exit::{Failure, Problems};

/// A project as it stands in its folder.
pub(crate) struct Project {
    /// Its folder.
    pub folder: PathBuf,
    /// The file that its configuration was read from.
    pub file: PathBuf,
    /// Its configuration.
    pub config: Config,
    /// Its sources, by name.
    pub sources: Vec<Source>,
    /// Its models.
    pub models: Models,
    /// Its analyses: the `.sql` files in the folder `analyses` of its models, which are asked and make no tables.
    pub analyses: Vec<ModelFile>,
}

/// A folder by an address of its own: no store knows `..`. What is there is resolved, and what is not stands below it.
fn plain(folder: &Path) -> String {
    let mut missing = Vec::new();
    for there in folder.ancestors() {
        if let Ok(found) = there.canonicalize() {
            return missing.iter().rev().fold(found, |path, name| path.join(name)).display().to_string();
        }
        match there.file_name() {
            Some(name) => missing.push(name.to_owned()),
            // A step up from what is not there: it is said as it was given.
            None => break,
        }
    }
    folder.display().to_string()
}

impl Project {
    /// Reads the project that the command line names.
    ///
    /// # Errors
    /// [`Problems`] with every error in every file, not only the first.
    pub(crate) fn open(global: &Global) -> anyhow::Result<Self> {
        Self::read(&global.project, global.config.as_deref())
    }

    /// Reads the project in `folder`, with its own configuration or the one in `file`.
    ///
    /// # Errors
    /// [`Problems`] with every error in every file, not only the first.
    pub(crate) fn read(folder: &Path, file: Option<&Path>) -> anyhow::Result<Self> {
        let config = Config::read(folder, file)?;
        let file = Config::path(folder, file);
        let mut problems = Vec::new();
        let sources = sources(folder, &config, &mut problems)?;
        let (models, analyses) = sql_files(folder, &config)?;
        let models = match Models::parse(models) {
            Ok(models) => Some(models),
            Err(more) => {
                problems.extend(more);
                None
            }
        };
        match models {
            Some(models) if problems.is_empty() => {
                Ok(Self { folder: folder.to_owned(), file, config, sources, models, analyses })
            }
            _ => Err(Problems(problems).into()),
        }
    }

    /// No project: what a lake is asked with that is named on the command line, from wherever that is.
    ///
    /// # Errors
    /// Never, in a program that was built right.
    pub(crate) fn none(folder: &Path) -> anyhow::Result<Self> {
        const TEXT: &str = "[project]\nname = \"none\"\ntimezone = \"UTC\"\nsources = \".\"\nmodels = \".\"\n\
            [identity]\nkey = \"env:NONE\"\n";
        Ok(Self {
            folder: folder.to_owned(),
            file: PathBuf::new(),
            config: Config::parse("no project", TEXT)?,
            sources: Vec::new(),
            models: Models::parse(Vec::new()).map_err(Problems)?,
            analyses: Vec::new(),
        })
    }

    /// Whether it is none.
    pub(crate) fn is_none(&self) -> bool {
        self.file.as_os_str().is_empty()
    }

    /// What opening the lake needs beside its URL.
    pub(crate) fn lake_settings(&self) -> StoreSettings {
        self.config.lake.settings(&self.config.aws)
    }

    /// Where the lake is: `given` on the command line, else what the configuration says, relative to the project.
    pub(crate) fn lake_uri(&self, given: Option<&str>) -> String {
        match given {
            Some(uri) if uri.contains("://") => uri.to_owned(),
            Some(uri) => plain(Path::new(uri)),
            None if self.config.lake.uri.contains("://") => self.config.lake.uri.clone(),
            None => plain(&self.folder.join(&self.config.lake.uri)),
        }
    }
}

fn sources(folder: &Path, config: &Config, problems: &mut Vec<Diagnostic>) -> anyhow::Result<Vec<Source>> {
    let mut sources: Vec<Source> = Vec::new();
    for (path, text) in files(&folder.join(&config.project.sources), "toml")? {
        match Source::parse(&path, &text) {
            Ok(source) if sources.iter().any(|other| other.name() == source.name()) => problems.push(Diagnostic {
                file: path,
                line: 1,
                column: 1,
                message: format!("expected a source's name to be its own, found a second `{}`", source.name()),
                hint: Some("give one of the two another name".to_owned()),
            }),
            Ok(source) => {
                let source = with_secrets(source, folder);
                problems.extend(short_secrets(&path, &text, &source));
                sources.push(source);
            }
            Err(more) => problems.extend(more),
        }
    }
    Ok(sources)
}

/// Secrets that can't be kept: what is so short stands in other texts by accident, and is not looked for in what a site sends.
fn short_secrets(file: &str, text: &str, source: &Source) -> Vec<Diagnostic> {
    let section = text.lines().position(|line| line.trim_start().starts_with("[secrets]")).unwrap_or(0);
    let line = |name: &str| {
        let is_it =
            |line: &str| line.trim_start().strip_prefix(name).is_some_and(|rest| rest.trim_start().starts_with('='));
        text.lines().skip(section).position(is_it).map_or(1, |line| section + line + 1)
    };
    let hint = "so short a value can't be told from others where the site repeats it: take a longer one, or write it into the \
        source file if it is no secret";
    let told = |(name, at): (&str, &str)| Diagnostic {
        file: file.to_owned(),
        line: line(name),
        column: 1,
        message: format!("expected the secret `{name}` at {at} to have 4 signs or more, found fewer"),
        hint: Some(hint.to_owned()),
    };
    source.secrets().too_short().map(told).collect()
}

/// Reads the values of a source's secrets. One that is not there is missed by whoever needs it: a project can be checked
/// and planned where its secrets are not.
fn with_secrets(source: Source, folder: &Path) -> Source {
    let mut secrets = source.secrets().clone();
    let references: Vec<_> = secrets.references().map(|(name, at)| (name.to_owned(), at.to_owned())).collect();
    for (name, at) in references {
        let value = SecretRef::try_from(at).ok().and_then(|at| at.read(folder).ok());
        if let Some(value) = value.and_then(|value| String::from_utf8(value).ok()) {
            secrets.set(&name, &value);
        }
    }
    source.with_secrets(secrets)
}

/// The folder directly below the models' in which analyses lie.
const ANALYSES: &str = "analyses";

/// The models and the analyses of a project.
fn sql_files(folder: &Path, config: &Config) -> anyhow::Result<(Vec<ModelFile>, Vec<ModelFile>)> {
    let root = folder.join(&config.project.models);
    let analyses = root.join(ANALYSES);
    let all = files(&root, "sql")?.into_iter().map(|(path, text)| ModelFile { path, text });
    Ok(all.partition(|file| !Path::new(&file.path).starts_with(&analyses)))
}

/// Every file below `folder` with this ending, in the order of their paths.
pub(crate) fn files(folder: &Path, ending: &str) -> anyhow::Result<Vec<(String, String)>> {
    if !folder.is_dir() {
        let message = format!("expected a folder at `{}`, found none", folder.display());
        return Err(Failure::usage(message, format!("make it, or correct its path in {}", config::FILE)).into());
    }
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| format!("listing `{}`", folder.display()))? {
            let path = entry.with_context(|| format!("listing `{}`", folder.display()))?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == ending) {
                let text = std::fs::read_to_string(&path).with_context(|| format!("reading `{}`", path.display()))?;
                found.push((path.display().to_string(), text));
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_is_too_short_is_told_where_it_is_declared() {
        let text = "name = \"notes\"\nfetch = \"http\"\nevery = \"1d\"\nkeys.list = [\"a\"]\n\
            [http]\nurl = \"https://notes.example/?k={secret:key}&t={secret:TOKEN}\"\n[items]\npath = \"/items\"\nkey = \"id\"\n\
            [fields]\nid = { path = \"/id\", type = \"id\" }\n[secrets]\nTOKEN = \"env:TOKEN\"\nkey= \"file:key\"\nELSEWHERE = \"env:E\"\n";
        let source = Source::parse("notes.toml", text).unwrap();
        let mut secrets = source.secrets().clone();
        secrets.set("TOKEN", "4711");
        secrets.set("key", "471\n");
        let told = short_secrets("notes.toml", text, &source.with_secrets(secrets));
        let message = "expected the secret `key` at file:key to have 4 signs or more, found fewer";
        assert_eq!((told.len(), told[0].line, told[0].message.as_str()), (1, 14, message));
    }
}
