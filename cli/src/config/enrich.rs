//! `[enrich."staging.…"]`: which texts are summarised, and what a model is told of them.

use catalog::TableName;
use enrich::{Prompt, Script};
use serde::Deserialize;

/// The longest of the project's own words that go into every prompt.
const LONGEST: usize = 4_000;

/// `[enrich."staging.…"]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EnrichSection {
    /// The table whose texts are summarised.
    pub from: TableName,
    /// The column that names an entity.
    pub key: String,
    /// The list column with an entity's texts.
    pub texts: String,
    /// What the texts are, such as `reviews of one film`; texts about one subject if not given.
    pub subject: Option<String>,
    /// The language that summaries are written in, and how; that of the texts if not given.
    pub language: Option<String>,
    /// What a summary is to say; what the texts agree on and where they differ if not given.
    pub instructions: Option<String>,
    /// The script that a summary must be written in; any if not given.
    pub script: Option<ScriptSection>,
}

/// `script = { name = "…", share = … }`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScriptSection {
    /// The script's name in Unicode, such as `Latin` or `Hangul`.
    name: String,
    /// The share of the letters that must be of it.
    #[serde(default = "half")]
    share: f64,
}

fn half() -> f64 {
    0.5
}

impl EnrichSection {
    /// What a model is told, which [`EnrichSection::problems`] has proved to make sense.
    pub(crate) fn prompt(&self) -> Prompt {
        Prompt {
            subject: self.subject.clone(),
            language: self.language.clone(),
            instructions: self.instructions.clone(),
            script: self.script.as_ref().and_then(|it| Script::new(&it.name, it.share).ok()),
        }
    }

    /// What the types cannot say: the key to look for, what is wrong with it and what to do.
    pub(crate) fn problems(&self) -> Vec<(&'static str, String, String)> {
        let mut problems = Vec::new();
        let said = [("subject", &self.subject), ("language", &self.language), ("instructions", &self.instructions)];
        for (name, said) in said {
            let length = said.as_ref().map_or(1, |it| it.trim().chars().count());
            if !(1..=LONGEST).contains(&length) {
                let message = format!("expected 1 to {LONGEST} characters in `{name}` of [enrich], found {length}");
                problems.push((name, message, "leave it out to say nothing of it".to_owned()));
            }
        }
        if let Some(Err(error)) = self.script.as_ref().map(|it| Script::new(&it.name, it.share)) {
            problems.push(("script", error.to_string(), error.hint().unwrap_or_default()));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(more: &str) -> EnrichSection {
        toml::from_str(&format!("from = \"marts.films\"\nkey = \"film_id\"\ntexts = \"texts\"\n{more}")).unwrap()
    }

    #[test]
    fn nothing_has_to_be_said_and_whatever_is_said_is_told() {
        assert_eq!(section("").prompt(), Prompt::default());
        let said = section("subject = \"reviews of one film\"\nscript = { name = \"Latin\" }");
        assert!(said.problems().is_empty());
        let prompt = said.prompt();
        assert_eq!((prompt.subject.as_deref(), prompt.script.unwrap().name()), (Some("reviews of one film"), "Latin"));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (line, name) in [
            ("subject = \" \"", "subject"),
            ("language = \"\"", "language"),
            ("script = { name = \"Korean\" }", "script"),
            ("script = { name = \"Latin\", share = 2.0 }", "script"),
        ] {
            let problems = section(line).problems();
            assert_eq!((problems[0].0, problems.len()), (name, 1), "{line}");
            assert!(!problems[0].2.is_empty());
        }
    }
}
