//! Korean text as the serving side sees it: one normal form, one folding, sentences, words.
//!
//! The hard part is that reviews seldom have punctuation (`맛있어요 친절해요 또 올게요`) and that a word carries its particles
//! (`국밥을`, `국밥이`). Both are handled by small rules here, not by a morphological analyser: a substring search over folded text
//! needs neither, and the summariser only needs sentences that read well.

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

/// The text in normal form C: macOS writes Hangul as loose jamo, which would match nothing.
pub fn nfc(text: &str) -> String {
    if is_nfc_quick(text.chars()) == IsNormalized::Yes { text.to_owned() } else { text.nfc().collect() }
}

/// What searching compares: NFC, each character lowercased on its own, so that a folded part is a part of the folded whole.
pub fn fold(text: &str) -> String {
    let lower: String = nfc(text).chars().flat_map(char::to_lowercase).collect();
    nfc(&lower)
}

/// Words that end in 요 and do not end a sentence.
const NOT_ENDINGS: [&str; 7] = ["필요", "불필요", "중요", "주요", "수요", "소요", "고요"];
/// A sentence shorter than this (characters) is not cut off by an ending alone: `네요` is not a sentence.
const MIN_SENTENCE_CHARS: usize = 6;

/// Splits text into sentences: at line ends, at closing punctuation, and after the endings that Korean sentences close with.
///
/// ```
/// assert_eq!(rows::text::sentences("국물이 진해요 고기도 많고요. 3.5점!"), ["국물이 진해요", "고기도 많고요.", "3.5점!"]);
/// ```
pub fn sentences(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut start = 0;
        let mut chars = line.char_indices().peekable();
        let mut before = ' ';
        while let Some((at, c)) = chars.next() {
            let next = chars.peek().map(|&(_, c)| c);
            let end = at + c.len_utf8();
            let cut = if is_closing(c) {
                match next {
                    None => true,
                    Some(n) if n.is_whitespace() => true,
                    Some(n) => is_hangul(n) && is_hangul(before) && c != '~',
                }
            } else {
                next.is_some_and(char::is_whitespace) && ends_sentence(&line[start..end])
            };
            if cut {
                push_sentence(&mut found, &line[start..end]);
                start = end;
            }
            if !is_closing(c) {
                before = c;
            }
        }
        push_sentence(&mut found, &line[start..]);
    }
    found
}

fn push_sentence<'a>(found: &mut Vec<&'a str>, part: &'a str) {
    let part = part.trim();
    if part.chars().any(char::is_alphanumeric) {
        found.push(part);
    }
}

fn is_closing(c: char) -> bool {
    matches!(c, '.' | '!' | '?' | '…' | '。' | '！' | '？' | '~')
}

fn is_hangul(c: char) -> bool {
    ('가'..='힣').contains(&c)
}

fn ends_sentence(so_far: &str) -> bool {
    let so_far = so_far.trim_start();
    if so_far.chars().count() < MIN_SENTENCE_CHARS {
        return false;
    }
    let word = so_far.rsplit(char::is_whitespace).next().unwrap_or(so_far);
    let laugh = word.trim_end_matches(['ㅋ', 'ㅎ', 'ㅠ', 'ㅜ', '^']);
    if laugh.len() + 2 * 'ㅋ'.len_utf8() <= word.len() {
        return true;
    }
    word.ends_with("니다")
        || word.ends_with("네용")
        || word.ends_with('죠')
        || (word.ends_with('요') && !NOT_ENDINGS.contains(&word))
}

/// The words of a folded text: runs of letters and digits.
pub fn words(folded: &str) -> impl Iterator<Item = &str> {
    folded.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}

/// Particles and a few endings, longest first: what is trimmed off a word before it is compared.
const PARTICLES: [&str; 39] = [
    "에서는",
    "에서도",
    "이라는",
    "으로는",
    "에서",
    "에게",
    "으로",
    "하고",
    "이랑",
    "까지",
    "부터",
    "한테",
    "처럼",
    "보다",
    "하는",
    "하게",
    "하기",
    "이나",
    "에는",
    "에도",
    "들이",
    "을",
    "를",
    "은",
    "는",
    "이",
    "가",
    "에",
    "의",
    "와",
    "과",
    "도",
    "로",
    "서",
    "만",
    "랑",
    "한",
    "께",
    "나",
];

/// The word without its particle, when at least two characters stay: `국밥을` → `국밥`, `조용한` → `조용`, `아이` → `아이`.
///
/// Lightly wrong now and then (`떡볶이` → `떡볶`), which for a substring search only widens the match.
pub fn stem(word: &str) -> &str {
    for particle in PARTICLES {
        if let Some(rest) = word.strip_suffix(particle)
            && rest.chars().nth(1).is_some()
            && rest.chars().all(is_hangul)
        {
            return rest;
        }
    }
    word
}

/// The first sentence of `text` that holds `needle` (folded); the text's beginning when the match crosses sentences.
pub fn sentence_with(text: &str, needle: &str) -> String {
    let hit = sentences(text).into_iter().find(|sentence| fold(sentence).contains(needle));
    clip(hit.unwrap_or(text).trim(), 160)
}

/// At most `chars` characters, with `…` where something was cut.
pub fn clip(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some((at, _)) => format!("{}…", text[..at].trim_end()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loose_jamo_and_capitals_fold_to_one_form() {
        let loose: String = "국밥 CAFÉ".nfd().collect();
        assert_ne!(loose, "국밥 CAFÉ");
        assert_eq!(fold(&loose), "국밥 café");
        assert_eq!(fold("ΟΔΟΣ"), fold("οδο") + "σ", "no character looks at its neighbours");
    }

    #[test]
    fn sentences_end_where_a_reader_would_end_them() {
        let cases: [(&str, &[&str]); 8] = [
            ("맛있어요 친절해요 또 올게요", &["맛있어요 친절해요", "또 올게요"]),
            ("국물이 진하고 고기가 많습니다 다음에 또 갈게요", &["국물이 진하고 고기가 많습니다", "다음에 또 갈게요"]),
            ("예약이 필요 없어요. 3.5점", &["예약이 필요 없어요.", "3.5점"]),
            ("최고!!! 진짜로", &["최고!!!", "진짜로"]),
            ("맛있다.친절하다", &["맛있다.", "친절하다"]),
            ("양이 많음ㅋㅋㅋ 배부름", &["양이 많음ㅋㅋㅋ", "배부름"]),
            ("\n\n...\n", &[]),
            ("", &[]),
        ];
        for (text, expected) in cases {
            assert_eq!(sentences(text), expected, "{text}");
        }
    }

    #[test]
    fn particles_are_trimmed_only_when_a_word_stays() {
        let cases = [
            ("국밥을", "국밥"),
            ("식당에서는", "식당"),
            ("조용한", "조용"),
            ("혼자서", "혼자"),
            ("아이", "아이"),
            ("비가", "비가"),
            ("blue를", "blue를"),
            ("친구랑", "친구"),
        ];
        for (word, expected) in cases {
            assert_eq!(stem(word), expected);
        }
    }

    #[test]
    fn clipping_counts_characters_not_bytes() {
        assert_eq!(clip("국밥이 맛있다", 3), "국밥이…");
        assert_eq!(clip("국밥", 3), "국밥");
    }
}
