//! What a browser may hold: all of its processes together.
//!
//! A page's program holds what it likes: texts outside of the heap that has a bound, workers, frames. So the browser's
//! processes are looked at every half second, and where they hold more than they may, the renderer that holds most is ended:
//! its page crashes, and the pages beside it go on. Where no renderer stands out the whole browser is ended. What is counted
//! is each process's own memory, and not the program that all of them share.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// How often it is looked at.
const EVERY: Duration = Duration::from_millis(500);

/// A renderer that holds less than this share of what all may hold is not the one to blame.
const BLAMED_SHARE: u64 = 4;

/// One process of a browser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    pid: i32,
    is_renderer: bool,
    bytes: u64,
}

/// What is done about a browser that holds too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Fine,
    End(i32),
    EndAll,
}

/// Watches a browser until it ends. `ended` is told before a process is ended for what it holds.
pub(super) async fn watch(group: u32, most_bytes: u64, ended: Arc<dyn Fn() + Send + Sync>) {
    let Some(pid) = i32::try_from(group).ok().and_then(Pid::from_raw) else { return };
    loop {
        tokio::time::sleep(EVERY).await;
        // Where there is no `/proc`, there is nothing to look at.
        let Ok(Some(held)) = tokio::task::spawn_blocking(move || held(Path::new("/proc"), pid)).await else { return };
        let done = match judge(&held, most_bytes) {
            Verdict::Fine => continue,
            Verdict::End(process) => {
                ended();
                Pid::from_raw(process).map(|process| kill_process(process, Signal::KILL))
            }
            Verdict::EndAll => {
                ended();
                Some(kill_process_group(pid, Signal::KILL))
            }
        };
        tracing::warn!(group, most_bytes, ?held, ?done, "the browser held more than it may");
    }
}

fn judge(held: &[Held], most_bytes: u64) -> Verdict {
    if held.iter().map(|process| process.bytes).sum::<u64>() <= most_bytes {
        return Verdict::Fine;
    }
    let largest = held.iter().filter(|process| process.is_renderer).max_by_key(|process| process.bytes);
    match largest {
        Some(process) if process.bytes > most_bytes / BLAMED_SHARE => Verdict::End(process.pid),
        _ => Verdict::EndAll,
    }
}

/// The processes of a group and what each holds; nothing where the system does not tell.
fn held(proc: &Path, group: Pid) -> Option<Vec<Held>> {
    let entries = std::fs::read_dir(proc).ok()?;
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let of_group = pids.filter_map(|pid| {
        let folder = proc.join(pid.to_string());
        let stat = std::fs::read_to_string(folder.join("stat")).ok()?;
        // The name before it may hold anything.
        let (_, fields) = stat.rsplit_once(')')?;
        let own_group = fields.split_whitespace().nth(2)?.parse().ok().and_then(Pid::from_raw)?;
        if own_group != group {
            return None;
        }
        let status = std::fs::read_to_string(folder.join("status")).ok()?;
        let command = std::fs::read(folder.join("cmdline")).unwrap_or_default();
        let is_renderer = command.split(|byte| *byte == 0 || *byte == b' ').any(|word| word == b"--type=renderer");
        Some(Held { pid, is_renderer, bytes: own_bytes(&status) })
    });
    Some(of_group.collect())
}

/// What a process holds by itself: pages of files that it maps are shared by all and can be dropped.
fn own_bytes(status: &str) -> u64 {
    let kib = |line: &str| line.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok());
    let is_own = |line: &&str| ["RssAnon:", "RssShmem:", "VmSwap:"].iter().any(|name| line.starts_with(name));
    status.lines().filter(is_own).filter_map(kib).sum::<u64>() * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_renderer_that_holds_most_is_ended_or_all() {
        let of = |pid, is_renderer, mib: u64| Held { pid, is_renderer, bytes: mib << 20 };
        let most = 1000 << 20;
        for (held, expected) in [
            (vec![], Verdict::Fine),
            (vec![of(1, false, 200), of(2, true, 400), of(3, true, 400)], Verdict::Fine),
            (vec![of(1, false, 200), of(2, true, 400), of(3, true, 401)], Verdict::End(3)),
            (vec![of(1, false, 900), of(2, true, 300), of(3, true, 50)], Verdict::End(2)),
            // The browser itself, or too many small ones.
            (vec![of(1, false, 1100), of(2, true, 100)], Verdict::EndAll),
            ((0..20).map(|pid| of(pid, true, 60)).collect(), Verdict::EndAll),
        ] {
            assert_eq!(judge(&held, most), expected, "{held:?}");
        }
    }

    #[test]
    fn processes_of_a_group_are_found_with_what_they_hold() {
        let proc = tempfile::tempdir().unwrap();
        let process = |pid: &str, name: &str, group: i32, command: &[u8]| {
            let folder = proc.path().join(pid);
            std::fs::create_dir(&folder).unwrap();
            std::fs::write(folder.join("stat"), format!("{pid} ({name}) S 1 {group} {group} 0 -1")).unwrap();
            let status = "Name:\tx\nVmRSS:\t  900 kB\nRssAnon:\t     100 kB\nRssFile:\t 700 kB\nRssShmem:\t  20 kB\nVmSwap:\t 3 kB\n";
            std::fs::write(folder.join("status"), status).unwrap();
            std::fs::write(folder.join("cmdline"), command).unwrap();
        };
        process("10", "chromium", 9, b"chromium\0--headless\0");
        process("11", "a) S 1 8 (", 9, b"chromium\0--type=renderer\0--x\0");
        process("12", "chromium", 8, b"chromium\0--type=renderer\0");
        std::fs::create_dir(proc.path().join("self")).unwrap();
        let mut found = held(proc.path(), Pid::from_raw(9).unwrap()).unwrap();
        found.sort_by_key(|process| process.pid);
        let bytes = 123 * 1024;
        assert_eq!(found, [Held { pid: 10, is_renderer: false, bytes }, Held { pid: 11, is_renderer: true, bytes }]);
        assert_eq!(held(Path::new("/nowhere"), Pid::from_raw(9).unwrap()), None);
    }
}
