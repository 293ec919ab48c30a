//! `[enrich."staging.…"]`: which texts are summarised, and what a model is told of them.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use catalog::TableName;
use enrich::{Length, Prompt, Script};
use serde::Deserialize;

mod fields;

use fields::{FieldSection, MOST_FIELDS};

/// The longest of the project's own words that go into every prompt.
const LONGEST: usize = 4_000;
/// The fewest characters of a summary, as far as a project may say.
const SHORTEST: RangeInclusive<usize> = 1..=500;
/// … and the most.
const LONGEST_SUMMARY: RangeInclusive<usize> = 15..=4_000;

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
    /// How long a summary is.
    #[serde(default)]
    pub summary: SummarySection,
    /// What else is written, by the names of the columns.
    #[serde(default)]
    pub fields: BTreeMap<String, FieldSection>,
}

/// `summary = { shortest = …, longest = … }`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SummarySection {
    /// The fewest characters.
    shortest: usize,
    /// The most characters.
    longest: usize,
}

impl Default for SummarySection {
    fn default() -> Self {
        let Length { shortest, longest } = Length::default();
        Self { shortest, longest }
    }
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
            length: Length { shortest: self.summary.shortest, longest: self.summary.longest },
            fields: self.fields.iter().map(|(name, section)| section.field(name)).collect(),
        }
    }

    /// What the types cannot say: the key to look for, what is wrong with it and what to do.
    pub(crate) fn problems(&self) -> Vec<(String, String, String)> {
        let mut problems = Vec::new();
        let mut problem =
            |key: &str, message: String, hint: &str| problems.push((key.to_owned(), message, hint.to_owned()));
        let said = [("subject", &self.subject), ("language", &self.language), ("instructions", &self.instructions)];
        for (name, said) in said {
            let length = said.as_ref().map_or(1, |it| it.trim().chars().count());
            if !(1..=LONGEST).contains(&length) {
                let message = format!("expected 1 to {LONGEST} characters in `{name}` of [enrich], found {length}");
                problem(name, message, "leave it out to say nothing of it");
            }
        }
        if let Some(Err(error)) = self.script.as_ref().map(|it| Script::new(&it.name, it.share)) {
            problem("script", error.to_string(), &error.hint().unwrap_or_default());
        }
        let SummarySection { shortest, longest } = self.summary;
        if !SHORTEST.contains(&shortest) || !LONGEST_SUMMARY.contains(&longest) || shortest > longest {
            let (least, most) = (SHORTEST.start(), LONGEST_SUMMARY.end());
            let message = format!("expected summaries of {least} to {most} characters, found {shortest} to {longest}");
            problem("summary", message, "`shortest` is 1 to 500, `longest` is 15 to 4000 and no less than `shortest`");
        }
        if self.fields.len() > MOST_FIELDS {
            let message = format!("expected at most {MOST_FIELDS} fields of [enrich], found {}", self.fields.len());
            problem("fields", message, "models fill few fields better than many");
        }
        for (name, section) in &self.fields {
            for (message, hint) in section.problems(name, &self.key) {
                problem(&format!("fields.{name}"), message, hint);
            }
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
    fn fields_have_types_and_bounds() {
        let said = section(
            "summary = { longest = 90 }\n[fields.mood]\ntype = \"text\"\nvalues = [\"calm\", \"loud\"]\nrequired = true\n\
             [fields.stars]\ntype = \"integer\"\nmin = 1\nmax = 5\n[fields.words]\ntype = \"list\"\nlongest = 20\n",
        );
        assert!(said.problems().is_empty(), "{:?}", said.problems());
        let prompt = said.prompt();
        assert_eq!((prompt.length.shortest, prompt.length.longest), (15, 90));
        let told: Vec<String> =
            prompt.fields.iter().map(|it| format!("{} {} {:?}", it.name, it.required, it.kind)).collect();
        assert_eq!(
            told,
            [
                "mood true Text(TextRule { values: [\"calm\", \"loud\"], longest: 200 })",
                "stars false Integer(Range { min: Some(1), max: Some(5) })",
                "words false List(TextRule { values: [], longest: 20 })",
            ]
        );
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (line, name) in [
            ("subject = \" \"", "subject"),
            ("language = \"\"", "language"),
            ("script = { name = \"Korean\" }", "script"),
            ("script = { name = \"Latin\", share = 2.0 }", "script"),
            ("summary = { shortest = 0 }", "summary"),
            ("summary = { shortest = 60, longest = 50 }", "summary"),
            ("summary = { longest = 5000 }", "summary"),
            ("fields.Mood = { type = \"text\" }", "fields.Mood"),
            ("fields.summary = { type = \"text\" }", "fields.summary"),
            ("fields.film_id = { type = \"text\" }", "fields.film_id"),
            ("fields.mood = { type = \"text\", description = \" \" }", "fields.mood"),
            ("fields.mood = { type = \"text\", values = [] }", "fields.mood"),
            ("fields.mood = { type = \"text\", values = [\"a\", \"a\"] }", "fields.mood"),
            ("fields.mood = { type = \"text\", values = [\" a\"] }", "fields.mood"),
            ("fields.mood = { type = \"text\", longest = 0 }", "fields.mood"),
            ("fields.mood = { type = \"text\", min = 1 }", "fields.mood"),
            ("fields.stars = { type = \"integer\", values = [\"a\"] }", "fields.stars"),
            ("fields.stars = { type = \"integer\", min = 0.5 }", "fields.stars"),
            ("fields.stars = { type = \"number\", min = 2, max = 1 }", "fields.stars"),
            ("fields.stars = { type = \"number\", min = nan }", "fields.stars"),
        ] {
            let problems = section(line).problems();
            assert_eq!((problems[0].0.as_str(), problems.len()), (name, 1), "{line}");
            assert!(!problems[0].2.is_empty());
        }
    }
}
