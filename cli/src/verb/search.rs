//! `onggi search`: places by keyword and by meaning, each with its reason.

use load::search::{Hit, KeywordHit, ReasonKind};

use crate::args::{Global, Search};
use crate::exit::Exit;
use crate::out;
use crate::progress::thousands;
use crate::project::Project;
use crate::wire;

/// Answers where no number is asked for.
const LIMIT: usize = 5;
/// Reasons that are printed for each answer; `--json` has all of them.
const REASONS: usize = 3;
/// The longest sentence that is printed, in characters.
const SENTENCE: usize = 90;

/// Prints what fits the question, best first.
///
/// # Errors
/// If there is no serving side yet, or its indexes cannot be read.
pub(crate) async fn search(global: &Global, args: &Search) -> anyhow::Result<Exit> {
    let project = Project::open(global)?;
    let lake = wire::lake_to_read(&project, global).await?;
    let search = wire::search(&project, &lake)?;
    if args.keyword {
        let mut hits = search.keyword(&args.query).await?;
        let all = hits.len();
        hits.truncate(args.limit.unwrap_or(usize::MAX));
        if global.json {
            for hit in &hits {
                out::object(hit)?;
            }
        } else {
            out::line(format_args!(
                "{} {} `{}`",
                thousands(all as u64),
                if all == 1 { "place has" } else { "places have" },
                args.query
            ));
            for hit in &hits {
                out::marked(&keyword_text(hit, &args.query));
            }
        }
        return Ok(Exit::Done);
    }
    let hits = search.search(&args.query, args.limit.unwrap_or(LIMIT), wire::llm(&project)?.as_ref()).await?;
    if global.json {
        for hit in &hits {
            out::object(hit)?;
        }
    } else {
        out::marked(&text(&args.query, &hits));
    }
    Ok(Exit::Done)
}

/// The answers to a question as people read them.
pub(crate) fn text(query: &str, hits: &[Hit]) -> String {
    if hits.is_empty() {
        return format!("nothing fits `{}`\n", out::one_line(query));
    }
    let mut text = String::new();
    for (place, hit) in hits.iter().enumerate() {
        let field =
            |name: &str| out::one_line(hit.fields.get(name).and_then(|value| value.as_str()).unwrap_or_default());
        let reviews = hit.fields.get("reviews").and_then(serde_json::Value::as_i64);
        let reviews = reviews.map_or_else(String::new, |it| format!("리뷰 {}", thousands(it.unsigned_abs())));
        let about: Vec<String> =
            [field("category"), field("area"), reviews].into_iter().filter(|part| !part.is_empty()).collect();
        text += &format!("{}. {}  {}  (score {:.4})\n", place + 1, out::bold(&hit.title), about.join(" · "), hit.score);
        for reason in hit.reasons.iter().take(REASONS) {
            let kind = match reason.kind {
                ReasonKind::Keyword => "keyword",
                ReasonKind::Situation => "situation",
                ReasonKind::Vector => "vector",
            };
            let term = if reason.kind == ReasonKind::Vector {
                String::new()
            } else {
                format!(" `{}`", out::one_line(&reason.term))
            };
            let times = if reason.rows > 1 { format!(" ×{}", reason.rows) } else { String::new() };
            text +=
                &format!("   {kind}{term}{times} {:.2}: “{}”\n", reason.score, out::one_line(&short(&reason.sentence)));
        }
    }
    text
}

fn keyword_text(hit: &KeywordHit, query: &str) -> String {
    let from = if hit.own { "in its own texts".to_owned() } else { format!("in {} reviews", thousands(hit.rows)) };
    format!("  {}  {from}: “{}”\n", out::bold(&hit.title), out::one_line(&around(&hit.sentence, query)))
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

fn short(sentence: &str) -> String {
    around(sentence, "")
}
