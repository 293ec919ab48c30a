//! Percent encoding: of a value that must not leave its place, and of a path in one spelling.

use std::fmt::Write as _;

/// Everything but RFC 3986's unreserved characters is encoded, so that a key can't leave its place.
pub(crate) fn percent_encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

/// A path in one spelling, for comparing: what needs no encoding has none, what needs it has upper-case one. Encoded reserved
/// characters stay encoded, for `%2F` is no `/`.
pub(crate) fn percent_encode_path(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let bytes = path.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        let encoded =
            path.get(at + 1..at + 3).filter(|_| byte == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match encoded {
            Some(plain) if plain.is_ascii_alphanumeric() || b"-._~".contains(&plain) => out.push(char::from(plain)),
            Some(other) => {
                let _ = write!(out, "%{other:02X}");
            }
            None if byte.is_ascii_graphic() => out.push(char::from(byte)),
            None => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
        at += if encoded.is_some() { 3 } else { 1 };
    }
    out
}
