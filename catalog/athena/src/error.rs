//! What can go wrong between the lake and AWS, one variant for each different next action.

use std::error::Error as StdError;

/// The longest statement: Athena's own limit, <https://docs.aws.amazon.com/athena/latest/ug/service-limits.html>.
pub(crate) const MOST_BYTES: usize = 262_144;

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No region is known, so no service can be addressed.
    #[error("expected a region of AWS, found none")]
    NoRegion,
    /// The lake lies where Athena can't read.
    #[error("Athena reads S3 only, and the lake is at {uri}")]
    NotOnS3 {
        /// The lake.
        uri: String,
    },
    /// The lake's URL can't be written into Glue as it is.
    #[error("expected a lake below plain folders, such as s3://bucket/lake/, found {uri}")]
    OddLocation {
        /// The lake.
        uri: String,
    },
    /// The lake has no table.
    #[error("the lake {uri} has no tables: nothing was published, nothing was removed")]
    EmptyLake {
        /// The lake.
        uri: String,
    },
    /// The lake itself failed.
    #[error("using the lake for {what}")]
    Lake {
        /// What was being done.
        what: String,
        /// What the lake said.
        source: Box<catalog::Error>,
    },
    /// The service understood and refused.
    #[error("{what}: {code}: {message}")]
    Refused {
        /// What was asked for.
        what: String,
        /// The service's own word for it, such as `AccessDeniedException`.
        code: String,
        /// What it said.
        message: String,
    },
    /// The service could not be asked: no network, no credentials, no answer in time.
    #[error("{what} got no answer")]
    Unreachable {
        /// What was asked for.
        what: String,
        /// Why.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The account has no such workgroup in this region.
    #[error("there is no workgroup `{name}`")]
    NoWorkgroup {
        /// Its name.
        name: String,
    },
    /// The workgroup takes no queries.
    #[error("the workgroup `{name}` is disabled")]
    DisabledWorkgroup {
        /// Its name.
        name: String,
    },
    /// A query would be refused, for want of a place for its answer.
    #[error("nothing says where the answers of the workgroup `{name}` go")]
    NoOutput {
        /// Its name.
        name: String,
        /// Whether the workgroup insists on its own settings, so that `output` counts for nothing.
        insists: bool,
    },
    /// The statement does more than ask.
    #[error("expected a query, found `{found}`")]
    NotAQuery {
        /// Its first word.
        found: String,
    },
    /// The statement is longer than Athena takes.
    #[error("expected a statement of at most {} bytes, found {found}", MOST_BYTES)]
    TooLong {
        /// Its length.
        found: usize,
    },
    /// The query failed.
    #[error("query {id} failed in Athena: {reason}{excerpt}")]
    Failed {
        /// The query's id.
        id: String,
        /// Athena's reason, in full.
        reason: String,
        /// The line of the statement that the reason names, if it names one.
        excerpt: String,
    },
    /// Somebody or a limit of the workgroup stopped the query.
    #[error("query {id} was stopped in Athena{}", if .reason.is_empty() { String::new() } else { format!(": {reason}") })]
    Stopped {
        /// The query's id.
        id: String,
        /// Athena's reason, if it gave one.
        reason: String,
    },
    /// The answer isn't what its own header says.
    #[error("column `{column}` of the answer: expected {expected}, found {found}")]
    Answer {
        /// The column.
        column: String,
        /// What the header promised.
        expected: String,
        /// What came.
        found: String,
    },
}

impl Error {
    /// Whether nothing was asked because the settings don't allow it.
    pub fn is_configuration(&self) -> bool {
        matches!(self, Self::NoRegion | Self::NotOnS3 { .. } | Self::OddLocation { .. })
    }

