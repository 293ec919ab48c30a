//! Where a key and a page number stand in a request.
//!
//! A key is data: in an address it is percent-encoded, in a JSON body it becomes a JSON string. It is never pasted into
//! text that somebody parses afterwards.

use serde_json::Value;
use url::Url;

use super::Secrets;
use super::percent::percent_encode;

/// What a request is made for.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// `{key}`.
    pub key: &'a str,
    /// `{page}`: counts from `first_page`.
    pub page: u64,
    /// `{start}`: the number of the page's first item, from 1; `{offset}` is the same from 0.
    pub start: u64,
    /// `{size}`: items per page.
    pub size: u64,
}

const NAMES: [&str; 5] = ["key", "page", "start", "offset", "size"];

impl Place<'_> {
    fn number(&self, name: &str) -> Option<u64> {
        match name {
            "page" => Some(self.page),
            "start" => Some(self.start),
            "offset" => Some(self.start.saturating_sub(1)),
            "size" => Some(self.size),
            _ => None,
        }
    }
}

/// An address, or a header's value, with `{key}`, `{page}`, `{start}`, `{offset}` and `{size}` in it, and references to secrets.
#[derive(Clone, Debug)]
pub struct UrlTemplate {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
enum Part {
    Text(String),
    Name(String),
    Secret(String),
}

impl UrlTemplate {
    /// Reads a template. The error says what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let Some((name, tail)) = after.split_once('}') else {
                return Err(format!("expected `}}` after `{{{after}`, found the end"));
            };
            parts.push(Part::Text(before.to_owned()));
            if let Some(secret) = name.strip_prefix("secret:") {
                parts.push(Part::Secret(secret.trim().to_owned()));
            } else if NAMES.contains(&name) {
                parts.push(Part::Name(name.to_owned()));
            } else {
                return Err(format!(
                    "expected `{{key}}`, `{{page}}`, `{{start}}`, `{{offset}}`, `{{size}}` or `{{secret:NAME}}`, found `{{{name}}}`"
                ));
            }
            rest = tail;
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Self { text: text.to_owned(), parts })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The names of the secrets it refers to.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| if let Part::Secret(name) = part { Some(name.as_str()) } else { None })
    }

    /// The address for a place, as it is shown and kept: secrets stay references.
    pub fn render(&self, place: &Place<'_>) -> String {
        self.rendered(place, &mut |name, out| {
            out.push_str("{secret:");
            out.push_str(name);
            out.push('}');
        })
    }

    /// The address that is really asked.
    pub(crate) fn render_address(&self, place: &Place<'_>, secrets: &Secrets) -> String {
        self.rendered(place, &mut |name, out| {
            let value = secrets.value(name).unwrap_or_default();
            // Services give their keys out encoded, and not.
            if is_encoded(value) { out.push_str(value) } else { percent_encode(value, out) }
        })
    }

    /// The header that is really sent.
    pub(crate) fn render_header(&self, place: &Place<'_>, secrets: &Secrets) -> String {
        self.rendered(place, &mut |name, out| out.push_str(secrets.value(name).unwrap_or_default()))
    }

    fn rendered(&self, place: &Place<'_>, secret: &mut dyn FnMut(&str, &mut String)) -> String {
        let mut out = String::with_capacity(self.text.len() + place.key.len() * 3);
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Name(name) => match place.number(name) {
                    Some(number) => out.push_str(&number.to_string()),
                    None => percent_encode(place.key, &mut out),
                },
                Part::Secret(name) => secret(name, &mut out),
            }
        }
        out
    }
}

/// Whether a value is one that was encoded: it has an escape, and nothing that needs one.
fn is_encoded(value: &str) -> bool {
    let mut parts = value.split('%');
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte));
    parts.next().is_some_and(plain)
        && value.contains('%')
        && parts.all(|part| part.len() >= 2 && part.as_bytes()[..2].iter().all(u8::is_ascii_hexdigit) && plain(part))
}

/// `host` or `host:port`, as a source names it.
pub(crate) fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// A JSON body. A text that is exactly `{page}`, `{start}`, `{offset}` or `{size}` becomes a number; `{key}` becomes a text. Only these
/// five words in braces without spaces count: a GraphQL query is full of other braces.
#[derive(Clone, Debug)]
pub struct JsonTemplate(Value);

impl JsonTemplate {
    /// Reads a body.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text).map(Self)
    }

    /// A word in braces that is nearly one of those that are filled in, or a secret, for which there is no place here.
    pub(crate) fn misspelt(&self) -> Option<String> {
        misspelt(&self.0)
    }

    /// The body for a place.
    pub fn render(&self, place: &Place<'_>) -> Value {
        render_json(&self.0, place)
    }
}

