//! How often which operation met which state, and what it cost.

use std::collections::BTreeMap;

use super::world::World;

/// The states that are told apart, in the order of the table's columns.
pub(super) const STATES: [&str; 12] = [
    "all well",
    "site sick",
    "check fails",
    "type changed",
    "after a kill",
    "part lost",
    "file damaged",
    "day open",
    "sink touched",
    "sink orphaned",
    "model sick",
    "budget set",
];

/// Counts of many histories.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    met: BTreeMap<&'static str, BTreeMap<&'static str, u64>>,
    idle: BTreeMap<&'static str, u64>,
    points: BTreeMap<&'static str, u64>,
    /// Runs, and real milliseconds in runs and in looks.
    runs: u64,
    spent: (u128, u128),
    /// A line a step of the last history, by which two plays of it are compared.
    trace: Vec<String>,
}

impl Tally {
    /// An operation met these states; none if it meant nothing.
    pub(super) fn count(&mut self, operation: &'static str, states: Option<&Vec<&'static str>>) {
        match states {
            None => *self.idle.entry(operation).or_default() += 1,
            Some(states) => {
                let met = self.met.entry(operation).or_default();
                for state in states {
                    *met.entry(state).or_default() += 1;
                }
            }
        }
    }

    /// What became of a step of the history that is played.
    pub(super) fn trace(&mut self, line: String) {
        self.trace.push(line);
    }

    /// The lines of [`Tally::trace`].
    pub(super) fn traced(&self) -> &[String] {
        &self.trace
    }

    /// A history ended.
    pub(super) fn ended(&mut self, world: &World) {
        for point in &world.points {
            *self.points.entry(point).or_default() += 1;
        }
        self.runs += world.runs;
        self.spent.0 += world.spent.0;
        self.spent.1 += world.spent.1;
    }

    /// Takes in another's counts.
    pub(super) fn add(&mut self, other: &Self) {
        for (operation, states) in &other.met {
            for (state, count) in states {
                *self.met.entry(operation).or_default().entry(state).or_default() += count;
            }
        }
        for (operation, count) in &other.idle {
            *self.idle.entry(operation).or_default() += count;
        }
        for (point, count) in &other.points {
            *self.points.entry(point).or_default() += count;
        }
        self.runs += other.runs;
        self.spent.0 += other.spent.0;
        self.spent.1 += other.spent.1;
    }

    /// The table, a line an operation, and where processes were killed.
    pub(super) fn text(&self) -> String {
        let mut text = format!("{:<40}", "operation, and what it met");
        for state in STATES {
            text += &format!("{state:>14}");
        }
        text += &format!("{:>14}\n", "no use");
        let mut names: Vec<&&str> = self.met.keys().chain(self.idle.keys()).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            text += &format!("{name:<40}");
            for state in STATES {
                let count = self.met.get(*name).and_then(|met| met.get(state)).copied().unwrap_or_default();
                text += &format!("{count:>14}");
            }
            text += &format!("{:>14}\n", self.idle.get(*name).copied().unwrap_or_default());
        }
        let points: Vec<String> = self.points.iter().map(|(point, count)| format!("{point} {count}")).collect();
        let each = |spent: u128| spent as f64 / self.runs.max(1) as f64;
        text += &format!(
            "killed after: {}\n{} runs, {:.0} ms each, and {:.0} ms to look at the lake\n",
            points.join(", "),
            self.runs,
            each(self.spent.0),
            each(self.spent.1)
        );
        text
    }
}
