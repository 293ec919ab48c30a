//! Text as people typed it, made comparable: one Unicode form, no markup, tidy spaces, no phone numbers.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::{Captures, Regex};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use super::Function;

pub(super) const NFC: Function = Function {
    name: "nfc",
    version: 1,
    syntax: "nfc(text utf8) -> utf8",
    description: "The text in Unicode normal form C: syllables typed as separate jamo become the syllables they look like.",
    examples: &[("char_length(nfc('\u{1112}\u{1161}\u{11ab}'))", "1"), ("nfc('한글')", "한글"), ("nfc(null)", "null")],
};

pub(super) const NORMALIZE_SPACE: Function = Function {
    name: "normalize_space",
    version: 1,
    syntax: "normalize_space(text utf8) -> utf8",
    description: "The text on one line: every run of white space, line breaks included, is one space; none at the ends; characters without width are dropped.",
    examples: &[("normalize_space('  국밥   한 그릇\n더 ')", "국밥 한 그릇 더"), ("normalize_space('')", "")],
};

pub(super) const STRIP_MARKUP: Function = Function {
    name: "strip_markup",
    version: 1,
    syntax: "strip_markup(text utf8) -> utf8",
    description: "The text without HTML: tags, comments, scripts and styles are removed, entities decoded, white space tidied. Line breaks stay, and `<br>` and the ends of blocks become some. \
                  A `<` that opens no tag stays as it is.",
    examples: &[
        ("strip_markup('<b>국밥</b> &amp; 수육')", "국밥 & 수육"),
        ("strip_markup('맛있어요<br/>또 올게요')", "맛있어요\n또 올게요"),
        ("strip_markup('3 < 5 그리고 <3')", "3 < 5 그리고 <3"),
    ],
};

pub(super) const MASK_CONTACTS: Function = Function {
    name: "mask_contacts",
    version: 1,
    syntax: "mask_contacts(text utf8) -> utf8",
    description: "The text with Korean phone numbers and e-mail addresses replaced by `[phone]` and `[email]`.",
    examples: &[
        ("mask_contacts('예약 010-1234-5678 로')", "예약 [phone] 로"),
        ("mask_contacts('kim@example.com 문의')", "[email] 문의"),
        ("mask_contacts('1,234개 2025-11-24')", "1,234개 2025-11-24"),
    ],
};

pub(super) fn nfc(text: &str) -> Cow<'_, str> {
    if is_nfc_quick(text.chars()) == IsNormalized::Yes { text.into() } else { text.nfc().collect::<String>().into() }
}

/// Characters that take no room and only break comparisons: zero width spaces and joiners' relatives, byte order mark, controls.
/// U+200D stays: it glues emoji together.
fn is_invisible(letter: char) -> bool {
    matches!(letter, '\u{200b}' | '\u{200c}' | '\u{2060}' | '\u{feff}' | '\u{00ad}')
        || (letter.is_control() && !letter.is_whitespace())
}

pub(super) fn normalize_space(text: &str) -> Cow<'_, str> {
    let mut tidy = String::with_capacity(text.len());
    for letter in text.chars().filter(|letter| !is_invisible(*letter)) {
        if !letter.is_whitespace() {
            tidy.push(letter);
        } else if !tidy.is_empty() && !tidy.ends_with(' ') {
            tidy.push(' ');
        }
    }
    tidy.truncate(tidy.trim_end().len());
    Cow::Owned(tidy)
}

pub(super) fn strip_markup(text: &str) -> Cow<'_, str> {
    let bare = if text.contains('<') { without_tags(text) } else { Cow::Borrowed(text) };
    let bare = if bare.contains('&') { Cow::Owned(decode_entities(&bare)) } else { bare };
    Cow::Owned(tidy_lines(&bare))
}

/// Elements whose start or end is the end of a line for a reader.
const BLOCKS: [&str; 14] =
    ["br", "p", "div", "li", "ul", "ol", "tr", "table", "h1", "h2", "h3", "h4", "blockquote", "hr"];