fn misspelt(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => {
            let words = text.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(word, _)| word);
            let is_odd = |word: &str| {
                let nearest = NAMES.into_iter().map(|name| strsim::damerau_levenshtein(name, word)).min();
                word.starts_with("secret:") || nearest == Some(1)
            };
            words.filter(|word| is_odd(word)).map(str::to_owned).next()
        }
        Value::Array(elements) => elements.iter().find_map(misspelt),
        Value::Object(members) => members.values().find_map(misspelt),
        _ => None,
    }
}

fn render_json(value: &Value, place: &Place<'_>) -> Value {
    match value {
        Value::String(text) => render_text(text, place),
        Value::Array(elements) => elements.iter().map(|element| render_json(element, place)).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(name, member)| (name.clone(), render_json(member, place)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

fn render_text(text: &str, place: &Place<'_>) -> Value {
    if let Some(number) =
        text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).and_then(|name| place.number(name))
    {
        return number.into();
    }
    // One pass from left to right: a key that itself reads `{page}` stays as it is.
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        let (before, from) = rest.split_at(open);
        out.push_str(before);
        let name =
            NAMES.into_iter().find(|name| from[1..].strip_prefix(name).is_some_and(|tail| tail.starts_with('}')));
        if let Some(name) = name {
            match place.number(name) {
                Some(number) => out.push_str(&number.to_string()),
                None => out.push_str(place.key),
            }
            rest = &from[name.len() + 2..];
        } else {
            out.push('{');
            rest = &from[1..];
        }
    }
    out.push_str(rest);
    Value::String(out)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn place(key: &str) -> Place<'_> {
        Place { key, page: 3, start: 101, size: 50 }
    }

    #[test]
    fn a_key_can_not_leave_its_place_in_an_address() {
        let template = UrlTemplate::parse("https://a.example/p/{key}/r?page={page}&start={start}").unwrap();
        assert_eq!(
            template.render(&place("../x?y=1#z&{page} 국")),
            "https://a.example/p/..%2Fx%3Fy%3D1%23z%26%7Bpage%7D%20%EA%B5%AD/r?page=3&start=101"
        );
        let template = UrlTemplate::parse("https://a.example/{key}?skip={offset}&take={size}").unwrap();
        assert_eq!(template.render(&place("k")), "https://a.example/k?skip=100&take=50", "from 0");
        let body = JsonTemplate::parse(r#"{"skip": "{offset}", "of": "{key}/{offset}"}"#).unwrap();
        assert_eq!(body.render(&place("k")), json!({"skip": 100, "of": "k/100"}));
        assert_eq!(body.misspelt(), None);
        for (text, word) in [
            (r#"{"q": ["p {pag}"]}"#, Some("pag")),
            (r#"{"t": "{secret:K}"}"#, Some("secret:K")),
            (r#"{"q": "query { places { id pages } } {p}"}"#, None),
        ] {
            assert_eq!(JsonTemplate::parse(text).unwrap().misspelt().as_deref(), word, "{text}");
        }
    }

    #[test]
    fn a_template_with_an_unknown_name_says_which_are_known() {
        assert!(UrlTemplate::parse("https://a.example/{kye}").unwrap_err().contains("found `{kye}`"));
        assert!(UrlTemplate::parse("https://a.example/{key").unwrap_err().contains("found the end"));
    }

    #[test]
    fn a_secret_is_sent_and_its_reference_is_shown() {
        let template = UrlTemplate::parse("https://a.example/{key}?k={secret:K}").unwrap();
        let mut secrets = Secrets::default();
        secrets.declare("K", "env:K");
        for (value, sent) in [("plain", "plain"), ("a+b/c==", "a%2Bb%2Fc%3D%3D"), ("a%2Bb", "a%2Bb"), ("50%", "50%25")]
        {
            secrets.set("K", value);
            assert_eq!(template.render_address(&place("x"), &secrets), format!("https://a.example/x?k={sent}"));
            assert_eq!(template.render(&place("x")), "https://a.example/x?k={secret:K}");
        }
        let header = UrlTemplate::parse("Bearer {secret:K}").unwrap();
        assert_eq!(header.render_header(&place("x"), &secrets), "Bearer 50%");
        assert_eq!(header.secrets().collect::<Vec<_>>(), ["K"]);
    }

    #[test]
    fn a_body_gets_values_not_text() {
        let body = JsonTemplate::parse(r#"{"q": "{key}", "start": "{start}", "n": 1, "both": "{key} #{page}", "query": "query f { a{id} b {key } }", "list": ["{size}"]}"#).unwrap();
        assert_eq!(
            body.render(&place(r#"국"밥\{page}"#)),
            json!({"q": r#"국"밥\{page}"#, "start": 101, "n": 1, "both": r#"국"밥\{page} #3"#, "query": "query f { a{id} b {key } }", "list": [50]})
        );
    }
}
