//! The rules of names: texts become names here, or an error that says the rule.

use std::str::FromStr;

use crate::error::{Error, Result};
use crate::name::{Layer, RunId, SinkName, SourceName, TableName};

const RULE: &str = "lowercase letters, digits and `_`, beginning with a letter, at most 64 of them";
const MAX_LEN: usize = 64;

impl FromStr for Layer {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|layer| layer.as_str() == text).ok_or_else(|| Error::InvalidName {
            what: "layer",
            found: text.to_owned(),
            expected: "`raw`, `staging`, `marts` or `ops`",
        })
    }
}

impl TableName {
    /// The table `name` of a layer.
    pub fn new(layer: Layer, name: &str) -> Result<Self> {
        Ok(Self::checked(layer, identifier("table name", name)?))
    }
}

impl FromStr for TableName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (layer, name) = text.split_once('.').ok_or_else(|| Error::InvalidName {
            what: "table name",
            found: text.to_owned(),
            expected: "a layer and a name, like `staging.reviews`",
        })?;
        Self::new(layer.parse()?, name)
    }
}

impl TryFrom<String> for TableName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

/// Reads a newtype over a validated string.
macro_rules! parsed {
    ($name:ident, $what:literal, $check:ident) => {
        impl $name {
            #[doc = concat!("Checks `text` and makes it a ", $what, ".")]
            pub fn new(text: &str) -> Result<Self> {
                Ok(Self::checked($check($what, text)?))
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(text: String) -> Result<Self> {
                Self::new(&text)
            }
        }
    };
}

parsed!(SourceName, "source name", identifier);
parsed!(SinkName, "sink name", identifier);
parsed!(RunId, "run id", run_id);

/// The rule of all names but run ids.
fn identifier(what: &'static str, text: &str) -> Result<String> {
    let mut chars = text.chars();
    let good = chars.next().is_some_and(|c| c.is_ascii_lowercase())
        && chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && text.len() <= MAX_LEN;
    if good { Ok(text.to_owned()) } else { Err(Error::InvalidName { what, found: text.to_owned(), expected: RULE }) }
}

fn run_id(what: &'static str, text: &str) -> Result<String> {
    let good = text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        && text.len() <= MAX_LEN;
    if good {
        Ok(text.to_owned())
    } else {
        let expected = "letters, digits, `-` and `_`, at most 64 of them";
        Err(Error::InvalidName { what, found: text.to_owned(), expected })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_names_round_trip() {
        for text in ["raw.naver_reviews", "staging.a1", "marts.places", "ops.runs"] {
            let name: TableName = text.parse().unwrap();
            assert_eq!(name.to_string(), text);
            let json = serde_json::to_string(&name).unwrap();
            assert_eq!(serde_json::from_str::<TableName>(&json).unwrap(), name);
        }
    }

    #[test]
    fn bad_names_are_refused_with_the_rule() {
        for text in ["reviews", "raw.", "raw.1a", "raw.A", "bronze.a", "raw.a b", "raw.a.b", "raw.a/../b", "raw.식당"]
        {
            assert!(text.parse::<TableName>().is_err(), "{text}");
        }
        assert_eq!(
            "Naver".parse::<SourceName>().unwrap_err().to_string(),
            format!("`Naver` is not a source name: expected {RULE}"),
        );
        assert!("a".repeat(65).parse::<SinkName>().is_err());
        assert!("../x".parse::<RunId>().is_err());
    }

    #[test]
    fn run_ids_sort_by_time() {
        let early = RunId::at("2026-10-01T03:00:00Z".parse().unwrap());
        let late = RunId::at("2026-10-01T03:00:01Z".parse().unwrap());
        assert!(early.as_str().starts_with("20261001T030000Z-"), "{early}");
        assert!(early < late);
        for id in [early.as_str(), "20261001T030000Z-00004d"] {
            assert_eq!(id.parse::<RunId>().unwrap().as_str(), id, "also those of older programs");
        }
    }

    #[test]
    fn runs_of_one_second_and_one_process_are_told_apart() {
        let second = "2026-10-01T03:00:00Z".parse().unwrap();
        let ids: std::collections::HashSet<RunId> = (0..1_000).map(|_| RunId::at(second)).collect();
        assert_eq!(ids.len(), 1_000);
    }
}
