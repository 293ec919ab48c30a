//! Folders in this machine's temporary directory that a process of ours left when it was killed.
//!
//! A browser's profile says in its lock which process it belongs to; a folder of spilled rows says nothing, so it goes by age:
//! nothing in it has been written for so long that no statement can be at work on it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use catalog::Timestamp;
use catalog::run::{Process, Sighting};
use catalog::upkeep::{GRACE, KEEP};
use serde::Serialize;

/// What browsers call the profiles that we give them.
const PROFILE: &str = "onggi-chromium-";

/// What the folders begin with where statements spill what does not fit into memory, one folder each: one of each user.
const SPILL: &str = "onggi-spill";

/// What a browser keeps in its profile while it runs: a link to `<host>-<pid>`.
const LOCK: &str = "SingletonLock";

/// How many folders went, or would go.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct FreedFolders {
    /// How many.
    pub folders: u64,
    /// What was in them.
    pub bytes: u64,
}

/// Removes those below `temporary` that nobody uses. What can't be looked at or removed stays.
pub(super) fn free(temporary: &Path, now: Timestamp, dry_run: bool) -> FreedFolders {
    let mut freed = FreedFolders::default();
    let mut remove = |folder: &Path, bytes: u64| {
        if dry_run || fs::remove_dir_all(folder).is_ok() {
            freed.folders += 1;
            freed.bytes += bytes;
        }
    };
    for entry in folders(temporary).filter(|entry| entry.file_name().to_string_lossy().starts_with(PROFILE)) {
        let (bytes, youngest) = measure(&entry.path());
        if is_older(youngest, GRACE, now) && !is_in_use(&entry.path()) {
            remove(&entry.path(), bytes);
        }
    }
    let spills = folders(temporary).filter(|entry| entry.file_name().to_string_lossy().starts_with(SPILL));
    for entry in spills.flat_map(|spill| folders(&spill.path()).collect::<Vec<_>>()) {
        let (bytes, youngest) = measure(&entry.path());
        if is_older(youngest, KEEP, now) {
            remove(&entry.path(), bytes);
        }
    }
    freed
}

/// The folders right below one; a link to a folder is none.
fn folders(parent: &Path) -> impl Iterator<Item = fs::DirEntry> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
}

/// The bytes in a folder, and when anything in it was last written.
fn measure(folder: &Path) -> (u64, Option<Timestamp>) {
    let written = |meta: fs::Metadata| meta.modified().ok().and_then(|at| Timestamp::try_from(at).ok());
    let mut found = (0, fs::symlink_metadata(folder).ok().and_then(written));
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(meta) = entry.metadata() else { continue };
        if meta.is_dir() {
            let (bytes, youngest) = measure(&entry.path());
            found = (found.0 + bytes, found.1.max(youngest));
        } else if meta.is_file() {
            found = (found.0 + meta.len(), found.1.max(written(meta)));
        }
    }
    found
}

fn is_older(at: Option<Timestamp>, time: Duration, now: Timestamp) -> bool {
    at.is_some_and(|at| Duration::try_from(now.duration_since(at)).is_ok_and(|age| age > time))
}

/// Whether the browser of a profile may still run. One of another machine, or another container, can't be looked at.
fn is_in_use(profile: &Path) -> bool {
    let Ok(lock) = fs::read_link(profile.join(LOCK)) else { return false };
    let here = Process::current();
    let lock = lock.to_string_lossy();
    let Some((host, pid)) = lock.rsplit_once('-').and_then(|(host, pid)| Some((host, pid.parse().ok()?))) else {
        return true;
    };
    if host != here.host {
        return true;
    }
    // When it started is not in the lock; any process of this id counts.
    !matches!(Process { pid, started: started(pid).unwrap_or(0), ..here }.observe(), Sighting::Gone)
}

/// When the process of this id started, in the words of [`Process`].
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// Makes a folder and all in it so many days old.
    fn age(folder: &Path, days: u32) {
        let now = fs::metadata(folder).unwrap().modified().unwrap();
        for path in [folder.join("inner/file"), folder.join("inner"), folder.to_owned()] {
            fs::File::open(path).unwrap().set_modified(now - Duration::from_hours(24) * days).unwrap();
        }
    }

    #[test]
    fn folders_go_whose_process_is_gone_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let host = Process::current().host;
        let mut ended = std::process::Command::new("true").spawn().unwrap();
        ended.wait().unwrap();
        let me = std::process::id();
        for (name, lock, days) in [
            ("onggi-chromium-killed", Some(format!("{host}-{}", ended.id())), 2),
            ("onggi-chromium-never-started", None, 2),
            ("onggi-chromium-young", None, 0),
            ("onggi-chromium-running", Some(format!("{host}-{me}")), 2),
            ("onggi-chromium-elsewhere", Some(format!("elsewhere-{}", ended.id())), 2),
            ("onggi-spill-1000/datafusion-old", None, 8),
            ("onggi-spill-1000/datafusion-young", None, 2),
            ("org.chromium.theirs", None, 9),
        ] {
            let folder = dir.path().join(name);
            fs::create_dir_all(folder.join("inner")).unwrap();
            fs::write(folder.join("inner/file"), "12345").unwrap();
            if let Some(lock) = lock {
                symlink(lock, folder.join(LOCK)).unwrap();
            }
            age(&folder, days);
        }
        let now = Timestamp::try_from(fs::metadata(dir.path()).unwrap().modified().unwrap()).unwrap();
        let expected = FreedFolders { folders: 3, bytes: 15 };
        assert_eq!(free(dir.path(), now, true), expected, "a dry run says it");
        assert_eq!(free(dir.path(), now, false), expected);
        assert_eq!(free(dir.path(), now, false), FreedFolders::default());
        let mut left: Vec<_> = folders(dir.path()).map(|it| it.file_name().into_string().unwrap()).collect();
        left.sort();
        assert_eq!(
            left,
            [
                "onggi-chromium-elsewhere",
                "onggi-chromium-running",
                "onggi-chromium-young",
                "onggi-spill-1000",
                "org.chromium.theirs"
            ]
        );
    }
}
