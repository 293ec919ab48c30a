//! Secrets that a source's headers and addresses refer to: `{secret:NAME}`.
//!
//! The source file says where a value is to be found, somebody else reads it, and nobody prints it: what is shown, kept or
//! told is the reference. So a value that comes back — an address that a page builds, a message that quotes it — is put
//! back behind its reference before it goes anywhere.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};

use crate::json::whole_digits;
use crate::needle::{Needle, Needles};

/// Where values are to be found, and the values once they are known.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets {
    declared: BTreeMap<String, Secret>,
    /// What to look for.
    needles: Needles,
}

#[derive(Clone, Default, PartialEq, Eq)]
struct Secret {
    reference: String,
    value: Option<String>,
}

/// A shorter value stands in too many texts by accident: it can't be looked for, and is no secret.
const SHORTEST: usize = 4;

/// Nor is a part of one, which may be a word or a number like others.
const SHORTEST_PART: usize = 6;

impl Secrets {
    /// Names a secret and where its value is: `env:NAME` or `file:PATH`.
    pub(crate) fn declare(&mut self, name: &str, reference: &str) {
        self.declared.insert(name.to_owned(), Secret { reference: reference.to_owned(), value: None });
    }

    /// The names, and where each value is to be found.
    pub fn references(&self) -> impl Iterator<Item = (&str, &str)> {
        self.declared.iter().map(|(name, secret)| (name.as_str(), secret.reference.as_str()))
    }

    /// Gives a declared secret its value. Blanks around it are not part of it: files end with a newline.
    pub fn set(&mut self, name: &str, value: &str) {
        if let Some(secret) = self.declared.get_mut(name) {
            secret.value = Some(value.trim().to_owned());
        }
        let of = |(name, secret): (&String, &Secret)| {
            let reference = format!("{{secret:{name}}}");
            let values = secret.value.as_deref().map(values).unwrap_or_default();
            values.into_iter().map(move |value| Needle::exact(&value, &reference))
        };
        self.needles = Needles::new(self.declared.iter().flat_map(of).collect());
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.declared.contains_key(name)
    }

    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.declared.get(name)?.value.as_deref()
    }

    /// The first that has no value.
    pub fn missing(&self) -> Option<(&str, &str)> {
        let (name, secret) = self.declared.iter().find(|(_, secret)| secret.value.is_none())?;
        Some((name.as_str(), secret.reference.as_str()))
    }

    /// Those whose value is too short to be looked for in what a site sends, and where each is: they can't be kept secret.
    pub fn too_short(&self) -> impl Iterator<Item = (&str, &str)> {
        let is_short = |value: &String| value.chars().count() < SHORTEST;
        let short = self.declared.iter().filter(move |(_, secret)| secret.value.as_ref().is_some_and(is_short));
        short.map(|(name, secret)| (name.as_str(), secret.reference.as_str()))
    }

    /// Whether no value is known that could be in a text.
    pub(crate) fn is_empty(&self) -> bool {
        self.needles.is_empty()
    }

    /// The text with every value behind its reference again.
    pub(crate) fn redact(&self, text: &str) -> String {
        self.found_in(text).unwrap_or_else(|| text.to_owned())
    }

    /// The same; nothing for a text that holds no value.
    pub(crate) fn found_in(&self, text: &str) -> Option<String> {
        self.needles.replaced(text)
    }

    /// The reference of the value that a JSON number is, however it is written: as a whole, since a part of it is another number.
    pub(crate) fn of_number(&self, number: &str) -> Option<String> {
        let whole = whole_digits(number).filter(|digits| digits != number);
        let is_reference = |text: &String| text.starts_with('{') && text.ends_with('}');
        [Some(number.to_owned()), whole]
            .into_iter()
            .flatten()
            .find_map(|form| self.found_in(&form).filter(is_reference))
    }

    /// The same for what may be no text.
    pub(crate) fn redact_bytes(&self, bytes: &[u8]) -> Vec<u8> {
        self.needles.replaced_bytes(bytes).unwrap_or_else(|| bytes.to_vec())
    }
}

