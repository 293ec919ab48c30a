//! What world a replica shows. How it misbehaves is in [`Switches`].

use std::path::PathBuf;

use jiff::civil::{Date, date};

use crate::error::{Error, Result};
use crate::seed::{Rng, Stream};
use crate::switches::Switches;

/// What a replica serves. The same options give the same bytes on every machine, whatever the port.
///
/// ```
/// let options = replica::ReplicaOptions { places: 20, reviews: 500, ..Default::default() };
/// assert_eq!(options.seed, 1);
/// ```
#[derive(Debug, Clone)]
pub struct ReplicaOptions {
    /// All content and all misbehaviour follow from it.
    pub seed: u64,
    /// How many places there are (ignored with [`Sizes::Explicit`]).
    pub places: usize,
    /// How many reviews they have in all, exactly (ignored with [`Sizes::Explicit`]).
    pub reviews: u64,
    /// How the reviews are spread over the places.
    pub sizes: Sizes,
    /// The day on which the site is seen: dates of its year are shown without a year.
    pub today: Date,
    /// The day on which the generated history ends; `today` where it is not given. The ids of reviews hold their
    /// times, so pin this day where one world is looked at on several days.
    pub until: Option<Date>,
    /// The port on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// A folder or a file whose texts (JSON arrays, JSONL or CSV) become the bodies of the reviews.
    pub texts: Option<PathBuf>,
    /// The field or column of the texts; found by its name (`review`, `text`, `body`, `content`, `리뷰`, …) where it is not given.
    pub text_column: Option<String>,
    /// How it misbehaves at first.
    pub switches: Switches,
}

impl Default for ReplicaOptions {
    fn default() -> Self {
        Self {
            seed: 1,
            places: 200,
            reviews: 20_000,
            sizes: Sizes::default(),
            today: date(2026, 10, 1),
            until: None,
            port: 0,
            texts: None,
            text_column: None,
            switches: Switches::default(),
        }
    }
}

impl ReplicaOptions {
    /// One place with so many reviews: what the browser bench walks through.
    pub fn heavy(reviews: u64) -> Self {
        Self { sizes: Sizes::Explicit(vec![reviews]), places: 1, reviews, ..Self::default() }
    }
}

/// How the reviews are spread over the places.
#[derive(Debug, Clone, PartialEq)]
pub enum Sizes {
    /// The place of rank r has a share of 1 / r^exponent, and at most `max` reviews. Ranks are dealt by seed.
    Zipf {
        /// 0 makes all places alike, 1 is what cities show.
        exponent: f64,
        /// No place has more.
        max: u64,
    },
    /// So many reviews for each place, in this order.
    Explicit(Vec<u64>),
}

impl Default for Sizes {
    fn default() -> Self {
        Self::Zipf { exponent: 1.0, max: 20_000 }
    }
}

impl Sizes {
    /// The number of reviews of each place; their sum is `reviews` exactly.
    pub(crate) fn deal(&self, seed: u64, places: usize, reviews: u64) -> Result<Vec<u64>> {
        let (exponent, max) = match self {
            Self::Explicit(sizes) => return Ok(sizes.clone()),
            Self::Zipf { exponent, max } => (*exponent, *max),
        };
        let room = max.saturating_mul(places as u64);
        if reviews > room {
            return Err(Error::Options {
                expected: format!("at most {room} reviews for {places} places of at most {max}"),
                found: reviews.to_string(),
            });
        }
        if !(0.0..=10.0).contains(&exponent) {
            return Err(Error::Options {
                expected: "a Zipf exponent in 0..=10".to_owned(),
                found: exponent.to_string(),
            });
        }
        let mut sizes = by_rank(exponent, max, places, reviews);
        // Fisher and Yates, so that the crowded places are not the first.
        let mut rng = Rng::new(seed, Stream::Order, &[]);
        for i in (1..sizes.len()).rev() {
            sizes.swap(i, rng.index(i + 1));
        }
        Ok(sizes)
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "shares of counts far below 2^52, none negative"
)]
fn by_rank(exponent: f64, max: u64, places: usize, reviews: u64) -> Vec<u64> {
    let weights: Vec<f64> = (1..=places).map(|rank| (rank as f64).powf(-exponent)).collect();
    let whole: f64 = weights.iter().sum();
    let mut sizes: Vec<u64> = weights.iter().map(|w| ((w / whole * reviews as f64) as u64).min(max)).collect();
    // What rounding and the cap left over goes round, one each, to places that have room.
    let mut left = reviews - sizes.iter().sum::<u64>().min(reviews);
    while left > 0 {
        let open = sizes.iter().filter(|size| **size < max).count() as u64;
        if open == 0 {
            break;
        }
        let each = (left / open).max(1);
        for size in &mut sizes {
            let more = each.min(max - *size).min(left);
            *size += more;
            left -= more;
        }
    }
    sizes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_sum_is_exact_and_no_place_is_over_the_cap(seed in any::<u64>(), places in 1_usize..300, reviews in 0_u64..50_000, exponent in 0.0..2.0_f64) {
            let max = 20_000;
            prop_assume!(reviews <= max * places as u64);
            let sizes = Sizes::Zipf { exponent, max }.deal(seed, places, reviews).unwrap();
            prop_assert_eq!(sizes.len(), places);
            prop_assert_eq!(sizes.iter().sum::<u64>(), reviews);
            prop_assert!(sizes.iter().all(|size| *size <= max));
        }
    }

    #[test]
    fn zipf_means_that_rank_times_size_is_level() {
        let mut sizes = Sizes::default().deal(3, 200, 20_000).unwrap();
        assert!(sizes[0] < 3_000, "the crowded place is not the first");
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        let first = sizes[0];
        for rank in [2_u64, 5, 10, 50] {
            let here = sizes[usize::try_from(rank).unwrap() - 1] * rank;
            assert!(here.abs_diff(first) < first / 10 + rank, "rank {rank}: {here} against {first}");
        }
    }

    #[test]
    fn too_many_reviews_are_refused() {
        let error = Sizes::Zipf { exponent: 1.0, max: 10 }.deal(1, 3, 31).unwrap_err();
        assert_eq!(error.to_string(), "expected at most 30 reviews for 3 places of at most 10, found 31");
    }
}
