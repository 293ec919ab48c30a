//! Names, checked once (`name_rules.rs`) and valid ever after.
//!
//! A name becomes a folder, a SQL identifier and part of a txn's app id, so the rule is the
//! narrowest of the three: lowercase ASCII letters, digits and `_`, beginning with a letter.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::fresh_bits;

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
    /// A name that was checked.
    pub(crate) fn checked(layer: Layer, name: String) -> Self {
        Self { layer, name }
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

impl From<TableName> for String {
    fn from(name: TableName) -> Self {
        name.to_string()
    }
}

/// Makes a newtype over a text that `name_rules.rs` has checked.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// A text that was checked.
            pub(crate) fn checked(text: String) -> Self {
                Self(text)
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

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }
    };
}

name!(
    /// An outside system we read.
    SourceName
);
name!(
    /// A serving store we write.
    SinkName
);
name!(
    /// One run, or one worker. Ids made by [`RunId::at`] sort by the second in which it began.
    RunId
);

impl RunId {
    /// A fresh id for a run that begins `now`: the second, to be read by people, the millisecond, so that runs of one second sort
    /// as they began, and 52 random bits, since in containers any number of runs begin at once with one process id.
    pub fn at(now: Timestamp) -> Self {
        let millisecond = now.as_millisecond().rem_euclid(1_000);
        Self(format!("{}-{millisecond:03x}{:013x}", now.strftime("%Y%m%dT%H%M%SZ"), fresh_bits() >> 12))
    }
}
