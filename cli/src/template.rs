//! What a new project is made of: this repository's own configuration, sources and models, built into the binary.

use std::io::Write;
use std::path::Path;

use anyhow::Context;
use rand::RngExt;

use crate::clock;
use crate::config;
use crate::exit::Failure;

/// The repository's own project, which is the template too.
const CONFIG: &str = include_str!("../../onggi.toml");

/// The same project on AWS.
const CLOUD_CONFIG: &str = include_str!("../../onggi.cloud.toml");
const CLOUD_FILE: &str = "onggi.cloud.toml";

/// The file that the template's `[identity]` points at.
pub(crate) const IDENTITY_KEY: &str = ".onggi/identity.key";

/// A project with nothing in it yet.
const EMPTY_CONFIG: &str = "\
# A project: sources are TOML files in `sources/`, models are SQL files in `sql/`, and every key of this file has a default but
# these.
[project]
name = \"reviews\"
timezone = \"UTC\"
sources = \"sources\"
models = \"sql\"

[identity]
key = \"file:.onggi/identity.key\"

[lake]
uri = \"lake\"
";

/// What a new project starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Template {
    /// Restaurant reviews: the sources, models and analyses of the demo
    Reviews,
    /// Nothing: folders for sources and models, and a configuration
    Empty,
}

/// What is not to be committed with a project: its data, and the key of its ids.
const IGNORED: [&str; 2] = ["/lake/", "/.onggi/"];

/// The files of a new project by their paths, but for its configuration, the identity key and what git is told.
pub(crate) fn files(template: Template, name: &str) -> Vec<(String, String)> {
    let sources = extract::source::EMBEDDED.iter().map(|(name, text)| (format!("sources/{name}"), (*text).to_owned()));
    let sql = transform::templates().iter().chain(transform::analyses());
    let sql = sql.map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
    match template {
        Template::Reviews => {
            sources.chain(sql).chain([(CLOUD_FILE.to_owned(), config_text(CLOUD_CONFIG, name))]).collect()
        }
        // Folders with nothing in them are kept by no version control.
        Template::Empty => ["sources/.gitkeep", "sql/.gitkeep"].map(|path| (path.to_owned(), String::new())).into(),
    }
}

/// The configuration of a new project.
pub(crate) fn configuration(template: Template, name: &str) -> String {
    match template {
        Template::Reviews => config_text(CONFIG, name),
        Template::Empty => config_text(EMPTY_CONFIG, name).replace("\"UTC\"", &format!("\"{}\"", clock::zone_here())),
    }
}

/// Writes a new project into `folder`: its configuration, sources, models and identity key. Returns the files' paths.
///
/// # Errors
/// A [`Failure`] if one of its files is there already: then nothing is written.
pub(crate) fn write(folder: &Path, template: Template, name: &str) -> anyhow::Result<Vec<String>> {
    let files = files(template, name);
    let config = configuration(template, name);
    // The configuration comes last, so that a folder with this file is a whole project.
    let all: Vec<(String, String)> = files.into_iter().chain([(config::FILE.to_owned(), config)]).collect();
    let there: Vec<&str> =
        all.iter().map(|(path, _)| path.as_str()).filter(|path| folder.join(path).symlink_metadata().is_ok()).collect();
    if there.contains(&config::FILE) {
        let message = format!("expected no project in `{}`, found {}", folder.display(), config::FILE);
        return Err(Failure::usage(message, "choose another folder with `--project DIR`").into());
    }
    if let Some((first, rest)) = there.split_first() {
        let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
        let message = format!("expected none of the project's files in `{}`, found `{first}`{more}", folder.display());
        let hint = "choose another folder with `--project DIR`, or move them away; nothing was written";
        return Err(Failure::usage(message, hint).into());
    }
    let mut written = Vec::new();
    ignore(folder, &mut written)?;
    if identity_key(&folder.join(IDENTITY_KEY))? {
        written.push(IDENTITY_KEY.to_owned());
    }
    for (path, text) in &all {
        put(folder, path, text, &mut written)?;
    }
    Ok(written)
}

