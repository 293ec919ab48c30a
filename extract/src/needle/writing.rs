//! What a sign of a text may stand for: itself, and what addresses, JSON, scripts and HTML write in the place of another.

/// So often something may have been encoded.
const MOST_TIMES: usize = 4;

/// All that may begin at a place: what it stands for, and where it ends. The sign itself comes first.
pub(super) fn read(bytes: &[u8], at: usize, mut found: impl FnMut(char, usize)) {
    let Some((sign, length)) = bytes.get(at..).and_then(first_char) else { return };
    found(sign, at + length);
    let text = &bytes[at..];
    let mut found = |(sign, length): (char, usize)| found(sign, at + length);
    match sign {
        '%' => percent(text, &mut found),
        '\\' => backslash(text, &mut found),
        '&' => entity(text, &mut found),
        '+' => found((' ', 1)),
        _ => {}
    }
}

/// The text with all that stands for another sign read as that, once.
pub(crate) fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (String::with_capacity(text.len()), 0);
    while at < bytes.len() {
        let mut first = None;
        // The sign itself, or what it stands for when it was written once.
        let mut meant = None;
        read(bytes, at, |sign, end| {
            if first.is_none() {
                first = Some((sign, end));
            } else if sign != ' ' || bytes[at] != b'+' {
                meant = meant.or(Some((sign, end)));
            }
        });
        let Some((sign, end)) = meant.or(first) else { break };
        out.push(sign);
        at = end;
    }
    out
}

/// The first character, if it is one.
fn first_char(bytes: &[u8]) -> Option<(char, usize)> {
    let first = *bytes.first()?;
    let length = length_of(first)?;
    let sign = std::str::from_utf8(bytes.get(..length)?).ok()?.chars().next()?;
    Some((sign, length))
}

/// The last character, if it is one.
pub(super) fn last_char(bytes: &[u8]) -> Option<char> {
    (1..=4.min(bytes.len())).find_map(|length| {
        let last = bytes.get(bytes.len() - length..)?;
        first_char(last).filter(|(_, end)| *end == length).map(|(sign, _)| sign)
    })
}

/// How many bytes a character has that begins with this one.
fn length_of(first: u8) -> Option<usize> {
    match first {
        0..=0x7f => Some(1),
        0xc2..=0xdf => Some(2),
        0xe0..=0xef => Some(3),
        0xf0..=0xf4 => Some(4),
        _ => None,
    }
}

/// A character whose bytes are written one by one.
fn of_bytes(text: &[u8], byte: impl Fn(&[u8]) -> Option<(u8, usize)>) -> Option<(char, usize)> {
    let (first, mut at) = byte(text)?;
    let length = length_of(first)?;
    let mut plain = [first; 4];
    for next in &mut plain[1..length] {
        let (byte, length) = byte(text.get(at..)?)?;
        *next = byte;
        at += length;
    }
    Some((first_char(&plain[..length])?.0, at))
}

/// `%2F`, and `%252F`, as often as it was encoded.
fn percent(text: &[u8], found: &mut impl FnMut((char, usize))) {
    for times in 0..MOST_TIMES {
        let byte = |text: &[u8]| {
            let mut rest = text.strip_prefix(b"%")?;
            for _ in 0..times {
                rest = rest.strip_prefix(b"25")?;
            }
            Some((u8::try_from(hex(rest, 2)?).ok()?, 3 + 2 * times))
        };
        of_bytes(text, byte).into_iter().for_each(&mut *found);
        if !text[1 + 2 * times..].starts_with(b"25") {
            return;
        }
    }
}

/// `\/`, `\"`, `\n`, `\x2f`, `\057` and `\u002f`, as JSON and scripts have them; behind more than one `\` where JSON stands in JSON.
fn backslash(text: &[u8], found: &mut impl FnMut((char, usize))) {
    let before = text.iter().take(2 * MOST_TIMES).take_while(|byte| **byte == b'\\').count() - 1;
    escaped(text, found);
    if before > 0 {
        escaped(&text[before..], &mut |(sign, length)| found((sign, before + length)));
    }
}

