//! How many tokens a text has at most, without the model's tokenizer.
//!
//! The rule, on the safe side for the byte-pair encoders in use today: a character of ASCII counts 0.4 tokens, a Hangul syllable 1.5,
//! any other character of up to three bytes 2, of four bytes (emoji) 3; a message adds 8. Real counts are a half to three quarters
//! of it for Korean. The replies' own `usage` corrects the pace ([`Calibration`]); for money the rule is never lowered.

use std::sync::Mutex;
use std::sync::PoisonError;

/// What each message of a conversation adds.
pub const MESSAGE: u64 = 8;

/// The tokens of a text, by the rule.
pub fn estimate(text: &str) -> u64 {
    text.chars().map(tenths).sum::<u64>().div_ceil(10)
}

fn tenths(c: char) -> u64 {
    match c {
        c if c.is_ascii() => 4,
        '가'..='힣' => 15,
        c if c.len_utf8() < 4 => 20,
        _ => 30,
    }
}

/// The longest head of a text that has at most `max` tokens by the rule; cut between words where there are any.
pub fn truncate(text: &str, max: u64) -> &str {
    let mut tokens = 0;
    let mut blank = None;
    for (at, c) in text.char_indices() {
        tokens += tenths(c);
        if tokens > max.saturating_mul(10) {
            // A text without blanks near its end is cut where it is.
            let end = blank.filter(|end| *end > at / 2).unwrap_or(at);
            return text[..end].trim_end();
        }
        if c.is_whitespace() {
            blank = Some(at);
        }
    }
    text
}

/// How far real counts are from the rule, learnt from replies.
#[derive(Debug)]
pub struct Calibration {
    ratio: Mutex<(f64, f64)>,
}

/// How much one reply moves what was learnt.
const WEIGHT: f64 = 0.1;

impl Default for Calibration {
    fn default() -> Self {
        Self { ratio: Mutex::new((1.0, 1.0)) }
    }
}

impl Calibration {
    /// A reply said `real` where the rule said `estimated`.
    pub fn learn(&self, estimated: u64, real: u64) {
        if estimated == 0 || real == 0 {
            return;
        }
        let found = (real as f64 / estimated as f64).clamp(0.05, 4.0);
        let mut ratio = self.ratio.lock().unwrap_or_else(PoisonError::into_inner);
        ratio.0 += (found - ratio.0) * WEIGHT;
        ratio.1 = ratio.1.max(found);
    }

    /// What is likely: for the pace.
    pub fn likely(&self, estimated: u64) -> f64 {
        estimated as f64 * self.ratio.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// How much more than the rule a reply has ever taken, never below 1: for money.
    pub fn worst(&self) -> f64 {
        self.ratio.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_is_as_stated() {
        assert_eq!(estimate(""), 0);
        assert_eq!(estimate("hello"), 2);
        assert_eq!(estimate("국밥"), 3);
        assert_eq!(estimate("★"), 2);
        assert_eq!(estimate("🍜"), 3);
    }

    #[test]
    fn a_text_is_cut_between_words() {
        let text = "국물이 진하고 고기가 많아요";
        let head = truncate(text, 12);
        assert!(text.starts_with(head) && estimate(head) <= 12, "{head}");
        assert_eq!(head, "국물이 진하고");
        assert_eq!(truncate("가나다라마바사", 3), "가나");
        assert_eq!(truncate(text, 1000), text);
    }

    #[test]
    fn replies_correct_the_pace_and_never_lower_the_price() {
        let calibration = Calibration::default();
        for _ in 0..100 {
            calibration.learn(100, 50);
        }
        assert!((calibration.likely(100) - 50.0).abs() < 1.0);
        assert!((calibration.worst() - 1.0).abs() < f64::EPSILON);
        calibration.learn(100, 130);
        assert!(calibration.worst() > 1.29);
    }
}