/// The values that may come back for one: as it is, in Base64 as the header of a user and a password has it, in hexadecimal
/// digits, in both of them, and as what it was before it was encoded.
fn values(value: &str) -> Vec<String> {
    let mut values = vec![value.to_owned()];
    let plain = STANDARD.decode(value).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    // Of a user and a password, either may come back alone.
    for pair in plain.iter().map(String::as_str).chain([value]) {
        if let Some((_, password)) = pair.split_once(':').filter(|(user, _)| !user.is_empty()) {
            values.push(pair.to_owned());
            values.extend(Some(password.to_owned()).filter(|password| password.len() >= SHORTEST_PART));
        }
    }
    let once: Vec<String> = values.iter().flat_map(|value| encoded(value.as_bytes())).collect();
    // What is encoded once more is so as a whole, with what fills it up.
    let twice = values.iter().flat_map(|value| whole(value.as_bytes()));
    let twice: Vec<String> = twice.flat_map(|form| encoded(form.as_bytes())).collect();
    values.extend(once.into_iter().chain(twice));
    values.retain(|form| form.chars().count() >= SHORTEST);
    values.sort_unstable();
    values.dedup();
    values
}

/// Bytes in hexadecimal digits and in Base64. Behind a name, they begin at any of the three that four letters are made of; the
/// letters that other bytes have a part in are left out.
fn encoded(bytes: &[u8]) -> Vec<String> {
    let digits = hex::encode(bytes);
    let apart = digits.as_bytes().chunks(2).map(String::from_utf8_lossy).collect::<Vec<_>>().join(":");
    let mut encoded = vec![digits.to_ascii_uppercase(), apart.to_ascii_uppercase(), digits, apart];
    for before in 0..3 {
        let bytes = [&[0, 0][..before], bytes].concat();
        let (first, last) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
        for alphabet in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            encoded.extend(alphabet.encode(&bytes).get(first..last).map(str::to_owned));
        }
    }
    encoded.retain(|form| form.len() >= SHORTEST_PART);
    encoded
}

