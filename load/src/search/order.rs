//! The best of many, although at first only bounds of them are known.
//!
//! What grams find may be more than there is, so a score of it is a bound. The best is read and gets its real score; once it is still the
//! best with it, nothing else can come before it. So the few that are shown are read, and a few more, however many there are
//! ([Fagin et al. 2003](https://doi.org/10.1016/S0022-0000(03)00026-6)).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// How many are read at once: as many as are missing, within these.
const AT_ONCE: std::ops::RangeInclusive<usize> = 4..=16;

/// A place in the order: the better score first, then the smaller number.
#[derive(Debug, Clone, Copy)]
struct Ranked {
    score: f64,
    number: Reverse<usize>,
    is_settled: bool,
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ranked {}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.score.total_cmp(&other.score).then_with(|| self.number.cmp(&other.number))
    }
}

/// The best, found lazily.
pub(super) struct LazyOrder {
    waiting: BinaryHeap<Ranked>,
    /// Those whose place is known, the best first.
    pub(super) best: Vec<usize>,
    settled: usize,
    most: usize,
}

impl LazyOrder {
    /// Of these: number, bound, and whether that is its real score. At most `most` are settled; then bounds have to do.
    pub(super) fn new(all: impl IntoIterator<Item = (usize, f64, bool)>, most: usize) -> Self {
        let ranked = |(number, score, is_settled)| Ranked { score, number: Reverse(number), is_settled };
        let waiting = all.into_iter().filter(|(_, bound, _)| *bound > 0.0).map(ranked).collect();
        Self { waiting, best: Vec::new(), settled: 0, most }
    }

    /// The next ones whose real score has to be known before `count` are known to be the best; nothing once they are.
    pub(super) fn next(&mut self, count: usize) -> Vec<usize> {
        let mut asked = Vec::new();
        while self.best.len() < count
            && let Some(top) = self.waiting.peek()
        {
            if top.is_settled || self.settled >= self.most {
                self.best.extend(self.waiting.pop().map(|top| top.number.0));
                continue;
            }
            // One read at a time would be a question each to a database.
            let mut later = Vec::new();
            let missing = (count - self.best.len()).clamp(*AT_ONCE.start(), *AT_ONCE.end());
            while asked.len() < missing.min(self.most - self.settled)
                && let Some(top) = self.waiting.pop()
            {
                if top.is_settled { later.push(top) } else { asked.push(top.number.0) }
            }
            self.settled += asked.len();
            self.waiting.extend(later);
            break;
        }
        asked
    }

    /// The real score of one that [`Self::next`] asked for. Without any it is none of them.
    pub(super) fn settle(&mut self, number: usize, score: f64) {
        if score > 0.0 {
            self.waiting.push(Ranked { score, number: Reverse(number), is_settled: true });
        }
    }

    /// The others, in the order of what is known of them.
    pub(super) fn rest(self) -> impl Iterator<Item = usize> {
        self.waiting.into_sorted_vec().into_iter().rev().map(|it| it.number.0)
    }

    /// How many are left.
    pub(super) fn left(&self) -> usize {
        self.waiting.len()
    }

    /// Whether all that is left has its real score.
    pub(super) fn is_rest_settled(&self) -> bool {
        self.waiting.iter().all(|it| it.is_settled)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The order of real scores, and how many were asked for.
    fn order(all: &[(f64, f64)], count: usize) -> (Vec<usize>, usize) {
        let known =
            all.iter().enumerate().map(|(number, (real, bound))| (number, *bound, (real - bound).abs() < 1e-12));
        let mut order = LazyOrder::new(known, usize::MAX);
        let mut asked = 0;
        loop {
            let next = order.next(count);
            if next.is_empty() {
                return (order.best, asked);
            }
            asked += next.len();
            for number in next {
                order.settle(number, all[number].0);
            }
        }
    }

    proptest! {
        #[test]
        fn the_best_by_bounds_are_the_best_by_scores(
            all in proptest::collection::vec((0_u8..6, 0_u8..4), 0..60),
            count in 0_usize..70,
        ) {
            let all: Vec<(f64, f64)> =
                all.iter().map(|(real, more)| (f64::from(*real), f64::from(real + more))).collect();
            let mut expected: Vec<usize> = (0..all.len()).filter(|number| all[*number].0 > 0.0).collect();
            expected.sort_by(|a, b| all[*b].0.total_cmp(&all[*a].0).then(a.cmp(b)));
            expected.truncate(count);
            prop_assert_eq!(order(&all, count).0, expected);
        }
    }

    #[test]
    fn no_more_are_asked_for_than_the_bounds_make_necessary() {
        let all: Vec<(f64, f64)> = (0..10_000_u32).map(|n| (f64::from(n), f64::from(n) + 0.5)).collect();
        let (best, asked) = order(&all, 3);
        assert_eq!(best, [9_999, 9_998, 9_997]);
        assert!(asked <= 2 * *AT_ONCE.start(), "{asked}");
    }
}
