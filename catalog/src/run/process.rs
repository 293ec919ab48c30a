//! Which process runs a run or holds a task, and whether it still does.
//!
//! The hard part is to never call a living process dead. A process id alone is given again, so it goes
//! with the time the process started and the boot it started in; nor does it mean anything outside its
//! machine and pid namespace, so both are part of the name. What runs elsewhere can't be looked at from
//! here; it counts as alive.

use std::fs;

use serde::{Deserialize, Serialize};

/// A process, told apart from all others before and after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// The machine's name.
    pub host: String,
    /// The machine's boot; empty where that is not known.
    pub boot: String,
    /// The pid namespace: a container has its own; empty where that is not known.
    #[serde(default)]
    pub space: String,
    /// When it started, in the machine's own ticks since boot; 0 where that is not known.
    pub started: u64,
}

impl Process {
    /// This process.
    pub fn current() -> Self {
        let pid = std::process::id();
        let line = |path| fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
        Self {
            pid,
            host: line("/proc/sys/kernel/hostname"),
            boot: line("/proc/sys/kernel/random/boot_id"),
            space: fs::read_link("/proc/self/ns/pid").map(|link| link.display().to_string()).unwrap_or_default(),
            started: started(pid).unwrap_or(0),
        }
    }

    /// Where its id means something: boot and pid namespace. `None` where they can't be known.
    pub fn place(&self) -> Option<String> {
        let known = !self.boot.is_empty() && !self.space.is_empty() && self.started != 0;
        known.then(|| format!("{} {}", self.boot, self.space))
    }

    /// Whether it certainly runs no more.
    pub fn is_gone(&self) -> bool {
        let here = Self::current();
        if self.host != here.host {
            return false;
        }
        if self.boot != here.boot {
            return true;
        }
        // Who wrote before namespaces were kept left it empty, and ran where runs were looked at.
        if !self.space.is_empty() && self.space != here.space {
            return false;
        }
        let raw = i32::try_from(self.pid).ok();
        let Some(pid) = raw.and_then(rustix::process::Pid::from_raw) else { return true };
        match rustix::process::test_kill_process(pid) {
            Err(rustix::io::Errno::SRCH) => true,
            _ => started(self.pid).is_some_and(|started| started != self.started),
        }
    }
}

/// When the process started; `None` if that can't be told. A zombie has ended.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in brackets may hold anything; fields are counted after it, from the state, field 3.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    match fields.next()? {
        "Z" | "X" => Some(u64::MAX),
        _ => fields.nth(18)?.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_here_and_others_are_told_apart() {
        let me = Process::current();
        assert!(!me.is_gone());
        assert!(!Process { host: "elsewhere".into(), pid: 0, ..me.clone() }.is_gone(), "can't be looked at");
        assert!(Process { pid: 0, ..me.clone() }.is_gone());
        if cfg!(target_os = "linux") {
            assert!(Process { started: me.started + 1, ..me.clone() }.is_gone(), "the id was given again");
            assert!(!Process { space: "pid:[7]".into(), pid: 0, ..me.clone() }.is_gone(), "in another container");
            assert!(Process { boot: "another".into(), ..me }.is_gone(), "before the last boot");
        }
    }

    #[test]
    fn a_killed_process_is_gone_also_before_it_is_reaped() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process { pid: child.id(), started: started(child.id()).unwrap_or(0), ..Process::current() };
        assert!(!process.is_gone());
        child.kill().unwrap();
        while cfg!(target_os = "linux") && !process.is_gone() {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(process.is_gone());
    }
}
