//! What a new project is made of: this repository's own configuration, sources and models, built into the binary.

use std::path::Path;

use anyhow::Context;
use rand::RngExt;

use crate::config;
use crate::exit::Failure;

/// The repository's own project, which is the template too.
const CONFIG: &str = include_str!("../../onggi.toml");

/// The same project on AWS.
const CLOUD_CONFIG: &str = include_str!("../../onggi.cloud.toml");
const CLOUD_FILE: &str = "onggi.cloud.toml";

/// The file that the template's `[identity]` points at.
pub(crate) const IDENTITY_KEY: &str = ".onggi/identity.key";

/// Writes a new project into `folder`: its configuration, sources, models and identity key. Returns the files' paths.
///
/// # Errors
/// A [`Failure`] if there is a project already: nothing is overwritten.
pub(crate) fn write(folder: &Path, name: &str) -> anyhow::Result<Vec<String>> {
    let file = folder.join(config::FILE);
    if file.exists() {
        let message = format!("expected no project in `{}`, found {}", folder.display(), config::FILE);
        return Err(Failure::usage(message, "choose another folder with `--project DIR`").into());
    }
    let mut written = Vec::new();
    for (name, text) in extract::source::EMBEDDED {
        put(folder, &format!("sources/{name}"), text, &mut written)?;
    }
    for (path, text) in transform::templates().iter().chain(transform::analyses()) {
        put(folder, path, text, &mut written)?;
    }
    put(folder, ".gitignore", "/lake/\n/.onggi/\n", &mut written)?;
    put(folder, CLOUD_FILE, &config_text(CLOUD_CONFIG, name), &mut written)?;
    identity_key(&folder.join(IDENTITY_KEY))?;
    written.push(IDENTITY_KEY.to_owned());
    // Last, so that a folder with this file is a whole project.
    put(folder, config::FILE, &config_text(CONFIG, name), &mut written)?;
    Ok(written)
}

/// A template's configuration under another name and with a project's own folders.
fn config_text(config: &str, name: &str) -> String {
    config
        .replace("# A working project: Korean restaurant reviews.", "# Korean restaurant reviews.")
        .replace("name = \"reviews\"", &format!("name = {}", toml::Value::String(name.to_owned())))
        .replace("\"extract/sources\"", "\"sources\"")
        .replace(
            "# Every key is described at its struct in cli/src/config.rs; a misspelt one is refused with its line.\n",
            "",
        )
}

/// Makes a new identity key, readable by its owner alone, unless there is one. Returns whether it was made.
///
/// # Errors
/// If the file cannot be written.
pub(crate) fn identity_key(path: &Path) -> anyhow::Result<bool> {
    use std::io::Write;
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
    let text = key.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .with_context(|| format!("writing `{}`", path.display()))?;
    Ok(true)
}

fn put(folder: &Path, name: &str, text: &str, written: &mut Vec<String>) -> anyhow::Result<()> {
    let path = folder.join(name);
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("making `{}`", parent.display()))?;
    }
    std::fs::write(&path, text).with_context(|| format!("writing `{}`", path.display()))?;
    written.push(name.to_owned());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_project_can_be_read_and_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let written = write(folder.path(), "mine").unwrap();
        assert!(written.contains(&config::FILE.to_owned()));
        let project = crate::project::Project::read(folder.path(), None).unwrap();
        assert_eq!(project.config.project.name, "mine");
        assert_eq!(project.sources.len(), 2);
        assert!(write(folder.path(), "mine").is_err());
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
