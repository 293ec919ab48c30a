//! Secrets that a source's headers and addresses refer to: `{secret:NAME}`.
//!
//! The source file says where a value is to be found, somebody else reads it, and nobody prints it: what is shown, kept or
//! told is the reference. So a value that comes back — an address that a page builds, a message that quotes it — is put
//! back behind its reference before it goes anywhere.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::percent::percent_encode;

/// Where values are to be found, and the values once they are known.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets(BTreeMap<String, Secret>);

#[derive(Clone, Default, PartialEq, Eq)]
struct Secret {
    reference: String,
    value: Option<String>,
    /// Its value in each form in which it may come back.
    forms: Vec<String>,
}

/// A value that stands in too many texts by accident is not looked for.
const SHORTEST: usize = 4;

/// Nor is a part of one, which may be a word or a number like others.
const SHORTEST_PART: usize = 6;

impl Secrets {
    /// Names a secret and where its value is: `env:NAME` or `file:PATH`.
    pub(crate) fn declare(&mut self, name: &str, reference: &str) {
        self.0.insert(name.to_owned(), Secret { reference: reference.to_owned(), ..Secret::default() });
    }

    /// The names, and where each value is to be found.
    pub fn references(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, secret)| (name.as_str(), secret.reference.as_str()))
    }

    /// Gives a declared secret its value. Blanks around it are not part of it: files end with a newline.
    pub fn set(&mut self, name: &str, value: &str) {
        if let Some(secret) = self.0.get_mut(name) {
            secret.value = Some(value.trim().to_owned());
            secret.forms = forms(value.trim());
        }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.value.as_deref()
    }

    /// The first that has no value.
    pub(crate) fn missing(&self) -> Option<(&str, &str)> {
        let (name, secret) = self.0.iter().find(|(_, secret)| secret.value.is_none())?;
        Some((name.as_str(), secret.reference.as_str()))
    }

    /// Whether no value is known that could be in a text.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.values().all(|secret| secret.forms.is_empty())
    }

    /// The text with every value behind its reference again.
    pub(crate) fn redact(&self, text: &str) -> String {
        self.found_in(text).unwrap_or_else(|| text.to_owned())
    }

    /// The same; nothing for a text that holds no value.
    pub(crate) fn found_in(&self, text: &str) -> Option<String> {
        self.replaced(text, &str::to_owned)
    }

    /// The same for what may be no text.
    pub(crate) fn redact_bytes(&self, bytes: &[u8]) -> Vec<u8> {
        if let Ok(text) = std::str::from_utf8(bytes) {
            return self.redact(text).into_bytes();
        }
        // A text of one character a byte, so that nothing is lost on the way back.
        let wide = |bytes: &[u8]| bytes.iter().map(|byte| char::from(*byte)).collect::<String>();
        match self.replaced(&wide(bytes), &|form| wide(form.as_bytes())) {
            Some(text) => text.chars().filter_map(|c| u8::try_from(u32::from(c)).ok()).collect(),
            None => bytes.to_vec(),
        }
    }

    /// The longest forms first: one secret may be a part of another.
    fn replaced(&self, text: &str, written: &dyn Fn(&str) -> String) -> Option<String> {
        let of = |(name, secret): (&String, &Secret)| -> Vec<(String, String)> {
            secret.forms.iter().map(|form| (written(form), format!("{{secret:{name}}}"))).collect()
        };
        let mut forms: Vec<(String, String)> = self.0.iter().flat_map(of).collect();
        forms.sort_by_key(|(form, _)| std::cmp::Reverse(form.len()));
        let mut out: Option<String> = None;
        for (form, reference) in forms {
            let current = out.as_deref().unwrap_or(text);
            if current.contains(&form) {
                out = Some(current.replace(&form, &reference));
            }
        }
        out
    }
}

/// The forms in which a value may come back: as it is, in an address, in a form's body, in JSON, in HTML, in Base64 as the
/// header of a user and a password has it.
fn forms(value: &str) -> Vec<String> {
    let mut upper = String::new();
    percent_encode(value, &mut upper);
    let lower = lower_hex(&upper);
    let json = serde_json::to_string(value).unwrap_or_default();
    let json = json.trim_start_matches('"').strip_suffix('"').unwrap_or_default().to_owned();
    let html = value.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
    let mut forms = vec![
        value.to_owned(),
        upper.replace("%20", "+"),
        lower.replace("%20", "+"),
        upper,
        lower,
        json.replace('/', "\\/"),
        json,
        html.replace('\'', "&#39;"),
        html,
        STANDARD.encode(value),
    ];
    // Of a user and a password, either may come back alone, and both as they were before they were encoded.
    let plain = STANDARD.decode(value).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    for pair in plain.iter().map(String::as_str).chain([value]) {
        if let Some((_, password)) = pair.split_once(':').filter(|(user, _)| !user.is_empty()) {
            forms.push(pair.to_owned());
            forms.extend(Some(password.to_owned()).filter(|password| password.len() >= SHORTEST_PART));
        }
    }
    // As an address has it that was put together without care.
    if let Ok(mut address) = url::Url::parse("http://a/") {
        address.set_query(Some(value));
        forms.extend(address.query().map(str::to_owned));
    }
    forms.retain(|form| form.len() >= SHORTEST);
    forms.sort_unstable();
    forms.dedup();
    forms
}

/// `%2F` as `%2f`, and nothing else.
fn lower_hex(encoded: &str) -> String {
    let mut left = 0;
    let lower = encoded.chars().map(|c| {
        if c == '%' {
            left = 3;
        }
        left = i32::max(left - 1, -1);
        if left >= 0 { c.to_ascii_lowercase() } else { c }
    });
    lower.collect()
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
        for text in ["https://a/?k=s3cr/et+&p=1", "https://a/?k=s3cr%2Fet%2B&p=1"] {
            assert_eq!(secrets.redact(text), "https://a/?k={secret:KEY}&p=1");
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
        ];
        for (text, expected) in table {
            assert_eq!(secrets.redact(text), expected);
            assert_eq!(secrets.redact_bytes(text.as_bytes()), expected.as_bytes());
            let garbled = |text: &str| [text.as_bytes(), b"\xff"].concat();
            assert_eq!(secrets.redact_bytes(&garbled(text)), garbled(expected), "{text}");
        }
    }
}
