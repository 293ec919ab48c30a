//! Where a browser keeps what it needs while it runs: one folder, which goes when it does.
//!
//! The keeper removes it, unless the keeper is killed as well, as when a container stops or memory runs out. So who starts
//! a browser first removes the folders of browsers that are no more. A browser writes into its profile who it is
//! (`SingletonLock` → `host-pid`): where that process is gone, or nobody wrote anything for long, nobody uses the folder.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

const PREFIX: &str = "onggi-chromium-";

/// A browser writes its lock within its first second.
const LONG: Duration = Duration::from_hours(1);

/// The path of a socket has some hundred bytes, and the browser's lies in its temporary folder.
const LONGEST_PATH: usize = 48;

/// A new folder, after those of browsers that are no more were removed.
pub(super) async fn make() -> std::io::Result<TempDir> {
    let made = tokio::task::spawn_blocking(|| {
        let profile = tempfile::Builder::new().prefix(PREFIX).tempdir()?;
        if let Some(folder) = profile.path().parent() {
            sweep(folder);
        }
        if let Some(folder) = temporary(profile.path()) {
            std::fs::create_dir_all(folder)?;
        }
        Ok(profile)
    });
    made.await.map_err(std::io::Error::other)?
}

/// The temporary folder of a browser lies in its profile, so that it goes with it; where the path is too long for a socket,
/// it lies where it always does.
pub(super) fn temporary(profile: &Path) -> Option<PathBuf> {
    (profile.as_os_str().len() <= LONGEST_PATH).then(|| profile.join("tmp"))
}

fn sweep(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX)) {
        let path = entry.path();
        if !is_used(&path) {
            match std::fs::remove_dir_all(&path) {
                Ok(()) => tracing::debug!(path = %path.display(), "removed the folder of a browser that is no more"),
                // Somebody else's, or somebody else was faster.
                Err(error) => tracing::debug!(path = %path.display(), %error, "a browser's folder stays"),
            }
        }
    }
}

fn is_used(profile: &Path) -> bool {
    let is_young = || {
        let changed = std::fs::symlink_metadata(profile).and_then(|folder| folder.modified());
        changed.is_ok_and(|changed| changed.elapsed().is_ok_and(|age| age < LONG))
    };
    let Ok(lock) = std::fs::read_link(profile.join("SingletonLock")) else { return is_young() };
    let lock = lock.to_string_lossy();
    let Some((host, process)) = lock.rsplit_once('-') else { return is_young() };
    let Some(process) = process.parse().ok().and_then(rustix::process::Pid::from_raw) else { return is_young() };
    // A folder that several machines see: nobody here knows the others' processes.
    if std::fs::read_to_string("/proc/sys/kernel/hostname").is_ok_and(|own| own.trim() != host) {
        return true;
    }
    rustix::process::test_kill_process(process) != Err(rustix::io::Errno::SRCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_browsers_that_are_no_more_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_else(|_| "here".to_owned());
        let profile = |name: &str, lock: Option<&str>| {
            let path = folder.path().join(name);
            std::fs::create_dir(&path).unwrap();
            if let Some(lock) = lock {
                std::os::unix::fs::symlink(lock, path.join("SingletonLock")).unwrap();
            }
        };
        let own = format!("{}-{}", host.trim(), std::process::id());
        // No process has this number: it is above what the kernel gives out.
        let gone = format!("{}-{}", host.trim(), 0x3fff_ffff);
        profile("onggi-chromium-lives", Some(&own));
        profile("onggi-chromium-gone", Some(&gone));
        profile("onggi-chromium-new", None);
        profile("something-else", Some(&gone));
        sweep(folder.path());
        let mut left: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["onggi-chromium-lives", "onggi-chromium-new", "something-else"]);
    }
}
