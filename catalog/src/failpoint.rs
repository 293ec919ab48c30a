//! Named points at which a test kills the process.
//!
//! `failpoint!("name")` stands before and after every step whose loss must not matter. In a build
//! without the feature `failpoints` it is nothing. With it, an armed point counts its hits, and at
//! the one asked for it writes its name to a log, syncs that, and kills the process without a word,
//! as a power cut would. A name that is not in [`NAMES`] does not compile.

use std::path::PathBuf;

use crate::error::{Error, Result};

/// Every failpoint there is.
pub const NAMES: &[&str] = &[
    "extract.send.after",
    "extract.receive.after",
    "extract.fetch.before",
    "extract.fetch.after",
    "extract.stage.before",
    "extract.stage.after",
    "extract.land.before",
    "extract.land.after",
    "extract.delete.before",
    "extract.delete.after",
    "extract.unstage.after",
    "catalog.files.after",
    "catalog.commit.before",
    "catalog.commit.after",
    "transform.build.before",
    "transform.written.after",
    "transform.check.after",
    "transform.commit.before",
    "transform.commit.after",
    "load.summarise.before",
    "load.summarise.after",
    "load.results.before",
    "load.results.after",
    "load.enrich.before",
    "load.enrich.after",
    "load.sync.before",
    "load.sqlite.before",
    "load.sqlite.after",
    "load.keywords.before",
    "load.keywords.after",
    "load.vectors.before",
    "load.vectors.written",
    "load.vectors.after",
    "load.postgres.before",
    "load.postgres.after",
    "load.mysql.written",
    "load.mysql.before",
    "load.mysql.after",
    "load.sync.after",
    "llm.call.before",
    "llm.reply.before",
    "llm.reply.after",
    "llm.costs.before",
    "llm.costs.after",
    "llm.gather.after",
    "llm.intent.after",
    "llm.upload.after",
    "llm.claim.after",
    "llm.create.after",
    "llm.batch.after",
    "llm.lines.after",
    "llm.over.after",
    "run.record.before",
    "run.record.after",
];

/// Marks a point at which a test may kill the process. See [`mod@crate::failpoint`].
#[macro_export]
macro_rules! failpoint {
    ($name:literal) => {{
        const _: () = assert!($crate::failpoint::known($name), "not a failpoint");
        $crate::failpoint::hit($name);
    }};
}

/// Whether `name` is a failpoint.
pub const fn known(name: &str) -> bool {
    let mut i = 0;
    while i < NAMES.len() {
        if same(NAMES[i].as_bytes(), name.as_bytes()) {
            return true;
        }
        i += 1;
    }
    false
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    let mut i = 0;
    while i < a.len() && i < b.len() && a[i] == b[i] {
        i += 1;
    }
    i == a.len() && i == b.len()
}

/// Arms a point: the process dies at its `nth` hit (1 is the first), after appending the name to
/// `log`. `nth` 0 only counts.
pub fn arm(name: &str, nth: u32, log: Option<PathBuf>) -> Result<()> {
    let fail = |reason| Err(Error::Failpoint { name: name.to_owned(), reason });
    let Some(name) = NAMES.iter().copied().find(|n| *n == name) else {
        return fail("no such failpoint");
    };
    if !cfg!(feature = "failpoints") {
        return fail("this build has none");
    }
    armed::arm(name, nth, log);
    Ok(())
}

/// How often an armed point was hit.
pub fn hits(name: &str) -> u32 {
    armed::hits(name)
}

/// What [`failpoint!`](crate::failpoint!) calls.
#[doc(hidden)]
#[inline]
pub fn hit(name: &'static str) {
    armed::hit(name);
}

#[cfg(feature = "failpoints")]
mod armed {
    use std::collections::HashMap;
    use std::fs::File;
    use std::io::Write;
    use std::path::PathBuf;
    use std::sync::{LazyLock, Mutex, PoisonError};

    struct Point {
        nth: u32,
        log: Option<PathBuf>,
        hits: u32,
    }

    static ARMED: LazyLock<Mutex<HashMap<&'static str, Point>>> = LazyLock::new(Mutex::default);

    pub(super) fn arm(name: &'static str, nth: u32, log: Option<PathBuf>) {
        let mut armed = ARMED.lock().unwrap_or_else(PoisonError::into_inner);
        armed.insert(name, Point { nth, log, hits: 0 });
    }

    pub(super) fn hits(name: &str) -> u32 {
        ARMED.lock().unwrap_or_else(PoisonError::into_inner).get(name).map_or(0, |point| point.hits)
    }

    pub(super) fn hit(name: &'static str) {
        crate::simulation::passed(name);
        // The lock is held while dying, so that no other thread gets past its own point meanwhile.
        let mut armed = ARMED.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(point) = armed.get_mut(name) else { return };
        point.hits += 1;
        if point.hits != point.nth {
            return;
        }
        if let Some(log) = &point.log {
            let written = File::options().create(true).append(true).open(log).and_then(|mut file| {
                writeln!(file, "{name}")?;
                file.sync_all()
            });
            if let Err(error) = written {
                tracing::error!(%error, log = %log.display(), "the failpoint's log can't be written");
            }
        }
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        // A signal to oneself arrives before the call returns; should it not, nothing must go on.
        std::process::abort();
    }
}

#[cfg(not(feature = "failpoints"))]
mod armed {
    use std::path::PathBuf;

    pub(super) fn arm(_name: &'static str, _nth: u32, _log: Option<PathBuf>) {}

    pub(super) fn hits(_name: &str) -> u32 {
        0
    }

    #[inline]
    pub(super) fn hit(_name: &'static str) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_once() {
        assert!(NAMES.iter().all(|name| known(name)));
        assert!(!known("extract.plan") && !known("") && !known("extract.plan.before.x"));
        let unique: std::collections::BTreeSet<_> = NAMES.iter().collect();
        assert_eq!(unique.len(), NAMES.len());
    }

    #[test]
    fn only_known_points_can_be_armed() {
        let error = arm("extract.plan", 1, None).unwrap_err();
        assert_eq!(error.to_string(), "cannot arm failpoint `extract.plan`: no such failpoint");
        let armed = arm("extract.unstage.after", 0, None);
        failpoint!("extract.unstage.after");
        if cfg!(feature = "failpoints") {
            armed.unwrap();
            assert_eq!(hits("extract.unstage.after"), 1);
        } else {
            assert!(armed.is_err());
            assert_eq!(hits("extract.unstage.after"), 0);
        }
    }
}
