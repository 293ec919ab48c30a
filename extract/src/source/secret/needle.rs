//! A value in whatever writing it may come back: each of its characters as it is, or as addresses, JSON or HTML write it, and
//! these mixed, as servers do that leave `/` in an address and write `=` as `%3D`.

/// One value to look for, and what stands in its place.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Needle {
    pub(super) value: String,
    pub(super) reference: String,
}

/// The bytes with each value behind its reference; nothing where there is none. Of values that begin at one place the longest
/// counts: `needles` has the longest first.
pub(super) fn replaced(bytes: &[u8], needles: &[Needle]) -> Option<Vec<u8>> {
    let mut first = [false; 256];
    for needle in needles {
        if let (Some(byte), Some(letter)) = (needle.value.bytes().next(), needle.value.chars().next()) {
            first[usize::from(byte)] = true;
            first[usize::from(b'+')] |= letter == ' ';
        }
    }
    for escape in [b'%', b'\\', b'&'] {
        first[usize::from(escape)] = true;
    }
    let mut out: Option<Vec<u8>> = None;
    let (mut at, mut copied) = (0, 0);
    while at < bytes.len() {
        let found = first[usize::from(bytes[at])]
            .then(|| needles.iter().find_map(|needle| Some((end_of(bytes, at, &needle.value)?, needle))))
            .flatten();
        let Some((end, needle)) = found else {
            at += 1;
            continue;
        };
        let out = out.get_or_insert_default();
        out.extend_from_slice(&bytes[copied..at]);
        out.extend_from_slice(needle.reference.as_bytes());
        (at, copied) = (end, end);
    }
    if let Some(out) = &mut out {
        out.extend_from_slice(&bytes[copied..]);
    }
    out
}

/// Where a value ends that begins at a place, if it does.
fn end_of(bytes: &[u8], at: usize, value: &str) -> Option<usize> {
    // A character may be written in two ways at one place, as `%` before `25` is: both are followed.
    let (mut ends, mut next) = (vec![at], Vec::new());
    for letter in value.chars() {
        for end in &ends {
            written(&bytes[*end..], letter, |length| next.push(end + length));
        }
        if next.is_empty() {
            return None;
        }
        next.sort_unstable();
        next.dedup();
        std::mem::swap(&mut ends, &mut next);
        next.clear();
    }
    ends.last().copied()
}

/// Each length that `letter` has at the beginning of `text`.
fn written(text: &[u8], letter: char, mut found: impl FnMut(usize)) {
    let mut buffer = [0; 4];
    let plain = letter.encode_utf8(&mut buffer).as_bytes();
    if text.starts_with(plain) {
        found(plain.len());
    }
    match text.first() {
        Some(b'%') => found_some(percent(text, plain), &mut found),
        Some(b'\\') => found_some(backslash(text, letter), &mut found),
        Some(b'&') => found_some(entity(text, letter), &mut found),
        Some(b'+') if letter == ' ' => found(1),
        _ => {}
    }
}

fn found_some(length: Option<usize>, found: &mut impl FnMut(usize)) {
    if let Some(length) = length {
        found(length);
    }
}

/// `%2F`, and `%252F`, as often as it was encoded.
fn percent(text: &[u8], plain: &[u8]) -> Option<usize> {
    let mut at = 0;
    for byte in plain {
        if text.get(at) != Some(&b'%') {
            return None;
        }
        at += 1;
        while text[at..].starts_with(b"25")
            && hex(&text[at + 2..], 2).is_some()
            && hex(&text[at..], 2) != Some(u32::from(*byte))
        {
            at += 2;
        }
        if hex(&text[at..], 2)? != u32::from(*byte) {
            return None;
        }
        at += 2;
    }
    Some(at)
}

/// `\/`, `\"` and `\u002f`, as JSON and scripts have them.
fn backslash(text: &[u8], letter: char) -> Option<usize> {
    match text.get(1)? {
        b'u' => {
            let mut at = 0;
            for unit in letter.encode_utf16(&mut [0; 2]) {
                let of = text.get(at..)?.strip_prefix(b"\\u")?;
                if hex(of, 4)? != u32::from(*unit) {
                    return None;
                }
                at += 6;
            }
            Some(at)
        }
        b'x' if letter.is_ascii() => (hex(text.get(2..)?, 2)? == u32::from(letter)).then_some(4),
        other => (letter.is_ascii_punctuation() && u32::from(*other) == u32::from(letter)).then_some(2),
    }
}

/// `&amp;`, `&#38;` and `&#x26;`.
fn entity(text: &[u8], letter: char) -> Option<usize> {
    let end = text.iter().take(12).position(|byte| *byte == b';')?;
    let name = std::str::from_utf8(&text[1..end]).ok()?;
    let found = match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "sol" => '/',
        "plus" => '+',
        "equals" => '=',
        "nbsp" => ' ',
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(digits) => u32::from_str_radix(digits, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)?
        }
    };
    (found == letter).then_some(end + 1)
}

/// The number that the first digits are.
fn hex(text: &[u8], digits: usize) -> Option<u32> {
    text.get(..digits)?.iter().try_fold(0, |number, byte| Some(number * 16 + char::from(*byte).to_digit(16)?))
}
