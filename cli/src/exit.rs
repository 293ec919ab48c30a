//! How a command ends: the exit codes, and the three lines that an error is.

use std::path::Path;
use std::process::ExitCode;

use catalog::{Diagnostic, without_user};

use crate::count::counted;
use crate::out;

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

/// Ends what was said. An answer that could not be given was not given: a command that did everything else has failed.
pub(crate) fn end(exit: Exit) -> ExitCode {
    let is_said = out::end();
    if exit == Exit::Done && !is_said { Exit::Failed.into() } else { exit.into() }
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
        // What was asked is no question.
        if matches!(cause.downcast_ref(), Some(transform::Error::NotAQuery { .. }))
            || matches!(cause.downcast_ref(), Some(athena::Error::NotAQuery { .. }))
            || matches!(cause.downcast_ref(), Some(load::Error::EmptyQuery { .. }))
        {
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
    let hint = match damage(error) {
        Some(Damage { file: Some(_), .. }) => Some(DAMAGED_HINT.to_owned()),
        Some(_) => {
            Some(format!("`onggi upkeep` names the files of the lake that are gone or cut; then {DAMAGED_HINT}"))
        }
        None => error.chain().filter_map(hint_of).last(),
    };
    hint.map(|hint| without_user(&hint))
}

/// The way out of a data file that is gone or cut.
pub(crate) const DAMAGED_HINT: &str = "put the file back from a copy of the lake; the folder of a table that a model makes may be removed instead, and the next run makes it anew; with that of a raw table all its days go, and only what its source still shows comes back";

/// What the engine says of a data file that is not as it was written.
struct Damage {
    /// How deep in the chain it is said first.
    depth: usize,
    /// The file and what is wrong with it, if that is said.
    file: Option<String>,
}

/// Whether an error is about a data file that is not as it was written. The engine says so in its own words, several times over.
fn damage(error: &anyhow::Error) -> Option<Damage> {
    const GONE: [&str; 2] = ["not found", "NotFound"];
    const CUT: [&str; 6] =
        ["range was invalid", "Corrupt footer", "Invalid Parquet", "EOF", "out of range", "out of bounds"];
    let is_parquet = |text: &str| text.contains("Parquet error") || text.contains("parquet error");
    let (depth, said) = error.chain().map(ToString::to_string).enumerate().find(|(_, text)| is_parquet(text))?;
    let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
    let what = match () {
        () if says(&GONE) => "is not there",
        () if says(&CUT) => "is cut, or is not what was written",
        () if said.contains("Object Store error") || said.contains("External") => return None,
        () => return Some(Damage { depth, file: None }),
    };
    let file = said
        .split_whitespace()
        .map(|word| word.trim_end_matches([':', ',', '`']))
        .find(|word| word.ends_with(".parquet"));
    let told = |file: &str| {
        // The store names files of a disk without their first `/`.
        let whole = format!("/{file}");
        let is_local = Path::new(&whole).parent().is_some_and(Path::exists) && !file.starts_with('/');
        format!("the data file `{}` {what}", if is_local { &whole } else { file })
    };
    Some(Damage { depth, file: file.map(told) })
}

/// An error and its reasons, each in words of its own: what is said of a damaged file in one sentence.
pub(crate) fn causes(error: &anyhow::Error) -> Vec<String> {
    let all = error.chain().map(ToString::to_string);
    let causes: Vec<String> = match damage(error) {
        Some(Damage { depth, file: Some(file) }) => all.take(depth).chain([file]).collect(),
        _ => all.collect(),
    };
    causes.iter().map(|cause| without_user(cause)).collect()
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
    if let Some(error) = cause.downcast_ref::<enrich::Error>() {
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
    let causes = causes(error);
    for (depth, cause) in error.chain().enumerate() {
        if let Some(Problems(diagnostics)) = cause.downcast_ref::<Problems>() {
            for diagnostic in diagnostics {
                text += &without_user(&format!("error: {diagnostic}\n"));
                if let Some(hint) = &diagnostic.hint {
                    text += &without_user(&format!("hint: {hint}\n"));
                }
            }
        }
        let Some(cause) = causes.get(depth) else { break };
        let label = if depth == 0 { "error" } else { "cause" };
        text += &format!("{label}: {}\n", words_of(cause));
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
        let mut causes = causes(error);
        let first = if causes.is_empty() { String::new() } else { causes.remove(0) };
        let problems: Vec<&Diagnostic> =
            error.chain().filter_map(|cause| cause.downcast_ref()).flat_map(|Problems(all)| all).collect();
        let object = serde_json::json!({ "error": first, "causes": causes, "hint": hint(error), "problems": in_json(&problems) });
        // What is an object already can be printed as one.
        let _ = out::object(&object);
    }
}

/// Prints what was wrong with the command line as one JSON object.
pub(crate) fn print_usage(text: &str) {
    let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
    let nothing: [&str; 0] = [];
    let _ = out::object(
        &serde_json::json!({ "error": first, "causes": nothing, "hint": "`onggi --help`", "problems": nothing }),
    );
}

/// Errors in files as objects, for editors and for those who gather them.
fn in_json(problems: &[&Diagnostic]) -> Vec<serde_json::Value> {
    let text = |text: &str| without_user(text);
    let object = |it: &&Diagnostic| {
        serde_json::json!({
            "file": it.file, "line": it.line, "column": it.column,
            "message": text(&it.message), "hint": it.hint.as_deref().map(text),
        })
    };
    problems.iter().map(object).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the engine says it: in a chain in which each says it again.
    fn nested(said: &str) -> anyhow::Error {
        anyhow::anyhow!("{said}").context(format!("Parquet error: {said}")).context("reading the rows of `raw.shop`")
    }

    #[test]
    fn a_damaged_data_file_is_one_sentence_with_the_way_out() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("part-1.parquet").display().to_string();
        let bare = file.trim_start_matches('/');
        let cases = [
            (
                format!("Parquet error: Failed to fetch metadata for file {bare}: Object Store error: Object at location {file} not found: No such file or directory"),
                format!("`{file}` is not there"),
            ),
            (
                format!("Parquet error: Failed to fetch metadata for file {bare}: Object Store error: Generic LocalFileSystem error: Requested range was invalid"),
                format!("`{file}` is cut"),
            ),
            (
                "Parquet error: Failed to fetch metadata for file reviews/raw/shop/part-1.parquet: Invalid Parquet file. Corrupt footer".to_owned(),
                "`reviews/raw/shop/part-1.parquet` is cut".to_owned(),
            ),
        ];
        for (said, expected) in cases {
            let shown = render(&nested(&said));
            let lines: Vec<&str> = shown.lines().collect();
            assert_eq!(lines.len(), 3, "{shown}");
            assert_eq!(lines[0], "error: reading the rows of `raw.shop`");
            assert!(lines[1].contains(&expected) && !shown.contains("Parquet error"), "{shown}");
            assert!(lines[2].contains("from a copy of the lake"), "{shown}");
        }
        // What may pass by itself is no damage.
        let busy = nested(
            "Parquet error: Failed to fetch metadata for file a.parquet: Object Store error: Generic S3 error: timed out",
        );
        assert!(damage(&busy).is_none() && damage(&anyhow::anyhow!("no table")).is_none());
    }

    #[test]
    fn no_error_shows_a_user_of_an_address() {
        let problem = Diagnostic {
            file: "onggi.toml".to_owned(),
            line: 1,
            column: 1,
            message: "expected another address, found http://me:s3cr3t@host/".to_owned(),
            hint: Some("correct http://me:s3cr3t@host/".to_owned()),
        };
        let errors = [
            anyhow::anyhow!("asking http://me:s3cr3t@host/").context("asking sqs://me:s3cr3t@host"),
            Failure::failed("no answer of http://me:s3cr3t@host/", "look at http://me:s3cr3t@host/").into(),
            Problems(vec![problem]).into(),
        ];
        for error in errors {
            let shown = render(&error);
            assert!(shown.contains("…@host") && !shown.contains("s3cr3t"), "{shown}");
        }
    }
}
