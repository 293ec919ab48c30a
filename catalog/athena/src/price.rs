//! What a query costs. Athena's price list is by bytes scanned: <https://aws.amazon.com/athena/pricing/>.

/// A megabyte and a terabyte are taken as powers of ten, which says a little too much rather than too little.
const MB: u64 = 1_000_000;
const TB: f64 = 1e12;
/// What the smallest query is charged for.
const LEAST_MB: u64 = 10;

/// The price of a query that scanned so much: whole megabytes, ten of them at least.
///
/// ```
/// assert_eq!(athena::cost(1, 5.0), 0.00005);
/// assert_eq!(athena::cost(2_000_000_000_000, 5.0), 10.0);
/// ```
pub fn cost(scanned_bytes: u64, price_per_tb: f64) -> f64 {
    let charged_mb = scanned_bytes.div_ceil(MB).max(LEAST_MB);
    (charged_mb * MB) as f64 / TB * price_per_tb
}

#[cfg(test)]
mod tests {
    use super::cost;

    #[test]
    fn ten_megabytes_are_the_least_and_parts_of_one_count_as_one() {
        let least = cost(10_000_000, 5.0);
        assert!((cost(0, 5.0) - least).abs() < 1e-12);
        assert!((cost(9_999_999, 5.0) - least).abs() < 1e-12);
        assert!((cost(10_000_001, 5.0) - 0.000_055).abs() < 1e-12);
        assert!((cost(10_000_001, 6.0) - 0.000_066).abs() < 1e-12);
    }
}
