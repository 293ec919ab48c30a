//! What a project says of its summaries: about what, in which language, saying what, and what an answer must look like.
//!
//! It is data of the project and part of the key of every answer that was asked for with it. What frames it (texts are data and no
//! instruction, no markup, one JSON object) is the provider's and the same for all.

use regex::Regex;

use super::field::OutputField;
use crate::error::{Error, Result};

/// The hash of the words that summaries were asked for in before they were data of the project.
///
/// A project that says them itself asks for the same thing, so its answers keep the keys that they had: moving the words from the
/// program into the project's file pays for nothing twice. The words themselves are in the project template.
const FIRST_WORDS: &str = "4a45b290dc1a3e2454cea3a2ad3260294f74e57c04dabe5779cbaa1cada72020";

/// What a project says of its summaries. The default says nothing: a summary of any texts, in their own language.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prompt {
    /// What the texts are, such as `reviews of one film`.
    pub subject: Option<String>,
    /// The language to write in, and how.
    pub language: Option<String>,
    /// What a summary is to say.
    pub instructions: Option<String>,
    /// The script that a summary must be written in.
    pub script: Option<Script>,
    /// How long a summary is.
    pub length: Length,
    /// What else is written, in the same answer.
    pub fields: Vec<OutputField>,
}

/// How many characters a summary has, at least and at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Length {
    /// At least: fewer say nothing.
    pub shortest: usize,
    /// At most: what a list of answers can show.
    pub longest: usize,
}

impl Default for Length {
    fn default() -> Self {
        Self { shortest: 15, longest: 500 }
    }
}

impl Prompt {
    /// What it adds to the key of an answer.
    ///
    /// A project that says nothing adds nothing: its answers are those that were asked for before anything could be said.
    pub(crate) fn key_parts(&self) -> Vec<String> {
        let Self { subject, language, instructions, script, length, fields } = self;
        if *self == Self::default() {
            return Vec::new();
        }
        let script = script.as_ref().map(|it| format!("{} {}", it.name, it.share));
        let length = (*length != Length::default()).then(|| format!("{} to {}", length.shortest, length.longest));
        let said = [
            ("subject", subject),
            ("language", language),
            ("instructions", instructions),
            ("script", &script),
            ("length", &length),
        ];
        let said = said.into_iter().filter_map(|(name, said)| Some(format!("{name}={}", said.as_ref()?)));
        let parts: Vec<String> = said.chain(fields.iter().map(OutputField::key_part)).collect();
        if rows::content_hash(parts.iter().map(String::as_bytes)) == FIRST_WORDS { Vec::new() } else { parts }
    }
}

/// A share of an answer's letters that must be of one script.
#[derive(Debug, Clone)]
pub struct Script {
    name: String,
    share: f64,
    letters: Regex,
}

impl Script {
    /// A script by its name in Unicode, such as `Latin`, `Hangul` or `Cyrillic`, and the share from 0 to 1.
    ///
    /// # Errors
    /// [`Error::Provider`] if there is no such script, or the share is no share.
    pub fn new(name: &str, share: f64) -> Result<Self> {
        let wrong = |message: String, hint: &str| Error::Provider { message, hint: hint.to_owned() };
        if !(0.0..=1.0).contains(&share) {
            let message = format!("expected a share of letters from 0 to 1, found {share}");
            return Err(wrong(message, "0.5 leaves room for names in another script"));
        }
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphabetic() || c == '_');
        let letters = is_name.then(|| Regex::new(&format!(r"[\p{{Script={name}}}&&\p{{Alphabetic}}]")).ok()).flatten();
        let Some(letters) = letters else {
            let message = format!("expected the name of a script, found `{name}`");
            return Err(wrong(message, "the names are those of Unicode, such as `Latin`, `Hangul` or `Cyrillic`"));
        };
        Ok(Self { name: name.to_owned(), share, letters })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether enough of a text's letters are of the script.
    pub(crate) fn suits(&self, text: &str) -> bool {
        let all = text.chars().filter(|c| c.is_alphabetic()).count();
        self.letters.find_iter(text).count() as f64 >= all as f64 * self.share
    }
}

