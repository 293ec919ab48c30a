//! JSON as it came.
//!
//! What a site sends is kept as it was written: a number is its digits and not a float, a member that is named twice stays
//! twice, a text keeps its escapes. So an id of thirty digits is not rounded, and what nobody changed is printed as it came.
//!
//! Two ways of reading. A whole answer is only *cut*: `json/cut.rs` finds where its members and elements begin and end and
//! believes nothing else about them, so that one bad item spoils itself and not its page. One item is *parsed*, strictly,
//! and within bounds: so deep and so many values at most, whatever the site sends.

use std::fmt;

mod cut;
mod number;

pub(crate) use cut::{Cut, cut, is_null, span};
pub(crate) use number::whole_digits;

/// How deep values may lie in each other. What is deeper is no record.
const MOST_LEVELS: usize = 128;

/// How many values one item may have.
pub(crate) const MOST_VALUES: usize = 200_000;

/// A parsed value.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// As it was written.
    Number(Box<str>),
    /// A text.
    Text(Text),
    /// A list.
    List(Vec<Json>),
    /// Members in their order. A name may come twice: the last one counts, as everywhere.
    Object(Vec<(Text, Json)>),
}

/// A text and how it was written.
#[derive(Clone, Debug)]
pub struct Text {
    value: String,
    /// The token, where it is another than the one we would write.
    token: Option<Box<str>>,
    /// Whether it holds half a surrogate pair.
    is_half: bool,
}

impl Text {
    /// A text of ours.
    pub fn new(value: impl Into<String>) -> Self {
        Self { value: value.into(), token: None, is_half: false }
    }

    /// Whether it holds half a surrogate pair, so that what it says is no text.
    pub(crate) fn has_half_a_pair(&self) -> bool {
        self.is_half
    }

    /// The same text with something in it replaced.
    pub(crate) fn replace(&mut self, value: String) {
        (self.value, self.token) = (value, None);
    }

    /// What it says. Half a surrogate pair, for which UTF-8 has no room, stands as its own escape: `\ud83d`.
    pub fn as_str(&self) -> &str {
        &self.value
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.value == other
    }
}

/// Why a text was not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoJson {
    /// It is none: why, and where in the text.
    Broken(String),
    /// It goes beyond a bound: which.
    TooMuch(String),
}

impl Json {
    /// Reads one value, within [`MOST_VALUES`].
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        Self::parse_within(text, MOST_VALUES).map_err(|error| match error {
            NoJson::Broken(why) => why,
            NoJson::TooMuch(bound) => format!("expected {bound}, found more"),
        })
    }

    /// Reads one value of at most so many values in all. The error says where in the text.
    pub(crate) fn parse_within(text: &str, most_values: usize) -> Result<Self, NoJson> {
        let mut parser = Parser { text, at: 0, values_left: most_values, most_values };
        parser.blanks();
        let value = parser.value(0)?;
        parser.blanks();
        if parser.at < text.len() { Err(parser.wrong("the end")) } else { Ok(value) }
    }

    /// The member of an object that counts.
    pub(crate) fn get(&self, name: &str) -> Option<&Self> {
        let Self::Object(members) = self else { return None };
        members.iter().rev().find(|(known, _)| known == name).map(|(_, member)| member)
    }

    /// The text, if it is one.
    pub(crate) fn as_str(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text.as_str()) } else { None }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    pub(crate) fn is_object(&self) -> bool {
        matches!(self, Self::Object(_))
    }

    /// What it is, in words.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.token {
            Some(token) => f.write_str(token),
            // Serde writes a text without ever failing.
            None => f.write_str(&serde_json::to_string(&self.value).map_err(|_| fmt::Error)?),
        }
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(flag) => write!(f, "{flag}"),
            Self::Number(number) => f.write_str(number),
            Self::Text(text) => text.fmt(f),
            Self::List(elements) => {
                f.write_str("[")?;
                for (at, element) in elements.iter().enumerate() {
                    if at > 0 {
                        f.write_str(",")?;
                    }
                    element.fmt(f)?;
                }
                f.write_str("]")
            }
            Self::Object(members) => {
                f.write_str("{")?;
                for (at, (name, member)) in members.iter().enumerate() {
                    if at > 0 {
                        f.write_str(",")?;
                    }
                    write!(f, "{name}:{member}")?;
                }
                f.write_str("}")
            }
        }
    }
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    values_left: usize,
    most_values: usize,
}