/// The same where nothing stands before it, whole.
fn whole(bytes: &[u8]) -> Vec<String> {
    let mut forms = vec![
        hex::encode(bytes),
        hex::encode_upper(bytes),
        STANDARD.encode(bytes),
        STANDARD_NO_PAD.encode(bytes),
        URL_SAFE.encode(bytes),
        URL_SAFE_NO_PAD.encode(bytes),
    ];
    forms.sort_unstable();
    forms.dedup();
    forms
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.references()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_shown_nowhere() {
        let mut secrets = Secrets::default();
        secrets.declare("KEY", "env:SERVICE_KEY");
        assert_eq!(secrets.missing(), Some(("KEY", "env:SERVICE_KEY")));
        secrets.set("KEY", "s3cr/et+\n");
        assert_eq!((secrets.missing(), secrets.value("KEY")), (None, Some("s3cr/et+")));
        assert_eq!(format!("{secrets:?}"), r#"{"KEY": "env:SERVICE_KEY"}"#);
        for text in ["https://a/?k=s3cr/et+&p=1", "https://a/?k=s3cr%2Fet%2B&p=1", "https://a/?k=s3cr/et%2B&p=1"] {
            assert_eq!(secrets.redact(text), "https://a/?k={secret:KEY}&p=1");
        }
        // In Base64 behind names of any length, with and without what fills it up.
        for name in ["", "a", "ab", "abc", "user:", "some-one:"] {
            for encoded in
                [STANDARD.encode(format!("{name}s3cr/et+")), URL_SAFE_NO_PAD.encode(format!("{name}s3cr/et+z"))]
            {
                assert!(secrets.redact(&encoded).contains("{secret:KEY}"), "{name} {encoded}");
            }
        }
        // A value with the signs of an encoding in it.
        secrets.set("KEY", "100%25&amp;");
        for text in ["100%25&amp;", "100%2525%26amp%3B", "100%25&amp;amp;"] {
            assert_eq!(secrets.redact(text), "{secret:KEY}", "{text}");
        }
    }

    #[test]
    fn a_value_is_found_in_each_form_in_which_it_may_come_back() {
        let mut secrets = Secrets::default();
        for (name, value) in
            [("T", "S3C+/= \"x'&"), ("K", "비밀번호"), ("B", "dXNlcjpoNG5ncnk="), ("LONG", "비밀번호-2")]
        {
            secrets.declare(name, "env:X");
            secrets.set(name, value);
        }
        let table = [
            ("S3C+/= \"x'&", "{secret:T}"),
            ("?k=S3C%2B%2F%3D%20%22x%27%26", "?k={secret:T}"),
            ("?k=S3C%2b%2f%3d%20%22x%27%26", "?k={secret:T}"),
            ("k=S3C%2B%2F%3D+%22x%27%26", "k={secret:T}"),
            (r#"{"k": "S3C+/= \"x'&"}"#, r#"{"k": "{secret:T}"}"#),
            (r#"{"k": "S3C+\/= \"x'&"}"#, r#"{"k": "{secret:T}"}"#),
            ("<b>S3C+/= &quot;x&#39;&amp;</b>", "<b>{secret:T}</b>"),
            ("Basic dXNlcjpoNG5ncnk=", "Basic {secret:B}"),
            ("hello user:h4ngry", "hello {secret:B}"),
            ("password h4ngry!", "password {secret:B}!"),
            ("비밀번호 비밀번호-2", "{secret:K} {secret:LONG}"),
            ("%EB%B9%84%EB%B0%80%EB%B2%88%ED%98%B8", "{secret:K}"),
            ("http://a/?t=S3C+/=%20%22x%27&", "http://a/?t={secret:T}"),
            ("S3C", "S3C"),
            // Encoded in part, twice, in mixed ways, behind a name.
            ("k=S3C+/%3D%20\"x'&", "k={secret:T}"),
            ("k=S3C%252B%252F%253D%2520%2522x%2527%2526", "k={secret:T}"),
            ("S3C&#43;&#x2F;&#61; &quot;x&#x27;&amp;", "{secret:T}"),
            (r"S3C\u002b\/\u003D\u0020\u0022x\u0027\u0026", "{secret:T}"),
            (r"\ube44\uBC00\ubc88\ud638", "{secret:K}"),
            ("%eb%b9%84밀%EB%B2%88호", "{secret:K}"),
            ("&#48708;&#xBC00;번호", "{secret:K}"),
            ("5333432b2f3d2022782726", "{secret:T}"),
            ("dXNlcjpoNG5ncnk", "{secret:B}k"),
            // Once more, in digits with something between them, in octal ones, with a line broken in it.
            (r#"S3C+/= \\\"x'&amp;amp;"#, "{secret:T}"),
            ("53:33:43:2b:2f:3d:20:22:78:27:26", "{secret:T}"),
            ("53:33:43:2B:2F:3D:20:22:78:27:26", "{secret:T}"),
            (r"\123\063\103+/=\040\042x\047\046", "{secret:T}"),
            ("S3C+/=\n \"x\r\n'&", "{secret:T}"),
            ("UzNDKy89ICJ4JyY=", "{secret:T}Y="),
            ("VXpOREt5ODlJQ0o0SnlZPQ==", "{secret:T}Q=="),
            ("%S3C%", "%S3C%"),
            ("%2", "%2"),
            ("&#x;&;\\u12\\", "&#x;&;\\u12\\"),
        ];
        for (text, expected) in table {
            assert_eq!(secrets.redact(text), expected);
            assert_eq!(secrets.redact_bytes(text.as_bytes()), expected.as_bytes());
            let garbled = |text: &str| [text.as_bytes(), b"\xff"].concat();
            assert_eq!(secrets.redact_bytes(&garbled(text)), garbled(expected), "{text}");
        }
    }

    #[test]
    fn a_value_that_is_encoded_twice_is_found_behind_any_name() {
        let mut secrets = Secrets::default();
        secrets.declare("T", "env:X");
        secrets.set("T", "h4ngry-hipp0");
        for inner in whole(b"h4ngry-hipp0") {
            for name in ["", "a", "ab", "abc"] {
                for outer in whole(format!("{name}{inner}").as_bytes()) {
                    let shown = secrets.redact(&outer);
                    assert!(shown.contains("{secret:T}") && shown.len() <= "{secret:T}".len() + 12, "{outer}: {shown}");
                }
            }
        }
    }

    #[test]
    fn a_number_is_a_secret_however_it_is_written() {
        let mut secrets = Secrets::default();
        secrets.declare("N", "env:X");
        secrets.set("N", "7788990011223");
        for (number, is_secret) in [
            ("7788990011223", true),
            ("7788990011223.0", true),
            ("-7788990011223.00", true),
            ("7.788990011223e12", true),
            ("778899001122.3E+1", true),
            ("77889900112230e-1", true),
            ("7788990011223.5", false),
            ("77889900112230", false),
            ("7788990011224", false),
            ("7788990011223e400000000000000000000", false),
        ] {
            let expected = is_secret.then(|| "{secret:N}".to_owned());
            assert_eq!(secrets.of_number(number), expected, "{number}");
        }
    }

    #[test]
    fn what_is_too_short_to_be_found_is_told() {
        let mut secrets = Secrets::default();
        for (name, value) in [("A", "abc"), ("B", "abcd"), ("C", " 12 "), ("D", "비밀번호"), ("E", "")] {
            secrets.declare(name, "env:X");
            secrets.set(name, value);
        }
        secrets.declare("F", "env:Y");
        assert_eq!(secrets.too_short().map(|(name, _)| name).collect::<String>(), "ACE");
    }
}
