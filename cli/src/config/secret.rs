//! Where a secret is. Its value has no printable form.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::FILE;
use crate::exit::Failure;

/// Where a secret is: `env:NAME` or `file:PATH`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum SecretRef {
    /// In an environment variable.
    Env(String),
    /// In a file, relative to the project.
    File(PathBuf),
}

impl TryFrom<String> for SecretRef {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("env", name)) if !name.is_empty() => Ok(Self::Env(name.to_owned())),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            // The text itself may be a secret that someone pasted: it is not repeated.
            _ => Err("expected a reference to a secret, `env:NAME` or `file:PATH`, found something else".to_owned()),
        }
    }
}

impl SecretRef {
    /// Reads the secret's bytes, without the white space around them.
    ///
    /// # Errors
    /// A [`Failure`] that names the reference, never the value.
    pub(crate) fn read(&self, project: &Path) -> anyhow::Result<Vec<u8>> {
        let text = match self {
            Self::Env(name) => {
                #[expect(clippy::disallowed_methods, reason = "cli is the one reader of the environment")]
                let value = std::env::var(name);
                value.map_err(|_| {
                    Failure::usage(
                        format!("expected a secret in the environment variable `{name}`, found none"),
                        format!("set `{name}`, or point the reference in {FILE} elsewhere"),
                    )
                })?
            }
            Self::File(path) => std::fs::read_to_string(project.join(path)).map_err(|error| {
                Failure::usage(
                    format!("expected a secret in the file `{}`: {error}", project.join(path).display()),
                    "restore the file: with another key the same reviewer gets another hash",
                )
            })?,
        };
        Ok(text.trim().as_bytes().to_vec())
    }
}