    /// What to do next, where that can be said.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoRegion => "set `region` under `[aws]` in onggi.toml, or AWS_REGION".into(),
            Self::NotOnS3 { .. } => {
                "name a lake on S3 with `uri = \"s3://bucket/lake\"` under `[lake]`; `onggi sql` without --athena asks this one".into()
            }
            Self::OddLocation { .. } => "use letters, digits, `-`, `_` and `.` in the folders of a lake".into(),
            Self::EmptyLake { .. } => "`onggi run` fills it; check `uri` under `[lake]` if it should not be empty".into(),
            Self::Lake { source, .. } => return source.hint(),
            Self::Refused { code, message, what } => return refused(code, message, what),
            Self::Unreachable { source, .. } => unreachable(source.as_ref()).into(),
            Self::NoWorkgroup { .. } => WORKGROUP.into(),
            Self::DisabledWorkgroup { .. } => "enable it in Athena's console, or set `workgroup` under `[athena]`".into(),
            Self::NoOutput { insists: true, .. } => {
                "give the workgroup an output location: it overrides the settings of its clients".into()
            }
            Self::NoOutput { .. } => OUTPUT.into(),
            Self::NotAQuery { .. } => {
                "`select`, `with`, `show`, `describe` and `explain` are sent; tables are written by models".into()
            }
            Self::TooLong { .. } => "keep long lists in a table and join it".into(),
            Self::Failed { reason, .. } => return failed(reason),
            Self::Stopped { reason, .. } if reason.to_lowercase().contains("limit") => {
                "read fewer columns or days (`where dt = …`), or raise the workgroup's limit".into()
            }
            Self::Stopped { .. } | Self::Answer { .. } => return None,
        })
    }
}

const WORKGROUP: &str = "set `workgroup` under `[athena]` to one that exists and is enabled in this region";
const OUTPUT: &str =
    "set `output = \"s3://bucket/athena-results/\"` under `[athena]`, or give the workgroup an output location";

/// The way out of a refusal.
fn refused(code: &str, message: &str, what: &str) -> Option<String> {
    let lower = message.to_lowercase();
    Some(if code.contains("AccessDenied") || code.contains("NotAuthorized") {
        format!(
            "give the role or user the right that the message names ({what}); docs/aws.md lists all that are needed"
        )
    } else if ["UnrecognizedClient", "ExpiredToken", "InvalidSignature", "InvalidClientTokenId"]
        .iter()
        .any(|it| code.contains(it))
    {
        "the credentials are not valid (any more): log in again, or choose another `profile` under `[aws]`".into()
    } else if lower.contains("output location") || lower.contains("outputlocation") {
        OUTPUT.into()
    } else if lower.contains("workgroup") {
        WORKGROUP.into()
    } else if code.contains("Throttling") || code.contains("TooManyRequests") || code.contains("LimitExceeded") {
        "the service is busy with other requests of this account: try again in a minute".into()
    } else {
        return None;
    })
}

/// The way out when the service could not be asked.
fn unreachable(error: &(dyn StdError + 'static)) -> &'static str {
    let text = chain(error).to_lowercase();
    if text.contains("credential") {
        "log in (`aws sso login`), set `profile` under `[aws]`, or give the machine or task a role"
    } else {
        "check the network, `region` under `[aws]` and the endpoints under `[athena]`"
    }
}

/// The way out of a query's failure.
fn failed(reason: &str) -> Option<String> {
    let has = |word: &str| reason.contains(word);
    Some(
        if has("TABLE_NOT_FOUND") || has("SCHEMA_NOT_FOUND") || has("DELTA_LAKE_INVALID") {
            "`onggi catalog publish` registers the lake's tables; `show tables in marts` lists what is there"
        } else if has("COLUMN_NOT_FOUND") {
            "`describe marts.places` lists a table's columns; after a new column, `onggi catalog publish`"
        } else if has("PERMISSION_DENIED") || has("Access Denied") || has("nsufficient permissions") {
            "the role needs to read the lake's folder and to read and write the output location; docs/aws.md lists the rights"
        } else if has("FUNCTION_NOT_FOUND") {
            "Athena's dialect is Trino's: functions of Onggi itself exist in `onggi sql` without --athena only"
        } else {
            return None;
        }
        .to_owned(),
    )
}

/// An error and everything below it in one line.
pub(crate) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in std::iter::successors(Some(error), |it| (*it).source()) {
        let text = cause.to_string();
        if parts.last() != Some(&text) {
            parts.push(text);
        }
    }
    parts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(code: &str, message: &str) -> String {
        let error = Error::Refused { what: "starting the query".into(), code: code.into(), message: message.into() };
        error.hint().unwrap_or_default()
    }

    #[test]
    fn each_refusal_has_its_own_way_out() {
        let message = "No output location provided. An output location is required either through the Workgroup result \
            configuration setting or as an API input.";
        assert!(hint("InvalidRequestException", message).contains("output = "));
        assert!(hint("InvalidRequestException", "WorkGroup analysts is not found.").contains("`workgroup`"));
        assert!(
            hint("AccessDeniedException", "User x is not authorized to perform: glue:CreateTable").contains("right")
        );
        assert!(hint("ThrottlingException", "Rate exceeded").contains("minute"));
        assert_eq!(hint("InvalidRequestException", "mismatched input"), "");
    }
}
