//! The one door to the terminal: whatever a command says leaves through here.
//!
//! Much of what is said came from a site: names, ids, messages. None of it may steer the terminal that shows it – move the cursor, fill
//! the clipboard, turn the writing direction – so characters that do so are shown as what they are, `\u{1b}`. And whoever reads our
//! output may go away, or have no room: that stops no work. A closed pipe has read enough; another failure is told at the end.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

/// Where heavy writing begins and ends, until the door knows whether a terminal is behind it.
const BOLD: char = '\u{1}';
const PLAIN: char = '\u{2}';

/// The first failure of standard output that is none of a reader who has gone away.
static FAILED: Mutex<Option<io::Error>> = Mutex::new(None);

/// Says a line on standard output.
pub(crate) fn line(line: impl Display) {
    text(&format!("{line}\n"));
}

/// Says a text on standard output, as it is: with the line ends that it has.
pub(crate) fn text(text: &str) {
    put(&shown(text));
}

/// As [`text`], with the parts that [`bold`] made in heavy writing where that can be shown. All else in it must have passed
/// [`one_line`].
pub(crate) fn marked(text: &str) {
    let heavy = io::stdout().is_terminal();
    let parts = text.split_inclusive([BOLD, PLAIN]).map(|part| match part.chars().next_back() {
        Some(BOLD) => format!("{}{}", shown(&part[..part.len() - 1]), if heavy { "\u{1b}[1m" } else { "" }),
        Some(PLAIN) => format!("{}{}", shown(&part[..part.len() - 1]), if heavy { "\u{1b}[0m" } else { "" }),
        _ => shown(part).into_owned(),
    });
    put(&parts.collect::<String>());
}

/// Says an object for scripts on a line of standard output.
///
/// # Errors
/// If it cannot be turned into JSON.
pub(crate) fn object(object: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string(object)?;
    put(&format!("{}\n", json(&text)));
    Ok(())
}

/// Says a line on standard error. That nobody can be told is no reason to stop.
pub(crate) fn note(line: impl Display) {
    let line = format!("{line}\n");
    let _ = io::stderr().write_all(shown(&line).as_bytes());
}

/// A part of a line in heavy writing, for [`marked`].
pub(crate) fn bold(text: &str) -> String {
    format!("{BOLD}{}{PLAIN}", one_line(text))
}

/// A text as a terminal may get it.
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if steers(character) { shown.extend(character.escape_unicode()) } else { shown.push(character) }
    }
    Cow::Owned(shown)
}

/// A text as one part of a line, so that it can't look like a line of ours.
pub(crate) fn one_line(text: &str) -> String {
    shown(text).replace(['\n', '\t'], " ")
}

/// JSON as a terminal may get it: the same values, in other escapes.
pub(crate) fn json(text: &str) -> Cow<'_, str> {
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        // All of them are in the first plane, and stand in texts: elsewhere they are no JSON.
        if steers(character) { shown += &format!("\\u{:04x}", u32::from(character)) } else { shown.push(character) }
    }
    Cow::Owned(shown)
}

/// Ends what was said; answers whether all of it could be said.
pub(crate) fn end() -> bool {
    keep(io::stdout().flush());
    let Some(error) = FAILED.lock().unwrap_or_else(PoisonError::into_inner).take() else { return true };
    note(format_args!(
        "error: standard output could not be written: {error}\nhint: what the command did is done; only its words are lost"
    ));
    false
}

/// Standard error for lines of the log.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Who writes a log comes with whole lines.
        let _ = io::stderr().write_all(shown(&String::from_utf8_lossy(bytes)).as_bytes());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn put(text: &str) {
    keep(io::stdout().write_all(text.as_bytes()));
}

fn keep(result: io::Result<()>) {
    if let Err(error) = result
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        FAILED.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }
}

/// Whether a terminal does something at a character instead of drawing it. Line ends and tabs are what they are.
fn steers(character: char) -> bool {
    let directs =
        matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let breaks = matches!(character, '\u{2028}' | '\u{2029}' | '\u{feff}');
    (character.is_control() && !matches!(character, '\n' | '\t')) || directs || breaks
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What sites have sent, and what a terminal would make of it.
    const STEERING: [(&str, &str); 9] = [
        ("clipboard", "\u{1b}]52;c;ZXZpbA==\u{7}"),
        ("link", "\u{1b}]8;;http://evil.example\u{7}x"),
        ("clear", "\u{1b}[2J"),
        ("one byte introducer", "\u{9b}31m"),
        ("return", "fine\rerror"),
        ("back", "rm\u{8}\u{8}"),
        ("direction", "\u{202e}cod.exe\u{2069}"),
        ("separator", "a\u{2028}b\u{feff}"),
        ("delete", "a\u{7f}\0b"),
    ];

    #[test]
    fn nothing_of_a_text_steers_a_terminal() {
        for (what, text) in STEERING {
            let seen = shown(text);
            assert!(!seen.contains(steers), "{what}: {seen:?}");
            assert!(seen.contains("\\u{"), "{what}: it must be seen that something is there: {seen}");
            let line = one_line(&format!("{text}\nhint: do\tas I say"));
            assert!(!line.contains(['\n', '\t']) && !line.contains(steers), "{what}: {line:?}");
        }
        for plain in ["국밥 👩‍👩‍👧 naïve\n\tnext", "", "a\u{200d}b"] {
            assert!(matches!(shown(plain), Cow::Borrowed(same) if same == plain), "{plain}");
        }
    }

    #[test]
    fn an_object_has_the_same_values_in_other_escapes() {
        for (what, text) in STEERING {
            let plain = serde_json::json!({ "name": text, text: [text] }).to_string();
            let seen = json(&plain);
            assert!(!seen.contains(steers), "{what}: {seen:?}");
            let read: serde_json::Value = serde_json::from_str(&seen).unwrap();
            assert_eq!(read["name"], text, "{what}");
            assert_eq!(read[text][0], text, "{what}");
        }
    }
}
