//! Secrets that a source's headers and addresses refer to: `{secret:NAME}`.
//!
//! The source file says where a value is to be found, somebody else reads it, and nobody prints it: what is shown, kept or
//! told is the reference. So a value that comes back — an address that a page builds, a message that quotes it — is put
//! back behind its reference before it goes anywhere.

use std::collections::BTreeMap;
use std::fmt;

use super::percent::percent_encode;

/// Where values are to be found, and the values once they are known.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets(BTreeMap<String, Secret>);

#[derive(Clone, Default, PartialEq, Eq)]
struct Secret {
    reference: String,
    value: Option<String>,
}

/// A value that stands in too many texts by accident is not looked for.
const SHORTEST: usize = 4;

impl Secrets {
    /// Names a secret and where its value is: `env:NAME` or `file:PATH`.
    pub(crate) fn declare(&mut self, name: &str, reference: &str) {
        self.0.insert(name.to_owned(), Secret { reference: reference.to_owned(), value: None });
    }

    /// The names, and where each value is to be found.
    pub fn references(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, secret)| (name.as_str(), secret.reference.as_str()))
    }

    /// Gives a declared secret its value. Blanks around it are not part of it: files end with a newline.
    pub fn set(&mut self, name: &str, value: &str) {
        if let Some(secret) = self.0.get_mut(name) {
            secret.value = Some(value.trim().to_owned());
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

    /// The text with every value behind its reference again.
    pub(crate) fn redact(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (name, secret) in &self.0 {
            let Some(value) = secret.value.as_deref().filter(|value| value.len() >= SHORTEST) else { continue };
            let mut encoded = String::new();
            percent_encode(value, &mut encoded);
            for form in [value, &encoded] {
                if text.contains(form) {
                    text = text.replace(form, &format!("{{secret:{name}}}"));
                }
            }
        }
        text
    }

    /// The same for what may be no text.
    pub(crate) fn redact_bytes(&self, bytes: &[u8]) -> Vec<u8> {
        if self.0.is_empty() {
            return bytes.to_vec();
        }
        // A text of one character a byte, so that nothing is lost on the way back.
        let wide: String = bytes.iter().map(|byte| char::from(*byte)).collect();
        self.redact(&wide).chars().filter_map(|c| u8::try_from(u32::from(c)).ok()).collect()
    }
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
}
