//! The little Korean grammar a template needs: particles that follow the sound before them, and decomposed text.
//!
//! A syllable is `0xAC00 + (lead × 21 + vowel) × 28 + tail`; a tail of 0 means the syllable ends in a vowel.

use std::fmt::Write as _;

const BASE: u32 = 0xac00;
const LAST: u32 = 0xd7a3;

/// Particles with two forms: after a consonant, after a vowel.
const PARTICLES: &[(&str, &str)] = &[
    ("은", "는"),
    ("이", "가"),
    ("을", "를"),
    ("과", "와"),
    ("이랑", "랑"),
    ("으로", "로"),
    ("이라", "라"),
    ("이에요", "예요"),
    ("이나", "나"),
];

/// `word` with the form of `particle` that fits it; a particle with one form is added as it is.
pub(crate) fn with_particle(word: &str, particle: &str) -> String {
    let tail = word.chars().next_back().and_then(tail);
    let form =
        PARTICLES.iter().find(|(consonant, _)| *consonant == particle).map_or(
            particle,
            |(consonant, vowel)| match tail {
                // ㄹ (8) takes 로, as a vowel does.
                Some(8) if particle == "으로" => vowel,
                Some(0) | None => vowel,
                Some(_) => consonant,
            },
        );
    format!("{word}{form}")
}

/// The tail of a syllable: 0 for none, nothing for what is no syllable.
fn tail(c: char) -> Option<u32> {
    let code = u32::from(c);
    (BASE..=LAST).contains(&code).then(|| (code - BASE) % 28)
}

/// Fills `{slot}` and `{slot:particle}` from `value`; an unknown slot is left as it stands.
pub(crate) fn fill(template: &str, value: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(template.len() + 16);
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        out.push_str(&rest[..open]);
        let after = &rest[open + 1..];
        let Some(close) = after.find('}') else {
            rest = &rest[open..];
            break;
        };
        let (slot, particle) = after[..close].split_once(':').unwrap_or((&after[..close], ""));
        match value(slot) {
            Some(word) if particle.is_empty() => out.push_str(&word),
            Some(word) => out.push_str(&with_particle(&word, particle)),
            None => {
                // Writing to a String cannot fail.
                let _ = write!(out, "{{{}}}", &after[..close]);
            }
        }
        rest = &after[close + 1..];
    }
    out.push_str(rest);
    out
}

/// Canonical decomposition of Korean syllables (NFD), as texts typed on some phones and file systems arrive.
pub(crate) fn decompose(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for c in text.chars() {
        let code = u32::from(c);
        if (BASE..=LAST).contains(&code) {
            let syllable = code - BASE;
            out.extend(char::from_u32(0x1100 + syllable / 588));
            out.extend(char::from_u32(0x1161 + syllable % 588 / 28));
            if !syllable.is_multiple_of(28) {
                out.extend(char::from_u32(0x11a7 + syllable % 28));
            }
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn particles_follow_the_last_sound() {
        for (word, particle, expected) in [
            ("국밥", "이", "국밥이"),
            ("파스타", "이", "파스타가"),
            ("냉면", "을", "냉면을"),
            ("뇨키", "은", "뇨키는"),
            ("나물", "으로", "나물로"),
            ("국밥", "으로", "국밥으로"),
            ("국밥", "이에요", "국밥이에요"),
            ("라떼", "이에요", "라떼예요"),
            ("국밥", "까지", "국밥까지"),
            ("BBQ", "이", "BBQ가"),
        ] {
            assert_eq!(with_particle(word, particle), expected);
        }
    }

    #[test]
    fn a_template_is_filled_and_strangers_are_left() {
        let value = |slot: &str| (slot == "m").then(|| "국밥".to_owned());
        assert_eq!(fill("{m:을} 먹고 {x} 갔다 :}", &value), "국밥을 먹고 {x} 갔다 :}");
        assert_eq!(fill("open { only", &value), "open { only");
    }

    #[test]
    fn decomposed_text_is_the_canonical_form() {
        assert_eq!(decompose("국밥 a"), "\u{1100}\u{116e}\u{11a8}\u{1107}\u{1161}\u{11b8} a");
        assert_eq!(decompose("가"), "\u{1100}\u{1161}");
    }
}