fn escaped(text: &[u8], found: &mut impl FnMut((char, usize))) {
    let Some(kind) = text.get(1).copied() else { return };
    let sign = match kind {
        b'u' => return unit(text).into_iter().for_each(found),
        b'x' => {
            let byte = |text: &[u8]| Some((u8::try_from(hex(text.strip_prefix(b"\\x")?, 2)?).ok()?, 4));
            return of_bytes(text, byte)
                .or_else(|| byte(text).map(|(byte, length)| (char::from(byte), length)))
                .into_iter()
                .for_each(found);
        }
        b'0'..=b'3' => {
            let byte = |text: &[u8]| {
                let digits = text.strip_prefix(b"\\")?.get(..3)?;
                let octal = |number: u32, digit: &u8| Some(number * 8 + char::from(*digit).to_digit(8)?);
                Some((u8::try_from(digits.iter().try_fold(0, octal)?).ok()?, 4))
            };
            return of_bytes(text, byte).into_iter().for_each(found);
        }
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        other if other.is_ascii_punctuation() => char::from(other),
        _ => return,
    };
    found((sign, 2));
}

/// `\u002f`, in two halves where it takes two, and `\u{2f}`.
fn unit(text: &[u8]) -> Option<(char, usize)> {
    let rest = text.strip_prefix(b"\\u")?;
    if let Some(rest) = rest.strip_prefix(b"{") {
        let end = rest.iter().take(7).position(|byte| *byte == b'}')?;
        return Some((char::from_u32(hex(rest, end)?)?, 4 + end));
    }
    let first = hex(rest, 4)?;
    if let Some(sign) = char::from_u32(first) {
        return Some((sign, 6));
    }
    let second = hex(rest.get(4..)?.strip_prefix(b"\\u")?, 4)?;
    let halves = [u16::try_from(first).ok()?, u16::try_from(second).ok()?];
    Some((char::decode_utf16(halves).next()?.ok()?, 12))
}

/// `&amp;`, `&#38;` and `&#x26;`, as often as it was encoded.
fn entity(text: &[u8], found: &mut impl FnMut((char, usize))) {
    let mut at = 1;
    for _ in 0..MOST_TIMES {
        let Some(end) = text[at..].iter().take(12).position(|byte| *byte == b';') else { return };
        let name = std::str::from_utf8(&text[at..at + end]).ok();
        for sign in
            name.and_then(named).into_iter().flat_map(|sign| [Some(sign), (sign == '\u{a0}').then_some(' ')]).flatten()
        {
            found((sign, at + end + 1));
        }
        if name != Some("amp") {
            return;
        }
        at += end + 1;
    }
}

/// The entities of HTML that stand for signs of ASCII.
const ASCII: [(&str, char); 32] = [
    ("amp", '&'),
    ("lt", '<'),
    ("gt", '>'),
    ("quot", '"'),
    ("apos", '\''),
    ("sol", '/'),
    ("plus", '+'),
    ("equals", '='),
    ("Tab", '\t'),
    ("NewLine", '\n'),
    ("excl", '!'),
    ("num", '#'),
    ("dollar", '$'),
    ("percnt", '%'),
    ("lpar", '('),
    ("rpar", ')'),
    ("ast", '*'),
    ("comma", ','),
    ("period", '.'),
    ("colon", ':'),
    ("semi", ';'),
    ("quest", '?'),
    ("commat", '@'),
    ("lsqb", '['),
    ("bsol", '\\'),
    ("rsqb", ']'),
    ("Hat", '^'),
    ("lowbar", '_'),
    ("grave", '`'),
    ("lcub", '{'),
    ("vert", '|'),
    ("rcub", '}'),
];

