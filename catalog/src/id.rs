//! Random identity.
//!
//! Whatever must not be taken for another thing of its kind (a run, a worker, a commit) gets random bits. Numbers that are small
//! or come from a machine, such as a process id, a second or a host's name, are the same in every container.

use uuid::Uuid;

/// A fresh identity: 32 hexadecimal digits, `UUIDv7` without its dashes, so that later ones sort behind earlier ones as far as
/// the clock allows.
pub fn fresh_id() -> String {
    fresh().simple().to_string()
}

/// Random bits: 62 of 64, which is what a `UUIDv7` has behind its time.
pub fn fresh_bits() -> u64 {
    fresh().as_u64_pair().1
}

fn fresh() -> Uuid {
    #[cfg(feature = "failpoints")]
    if let Some(id) = crate::simulation::fresh() {
        return id;
    }
    Uuid::now_v7()
}

/// A random number from 0 to 1, 1 left out: the jitter of waits that no seed has to repeat.
pub fn fresh_fraction() -> f64 {
    f64::from(u32::try_from(fresh_bits() & u64::from(u32::MAX)).unwrap_or_default()) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_are_the_same_and_later_ones_sort_behind() {
        let ids: HashSet<String> = (0..1_000).map(|_| fresh_id()).collect();
        assert_eq!(ids.len(), 1_000);
        assert!(ids.iter().all(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())));
        let bits: HashSet<u64> = (0..1_000).map(|_| fresh_bits()).collect();
        assert_eq!(bits.len(), 1_000);
        let fractions: Vec<f64> = (0..1_000).map(|_| fresh_fraction()).collect();
        assert!(fractions.iter().all(|it| (0.0..1.0).contains(it)));
        assert!(fractions.iter().any(|it| *it < 0.5) && fractions.iter().any(|it| *it >= 0.5));
    }
}
