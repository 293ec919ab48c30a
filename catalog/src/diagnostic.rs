//! A complaint about a file that a person wrote: a source, a model, the configuration.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One complaint, with its place. Lines and columns count from 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// The file as the user named it.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong: lowercase, no full stop.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, message, .. } = self;
        write!(f, "{file}:{line}:{column}: {message}")
    }
}

impl std::error::Error for Diagnostic {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_like_a_compiler() {
        let complaint = Diagnostic {
            file: "sql/reviews/staging/reviews.sql".into(),
            line: 7,
            column: 12,
            message: "no column `raiting`".into(),
            hint: Some("did you mean `rating`?".into()),
        };
        assert_eq!(complaint.to_string(), "sql/reviews/staging/reviews.sql:7:12: no column `raiting`");
    }
}
