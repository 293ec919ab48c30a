//! The section `[browser]`: a page, where its documents have items, and how it is made to load more.

use std::time::Duration;

use toml::de::DeValue;

use super::{MAX_BODY_BYTES, address, duration, host_names, phrases, single};
use crate::source::reader::{Reader, Section};
use crate::source::{
    BrowserRecipe, CacheRecipe, DocumentRecipe, More, MoreRecipe, NextRecipe, Secrets, StatePlace, StateRecipe,
};

pub(super) fn recipe(r: &mut Reader<'_>, section: &mut Section<'_>, secrets: &Secrets) -> Option<BrowserRecipe> {
    let url = address(r, section, "\"https://example.org/place/{key}/review\"", secrets);
    let language = section.parsed(r, "language", language).unwrap_or_else(|| "en-US,en;q=0.9".to_owned());
    let hosts = section.strings(r, "response_hosts");
    let response_hosts = host_names(r, hosts);
    let has_response = section.has("response");
    let response = if has_response { section.need_string(r, "response", "\"*/graphql*\"") } else { None };
    if !has_response {
        for key in ["response_hosts", "operation"] {
            if let Some((_, at)) = section.value(key) {
                let hint = "add `response = \"*/graphql*\"`, the addresses of the answers to take";
                r.problem(&at, format!("`{key}` is of no use without `response`"), Some(hint.to_owned()));
            }
        }
    }
    let operation = section.string(r, "operation").map(|(operation, _)| operation);
    let blocked = phrases(r, section);
    let ready = section.need_string(r, "ready", "\"#_review_list\"");
    let ready_timeout = section.parsed(r, "ready_timeout", duration).unwrap_or(Duration::from_secs(15));
    let reloads = section.integer(r, "reloads", 0..=10).unwrap_or(4);
    let max_body_bytes = section.integer(r, "max_body_bytes", 1..=1 << 30).unwrap_or(MAX_BODY_BYTES);
    let block_urls = section.strings(r, "block_urls").into_iter().map(|(pattern, _)| pattern).collect();
    let has_document = section.has("document");
    let document = document(r, section);
    let more_at = section.value("more").map(|(_, at)| at);
    let more = more(r, section);
    section.knows("response");
    if !has_response && !has_document {
        let hint = "add `response = \"*/graphql*\"` for what the page fetches, or `[browser.document]` for what it brings along";
        let message = "expected `response` or a section [browser.document], found neither: nothing would be read";
        r.problem(section.at(), message, Some(hint.to_owned()));
    } else if let (false, Some(at), Some(More::Scroll { .. } | More::Button(_))) = (has_response, more_at, &more) {
        let hint = "add `response = \"*/graphql*\"`, or use `next` if each part is a document of its own";
        let message = "expected `response` beside `more`: what scrolling or a button loads comes as answers";
        r.problem(&at, message, Some(hint.to_owned()));
    }
    if has_response && response.is_none() {
        return None;
    }
    Some(BrowserRecipe {
        url: url?,
        response: response.map(|(response, _)| response),
        response_hosts,
        language,
        operation,
        blocked,
        ready: ready?.0,
        ready_timeout,
        reloads: u32::try_from(reloads).ok()?,
        max_body_bytes: usize::try_from(max_body_bytes).ok()?,
        block_urls,
        document: document?,
        more: more?,
    })
}

/// Nothing where a mistake was noted; no recipe where there is no section.
#[expect(clippy::option_option, reason = "no section and a broken one are two things")]
fn document(r: &mut Reader<'_>, section: &mut Section<'_>) -> Option<Option<DocumentRecipe>> {
    const PLACES: [&str; 3] = ["state", "script", "linked_data"];
    let mut section = section.section(r, "document", "browser.document");
    if !section.is_there() {
        return Some(None);
    }
    let places: Vec<&str> = PLACES.into_iter().filter(|place| section.has(place)).collect();
    let recipe = match places.as_slice() {
        ["state"] if section.has("field") || section.has("typename") => {
            cache(r, &mut section).map(DocumentRecipe::Cache)
        }
        ["linked_data"] => {
            let kind = section.need_string(r, "linked_data", "\"Review\"");
            kind.map(|(kind, _)| DocumentRecipe::LinkedData { kind })
        }
        ["state"] => {
            let place = section.need_string(r, "state", "\"__STATE__\"").map(|(name, _)| StatePlace::Variable(name));
            state(r, &mut section, place).map(DocumentRecipe::State)
        }
        ["script"] => {
            let place = section.need_string(r, "script", "\"__NEXT_DATA__\"").map(|(id, _)| StatePlace::Script(id));
            state(r, &mut section, place).map(DocumentRecipe::State)
        }
        found => {
            let message = match found {
                [] => "expected `state`, `script` or `linked_data` in [browser.document], found nothing".to_owned(),
                _ => format!("expected one of `state`, `script` and `linked_data`, found `{}`", found.join("` and `")),
            };
            let hint = "`state` is a variable of a script, `script` the id of one that is JSON, `linked_data` a type of JSON-LD";
            r.problem(section.at(), message, Some(hint.to_owned()));
            PLACES.iter().chain(&["field", "typename", "path", "total"]).for_each(|key| section.knows(key));
            None
        }
    };
    section.finish(r);
    recipe.map(Some)
}

