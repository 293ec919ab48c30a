//! How many tokens a text has here: near what byte-pair encoders give for Korean, and the same on every machine.

/// About 0.8 tokens a Hangul syllable, a quarter for a letter of ASCII, 1.5 for anything else.
pub(crate) fn count(text: &str) -> u64 {
    let twentieths: u64 = text
        .chars()
        .map(|c| match c {
            '가'..='힣' => 16,
            c if c.is_ascii() => 5,
            _ => 30,
        })
        .sum();
    twentieths.div_ceil(20)
}

/// A stable hash of bytes (FNV-1a), as text.
pub(crate) fn hash(parts: &[&str]) -> String {
    format!("{:016x}", number(parts))
}

/// The same as a number.
pub(crate) fn number(parts: &[&str]) -> u64 {
    let mut state: u64 = 0xcbf2_9ce4_8422_2325;
    for part in parts {
        for byte in part.bytes().chain([0xff]) {
            state ^= u64::from(byte);
            state = state.wrapping_mul(0x0100_0000_01b3);
        }
    }
    mix(state)
}

/// `SplitMix64`: neighbouring numbers become unlike ones.
pub(crate) const fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number in 0..1 out of 64 bits.
pub(crate) fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}
