//! Which process runs a run or holds a task, and whether it still does.
//!
//! A process id alone is given again, so it goes with the time the process started and the boot it started in; nor does it mean
//! anything outside its machine and pid namespace, so both are part of the name. A name is no proof either: images, clones and
//! compose files give many machines one host name. So a process is *looked at* only where host, boot and pid namespace are all
//! ours; of any other, [`silence`] is all there is to go by: how long ago it was last heard.

use std::fs;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// How far another clock may be ahead of ours before what it says is set aside for what a second clock says.
const LEAD: SignedDuration = SignedDuration::from_mins(2);

/// How far all clocks but ours may be ahead before a life sign from the future is not believed any more.
const MOST_AHEAD: SignedDuration = SignedDuration::from_hours(24);

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

/// What a look at a process shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sighting {
    /// It is there.
    Runs,
    /// It certainly is not there any more.
    Gone,
    /// It can't be looked at from here: another machine, another boot, another container.
    OutOfSight,
}

impl Process {
    /// This process.
    pub fn current() -> Self {
        #[cfg(feature = "failpoints")]
        if let Some(host) = crate::simulation::host() {
            // As in a container: always the first process, of a pid namespace that nobody else sees.
            return Self { pid: 1, space: format!("pid:[{host}]"), boot: host.clone(), host, started: 1 };
        }
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

    /// Looks at it, if it can be looked at from here.
    pub fn observe(&self) -> Sighting {
        let here = Self::current();
        // Who wrote before namespaces were kept left it empty, and ran where runs were looked at.
        let in_sight =
            self.host == here.host && self.boot == here.boot && (self.space.is_empty() || self.space == here.space);
        if !in_sight {
            return Sighting::OutOfSight;
        }
        let raw = i32::try_from(self.pid).ok();
        let Some(pid) = raw.and_then(rustix::process::Pid::from_raw) else { return Sighting::Gone };
        let gone = match rustix::process::test_kill_process(pid) {
            Err(rustix::io::Errno::SRCH) => true,
            _ => started(self.pid).is_some_and(|started| started != self.started),
        };
        if gone { Sighting::Gone } else { Sighting::Runs }
    }

    /// Whether it certainly runs no more.
    pub fn is_gone(&self) -> bool {
        self.observe() == Sighting::Gone
    }

    /// Whether it is to be taken for dead: it is gone, or it is out of sight and has been silent for longer than `patience`.
    pub fn is_dead(&self, silence: Duration, patience: Duration) -> bool {
        match self.observe() {
            Sighting::Runs => false,
            Sighting::Gone => true,
            Sighting::OutOfSight => silence > patience,
        }
    }
}

/// How long ago a sign of life was given, told by clocks that may differ: `said` is what the clock of who gave it said, `stored`
/// what the clock of the store said when it came in, `now` is ours.
///
/// A clock that is wrong must make nobody dead at once, nor immortal. So the youngest age counts, of those clocks that are not
/// ahead of ours. If both are, the sign counts as given just now – unless they are ahead by more than a day: then it is not
/// believed, and the silence is without end.
pub fn silence(said: Timestamp, stored: Option<Timestamp>, now: Timestamp) -> Duration {
    let ages = || [Some(said), stored].into_iter().flatten().map(|at| now.duration_since(at));
    if let Some(age) = ages().filter(|age| *age >= -LEAD).min() {
        return Duration::try_from(age).unwrap_or_default();
    }
    if ages().any(|age| age >= -MOST_AHEAD) { Duration::ZERO } else { Duration::MAX }
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
    fn only_what_is_certainly_here_is_looked_at() {
        let me = Process::current();
        assert_eq!(me.observe(), Sighting::Runs);
        assert_eq!(Process { pid: 0, ..me.clone() }.observe(), Sighting::Gone);
        let nobody = Process { pid: 0, ..me.clone() };
        assert_eq!(Process { host: "elsewhere".into(), ..nobody.clone() }.observe(), Sighting::OutOfSight);
        if cfg!(target_os = "linux") {
            assert_eq!(Process { started: me.started + 1, ..me }.observe(), Sighting::Gone, "the id was given again");
            let other = Process { space: "pid:[7]".into(), ..nobody.clone() };
            assert_eq!(other.observe(), Sighting::OutOfSight, "in another container");
            let other = Process { boot: "another".into(), ..nobody };
            assert_eq!(
                other.observe(),
                Sighting::OutOfSight,
                "another machine of this name, or this one before it was booted"
            );
        }
    }

    #[test]
    fn out_of_sight_is_dead_only_by_its_silence() {
        let (short, patience, long) = (Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(3));
        let me = Process::current();
        for (process, dead) in [
            (me.clone(), [false, false]),
            (Process { pid: 0, ..me.clone() }, [true, true]),
            (Process { host: "elsewhere".into(), ..me.clone() }, [false, true]),
            (Process { boot: "another".into(), ..me.clone() }, [false, true]),
            (Process { space: "pid:[7]".into(), pid: 1, ..me }, [false, true]),
        ] {
            assert_eq!([short, long].map(|silence| process.is_dead(silence, patience)), dead, "{process:?}");
        }
    }

    #[test]
    fn a_wrong_clock_makes_nobody_dead_at_once_nor_immortal() {
        const HOUR: i64 = 3_600;
        let now = Timestamp::from_second(1_790_000_000).unwrap();
        let at = |second: i64| Timestamp::from_second(1_790_000_000 + second).unwrap();
        // What the writer's clock said, what the store's said, and the silence in seconds.
        for (said, stored, expected) in [
            (-7, Some(-7), Some(7)),
            (-7, None, Some(7)),
            (1, Some(-400), Some(0)),
            (9 * HOUR, Some(-1), Some(1)),
            (9 * HOUR, Some(-400), Some(400)),
            (-9 * HOUR, Some(-1), Some(1)),
            (-9 * HOUR, Some(-9 * HOUR), Some(9 * HOUR)),
            (-1, Some(9 * HOUR), Some(1)),
            (-400, Some(9 * HOUR), Some(400)),
            (9 * HOUR, Some(9 * HOUR), Some(0)),
            (9 * HOUR, None, Some(0)),
            (25 * HOUR, Some(25 * HOUR), None),
            (25 * HOUR, None, None),
        ] {
            let expected = expected.map_or(Duration::MAX, |seconds| Duration::from_secs(seconds.unsigned_abs()));
            assert_eq!(silence(at(said), stored.map(at), now), expected, "{said} {stored:?}");
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
