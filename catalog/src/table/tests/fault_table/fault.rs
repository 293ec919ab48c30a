//! What can go wrong at which kind of request, and what its caller is told.

use object_store::path::Path;
use object_store::{Error, PutMode};

use crate::store::Tried;

/// A kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verb {
    /// A data file in one piece.
    PutData,
    /// A log entry, created.
    PutLog,
    /// A checkpoint, or the pointer at it.
    PutCheckpoint,
    /// An object beside the tables, created.
    Create,
    /// An object beside the tables, overwritten.
    Put,
    /// A part of a data file.
    Part,
    /// The end of a data file in parts.
    Complete,
    /// A whole object.
    Get,
    /// A range of an object.
    GetRange,
    List,
    Delete,
}

/// What goes wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    /// 503, and nothing is done.
    Busy,
    /// It is done, and answered with 500.
    DoneThen500,
    /// Nothing is sent.
    TimeoutBefore,
    /// It is sent and not answered; it is done when the same is asked for again.
    TimeoutLandsAtNext,
    /// It is sent and not answered; it is done when everybody has given up.
    TimeoutLandsLast,
    /// It is done, and the connection is lost.
    LostReply,
    /// 409: another create of the same object is under way.
    Conflict,
    /// It is done, asked for again below, and that is answered with 412.
    OwnExists,
    /// It is done, asked for again below, and that is answered with an expired key.
    DoneThen403,
    /// The key has expired.
    Expired,
    /// What is there is not seen.
    Missing,
    /// The body ends too soon.
    CutBody,
    /// It takes its time.
    Slow,
}

impl Fault {
    /// What the fault answers, once what it does is done.
    pub(super) fn error(self, location: &Path) -> Error {
        let path = location.to_string();
        let generic = |text: &str| Error::Generic { store: "Faulty", source: text.into() };
        match self {
            Fault::Busy => generic("503 SlowDown"),
            Fault::DoneThen500 => generic("500 InternalError"),
            Fault::TimeoutBefore | Fault::TimeoutLandsAtNext | Fault::TimeoutLandsLast => generic("timed out"),
            Fault::LostReply | Fault::CutBody | Fault::Slow => generic("connection reset"),
            Fault::Conflict => Error::AlreadyExists { path, source: "409 ConditionalRequestConflict".into() },
            Fault::OwnExists => Error::AlreadyExists { path, source: "412 PreconditionFailed".into() },
            Fault::Expired | Fault::DoneThen403 => Error::PermissionDenied { path, source: "403 ExpiredToken".into() },
            Fault::Missing => Error::NotFound { path, source: "404 NoSuchKey".into() },
        }
    }

    /// What the requests below would have noted on their way.
    pub(super) fn note(self, tried: Option<&Tried>) {
        let Some(tried) = tried else { return };
        match self {
            Fault::Busy => tried.note(Some(503), true),
            Fault::DoneThen500 => tried.note(Some(500), true),
            Fault::Conflict => tried.note(Some(409), true),
            Fault::Expired => tried.note(Some(403), true),
            Fault::OwnExists => {
                tried.note(Some(500), true);
                tried.note(Some(412), true);
            }
            Fault::DoneThen403 => {
                tried.note(Some(500), true);
                tried.note(Some(403), true);
            }
            Fault::Missing => tried.note(Some(404), true),
            Fault::Slow => tried.note(Some(200), true),
            Fault::TimeoutBefore
            | Fault::TimeoutLandsAtNext
            | Fault::TimeoutLandsLast
            | Fault::LostReply
            | Fault::CutBody => tried.note(None, true),
        }
    }

    /// Whether the fault does what was asked before it answers.
    pub(super) fn does_it(self) -> bool {
        matches!(self, Fault::DoneThen500 | Fault::LostReply | Fault::OwnExists | Fault::DoneThen403 | Fault::Slow)
    }
}

/// What a put of this object is.
pub(super) fn verb_of_put(location: &Path, mode: &PutMode) -> Verb {
    let path = location.as_ref();
    let log = path.contains("/_delta_log/");
    match mode {
        PutMode::Create if log => Verb::PutLog,
        _ if log => Verb::PutCheckpoint,
        _ if !path.starts_with("_onggi/") => Verb::PutData,
        PutMode::Create => Verb::Create,
        _ => Verb::Put,
    }
}
