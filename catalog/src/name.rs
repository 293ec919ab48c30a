//! Names, parsed once and valid ever after.
//!
//! A name becomes a folder, a SQL identifier and part of a txn's app id, so the rule is the
//! narrowest of the three: lowercase ASCII letters, digits and `_`, beginning with a letter.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

const RULE: &str = "lowercase letters, digits and `_`, beginning with a letter, at most 64 of them";
const MAX_LEN: usize = 64;

/// Which kind of table it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    /// As fetched; only grows.
    Raw,
    /// Typed, one row per key.
    Staging,
    /// What people and applications read.
    Marts,
    /// The house's own tables.
    Ops,
}

impl Layer {
    /// All layers, in the order data flows.
    pub const ALL: [Self; 4] = [Self::Raw, Self::Staging, Self::Marts, Self::Ops];

    /// The layer's name, which is its folder and its SQL schema.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Staging => "staging",
            Self::Marts => "marts",
            Self::Ops => "ops",
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

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

/// A table's name, `layer.name`.
///
/// ```
/// let name: catalog::TableName = "staging.reviews".parse()?;
/// assert_eq!((name.layer(), name.name()), (catalog::Layer::Staging, "reviews"));
/// # Ok::<(), catalog::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TableName {
    layer: Layer,
    name: String,
}

impl TableName {
    /// The table `name` of a layer.
    pub fn new(layer: Layer, name: &str) -> Result<Self> {
        Ok(Self { layer, name: identifier("table name", name)? })
    }

    /// The layer it lies in.
    pub fn layer(&self) -> Layer {
        self.layer
    }

    /// The part after the dot.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{}", self.layer, self.name))
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

impl From<TableName> for String {
    fn from(name: TableName) -> Self {
        name.to_string()
    }
}

/// Makes a newtype over a validated string.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            #[doc = concat!("Checks `text` and makes it a ", $what, ".")]
            pub fn new(text: &str) -> Result<Self> {
                Ok(Self($check($what, text)?))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
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

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }
    };
}

name!(
    /// An outside system we read.
    SourceName, "source name", identifier
);
name!(
    /// A serving store we write.
    SinkName, "sink name", identifier
);
name!(
    /// One run. Ids made by [`RunId::at`] sort by the time the run began.
    RunId, "run id", run_id
);

impl RunId {
    /// The id of a run that began `now`; `salt` tells runs of one second apart (a process id will do).
    pub fn at(now: Timestamp, salt: u32) -> Self {
        Self(format!("{}-{salt:06x}", now.strftime("%Y%m%dT%H%M%SZ")))
    }
}

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
        let early = RunId::at("2026-10-01T03:00:00Z".parse().unwrap(), 77);
        let late = RunId::at("2026-10-01T03:00:01Z".parse().unwrap(), 3);
        assert_eq!(early.as_str(), "20261001T030000Z-00004d");
        assert!(early < late);
        assert_eq!(early.as_str().parse::<RunId>().unwrap(), early);
    }
}
