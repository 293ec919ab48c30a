//! What went wrong between us and a sink, as the next action sees it. Never with a password in it.

use std::fmt;

/// Any error, as something below us gives it.
pub(crate) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a call to a sink failed: one sentence, a way out, and whether the same call may succeed later.
#[derive(Debug)]
pub struct SinkFault {
    message: String,
    hint: Option<String>,
    retryable: bool,
    code: Option<String>,
}

impl fmt::Display for SinkFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for SinkFault {}

impl SinkFault {
    /// What would not change by trying again.
    pub(crate) fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: Some(hint.into()), retryable: false, code: None }
    }

    /// What may be gone the next time.
    pub(crate) fn passing(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { retryable: true, ..Self::new(message, hint) }
    }

    /// An error of a library, in its words and those below them.
    pub(crate) fn of(cause: &Cause, hint: Option<String>) -> Self {
        let mut message = cause.to_string();
        let mut below = cause.source();
        while let Some(source) = below {
            message += &format!(": {source}");
            below = source.source();
        }
        Self { message, hint, retryable: false, code: None }
    }

    /// What a server said, with its code.
    pub(crate) fn of_server(message: String, hint: Option<String>, retryable: bool, code: Option<String>) -> Self {
        Self { message, hint, retryable, code }
    }

    /// What a person can try next.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Whether the same call may succeed later with nothing changed.
    pub fn is_retryable(&self) -> bool {
        self.retryable
    }

    /// The code that the server gave, where it said something.
    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }
}