fn cache(r: &mut Reader<'_>, section: &mut Section<'_>) -> Option<CacheRecipe> {
    let state = section.need_string(r, "state", "\"__APOLLO_STATE__\"");
    let field = section.need_string(r, "field", "\"visitorReviews\"");
    let path = section.need_parsed(r, "path", "\"/items\"", single);
    let typename = section.need_string(r, "typename", "\"VisitorReview\"");
    Some(CacheRecipe { state: state?.0, field: field?.0, path: path?, typename: typename?.0 })
}

/// The JSON itself may be the list: its path is empty.
fn state(r: &mut Reader<'_>, section: &mut Section<'_>, place: Option<StatePlace>) -> Option<StateRecipe> {
    if !section.has("path") {
        section.missing(r, "path", "\"/props/items\"");
    }
    let path = section.parsed(r, "path", single);
    let total = section.parsed(r, "total", single);
    Some(StateRecipe { place: place?, path: path?, total })
}

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(10);

/// The same where a page is scrolled: this is waited at the end of every key.
const SCROLLED: Duration = Duration::from_secs(4);

/// `more = "scroll"`, a section, or nothing.
fn more(r: &mut Reader<'_>, section: &mut Section<'_>) -> Option<More> {
    const WAYS: [&str; 3] = ["button", "next", "scroll"];
    let Some((value, at)) = section.value("more") else { return Some(More::Nothing) };
    let table = match value {
        DeValue::Table(table) => table,
        DeValue::String(word) if word == "scroll" => return Some(More::Scroll { timeout: SCROLLED }),
        _ => {
            let hint = "write `more = \"scroll\"`, or a section [browser.more] for a button or a link, or leave it out";
            r.problem(&at, "expected `more` to be \"scroll\" or a section", Some(hint.to_owned()));
            return None;
        }
    };
    let mut section = Section::of("[browser.more]".to_owned(), table, at);
    let ways: Vec<&str> = WAYS.into_iter().filter(|way| section.has(way)).collect();
    let more = match ways.as_slice() {
        ["next"] => next(r, &mut section),
        ["scroll"] => scroll(r, &mut section),
        [] | ["button"] => button(r, &mut section),
        found => {
            let message = format!("expected one of `button`, `next` and `scroll`, found `{}`", found.join("` and `"));
            let hint = "`button` makes the list longer, `next` puts its next part in its place, `scroll` goes to the page's end";
            r.problem(section.at(), message, Some(hint.to_owned()));
            return None;
        }
    };
    section.finish(r);
    more
}

fn button(r: &mut Reader<'_>, section: &mut Section<'_>) -> Option<More> {
    let list = section.need_string(r, "list", "\"#_review_list\"");
    let within = section.string(r, "within").map_or_else(|| "body".to_owned(), |(within, _)| within);
    let button = section.need_string(r, "button", "\"a[role=button]\"");
    let texts = texts(r, section);
    let prune = section.string(r, "prune").map(|(prune, _)| prune);
    let keep = section.integer(r, "keep", 1..=10_000).unwrap_or(2);
    let timeout = section.parsed(r, "timeout", duration).unwrap_or(ANSWER);
    let settle = section.parsed(r, "settle", duration).unwrap_or(Duration::from_secs(3));
    let keep = usize::try_from(keep).ok()?;
    Some(More::Button(Box::new(MoreRecipe {
        list: list?.0,
        within,
        button: button?.0,
        texts,
        prune,
        keep,
        timeout,
        settle,
    })))
}

fn next(r: &mut Reader<'_>, section: &mut Section<'_>) -> Option<More> {
    let next = section.need_string(r, "next", "\"a[rel=next]\"");
    let texts = texts(r, section);
    let timeout = section.parsed(r, "timeout", duration).unwrap_or(ANSWER);
    let settle = section.parsed(r, "settle", duration).unwrap_or(Duration::from_secs(3));
    Some(More::Next(Box::new(NextRecipe { next: next?.0, texts, timeout, settle })))
}

fn scroll(r: &mut Reader<'_>, section: &mut Section<'_>) -> Option<More> {
    let scrolls = section.boolean(r, "scroll")?;
    let timeout = section.parsed(r, "timeout", duration).unwrap_or(SCROLLED);
    Some(if scrolls { More::Scroll { timeout } } else { More::Nothing })
}

fn texts(r: &mut Reader<'_>, section: &mut Section<'_>) -> Vec<String> {
    section.strings(r, "texts").into_iter().map(|(text, _)| text).collect()
}

/// What `accept-language` may be: tags, most wanted first, each with its weight. The first one is what scripts are told.
fn language(text: &str) -> Result<String, String> {
    let is_tag = |tag: &str| {
        tag.split('-')
            .all(|part| (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric()))
    };
    let is_weight = |weight: &str| {
        weight.trim().strip_prefix("q=").and_then(|q| q.parse::<f64>().ok()).is_some_and(|q| (0.0..=1.0).contains(&q))
    };
    let is_one = |piece: &str| match piece.trim().split_once(';') {
        Some((tag, weight)) => (is_tag(tag.trim()) || tag.trim() == "*") && is_weight(weight),
        None => is_tag(piece.trim()) || piece.trim() == "*",
    };
    if text.split(',').all(is_one) && !text.trim_start().starts_with('*') {
        return Ok(text.to_owned());
    }
    Err(format!("expected languages as `accept-language` has them, such as `de-DE,de;q=0.9,en;q=0.5`, found `{text}`"))
}
