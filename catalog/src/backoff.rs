//! How long to wait before something is tried again.

use std::time::Duration;

/// Doubles with each turn, from `first` at turn 0 to `longest`; then between half and all of it, by `jitter` from 0 to 1
/// ("equal jitter", <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>). A jitter of 1 takes all of it.
///
/// ```
/// # use std::time::Duration;
/// let wait = |turn| catalog::backoff(Duration::from_millis(100), turn, Duration::from_secs(1), 1.0).as_millis();
/// assert_eq!([0, 1, 2, 3, 4].map(wait), [100, 200, 400, 800, 1000]);
/// ```
pub fn backoff(first: Duration, turn: u32, longest: Duration, jitter: f64) -> Duration {
    let whole = first.saturating_mul(1 << turn.min(30)).min(longest);
    whole.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_bound_and_jitter_takes_off_at_most_half() {
        let (first, longest) = (Duration::from_millis(4), Duration::from_secs(1));
        for jitter in [-1.0, 0.0, 0.3, 1.0, 7.0] {
            let waits: Vec<Duration> =
                (0..70).chain([u32::MAX]).map(|turn| backoff(first, turn, longest, jitter)).collect();
            assert!(waits.is_sorted());
            assert!(waits[0] >= first / 2 && waits[0] <= first);
            assert!(waits[70] >= longest / 2 && waits[70] <= longest);
        }
    }
}
