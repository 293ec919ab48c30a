//! Randomness that never changes with the version of a library.
//!
//! Everything the replica invents is a function of the seed and of a few numbers that name the thing (place 3, review
//! 812). So any review can be made on demand, in any order, and is the same bytes each time; nothing has to be kept.
//! The mixer is the finaliser of `SplitMix64` (Steele, Lea and Flood, OOPSLA 2014): a bijection on 64 bits, so two
//! different inputs of one stream never meet.

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finaliser of `SplitMix64`. A bijection.
pub(crate) const fn mix(value: u64) -> u64 {
    let mut z = value;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A hash of the parts, in order, under a seed.
pub(crate) fn hash(seed: u64, parts: &[u64]) -> u64 {
    parts.iter().fold(mix(seed ^ GOLDEN), |h, part| mix(h.wrapping_add(GOLDEN) ^ mix(part.wrapping_add(GOLDEN))))
}

/// A number for a text (FNV-1a, then mixed).
pub(crate) fn text(value: &str) -> u64 {
    mix(value.bytes().fold(0xcbf2_9ce4_8422_2325, |h, byte| (h ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)))
}

/// Whether a hash falls below a rate in 0..=1.
pub(crate) fn below_rate(hash: u64, rate: f64) -> bool {
    unit(hash) < rate
}

/// A hash as a number in 0..1, from its upper 32 bits.
fn unit(hash: u64) -> f64 {
    f64::from(u32::try_from(hash >> 32).unwrap_or(u32::MAX)) / 4_294_967_296.0
}

/// What a stream of numbers is for, so that two streams of one review never coincide.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stream {
    Place = 1,
    Review = 2,
    Text = 3,
    Id = 4,
    Author = 5,
    Shape = 6,
    Spoil = 7,
    Fault = 8,
    Order = 9,
    Latency = 10,
    Reply = 12,
}

/// A small generator: `SplitMix64`.
#[derive(Debug, Clone)]
pub(crate) struct Rng(u64);

impl Rng {
    /// The stream of numbers of one thing.
    pub(crate) fn new(seed: u64, stream: Stream, parts: &[u64]) -> Self {
        Self(hash(seed ^ mix(stream as u64), parts))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// A number in 0..end; 0 where `end` is 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next().checked_rem(end).unwrap_or(0)
    }

    /// A number in from..=to.
    pub(crate) fn range(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to.saturating_sub(from) + 1)
    }

    /// An index in 0..len; 0 where `len` is 0.
    pub(crate) fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap_or(0)
    }

    /// True with this probability.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        below_rate(self.next(), probability)
    }

    /// A number in 0..1.
    pub(crate) fn unit(&mut self) -> f64 {
        unit(self.next())
    }

    /// One of a list that is not empty.
    pub(crate) fn pick<'a, T: ?Sized>(&mut self, list: &'a [&'a T]) -> &'a T {
        list[self.index(list.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_a_seed_are_fixed_for_ever() {
        assert_eq!(mix(1), 0x5692_161d_100b_05e5);
        let mut rng = Rng::new(7, Stream::Review, &[1, 2]);
        let first = [rng.next(), rng.next()];
        let mut again = Rng::new(7, Stream::Review, &[1, 2]);
        assert_eq!(first, [again.next(), again.next()]);
        assert_ne!(first[0], Rng::new(7, Stream::Text, &[1, 2]).next());
        assert_ne!(first[0], Rng::new(8, Stream::Review, &[1, 2]).next());
    }

    #[test]
    fn chances_come_out_about_right() {
        let mut rng = Rng::new(1, Stream::Place, &[]);
        let hits = (0..10_000).filter(|_| rng.chance(0.3)).count();
        assert!((2_800..3_200).contains(&hits), "{hits}");
        assert!(!(0..1_000).any(|_| rng.chance(0.0)));
        assert!((0..1_000).all(|_| rng.chance(1.0)));
    }
}
