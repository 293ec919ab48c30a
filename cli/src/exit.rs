//! How a command ends: the exit codes, and the three lines that an error is.

use std::process::ExitCode;

use catalog::Diagnostic;

use crate::out;
use crate::progress::counted;

/// How a command ended, as scripts see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything that was asked for is done.
    Done = 0,
    /// Something failed; nothing that was visible before is worse than before.
    Failed = 1,
    /// The command line, the configuration, a source or a model is wrong: nothing was started.
    Usage = 2,
    /// Done, but something is missing: unfinished keys, a blocked host, a table that could not be published.
    Partial = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// A failure of the command itself, with its own exit code and way out.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    /// The exit code it leads to.
    pub exit: Exit,
    /// What went wrong.
    pub message: String,
    /// What a person can try next.
    pub hint: Option<String>,
}

impl Failure {
    /// Wrong usage or configuration: exit code 2.
    pub(crate) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, message: message.into(), hint: Some(hint.into()) }
    }

    /// Something failed: exit code 1.
    pub(crate) fn failed(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { exit: Exit::Failed, message: message.into(), hint: Some(hint.into()) }
    }
}

/// Errors in files that people wrote, all of them at once: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{} in the project's files", counted(.0.len() as u64, "error"))]
pub(crate) struct Problems(pub Vec<Diagnostic>);

/// The exit code that an error leads to.
pub(crate) fn code(error: &anyhow::Error) -> Exit {
    for cause in error.chain() {
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            return failure.exit;
        }
        if cause.is::<Problems>() {
            return Exit::Usage;
        }
        if cause.downcast_ref::<athena::Error>().is_some_and(athena::Error::is_configuration) {
            return Exit::Usage;
        }
        if let Some(catalog::Error::OtherProject { .. } | catalog::Error::UnsupportedLake { .. }) = lake_error(cause) {
            return Exit::Usage;
        }
    }
    Exit::Failed
}

/// What a person can try next: the innermost hint there is, since it is the most precise.
pub(crate) fn hint(error: &anyhow::Error) -> Option<String> {
    error.chain().filter_map(hint_of).last()
}

fn hint_of(cause: &(dyn std::error::Error + 'static)) -> Option<String> {
    if let Some(failure) = cause.downcast_ref::<Failure>() {
        return failure.hint.clone();
    }
    if let Some(error) = lake_error(cause) {
        return error.hint();
    }
    if let Some(error) = cause.downcast_ref::<extract::Error>() {
        return error.hint();
    }
    if let Some(error) = cause.downcast_ref::<extract::FetchError>() {
        return error.hint();
    }
    if let Some(error) = cause.downcast_ref::<transform::Error>() {
        return error.hint();
    }
    if let Some(error) = cause.downcast_ref::<athena::Error>() {
        return error.hint();
    }
    cause.downcast_ref::<load::Error>().and_then(load::Error::hint)
}

/// The lake's error, as it is or in the box in which other errors keep it.
fn lake_error<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a catalog::Error> {
    cause.downcast_ref().or_else(|| cause.downcast_ref::<Box<catalog::Error>>().map(AsRef::as_ref))
}

/// An error as it is printed: `error:` what, `cause:` why (once for each deeper reason), `hint:` what to do next.
pub(crate) fn render(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for (depth, cause) in error.chain().enumerate() {
        if let Some(Problems(diagnostics)) = cause.downcast_ref::<Problems>() {
            for diagnostic in diagnostics {
                text += &format!("error: {diagnostic}\n");
                if let Some(hint) = &diagnostic.hint {
                    text += &format!("hint: {hint}\n");
                }
            }
        }
        let label = if depth == 0 { "error" } else { "cause" };
        text += &format!("{label}: {}\n", words_of(&cause.to_string()));
    }
    if let Some(hint) = hint(error) {
        text += &format!("hint: {hint}\n");
    }
    text
}

/// What an error says. It may repeat what a site sent, line ends and all: none of its lines may look like one of ours.
fn words_of(cause: &str) -> String {
    let ours = |line: &str| ["error:", "cause:", "hint:"].iter().any(|label| line.starts_with(label));
    let mut lines = cause.trim_end().lines();
    let mut words = lines.next().unwrap_or_default().to_owned();
    for line in lines {
        words += &format!("\n{}{line}", if ours(line) { "  " } else { "" });
    }
    words
}

/// Prints an error on standard error; as one JSON object on standard output too where `--json` was asked for.
pub(crate) fn print(error: &anyhow::Error, json: bool) {
    out::note(render(error).trim_end());
    if json {
        let causes: Vec<String> = error.chain().skip(1).map(ToString::to_string).collect();
        let object = serde_json::json!({ "error": error.to_string(), "causes": causes, "hint": hint(error) });
        // What is an object already can be printed as one.
        let _ = out::object(&object);
    }
}
