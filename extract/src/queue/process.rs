//! Who holds a message, and whether it still lives.
//!
//! A worker that was killed can't hand its messages back, and waiting two minutes for each timeout would make every
//! restart slow. On one machine there is a better answer: ask the kernel. The hard part is to never call a living process
//! dead. A pid alone is not enough, since pids are used again; a pid with its start time is. Nor does a pid mean anything
//! outside its machine and pid namespace, so both are part of the name: what was held from elsewhere waits for its timeout.
//!
//! Where there is no `/proc`, nobody is known to be dead and all messages wait for their timeouts.

use std::fs;

/// A process that can be told from every other one that ever held a message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Process {
    /// Boot id and pid namespace; empty where they can't be known.
    pub(super) machine: String,
    pub(super) pid: u32,
    /// In clock ticks since boot; 0 where it can't be known.
    pub(super) started: u64,
}

impl Process {
    /// This process.
    pub(super) fn current() -> Self {
        let pid = std::process::id();
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let namespace = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        let (machine, started) = match stat(pid) {
            Some(Stat { started, .. }) if !boot.is_empty() => {
                (format!("{} {}", boot.trim(), namespace.display()), started)
            }
            _ => (String::new(), 0),
        };
        Self { machine, pid, started }
    }

    /// Whether `holder` ran where we run and is gone. In doubt it is not.
    pub(super) fn knows_dead(&self, holder: &Self) -> bool {
        if self.machine.is_empty() || self.machine != holder.machine || self == holder {
            return false;
        }
        if !std::path::Path::new("/proc/self/stat").exists() {
            return false;
        }
        match stat(holder.pid) {
            // A zombie is dead: it only waits for its parent to look.
            Some(Stat { state, started }) => matches!(state, 'Z' | 'X') || started != holder.started,
            None => true,
        }
    }
}

struct Stat {
    state: char,
    started: u64,
}

/// Fields 3 and 22 of `/proc/<pid>/stat` (`man 5 proc_pid_stat`). The command in field 2 may hold spaces and brackets itself.
fn stat(pid: u32) -> Option<Stat> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse(line: &str) -> Option<Stat> {
    let (_, rest) = line.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let started = fields.nth(18)?.parse().ok()?;
    Some(Stat { state, started })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_with_brackets_does_not_shift_the_fields() {
        let line = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 123456 9 9";
        let stat = parse(line).unwrap();
        assert_eq!((stat.state, stat.started), ('S', 123_456));
        assert!(parse("").is_none());
        assert!(parse("7 (x) S 1").is_none());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn only_those_of_this_machine_that_are_gone_are_dead() {
        let me = Process::current();
        assert!(!me.machine.is_empty());
        assert!(!me.knows_dead(&me));
        assert!(me.knows_dead(&Process { started: me.started + 1, ..me.clone() }), "the pid is used again");
        assert!(!me.knows_dead(&Process { machine: "elsewhere".into(), started: 1, ..me.clone() }));
        let parent = std::os::unix::process::parent_id();
        let started = stat(parent).unwrap().started;
        assert!(!me.knows_dead(&Process { pid: parent, started, ..me.clone() }), "it lives");

        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let held = Process { pid: child.id(), started: stat(child.id()).unwrap().started, ..me.clone() };
        assert!(!me.knows_dead(&held));
        child.kill().unwrap();
        while !me.knows_dead(&held) {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(me.knows_dead(&held));
    }
}
