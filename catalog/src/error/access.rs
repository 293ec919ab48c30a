//! What was tried of a lake's place when it refused, and the right that was missing.
//!
//! The store library tells a refusal of most requests by a variant, and of some by its text alone; which request it was stands in the
//! text too. A table's commit lists, reads and writes, so its caller can't know.

use std::error::Error as StdError;
use std::io;

use super::{chain, io_kind};

/// What was tried of a lake's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// To look what is there.
    List,
    /// To read an object.
    Read,
    /// To write one.
    Write,
    /// To delete one.
    Delete,
}

impl std::fmt::Display for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::List => "list",
            Self::Read => "read",
            Self::Write => "write to",
            Self::Delete => "delete from",
        })
    }
}

impl Access {
    /// What the refused request itself was for; what its caller was about if that can't be seen, or if it is the medium that
    /// takes no writes.
    pub(super) fn found(error: &(dyn StdError + 'static), called_for: Self) -> Self {
        if io_kind(error).is_some_and(|kind| kind != io::ErrorKind::PermissionDenied) {
            return Self::Write;
        }
        chain(error).find_map(|e| request(&e.to_string(), called_for)).unwrap_or(called_for)
    }

    /// The rights that a bucket's owner has to give.
    pub(super) fn rights(self, uri: &str) -> String {
        let place = uri.trim_start_matches("s3://").trim_end_matches('/');
        let bucket = place.split('/').next().unwrap_or(place);
        match self {
            Self::List => format!("s3:ListBucket on `{bucket}`"),
            // Without the right to list, S3 refuses to say that something is not there.
            Self::Read => format!("s3:GetObject on `{place}/*` and s3:ListBucket on `{bucket}`"),
            Self::Write => format!("s3:PutObject on `{place}/*`"),
            Self::Delete => format!("s3:DeleteObject on `{place}/*`"),
        }
    }

    pub(super) fn of_a_user(self) -> &'static str {
        match self {
            Self::List | Self::Read => "read",
            Self::Write | Self::Delete => "write",
        }
    }
}

/// What a request was for, from how its failure is told: `Error performing GET http://server/jar?list-type=2&… in 5ms - …`.
fn request(text: &str, called_for: Access) -> Option<Access> {
    let told = |method: &str| text.split_once(&format!("Error performing {method} ")).map(|(_, rest)| rest);
    if let Some(rest) = told("GET") {
        let lists = rest.split(' ').next().is_some_and(|url| url.contains("list-type="));
        return Some(if lists { Access::List } else { Access::Read });
    }
    if told("HEAD").is_some() {
        return Some(Access::Read);
    }
    // Deletes go in bulk, by POST; uploads in parts begin and end by POST.
    if told("DELETE").is_some() || (told("POST").is_some() && called_for == Access::Delete) {
        return Some(Access::Delete);
    }
    (told("PUT").is_some() || told("POST").is_some()).then_some(Access::Write)
}

/// Whether a server refused a request, by the text: a listing has no variant, and the Delta library hides the one of its reads.
pub(super) fn is_refused_request(error: &(dyn StdError + 'static)) -> bool {
    let text = error.to_string();
    let refused = ["403", "401"].iter().any(|status| text.contains(&format!("status code: {status} ")));
    // A delete of several objects is answered for each of them, below an answer that says that all went well.
    (text.contains("Error performing ") && refused) || text.contains("(code: AccessDenied)")
}
