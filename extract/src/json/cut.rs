//! Where the members and elements of a value begin and end.
//!
//! Only brackets, quotes, commas and colons are looked at. What stands between them is handed over as it is, also where it
//! is no JSON (`NaN`, a cut number): who parses it will say so, of that one value. It is linear in the text and keeps
//! nothing but places.

/// A value, cut once.
#[derive(Debug, PartialEq)]
pub(crate) enum Cut<'t> {
    /// Its elements.
    List(Vec<&'t str>),
    /// Its members: the name as it was written, quotes included, and the value.
    Object(Vec<(&'t str, &'t str)>),
    /// Anything else, as it was written.
    Scalar(&'t str),
}

/// More pieces than this are no listing.
const MOST_PIECES: usize = 2_000_000;

/// Cuts the value that a text is.
pub(crate) fn cut(text: &str) -> Result<Cut<'_>, String> {
    let text = text.trim_matches([' ', '\t', '\n', '\r']);
    let open = text.as_bytes().first().copied();
    if !matches!(open, Some(b'{' | b'[')) {
        return if text.is_empty() { Err("found nothing".to_owned()) } else { Ok(Cut::Scalar(text)) };
    }
    let end = span(text, 0)?;
    if end != text.len() {
        return Err(format!("expected the end at byte {end}, found more"));
    }
    let pieces = pieces(&text[1..end - 1])?;
    if open == Some(b'[') {
        return Ok(Cut::List(pieces));
    }
    let members = pieces.into_iter().map(|piece| {
        let name_end = if piece.starts_with('"') { span(piece, 0)? } else { return Err(no_name(piece)) };
        let after = piece[name_end..].trim_start();
        let value = after.strip_prefix(':').ok_or_else(|| no_name(piece))?.trim();
        Ok((&piece[..name_end], value))
    });
    members.collect::<Result<_, _>>().map(Cut::Object)
}

fn no_name(piece: &str) -> String {
    // No more than where it begins: it may be somebody's.
    format!("expected a name in quotes and `:`, found {} bytes of something else", piece.len())
}

/// What stands between the commas of the outermost level.
fn pieces(inner: &str) -> Result<Vec<&str>, String> {
    let mut pieces = Vec::new();
    let (mut start, mut at) = (0, 0);
    let bytes = inner.as_bytes();
    while at < bytes.len() {
        match bytes[at] {
            b'{' | b'[' | b'"' => at = span(inner, at)?,
            b',' => {
                pieces.push(inner[start..at].trim());
                at += 1;
                start = at;
            }
            _ => at += 1,
        }
        if pieces.len() > MOST_PIECES {
            return Err(format!("expected at most {MOST_PIECES} elements, found more"));
        }
    }
    let last = inner[start..].trim();
    if !last.is_empty() || !pieces.is_empty() {
        pieces.push(last);
    }
    Ok(pieces)
}

/// Where the text or the brackets end that open at a place.
pub(crate) fn span(text: &str, open: usize) -> Result<usize, String> {
    let bytes = text.as_bytes();
    let mut above: Vec<u8> = Vec::new();
    let mut at = open;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                at = string_end(bytes, at)?;
                if above.is_empty() {
                    return Ok(at);
                }
                continue;
            }
            b'{' => above.push(b'}'),
            b'[' => above.push(b']'),
            close @ (b'}' | b']') => {
                if above.pop() != Some(close) {
                    return Err(format!("expected another bracket at byte {at}, found `{}`", char::from(close)));
                }
                if above.is_empty() {
                    return Ok(at + 1);
                }
            }
            _ => {}
        }
        at += 1;
    }
    Err(format!("expected the end of what opens at byte {open}, found the end of the text"))
}

fn string_end(bytes: &[u8], open: usize) -> Result<usize, String> {
    let mut at = open + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => return Ok(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    Err(format!("expected the end of the text that opens at byte {open}, found the end"))
}

/// Whether a piece is `null`.
pub(crate) fn is_null(piece: &str) -> bool {
    piece == "null"
}