/// The entities of HTML from U+00A0 on.
const LATIN_1: [&str; 96] = [
    "nbsp", "iexcl", "cent", "pound", "curren", "yen", "brvbar", "sect", "uml", "copy", "ordf", "laquo", "not", "shy",
    "reg", "macr", "deg", "plusmn", "sup2", "sup3", "acute", "micro", "para", "middot", "cedil", "sup1", "ordm",
    "raquo", "frac14", "frac12", "frac34", "iquest", "Agrave", "Aacute", "Acirc", "Atilde", "Auml", "Aring", "AElig",
    "Ccedil", "Egrave", "Eacute", "Ecirc", "Euml", "Igrave", "Iacute", "Icirc", "Iuml", "ETH", "Ntilde", "Ograve",
    "Oacute", "Ocirc", "Otilde", "Ouml", "times", "Oslash", "Ugrave", "Uacute", "Ucirc", "Uuml", "Yacute", "THORN",
    "szlig", "agrave", "aacute", "acirc", "atilde", "auml", "aring", "aelig", "ccedil", "egrave", "eacute", "ecirc",
    "euml", "igrave", "iacute", "icirc", "iuml", "eth", "ntilde", "ograve", "oacute", "ocirc", "otilde", "ouml",
    "divide", "oslash", "ugrave", "uacute", "ucirc", "uuml", "yacute", "thorn", "yuml",
];

/// The sign that an entity stands for.
fn named(name: &str) -> Option<char> {
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(digits) => u32::from_str_radix(digits, 16).ok()?,
            None => number.parse().ok()?,
        };
        return char::from_u32(code);
    }
    if let Some((_, sign)) = ASCII.iter().find(|(known, _)| *known == name) {
        return Some(*sign);
    }
    let at = LATIN_1.iter().position(|known| *known == name)?;
    char::from_u32(0xa0 + u32::try_from(at).ok()?)
}

/// The number that the first digits are.
fn hex(text: &[u8], digits: usize) -> Option<u32> {
    let digit = |number: u32, byte: &u8| Some(number * 16 + char::from(*byte).to_digit(16)?);
    text.get(..digits).filter(|digits| !digits.is_empty())?.iter().try_fold(0, digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_is_read_in_all_that_it_may_stand_for() {
        let all = |text: &str| {
            let mut all = Vec::new();
            read(text.as_bytes(), 0, |sign, end| all.push(format!("{sign}{end}")));
            all.join(" ")
        };
        for (text, expected) in [
            ("", ""),
            ("a", "a1"),
            ("+", "+1  1"),
            ("%", "%1"),
            ("%2", "%1"),
            ("%2F", "%1 /3"),
            ("%252F", "%1 %3 /5"),
            ("%25252f", "%1 %3 %5 /7"),
            ("%EA%B9%80", "%1 김9"),
            ("%EA%B9", "%1"),
            ("&", "&1"),
            ("&amp;", "&1 &5"),
            ("&amp;lt;", "&1 &5 <8"),
            ("&#x110000;", "&1"),
            ("&yuml;", "&1 ÿ6"),
            ("&nbsp;", "&1 \u{a0}6  6"),
            ("\\", "\\1"),
            (r"\u12", "\\1"),
            (r"\u00e9", "\\1 é6"),
            (r"\ud83d\ude00", "\\1 😀12"),
            (r"\ud83d", "\\1"),
            (r"\u{1F600}", "\\1 😀9"),
            (r"\\u00e9", "\\1 \\2 é7"),
            (r"\xEA\xB9\x80", "\\1 김12"),
            (r"\xE9", "\\1 é4"),
            (r"\101", "\\1 A4"),
            (r"\10", "\\1"),
        ] {
            assert_eq!(all(text), expected, "{text}");
        }
        assert_eq!(decoded("Tom &amp; Jerry + %41\\/\\u00e9 100% \\"), "Tom & Jerry + A/é 100% \\");
    }

    #[test]
    fn a_character_is_read_from_its_end() {
        for text in ["a", "é", "김", "😀"] {
            assert_eq!(last_char(format!("x{text}").as_bytes()), text.chars().next());
        }
        assert_eq!((last_char(b""), last_char(b"a\xff"), last_char(&"김".as_bytes()[..2])), (None, None, None));
    }
}