fn without_tags(text: &str) -> Cow<'_, str> {
    let mut bare = String::with_capacity(text.len());
    let mut rest = text;
    // How much of the text is left from the next `>` on; what was looked at once is not looked at again for each `<` before it.
    let mut from_close: Option<usize> = None;
    while let Some(open) = rest.find('<') {
        bare.push_str(&rest[..open]);
        let tag = &rest[open..];
        if let Some(comment) = tag.strip_prefix("<!--") {
            rest = comment.find("-->").map_or("", |end| &comment[end + 3..]);
            continue;
        }
        let name_at = &tag[1..];
        let name_at = name_at.strip_prefix('/').unwrap_or(name_at);
        let opens = name_at.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '!');
        if opens && from_close.is_none_or(|left| left > tag.len()) {
            from_close = Some(tag.find('>').map_or(0, |close| tag.len() - close));
        }
        let Some(left) = from_close.filter(|left| opens && *left > 0) else {
            bare.push('<');
            rest = &tag[1..];
            continue;
        };
        let name: String =
            name_at.chars().take_while(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
        rest = &tag[tag.len() - left + 1..];
        if (name == "script" || name == "style") && !tag.starts_with("</") {
            let end = find_ignore_case(rest, &format!("</{name}"));
            rest = end.and_then(|end| rest[end..].find('>').map(|close| &rest[end + close + 1..])).unwrap_or("");
        } else if BLOCKS.contains(&name.as_str()) {
            bare.push('\n');
        }
    }
    bare.push_str(rest);
    Cow::Owned(bare)
}

/// Where `wanted`, which is ASCII, begins in `text`, whatever the case of its letters.
fn find_ignore_case(text: &str, wanted: &str) -> Option<usize> {
    text.as_bytes().windows(wanted.len()).position(|window| window.eq_ignore_ascii_case(wanted.as_bytes()))
}

#[expect(clippy::expect_used, reason = "a constant pattern, compiled by every test")]
static ENTITY: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"&(#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z]{2,8});").expect("a valid pattern"));

/// Decodes once: `&amp;lt;` is the text `&lt;`, as a browser shows it.
fn decode_entities(text: &str) -> String {
    ENTITY
        .replace_all(text, |found: &Captures<'_>| {
            let name = &found[1];
            let decoded = match name.strip_prefix('#') {
                Some(number) => match number.strip_prefix(['x', 'X']) {
                    Some(hex) => u32::from_str_radix(hex, 16).ok(),
                    None => number.parse().ok(),
                }
                .and_then(char::from_u32),
                None => named_entity(name),
            };
            decoded.map_or_else(|| found[0].to_owned(), String::from)
        })
        .into_owned()
}

fn named_entity(name: &str) -> Option<char> {
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => ' ',
        "middot" => '·',
        "hellip" => '…',
        "ndash" => '–',
        "mdash" => '—',
        "lsquo" => '‘',
        "rsquo" => '’',
        "ldquo" => '“',
        "rdquo" => '”',
        "times" => '×',
        "deg" => '°',
        "copy" => '©',
        "reg" => '®',
        "hearts" => '♥',
        _ => return None,
    })
}

/// Runs of spaces are one, lines have none at their ends, and at most one empty line separates two others.
fn tidy_lines(text: &str) -> String {
    let mut tidy = String::with_capacity(text.len());
    let mut empty_lines = 0;
    for line in text.split(['\n', '\u{2028}', '\u{2029}']) {
        let before = tidy.len();
        for letter in line.chars().filter(|letter| !is_invisible(*letter)) {
            if !letter.is_whitespace() {
                if tidy.len() == before && before > 0 {
                    tidy.push_str(if empty_lines > 0 { "\n\n" } else { "\n" });
                }
                tidy.push(letter);
                empty_lines = 0;
            } else if tidy.len() > before && !tidy.ends_with(' ') {
                tidy.push(' ');
            }
        }
        tidy.truncate(tidy.trim_end_matches(' ').len());
        if tidy.len() == before {
            empty_lines += 1;
        }
    }
    tidy
}

