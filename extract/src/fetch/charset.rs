//! Bytes → text, in the character set that they were written in.
//!
//! A byte that says nothing in its character set is never replaced in silence: what it was would be lost for good. Such a
//! body can't be read, and is kept as it came.

use encoding_rs::{Encoding, UTF_8};

use crate::items::Unreadable;

/// How far into a document its own word about its character set is looked for: what browsers do.
const META_WITHIN: usize = 1_024;

/// A JSON answer. It is UTF-8 by its standard, and is taken as such wherever it can be: bytes of another set that say
/// something in UTF-8 by accident are rarer than headers that are wrong.
pub(super) fn answer(content_type: Option<&str>, bytes: &[u8]) -> Result<String, Unreadable> {
    let named = content_type.and_then(named_in_header);
    match named {
        Some(Ok(encoding)) if !encoding.is_ascii_compatible() => decode(encoding, bytes),
        _ if Encoding::for_bom(bytes).is_some() => decode(UTF_8, bytes),
        _ => match (std::str::from_utf8(bytes), named) {
            (Ok(text), _) => Ok(text.to_owned()),
            (Err(_), Some(Ok(encoding))) => decode(encoding, bytes),
            (Err(_), Some(Err(unknown))) => Err(unknown),
            (Err(_), None) => decode(UTF_8, bytes),
        },
    }
}

/// A document: what its header says, else what it says itself, else UTF-8.
pub(super) fn document(content_type: Option<&str>, bytes: &[u8]) -> Result<String, Unreadable> {
    match content_type.and_then(named_in_header) {
        Some(named) => decode(named?, bytes),
        None => decode(named_in_meta(bytes).transpose()?.unwrap_or(UTF_8), bytes),
    }
}

fn decode(encoding: &'static Encoding, bytes: &[u8]) -> Result<String, Unreadable> {
    // A byte order mark has the last word, and is no part of the text.
    let (encoding, bytes) = match Encoding::for_bom(bytes) {
        Some((encoding, length)) => (encoding, &bytes[length..]),
        None => (encoding, bytes),
    };
    if encoding == UTF_8 {
        return simdutf8::compat::from_utf8(bytes)
            .map(str::to_owned)
            .map_err(|error| garbage(format!("bytes that are no UTF-8 from byte {}", error.valid_up_to())));
    }
    encoding
        .decode_without_bom_handling_and_without_replacement(bytes)
        .map(std::borrow::Cow::into_owned)
        .ok_or_else(|| garbage(format!("bytes that are no {}", encoding.name())))
}

fn garbage(found: String) -> Unreadable {
    Unreadable::Garbage { expected: "text", found }
}

/// `text/html; charset="euc-kr"`
fn named_in_header(content_type: &str) -> Option<Result<&'static Encoding, Unreadable>> {
    let label = content_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches(['"', '\'']))
    })?;
    Some(by_label(label))
}

/// `<meta charset=euc-kr>` and `<meta http-equiv="content-type" content="text/html; charset=euc-kr">`
fn named_in_meta(bytes: &[u8]) -> Option<Result<&'static Encoding, Unreadable>> {
    let start: String = bytes.iter().take(META_WITHIN).map(|byte| char::from(byte.to_ascii_lowercase())).collect();
    start.match_indices("<meta").find_map(|(at, _)| {
        let tag = &start[at..start[at..].find('>').map_or(start.len(), |end| at + end)];
        let value = tag.split_once("charset")?.1.trim_start().strip_prefix('=')?.trim_start();
        let label = value.trim_start_matches(['"', '\'']).split(['"', '\'', ' ', ';', '/']).next()?;
        Some(match by_label(label) {
            // What is read as ASCII up to here is not written two bytes a character.
            Ok(encoding) if !encoding.is_ascii_compatible() => Ok(UTF_8),
            named => named,
        })
    })
}

fn by_label(label: &str) -> Result<&'static Encoding, Unreadable> {
    // Names that servers use and the web's list has not.
    let known = match label.to_ascii_lowercase().as_str() {
        "cp949" | "ms949" | "uhc" | "x-windows-949" => "windows-949",
        "cp932" | "ms932" => "windows-31j",
        "cp936" => "gbk",
        "cp1252" => "windows-1252",
        _ => label,
    };
    Encoding::for_label(known.as_bytes())
        .ok_or_else(|| garbage(format!("the unknown character set `{}`", crate::items::excerpt(label, 30))))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "맛" in the character sets that Korean sites write.
    const EUC_KR: &[u8] = b"\xb8\xc0";
    const UTF_8_BYTES: &[u8] = "맛".as_bytes();

    #[test]
    fn a_document_is_decoded_by_its_header_its_mark_or_its_own_word() {
        let with = |head: &str, body: &[u8]| [head.as_bytes(), body].concat();
        let cases = [
            (Some("text/html; charset=EUC-KR"), with("<p>", EUC_KR), "<p>맛"),
            (Some("text/html;charset=\"ks_c_5601-1987\""), EUC_KR.to_vec(), "맛"),
            (Some("text/html; charset=utf-8"), with("<meta charset=euc-kr>", UTF_8_BYTES), "<meta charset=euc-kr>맛"),
            (Some("text/html"), with("<META CHARSET='euc-kr'>", EUC_KR), "<META CHARSET='euc-kr'>맛"),
            (
                None,
                with("<meta http-equiv=content-type content=\"text/html; charset=euc-kr\">", EUC_KR),
                "<meta http-equiv=content-type content=\"text/html; charset=euc-kr\">맛",
            ),
            (None, with("<meta charset=utf-16>", UTF_8_BYTES), "<meta charset=utf-16>맛"),
            (None, UTF_8_BYTES.to_vec(), "맛"),
            (Some("text/html; charset=euc-kr"), with("\u{feff}", UTF_8_BYTES), "맛"),
            (None, b"\xff\xfe\xdb\xb9".to_vec(), "맛"),
            // A syllable that EUC-KR proper has not, under a name that the web's list has not.
            (Some("text/html; charset=cp949"), b"\x8c\x63".to_vec(), "똠"),
        ];
        for (content_type, bytes, expected) in cases {
            assert_eq!(document(content_type, &bytes).as_deref(), Ok(expected), "{content_type:?} {bytes:?}");
        }
    }

    #[test]
    fn an_answer_is_utf_8_wherever_it_can_be() {
        let cases = [
            (None, UTF_8_BYTES, Ok("맛")),
            (Some("application/json; charset=ISO-8859-1"), UTF_8_BYTES, Ok("맛")),
            (Some("application/json; charset=euc-kr"), EUC_KR, Ok("맛")),
            (Some("application/json; charset=utf-16le"), b"\xdb\xb9".as_slice(), Ok("맛")),
            (None, b"\xef\xbb\xbf7", Ok("7")),
            (None, EUC_KR, Err("expected text, found bytes that are no UTF-8 from byte 0")),
            (Some("a/b; charset=klingon"), EUC_KR, Err("expected text, found the unknown character set `klingon`")),
            (Some("a/b; charset=euc-kr"), b"\xb8\xff", Err("expected text, found bytes that are no EUC-KR")),
        ];
        for (content_type, bytes, expected) in cases {
            let found = answer(content_type, bytes).map_err(|error| error.to_string());
            assert_eq!(found.as_deref().map_err(String::as_str), expected, "{content_type:?}");
        }
    }

    #[test]
    fn nothing_is_replaced_in_silence() {
        for content_type in [None, Some("text/html; charset=euc-kr"), Some("text/html; charset=utf-8")] {
            assert!(document(content_type, b"<p>\xff\xfd\xb8").is_err(), "{content_type:?}");
        }
    }
}
