//! `onggi search`: rows by keyword and by meaning, each with its reason. What is shown of them is data of the project.

use std::collections::BTreeSet;

use catalog::{TableName, without_user};
use load::search::{Hit, KeywordAnswer, KeywordHit, ReasonKind};
use serde_json::Value;

use crate::args::{Global, Search};
use crate::config::Config;
use crate::count::thousands;
use crate::exit::Exit;
use crate::out;
use crate::project::Project;
use crate::wire;

/// The longest sentence that is printed, in characters.
const SENTENCE: usize = 90;

/// Prints what fits the question, best first.
///
/// # Errors
/// If there is no serving side yet, or its indexes cannot be read.
pub(crate) async fn search(global: &Global, args: &Search) -> anyhow::Result<Exit> {
    let project = Project::open(global)?;
    let config = &project.config;
    let lake = wire::lake_to_read(&project, global).await?;
    let search = wire::search(&project, &lake)?;
    let notes = if args.keyword {
        let answer = search.keyword(&args.query, args.limit).await?;
        if global.json {
            answer.hits.iter().try_for_each(out::object)?;
        } else {
            out::line(total(config, &answer, &args.query));
            answer.hits.iter().for_each(|hit| out::marked(&keyword_text(config, hit, &args.query)));
        }
        answer.notes
    } else {
        let limit = args.limit.unwrap_or(config.search.limit);
        let answer = search.search(&args.query, limit, &wire::query_embedder(&project)).await?;
        if global.json {
            answer.hits.iter().try_for_each(out::object)?;
        } else {
            out::marked(&text(config, &args.query, &answer.hits));
        }
        answer.notes
    };
    // A note may repeat the address of a service.
    let notes: Vec<String> = notes.iter().map(|note| without_user(note)).collect();
    if global.json && !notes.is_empty() {
        out::object(&serde_json::json!({ "notes": notes }))?;
    }
    say(&notes);
    Ok(Exit::Done)
}

/// Says on standard error how an answer came about, where that is not as usual.
pub(crate) fn say(notes: &[String]) {
    for note in notes {
        out::note(format_args!("note: {}", out::one_line(&without_user(note))));
    }
}

/// The answers to a question as people read them.
pub(crate) fn text(config: &Config, query: &str, hits: &[Hit]) -> String {
    if hits.is_empty() {
        return format!("nothing fits `{}`\n", out::one_line(query));
    }
    let labels = &config.search.labels;
    let mut text = String::new();
    for (place, hit) in hits.iter().enumerate() {
        let line = line(config, hit);
        text += &format!("{}. {}  {line}  (score {:.4})\n", place + 1, out::bold(&title(config, hit)), hit.score);
        for reason in hit.reasons.iter().take(config.search.reasons) {
            let (kind, is_term) = match reason.kind {
                ReasonKind::Keyword => (&labels.keyword, true),
                ReasonKind::Tag => (&labels.tag, true),
                ReasonKind::Vector => (&labels.vector, false),
            };
            let term = if is_term { format!(" `{}`", out::one_line(&reason.term)) } else { String::new() };
            let times = if reason.rows > 1 { format!(" ×{}", reason.rows) } else { String::new() };
            let (kind, sentence) = (out::one_line(kind), out::one_line(&around(&reason.sentence, "")));
            text += &format!("   {kind}{term}{times} {:.2}: “{sentence}”\n", reason.score);
        }
    }
    text
}

/// What an answer is headed with.
fn title(config: &Config, hit: &Hit) -> String {
    let column = config.search.of(&hit.table).and_then(|section| section.title.as_ref());
    let value = column.and_then(|column| shown(hit.fields.get(column)?));
    value.unwrap_or_else(|| hit.title.clone())
}

/// What stands beside it.
fn line(config: &Config, hit: &Hit) -> String {
    let Some(section) = config.search.of(&hit.table) else { return String::new() };
    let part = |column: &String| {
        let value = shown(hit.fields.get(column)?)?;
        let label = section.labels.get(column).map_or_else(String::new, |label| format!("{label} "));
        Some(out::one_line(&format!("{label}{value}")))
    };
    section.line.iter().filter_map(part).collect::<Vec<_>>().join(" · ")
}

/// A value as people read it; nothing of what is empty.
fn shown(value: &Value) -> Option<String> {
    let text = match value {
        Value::Null | Value::Object(_) => return None,
        Value::Bool(it) => it.to_string(),
        Value::Number(it) => match (it.as_u64(), it.as_i64()) {
            (Some(it), _) => thousands(it),
            (None, Some(it)) => format!("-{}", thousands(it.unsigned_abs())),
            (None, None) => it.to_string(),
        },
        Value::String(it) => it.clone(),
        Value::Array(items) => items.iter().filter_map(shown).collect::<Vec<_>>().join(", "),
    };
    (!text.is_empty()).then_some(text)
}

/// What so many rows of a table are called.
fn noun(config: &Config, table: Option<&TableName>, count: u64) -> String {
    let [one, many] = table
        .and_then(|table| config.search.of(table)?.noun.clone())
        .unwrap_or_else(|| ["row", "rows"].map(str::to_owned));
    if count == 1 { one } else { many }
}

/// How many rows have a part of a word.
fn total(config: &Config, answer: &KeywordAnswer, query: &str) -> String {
    let found: BTreeSet<&TableName> = answer.hits.iter().map(|hit| &hit.table).collect();
    let of_config = config.sync.iter().filter(|(_, sync)| sync.entity.is_none()).map(|(table, _)| table);
    let tables: BTreeSet<&TableName> = if found.is_empty() { of_config.collect() } else { found };
    let table = tables.first().copied().filter(|_| tables.len() == 1);
    let at_most = if answer.is_total_exact { "" } else { "at most " };
    let (noun, has) = (noun(config, table, answer.total), if answer.total == 1 { "has" } else { "have" });
    format!("{at_most}{} {noun} {has} `{query}`", thousands(answer.total))
}

fn keyword_text(config: &Config, hit: &KeywordHit, query: &str) -> String {
    let from = if hit.own {
        "in its own texts".to_owned()
    } else {
        format!("in {} {}", thousands(hit.rows), noun(config, Some(&hit.from), hit.rows))
    };
    let sentence = out::one_line(&around(&hit.sentence, query));
    format!("  {}  {}: “{sentence}”\n", out::bold(&hit.title), out::one_line(&from))
}

/// The part of a sentence around a word, short enough for a line.
fn around(sentence: &str, word: &str) -> String {
    let characters: Vec<char> = sentence.chars().collect();
    if characters.len() <= SENTENCE {
        return sentence.split_whitespace().collect::<Vec<_>>().join(" ");
    }
    let at = sentence.find(word).map_or(0, |byte| sentence[..byte].chars().count());
    let from = at.saturating_sub(SENTENCE / 2);
    let part: String = characters.iter().skip(from).take(SENTENCE).collect();
    let part = part.split_whitespace().collect::<Vec<_>>().join(" ");
    format!("{}{part}…", if from > 0 { "…" } else { "" })
}