#[expect(clippy::expect_used, reason = "constant patterns, compiled by every test")]
static EMAIL: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+").expect("a valid pattern"));
#[expect(clippy::expect_used, reason = "constant patterns, compiled by every test")]
static PHONE: LazyLock<Regex> = LazyLock::new(|| {
    // A mobile number with or without separators, or an area code with them; never the middle of a longer number.
    Regex::new(r"(^|[^0-9])((?:\+82[-. ]?|0)(?:1[016-9][-. )]?[0-9]{3,4}[-. ]?[0-9]{4}|[2-7][0-9]{0,2}[-. )]{1,2}[0-9]{3,4}[-. ][0-9]{4}))($|[^0-9])")
        .expect("a valid pattern")
});

pub(super) fn mask_contacts(text: &str) -> Cow<'_, str> {
    let masked = if text.contains('@') { EMAIL.replace_all(text, "[email]") } else { Cow::Borrowed(text) };
    if !masked.bytes().any(|byte| byte.is_ascii_digit()) {
        return masked;
    }
    // Two numbers may share the one character between them, so look again until nothing changes.
    let mut masked = masked;
    while let Cow::Owned(changed) = PHONE.replace_all(&masked, "${1}[phone]${3}") {
        masked = Cow::Owned(changed);
    }
    masked
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn markup_is_removed_and_lines_stay() {
        let cases = [
            ("국밥", "국밥"),
            ("  한 줄 \n\n\n\n 두 줄  ", "한 줄\n\n두 줄"),
            ("한 줄\r\n두 줄", "한 줄\n두 줄"),
            ("<p>하나</p><p>둘</p>", "하나\n\n둘"),
            ("<a href=\"x>y\">링크</a>", "y\">링크"),
            ("앞<script>alert('<b>')</script>뒤", "앞뒤"),
            ("앞<STYLE>b{}</Style >뒤", "앞뒤"),
            ("앞<!-- 비밀 -->뒤", "앞뒤"),
            ("앞<!-- 끝없는", "앞"),
            ("&lt;b&gt; &#54620;&#xAE00; &amp;lt;", "<b> 한글 &lt;"),
            ("&없음; &bogus; &#9999999;", "&없음; &bogus; &#9999999;"),
            ("<3 하트 < 5", "<3 하트 < 5"),
            ("닫히지 않은 <b", "닫히지 않은 <b"),
            ("<3 <b>하나</b> 둘 > 셋 <i", "<3 하나 둘 > 셋 <i"),
            ("<a <b>하나", "하나"),
            ("", ""),
        ];
        for (text, expected) in cases {
            assert_eq!(strip_markup(text), expected, "{text:?}");
        }
    }

    /// A scan that begins anew at each letter of these takes hours, and the test never ends.
    #[test]
    fn every_scan_is_linear() {
        for piece in
            ["<", "<a", "</", "<!--", "<script>", "<a <b>", "&", "&amp", "a@", "@a.", "010-", "0101234567 ", " \n"]
        {
            let text = piece.repeat((8 << 20) / piece.len());
            for function in [strip_markup, normalize_space, mask_contacts] {
                assert!(function(&text).len() <= text.len(), "{piece}");
            }
        }
    }

    #[test]
    fn contacts_are_masked_and_other_numbers_are_not() {
        let cases = [
            ("01012345678", "[phone]"),
            ("010 1234 5678, 011-123-4567", "[phone], [phone]"),
            ("02-123-4567 또는 031)123-4567", "[phone] 또는 [phone]"),
            ("+82-10-1234-5678", "[phone]"),
            ("a.b@c.co.kr/x@y.com", "[email]/[email]"),
            ("10,000원 2024.08.25 3-4명", "10,000원 2024.08.25 3-4명"),
            ("주문번호 9010123456781", "주문번호 9010123456781"),
        ];
        for (text, expected) in cases {
            assert_eq!(mask_contacts(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn tidying_twice_is_tidying_once(text in "[ \\n\\t가-힣a-z\u{200b}]{0,40}") {
            let once = strip_markup(&text).into_owned();
            prop_assert_eq!(strip_markup(&once), once.clone());
            let once = normalize_space(&text).into_owned();
            prop_assert_eq!(normalize_space(&once), once.clone());
        }

        #[test]
        fn no_text_makes_them_fail(text in "\\PC{0,80}|[<>&;#/!a-b -]{0,60}") {
            let _ = (nfc(&text), normalize_space(&text), strip_markup(&text), mask_contacts(&text));
        }
    }
}
