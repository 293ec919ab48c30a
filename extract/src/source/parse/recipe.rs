//! The sections `[http]` and `[browser]`.

use std::time::Duration;

use toml::de::DeValue;

use super::{duration, host_names, single};
use crate::source::reader::{Reader, Section, wrong};
use crate::source::{FetchKind, HttpRecipe, JsonTemplate, Method, Place, Recipe, Secrets, UrlTemplate};

mod browser;

/// Answers bigger than this are not what a listing sends: 16 MiB, decompressed.
const MAX_BODY_BYTES: i64 = 16 << 20;

pub(super) fn recipe(
    r: &mut Reader<'_>,
    top: &mut Section<'_>,
    kind: Option<FetchKind>,
    secrets: &Secrets,
) -> Option<Recipe> {
    let sections = FetchKind::ALL.map(|kind| (kind, top.section(r, kind.name(), kind.name())));
    let (kind, name) = (kind?, kind?.name());
    let (own, others): (Vec<_>, Vec<_>) = sections.into_iter().partition(|(of, _)| *of == kind);
    let (_, mut section) = own.into_iter().next()?;
    if !section.is_there() {
        r.problem(
            top.at(),
            format!("expected a section `[{name}]` because `fetch = \"{name}\"`, found none"),
            Some(format!("add `[{name}]`")),
        );
        return None;
    }
    if let Some((other, found)) = others.iter().find(|(_, other)| other.is_there()) {
        r.problem(
            found.at(),
            format!("a section `[{}]` is of no use with `fetch = \"{name}\"`", other.name()),
            Some("remove it, or change `fetch`".to_owned()),
        );
        return None;
    }
    let recipe = match kind {
        FetchKind::Http => http_recipe(r, &mut section, secrets).map(Box::new).map(Recipe::Http),
        FetchKind::Browser => browser::recipe(r, &mut section, secrets).map(Box::new).map(Recipe::Browser),
    };
    section.finish(r);
    recipe
}

fn http_recipe(r: &mut Reader<'_>, section: &mut Section<'_>, secrets: &Secrets) -> Option<HttpRecipe> {
    let method = section.word(r, "method", &[("GET", Method::Get), ("POST", Method::Post)]).unwrap_or(Method::Get);
    let url = address(r, section, "\"https://example.org/list?q={key}&page={page}\"", secrets);
    let headers_section = section.section(r, "headers", "http.headers");
    let mut headers = Vec::new();
    for ((name, at), (value, value_at)) in headers_section.entries() {
        let DeValue::String(text) = value else {
            wrong(r, &value_at, name, "a string", value);
            continue;
        };
        let lower = name.to_ascii_lowercase();
        if lower == "user-agent" || reqwest::header::HeaderName::from_bytes(lower.as_bytes()).is_err() {
            let hint = "the user agent is set for all sources";
            r.problem(&at, format!("expected a header that a source may set, found `{name}`"), Some(hint.to_owned()));
            continue;
        }
        let has_secret = text.contains("{secret:");
        if text.starts_with("env:") || text.starts_with("file:") {
            let hint = format!("write `{name} = \"{{secret:KEY}}\"` and `KEY = \"{text}\"` under [secrets]");
            r.problem(&value_at, format!("expected the value of `{name}`, found where one is kept"), Some(hint));
            continue;
        }
        if FRAMING_HEADERS.contains(&lower.as_str()) {
            let message = format!("expected a header that a source may set, found `{name}`");
            r.problem(&at, message, Some("how a request is sent is for the program to say".to_owned()));
            continue;
        }
        if SECRET_HEADERS.contains(&lower.as_str()) && !has_secret {
            let hint = format!("write `{name} = \"{{secret:KEY}}\"` and `KEY = \"env:NAME\"` under [secrets]");
            let message = format!("expected `{name}` to refer to a secret: credentials do not belong in a source file");
            r.problem(&value_at, message, Some(hint));
            continue;
        }
        match UrlTemplate::parse(text) {
            Ok(template) if text.is_ascii() => {
                known_secrets(r, &value_at, &template, secrets);
                headers.push((lower, template));
            }
            Ok(_) => r.problem(
                &value_at,
                "expected a header of ASCII characters, found others",
                Some("percent-encode them".to_owned()),
            ),
            Err(message) => r.problem(&value_at, message, None),
        }
    }
    let body = section.string(r, "body").and_then(|(text, at)| {
        JsonTemplate::parse(&text)
            .map_err(|error| r.problem(&at, format!("expected `body` to be JSON: {error}"), None))
            .ok()
    });
    let odd = body.as_ref().and_then(JsonTemplate::misspelt);
    if let (Some(word), Some((_, at))) = (odd, section.value("body")) {
        r.problem(
            &at,
            format!("expected `{{key}}`, `{{page}}`, `{{start}}`, `{{offset}}` or `{{size}}`, found `{{{word}}}`"),
            Some("braces of the text itself have a blank beside them, as in `{ pages }`; a secret has its place in a header".to_owned()),
        );
    }
    if body.is_some() && method == Method::Get {
        r.problem(
            section.at(),
            "expected no `body` with the method GET, found one",
            Some("add `method = \"POST\"`".to_owned()),
        );
    }
    let page_size = section.integer(r, "page_size", 1..=10_000).unwrap_or(50);
    let first_page = section.integer(r, "first_page", 0..=1).unwrap_or(1);
    let max_pages = section.integer(r, "max_pages", 1..=100_000).unwrap_or(1_000);
    let short_page_ends = section.boolean(r, "short_page_ends").unwrap_or(false);
    let timeout = section.parsed(r, "timeout", duration).unwrap_or(Duration::from_secs(20));
    let max_body_bytes = section.integer(r, "max_body_bytes", 1..=1 << 30).unwrap_or(MAX_BODY_BYTES);
    let blocked = phrases(r, section);
    Some(HttpRecipe {
        method,
        url: url?,
        headers,
        body,
        page_size: page_size.unsigned_abs(),
        first_page: first_page.unsigned_abs(),
        max_pages: max_pages.unsigned_abs(),
        short_page_ends,
        timeout,
        max_body_bytes: usize::try_from(max_body_bytes).ok()?,
        blocked,
    })
}