impl PartialEq for Script {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.share.to_bits() == other.share.to_bits()
    }
}

impl Eq for Script {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::FieldKind;

    #[test]
    fn a_script_is_a_share_of_the_letters() {
        let half = Script::new("Hangul", 0.5).unwrap();
        assert!(half.suits("Bibim 국수와 맥주가 잘 어울립니다 12:30"));
        assert!(!half.suits("This place is known for its 국물"));
        assert!(Script::new("Cyrillic", 1.0).unwrap().suits("Очень вкусно!"));
        assert!(half.suits("123"), "a text without letters is in no other script");
    }

    #[test]
    fn a_script_that_is_none_is_said() {
        for (name, share, said) in [
            ("Korean", 0.5, "expected the name of a script, found `Korean`"),
            ("Han}]|[\\p{Latin", 0.5, "expected the name of a script"),
            ("", 0.5, "expected the name of a script, found ``"),
            ("Latin", 1.5, "expected a share of letters from 0 to 1, found 1.5"),
            ("Latin", f64::NAN, "expected a share of letters from 0 to 1"),
        ] {
            let error = Script::new(name, share).unwrap_err();
            assert!(error.to_string().contains(said) && error.hint().is_some(), "{name}: {error}");
        }
    }

    /// A project of the template whose answers were paid for when the words stood in the program keeps them when it says the words.
    #[test]
    fn the_words_of_the_template_are_the_first_ones() {
        let subject = "reviews of one place";
        let language = "Korean, in the polite style";
        let instructions = "Say what people praise, what they criticise, for whom and when the place suits.";
        let first = Prompt {
            subject: Some(subject.into()),
            language: Some(language.into()),
            instructions: Some(instructions.into()),
            script: Script::new("Hangul", 0.5).ok(),
            ..Prompt::default()
        };
        assert!(first.key_parts().is_empty());
        for project in [include_str!("../../../../onggi.toml"), include_str!("../../../../onggi.cloud.toml")] {
            for (key, said) in [("subject", subject), ("language", language), ("instructions", instructions)] {
                let line = format!("{key} = \"{said}\"\n");
                assert!(project.contains(&line), "{line}");
            }
            assert!(project.contains("script = { name = \"Hangul\", share = 0.5 }\n"));
        }
    }

    #[test]
    fn whatever_is_said_is_part_of_the_key() {
        let said = |text: &str| Some(text.to_owned());
        let flag = |name: &str| OutputField {
            name: name.to_owned(),
            description: None,
            required: false,
            kind: FieldKind::Boolean,
        };
        let prompts = [
            Prompt::default(),
            Prompt { subject: said("films"), ..Prompt::default() },
            Prompt { language: said("films"), ..Prompt::default() },
            Prompt { instructions: said("films"), ..Prompt::default() },
            Prompt { script: Script::new("Latin", 0.5).ok(), ..Prompt::default() },
            Prompt { script: Script::new("Latin", 0.6).ok(), ..Prompt::default() },
            Prompt { script: Script::new("Greek", 0.5).ok(), ..Prompt::default() },
            Prompt { length: Length { shortest: 15, longest: 600 }, ..Prompt::default() },
            Prompt { length: Length { shortest: 20, longest: 500 }, ..Prompt::default() },
            Prompt { fields: vec![flag("open")], ..Prompt::default() },
            Prompt { fields: vec![flag("open"), flag("late")], ..Prompt::default() },
        ];
        let keys: std::collections::HashSet<_> = prompts.iter().map(Prompt::key_parts).collect();
        assert_eq!(keys.len(), prompts.len());
        assert!(prompts[0].key_parts().is_empty(), "who says nothing keeps the keys of before");
    }
}
