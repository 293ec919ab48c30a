//! An embedder that needs no download: hashed n-grams, randomly projected. `local-hash-ngram-256`.
//!
//! A text becomes a bag of words (without particles and endings), syllables alone, in pairs and triples, and jamo triples, each weighted sublinearly
//! (1 + ln count) and by how telling its kind is; there is no corpus to take document frequencies from, so kind and length stand in.
//! Each feature is hashed to 64 bits ([Weinberger et al. 2009](https://arxiv.org/abs/0902.2206)) and from that hash draws a fixed row of 256
//! signs, which is a random projection ([Achlioptas 2003](https://doi.org/10.1016/S0022-0000(03)00025-4)): dot products of the bags survive
//! it up to noise of about 1/√256. The result has length 1. It knows spelling, not meaning; the test below measures how far that carries
//! on human judgements of Korean sentence similarity (KLUE-STS).

use std::collections::BTreeMap;

use unicode_normalization::UnicodeNormalization;

use rows::text;

/// Numbers in a vector.
pub const DIMENSION: usize = 256;
/// Raise it when the same text would give another vector: it is part of every content key.
pub const VERSION: u32 = 1;

/// The weight of each kind of feature, found on KLUE-STS: what a word is made of says more there than the whole word.
const WORD: f32 = 0.3;
const SYLLABLE: f32 = 0.3;
const PAIR: f32 = 0.3;
const TRIPLE: f32 = 0.2;
const JAMO: f32 = 0.6;
/// Endings of verbs and of sentences, longest first. Left on, every polite sentence looks like every other; without them agreement with
/// people rises by a fifth.
const ENDINGS: [&str; 35] = [
    "하였습니다",
    "했습니다",
    "인가요",
    "습니다",
    "입니다",
    "합니다",
    "됩니다",
    "었어요",
    "았어요",
    "였어요",
    "했어요",
    "하세요",
    "니다",
    "해요",
    "어요",
    "아요",
    "세요",
    "네요",
    "까요",
    "해줘",
    "었다",
    "았다",
    "했다",
    "한다",
    "나요",
    "해",
    "줘",
    "다",
    "요",
    "지",
    "고",
    "면",
    "며",
    "음",
    "함",
];
/// Words that say little about what a text is about keep this share of their weight.
const FILLER: f32 = 0.3;
const FILLERS: [&str; 24] = [
    "정말",
    "너무",
    "아주",
    "진짜",
    "그리고",
    "그냥",
    "매우",
    "조금",
    "있는",
    "없는",
    "하는",
    "있어요",
    "있습니다",
    "합니다",
    "했습니다",
    "같아요",
    "좋은",
    "좋아요",
    "좋습니다",
    "것",
    "수",
    "때",
    "곳",
    "더",
];

/// The vector of a text: length 1, or all zero when it has no letters or digits.
pub fn embed(text: &str) -> Vec<f32> {
    let mut sum = [0.0_f32; DIMENSION];
    for (feature, weight) in features(text) {
        let mut state = feature;
        for block in sum.chunks_mut(64) {
            let bits = split_mix(&mut state);
            for (i, slot) in block.iter_mut().enumerate() {
                *slot += if (bits >> i) & 1 == 1 { weight } else { -weight };
            }
        }
    }
    let length = sum.iter().map(|x| x * x).sum::<f32>().sqrt();
    if length > 0.0 {
        for x in &mut sum {
            *x /= length;
        }
    }
    sum.to_vec()
}

/// How near two embeddings are: the cosine, as both have length 1.
pub fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// The weighted bag: hash of the feature → weight. Ordered, so that the sum is the same on every machine.
fn features(text: &str) -> BTreeMap<u64, f32> {
    let folded = text::fold(text);
    let mut bag: BTreeMap<u64, (f32, f32)> = BTreeMap::new();
    let mut add = |kind: u8, part: &str, weight: f32| {
        let slot = bag.entry(hash(kind, part)).or_insert((0.0, weight));
        slot.0 += 1.0;
        slot.1 = slot.1.max(weight);
    };
    for word in text::words(&folded) {
        let share = if FILLERS.contains(&word) { FILLER } else { 1.0 };
        let stem = core(word);
        add(b'w', stem, WORD * share);
        let chars: Vec<char> = stem.chars().collect();
        let mut gram = String::new();
        for (kind, size, weight) in [(b'1', 1, SYLLABLE), (b'2', 2, PAIR), (b'3', 3, TRIPLE)] {
            for window in chars.windows(size) {
                gram.clear();
                gram.extend(window);
                add(kind, &gram, weight * share);
            }
        }
        let jamo: Vec<char> = std::iter::once('^').chain(stem.nfd()).chain(std::iter::once('$')).collect();
        for window in jamo.windows(3) {
            gram.clear();
            gram.extend(window);
            add(b'j', &gram, JAMO * share);
        }
    }
    bag.into_iter().map(|(id, (count, weight))| (id, weight * (1.0 + count.ln()))).collect()
}

/// The word without its particle; without its ending when it has no particle.
fn core(word: &str) -> &str {
    let stem = text::stem(word);
    if stem.len() < word.len() {
        return stem;
    }
    ENDINGS.iter().find_map(|ending| word.strip_suffix(ending).filter(|rest| !rest.is_empty())).unwrap_or(word)
}

/// FNV-1a over kind and text: small, stable, and mixed again by [`split_mix`] before use.
fn hash(kind: u8, text: &str) -> u64 {
    std::iter::once(kind)
        .chain(text.bytes())
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The next 64 signs of a feature's row ([Steele et al. 2014](https://doi.org/10.1145/2714064.2660195)).
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests;