impl Parser<'_> {
    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn blanks(&mut self) {
        while matches!(self.byte(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn wrong(&self, expected: &str) -> NoJson {
        let found = match self.text.get(self.at..).and_then(|rest| rest.chars().next()) {
            Some(c) => format!("`{}`", c.escape_debug()),
            None => "the end".to_owned(),
        };
        NoJson::Broken(format!("expected {expected} at byte {}, found {found}", self.at))
    }

    fn value(&mut self, level: usize) -> Result<Json, NoJson> {
        if level > MOST_LEVELS {
            return Err(NoJson::TooMuch(format!("at most {MOST_LEVELS} levels")));
        }
        let Some(left) = self.values_left.checked_sub(1) else {
            return Err(NoJson::TooMuch(format!("at most {} values", self.most_values)));
        };
        self.values_left = left;
        match self.byte() {
            Some(b'{') => self.object(level),
            Some(b'[') => self.list(level),
            Some(b'"') => self.string().map(Json::Text),
            Some(b't') => self.word("true", Json::Bool(true)),
            Some(b'f') => self.word("false", Json::Bool(false)),
            Some(b'n') => self.word("null", Json::Null),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.wrong("a value")),
        }
    }

    fn object(&mut self, level: usize) -> Result<Json, NoJson> {
        let mut members = Vec::new();
        self.at += 1;
        self.blanks();
        if self.byte() == Some(b'}') {
            self.at += 1;
            return Ok(Json::Object(members));
        }
        loop {
            self.blanks();
            if self.byte() != Some(b'"') {
                return Err(self.wrong("a name"));
            }
            let name = self.string()?;
            self.blanks();
            if self.byte() != Some(b':') {
                return Err(self.wrong("`:`"));
            }
            self.at += 1;
            self.blanks();
            members.push((name, self.value(level + 1)?));
            if self.ends(b'}')? {
                return Ok(Json::Object(members));
            }
        }
    }

    fn list(&mut self, level: usize) -> Result<Json, NoJson> {
        let mut elements = Vec::new();
        self.at += 1;
        self.blanks();
        if self.byte() == Some(b']') {
            self.at += 1;
            return Ok(Json::List(elements));
        }
        loop {
            self.blanks();
            elements.push(self.value(level + 1)?);
            if self.ends(b']')? {
                return Ok(Json::List(elements));
            }
        }
    }

    /// Whether the closing bracket follows; else a comma must.
    fn ends(&mut self, bracket: u8) -> Result<bool, NoJson> {
        self.blanks();
        let byte = self.byte();
        if byte != Some(bracket) && byte != Some(b',') {
            return Err(self.wrong(if bracket == b'}' { "`,` or `}`" } else { "`,` or `]`" }));
        }
        self.at += 1;
        Ok(byte == Some(bracket))
    }

    fn word(&mut self, word: &str, value: Json) -> Result<Json, NoJson> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.wrong("a value"));
        }
        self.at += word.len();
        Ok(value)
    }

    /// `-? (0 | [1-9][0-9]*) (\.[0-9]+)? ([eE][+-]?[0-9]+)?`
    fn number(&mut self) -> Result<Json, NoJson> {
        let start = self.at;
        if self.byte() == Some(b'-') {
            self.at += 1;
        }
        if self.byte() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.byte(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.byte(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(Json::Number(self.text[start..self.at].into()))
    }

    fn digits(&mut self) -> Result<(), NoJson> {
        let start = self.at;
        while matches!(self.byte(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { Err(self.wrong("a digit")) } else { Ok(()) }
    }

    fn string(&mut self) -> Result<Text, NoJson> {
        let start = self.at;
        self.at += 1;
        let mut value = String::new();
        let mut plain = self.at;
        let (mut is_ours, mut is_half) = (true, false);
        loop {
            match self.byte() {
                Some(b'"') => {
                    value.push_str(&self.text[plain..self.at]);
                    self.at += 1;
                    let token = &self.text[start..self.at];
                    return Ok(Text { value, token: (!is_ours).then(|| token.into()), is_half });
                }
                Some(b'\\') => {
                    value.push_str(&self.text[plain..self.at]);
                    is_ours &= matches!(self.text.as_bytes().get(self.at + 1), Some(b'"' | b'\\' | b'n' | b'r' | b't'));
                    is_half |= self.escape(&mut value)?;
                    plain = self.at;
                }
                Some(0..=0x1f) | None => return Err(self.wrong("the end of a text")),
                Some(_) => self.at += 1,
            }
        }
    }

    /// Whether it was half a pair.
    fn escape(&mut self, value: &mut String) -> Result<bool, NoJson> {
        let plain = match self.text.as_bytes().get(self.at + 1) {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(value),
            _ => return Err(self.wrong("an escape")),
        };
        value.push(plain);
        self.at += 2;
        Ok(false)
    }

    fn unicode(&mut self, value: &mut String) -> Result<bool, NoJson> {
        let Some(first) = self.unit(self.at) else { return Err(self.wrong("`\\u` and four hexadecimal digits")) };
        if (0xD800..0xDC00).contains(&first)
            && let Some(second @ 0xDC00..=0xDFFF) = self.unit(self.at + 6)
        {
            let code = 0x10000 + ((u32::from(first) - 0xD800) << 10) + (u32::from(second) - 0xDC00);
            value.extend(char::from_u32(code));
            self.at += 12;
            return Ok(false);
        }
        let one = char::from_u32(u32::from(first));
        match one {
            Some(c) => value.push(c),
            None => value.push_str(&self.text[self.at..self.at + 6]),
        }
        self.at += 6;
        Ok(one.is_none())
    }

    /// The UTF-16 unit of a `\uXXXX`.
    fn unit(&self, at: usize) -> Option<u16> {
        let hex = self.text.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(hex, 16).ok().filter(|_| hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
    }
}

#[cfg(test)]
impl From<serde_json::Value> for Json {
    fn from(value: serde_json::Value) -> Self {
        Self::parse(&value.to_string()).unwrap()
    }
}

#[cfg(test)]
mod tests;