/// The address to ask, whose secrets are all declared.
fn address(r: &mut Reader<'_>, section: &mut Section<'_>, example: &str, secrets: &Secrets) -> Option<UrlTemplate> {
    let at = section.value("url").map(|(_, at)| at);
    let template = section.need_parsed(r, "url", example, url)?;
    let at = at?;
    known_secrets(r, &at, &template, secrets);
    no_credentials(r, &at, &template);
    Some(template)
}

/// What a parameter of an address is called that nobody else may know.
const SECRET_PARAMETERS: [&str; 22] = [
    "access_token",
    "api-key",
    "api_key",
    "apikey",
    "auth",
    "auth_token",
    "client_secret",
    "jwt",
    "passwd",
    "password",
    "pwd",
    "secret",
    "service_key",
    "servicekey",
    "session",
    "session_id",
    "sessionid",
    "sig",
    "signature",
    "subscription-key",
    "token",
    "x-api-key",
];
/// The same of a header.
const SECRET_HEADERS: [&str; 6] =
    ["api-key", "authorization", "cookie", "proxy-authorization", "x-api-key", "x-auth-token"];
/// Headers that say how a request is sent, which only the sender knows.
const FRAMING_HEADERS: [&str; 7] =
    ["connection", "content-length", "expect", "host", "te", "transfer-encoding", "upgrade"];
/// How keys of a service begin that calls its parameter by a name that is anybody's.
const KEY_BEGINNING: &str = "AIza";

/// Credentials in an address would stand beside every row.
fn no_credentials(r: &mut Reader<'_>, at: &std::ops::Range<usize>, template: &UrlTemplate) {
    let query = template.as_str().split_once('?').map_or("", |(_, query)| query);
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        let is_literal = !value.is_empty() && !value.contains('{');
        let says_secret = SECRET_PARAMETERS.contains(&name.to_ascii_lowercase().as_str());
        if is_literal && (says_secret || value.starts_with(KEY_BEGINNING)) {
            // The value itself is not repeated.
            let hint = format!("write `{name}={{secret:KEY}}` and `KEY = \"env:NAME\"` under [secrets]");
            let message = format!("expected `{name}` to refer to a secret: credentials do not belong in a source file");
            r.problem(at, message, Some(hint));
        }
    }
}

fn known_secrets(r: &mut Reader<'_>, at: &std::ops::Range<usize>, template: &UrlTemplate, secrets: &Secrets) {
    for name in template.secrets().filter(|name| !secrets.has(name)) {
        let hint = format!("add `{name} = \"env:NAME\"` under [secrets]");
        r.problem(at, format!("expected a secret of [secrets], found `{name}`"), Some(hint));
    }
}

fn phrases(r: &mut Reader<'_>, section: &mut Section<'_>) -> Vec<String> {
    let phrases = section.strings(r, "blocked");
    for (phrase, at) in &phrases {
        if phrase.chars().count() < 6 {
            r.problem(
                at,
                format!("expected a phrase of at least 6 characters that only a block page has, found `{phrase}`"),
                None,
            );
        }
    }
    phrases.into_iter().map(|(phrase, _)| phrase).collect()
}

fn url(text: &str) -> Result<UrlTemplate, String> {
    let template = UrlTemplate::parse(text)?;
    let place = Place { key: "x", page: 1, start: 1, size: 1 };
    match url::Url::parse(&template.render(&place)) {
        Ok(url)
            if matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none() => {}
        Ok(_) => return Err(format!("expected an http or https address without a user, found `{text}`")),
        Err(error) => return Err(format!("expected an address, found `{text}`: {error}")),
    }
    // A key must not choose the host.
    let host_end = text.find("://").map_or(0, |scheme| scheme + 3);
    let host = text[host_end..].split(['/', '?', '#']).next().unwrap_or_default();
    if host.contains('{') {
        return Err(format!("expected a fixed host, found `{host}`"));
    }
    Ok(template)
}
