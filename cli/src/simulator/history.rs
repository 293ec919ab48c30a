//! A history: operations drawn from a seed, played in order, and made small when a law is broken.

use catalog::simulation::Draw;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use catalog::simulation;

use super::last::AT_LAST;
use super::laws::{Broken, Law};
use super::operation::{NEXT_DAY, OPERATIONS, Operation, WELL};
use super::tally::Tally;
use super::world::World;

/// An operation and what it draws from.
#[derive(Clone, Copy)]
pub(super) struct Step {
    /// What happens.
    pub operation: &'static Operation,
    /// Its own seed.
    pub seed: u64,
}

/// The history that is played twice.
const SAME: u64 = 3;

/// What is left out of it: where several processes work at once, a look at what another one wrote may take the system a moment
/// longer or shorter, and the clock, or who comes first, with it.
const SEVERAL: [&str; 5] = [
    "two runs at once",
    "two runs at once in containers",
    "two runs and a worker in containers",
    "run whose tasks a worker does",
    "run whose tasks a worker with older files does",
];

/// How long it may take to make one history small.
const PATIENCE: Duration = Duration::from_secs(90);

/// The history of a seed, without the operations that are named.
pub(super) fn drawn(seed: u64, days: u32, without: &[String]) -> Vec<Step> {
    let mut draw = Draw::new(seed);
    let mut steps = Vec::new();
    let mut add = |operation: &'static Operation, seed: u64| steps.push(Step { operation, seed });
    for _ in 0..days {
        for _ in 0..draw.below(4) {
            let seed = draw.number();
            let operation = one(&mut draw, false);
            add(operation, seed);
        }
        for _ in 0..=u64::from(draw.percent(30)) {
            let seed = draw.number();
            let operation = one(&mut draw, true);
            add(operation, seed);
        }
        add(&NEXT_DAY, draw.number());
        if draw.percent(50) {
            add(&WELL, draw.number());
        }
    }
    add(&AT_LAST, draw.number());
    steps.retain(|step| !without.iter().any(|name| name == step.operation.name));
    steps
}

/// One operation, by weight.
fn one(draw: &mut Draw, is_run: bool) -> &'static Operation {
    let of = || OPERATIONS.iter().filter(|operation| operation.is_run == is_run);
    let mut place = draw.below(of().map(|operation| operation.weight).sum());
    for operation in of() {
        if place < operation.weight {
            return operation;
        }
        place -= operation.weight;
    }
    &NEXT_DAY
}

/// Plays a history to its end, or to the first step after which a law is broken.
pub(super) fn play(steps: &[Step], tally: &mut Tally) -> Option<(usize, Broken)> {
    let mut world = World::new();
    for (number, step) in steps.iter().enumerate() {
        let state = world.states();
        simulation::seed(step.seed);
        let played =
            std::panic::catch_unwind(AssertUnwindSafe(|| (step.operation.play)(&mut world, &mut Draw::new(step.seed))));
        let broken = match played {
            Ok(Ok(meant)) => {
                tally.count(step.operation.name, meant.then_some(&state));
                None
            }
            Ok(Err(broken)) => Some(broken),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                Some(Broken::new(Law::NothingPanics, text.unwrap_or_default()))
            }
        };
        tally.trace(format!("{}, after {}", step.operation.name, world.did()));
        if broken.is_some() || number + 1 == steps.len() {
            tally.trace(world.tables.in_words());
            tally.ended(&world);
        }
        if let Some(broken) = broken {
            return Some((number, broken));
        }
    }
    None
}

#[test]
fn a_history_is_the_same_each_time_it_is_played() {
    super::in_threads(1, &|| {
        let steps = drawn(SAME, 5, &SEVERAL.map(str::to_owned));
        let [one, other] = [0, 1].map(|_| {
            let mut tally = Tally::default();
            let broken = play(&steps, &mut tally).map(|(place, broken)| format!("{place}: {}", broken.how));
            (broken, tally)
        });
        for (one, other) in one.1.traced().iter().zip(other.1.traced()) {
            assert_eq!(one, other);
        }
        assert_eq!((one.0, one.1.traced().len()), (other.0, other.1.traced().len()));
    });
}

/// The few steps that still break the same law, and how.
pub(super) fn shrunk(steps: &[Step], broken: &(usize, Broken)) -> (Vec<Step>, Broken) {
    let mut small = Small { steps: steps[..=broken.0].to_vec(), broken: broken.1.clone(), begun: Instant::now() };
    let mut size = small.steps.len().div_ceil(2);
    loop {
        let mut from = 0;
        let mut smaller = false;
        while from < small.steps.len() {
            let mut fewer = small.steps.clone();
            fewer.drain(from..(from + size).min(fewer.len()));
            if small.becomes(fewer) {
                smaller = true;
            } else {
                from += size;
            }
        }
        if size == 1 && !smaller {
            break;
        }
        if !smaller {
            size = size.div_ceil(2);
        }
        size = size.min(small.steps.len()).max(1);
    }
    // A plain run says more than one that was killed for nothing.
    for place in 0..small.steps.len() {
        if let Some(step) = small.steps.get(place).filter(|step| step.operation.is_run)
            && !std::ptr::eq(step.operation, &raw const OPERATIONS[0])
        {
            let mut plain = small.steps.clone();
            plain[place].operation = &OPERATIONS[0];
            small.becomes(plain);
        }
    }
    (small.steps, small.broken)
}

/// The smallest history so far.
struct Small {
    steps: Vec<Step>,
    broken: Broken,
    begun: Instant,
}

impl Small {
    /// Takes these steps if they break the same law, for as long as there is patience.
    fn becomes(&mut self, mut steps: Vec<Step>) -> bool {
        if self.begun.elapsed() > PATIENCE {
            return false;
        }
        match play(&steps, &mut Tally::default()) {
            Some((last, broken)) if broken.law == self.broken.law => {
                steps.truncate(last + 1);
                (self.steps, self.broken) = (steps, broken);
                true
            }
            _ => false,
        }
    }
}