/// Tells git what to leave alone; what somebody told it before stays.
fn ignore(folder: &Path, written: &mut Vec<String>) -> anyhow::Result<()> {
    const FILE: &str = ".gitignore";
    let path = folder.join(FILE);
    let about = || format!("writing `{}`", path.display());
    let before = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(about),
    };
    let lacks = IGNORED.iter().filter(|line| !before.lines().any(|there| there.trim() == **line));
    let lacks = lacks.fold(String::new(), |text, line| text + line + "\n");
    if lacks.is_empty() {
        return Ok(());
    }
    std::fs::create_dir_all(folder).with_context(|| format!("making `{}`", folder.display()))?;
    let end = if before.is_empty() || before.ends_with('\n') { "" } else { "\n" };
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(&path).with_context(about)?;
    file.write_all(format!("{end}{lacks}").as_bytes()).with_context(about)?;
    written.push(FILE.to_owned());
    Ok(())
}

/// A template's configuration under another name and with a project's own folders.
fn config_text(config: &str, name: &str) -> String {
    config
        .replace("# A working project: Korean restaurant reviews.", "# Korean restaurant reviews.")
        .replace("name = \"reviews\"", &format!("name = {}", toml::Value::String(name.to_owned())))
        .replace("\"extract/sources\"", "\"sources\"")
        .replace("# Every key is described in docs/configuration.md; a misspelt one is refused with its line.\n", "")
}

/// Makes a new identity key, readable by its owner alone, unless there is one. Returns whether it was made.
///
/// # Errors
/// If the file cannot be written.
pub(crate) fn identity_key(path: &Path) -> anyhow::Result<bool> {
    use std::os::unix::fs::OpenOptionsExt;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("making `{}`", folder.display()))?;
    }
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = match file {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => return Err(error).with_context(|| format!("making `{}`", path.display())),
    };
    let key: [u8; 32] = rand::rng().random();
    file.write_all(hex::encode(key).as_bytes())
        .and_then(|()| file.sync_all())
        .with_context(|| format!("writing `{}`", path.display()))?;
    Ok(true)
}

fn put(folder: &Path, name: &str, text: &str, written: &mut Vec<String>) -> anyhow::Result<()> {
    let path = folder.join(name);
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("making `{}`", parent.display()))?;
    }
    let file = std::fs::OpenOptions::new().write(true).create_new(true).open(&path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("writing `{}`", path.display()))?;
    written.push(name.to_owned());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_project_can_be_read_and_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        for (template, sources) in [(Template::Reviews, 2), (Template::Empty, 0)] {
            let folder = folder.path().join(sources.to_string());
            let written = write(&folder, template, "mine").unwrap();
            assert!(written.contains(&config::FILE.to_owned()));
            let project = crate::project::Project::read(&folder, None).unwrap();
            assert_eq!(project.config.project.name, "mine");
            assert_eq!(project.sources.len(), sources);
            assert!(write(&folder, template, "mine").is_err());
        }
    }

    /// Whatever of a new project's files is there already, it stays, and nothing is written beside it.
    #[test]
    fn what_is_in_the_folder_stays() {
        for template in [Template::Reviews, Template::Empty] {
            for (path, _) in files(template, "mine") {
                let folder = tempfile::tempdir().unwrap();
                put(folder.path(), &path, "my own", &mut Vec::new()).unwrap();
                let error = write(folder.path(), template, "mine").unwrap_err().to_string();
                assert!(error.contains(&format!("found `{path}`")), "{error}");
                assert_eq!(std::fs::read_to_string(folder.path().join(&path)).unwrap(), "my own");
                let there = std::fs::read_dir(folder.path()).unwrap().count();
                assert_eq!(there, 1, "something was written beside `{path}`");
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let ignored = folder.path().join(".gitignore");
        std::fs::write(&ignored, "secrets.env\n/lake/").unwrap();
        write(folder.path(), Template::Empty, "mine").unwrap();
        assert_eq!(std::fs::read_to_string(&ignored).unwrap(), "secrets.env\n/lake/\n/.onggi/\n");
    }

    #[test]
    fn the_identity_key_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        assert!(identity_key(&path).unwrap());
        assert!(!identity_key(&path).unwrap());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_to_string(&path).unwrap().len(), 64);
    }
}
