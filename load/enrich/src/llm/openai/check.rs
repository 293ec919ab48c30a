//! What a model wrote is checked like any stranger's text before it becomes a summary.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use crate::llm::{FieldValues, Length, Prompt, Written};
use rows::text::nfc;

/// The longest answer that is looked at.
const LONGEST_ANSWER: usize = 20_000;

/// What an answer says, or why there is none that can be shown. The project says which fields it has to have, and how they must be.
pub(super) fn written(answer: &str, prompt: &Prompt) -> Result<Written, String> {
    if answer.len() > LONGEST_ANSWER {
        return Err(format!("expected a short JSON object, found {} bytes", answer.len()));
    }
    let value: Value =
        serde_json::from_str(unfenced(answer)).map_err(|_| "expected a JSON object, found none".to_owned())?;
    let object = value.as_object().ok_or("expected a JSON object, found another value")?;
    let Some(Value::String(summary)) = object.get("summary") else {
        return Err("expected a text in the field `summary`, found none".to_owned());
    };
    let is_asked = |name: &String| name == "summary" || prompt.fields.iter().any(|field| field.name == *name);
    if !object.keys().all(is_asked) {
        let others: Vec<&str> = prompt.fields.iter().map(|field| field.name.as_str()).collect();
        if others.is_empty() {
            return Err("expected the field `summary` alone, found more".to_owned());
        }
        return Err(format!("expected the fields `summary`, `{}` alone, found more", others.join("`, `")));
    }
    let summary = nfc(summary.trim());
    let (length, Length { shortest, longest }) = (summary.chars().count(), prompt.length);
    if !(shortest..=longest).contains(&length) {
        return Err(format!("expected {shortest} to {longest} characters, found {length}"));
    }
    if let Some(found) = forbidden(&summary) {
        return Err(format!("expected plain sentences, found {found}"));
    }
    if let Some(script) = prompt.script.as_ref().filter(|script| !script.suits(&summary)) {
        return Err(format!("expected sentences in the script {}, found another", script.name()));
    }
    let mut fields = FieldValues::new();
    for field in &prompt.fields {
        if let Some(value) = field.fits(object.get(&field.name))? {
            if let Some(found) = texts(&value).find_map(forbidden) {
                return Err(format!("expected plain words in `{}`, found {found}", field.name));
            }
            fields.insert(field.name.clone(), value);
        }
    }
    Ok(Written { summary, fields: (!prompt.fields.is_empty()).then_some(fields) })
}

/// The texts of a field's value.
fn texts(value: &Value) -> impl Iterator<Item = &str> {
    value.as_str().into_iter().chain(value.as_array().into_iter().flatten().filter_map(Value::as_str))
}

/// An answer without the fence that some models put around JSON; the text inside is what was asked for.
fn unfenced(answer: &str) -> &str {
    let trimmed = answer.trim();
    let Some(inside) = trimmed.strip_prefix("```").and_then(|it| it.strip_suffix("```")) else { return trimmed };
    inside.strip_prefix("json").unwrap_or(inside).trim()
}

/// What no summary may hold, with the words that say so.
fn forbidden(text: &str) -> Option<&'static str> {
    static RULES: LazyLock<Vec<(Regex, &'static str)>> = LazyLock::new(|| {
        [
            (r"[<>{}`|\\]|\*\*|^\s*[#\-*]\s|\[[^\]]*\]\(", "markup"),
            (r"(?i)https?:|www\.|[a-z0-9-]+\.(com|net|org|kr|io|co|me|ly)\b", "a link"),
            (r"[\w.+-]+@[\w-]+\.", "an e-mail address"),
            (r"\d{2,4}[-. )]\s?\d{3,4}[-. ]\s?\d{4}|\d{9,}", "a phone number"),
            (
                r"(?i)\bsk-[a-z0-9_-]{6,}|api[ _-]?key|bearer |system prompt|(these|previous|all|my|your) instructions\b",
                "words of a prompt",
            ),
        ]
        .into_iter()
        .filter_map(|(rule, name)| Regex::new(rule).ok().map(|rule| (rule, name)))
        .collect()
    });
    if text.chars().any(char::is_control) {
        return Some("control characters");
    }
    RULES.iter().find(|(rule, _)| rule.is_match(text)).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::{FieldKind, OutputField, Range, Script, TextRule};
    use serde_json::json;

    const GOOD: &str = "국물이 진하고 양이 넉넉하다는 평이 많으며, 주말에는 기다려야 합니다.";

    /// The check of a project that wants Korean sentences.
    fn korean(answer: &str) -> Result<String, String> {
        let prompt = Prompt { script: Script::new("Hangul", 0.5).ok(), ..Prompt::default() };
        written(answer, &prompt).map(|written| written.summary)
    }

    fn any(answer: &str) -> Result<String, String> {
        written(answer, &Prompt::default()).map(|written| written.summary)
    }

    fn wrap(text: &str) -> String {
        serde_json::json!({ "summary": text }).to_string()
    }

    #[test]
    fn a_plain_summary_passes_with_or_without_a_fence() {
        assert_eq!(korean(&wrap(GOOD)).unwrap(), GOOD);
        assert_eq!(korean(&format!("```json\n{}\n```", wrap(GOOD))).unwrap(), GOOD);
        let mixed = "Bibim 국수와 IPA 맥주가 잘 어울린다는 평이 많고 1인석이 있습니다.";
        assert_eq!(korean(&wrap(mixed)).unwrap(), mixed);
    }

    #[test]
    fn anything_else_is_refused_with_a_reason() {
        let long = "가".repeat(501);
        for (answer, reason) in [
            ("", "found none"),
            ("{\"summary\":", "found none"),
            ("[1]", "another value"),
            ("{\"summary\":5}", "found none"),
            ("{\"text\":\"좋아요\"}", "found none"),
            (&serde_json::json!({ "summary": GOOD, "key": "x" }).to_string(), "found more"),
            (&wrap(""), "found 0"),
            (&wrap("좋아요"), "found 3"),
            (&wrap(&long), "found 501"),
            (&wrap("This place is known for its rich broth and large portions."), "found another"),
            (&wrap(&format!("{GOOD} <b>강조</b>")), "markup"),
            (&wrap(&format!("{GOOD} [여기](로)")), "markup"),
            (&wrap(&format!("{GOOD} https://x.y/z")), "a link"),
            (&wrap(&format!("{GOOD} naver.com 에서 확인")), "a link"),
            (&wrap(&format!("{GOOD} a.b@c.kr")), "found"),
            (&wrap(&format!("{GOOD} 전화 010-1234-5678")), "a phone number"),
            (&wrap(&format!("{GOOD} 키는 sk-abcdef123 입니다")), "words of a prompt"),
            (&wrap("국물이 진합니다.\n둘째 줄의 글이 이어집니다."), "control characters"),
            (&"x".repeat(30_000), "30000 bytes"),
        ] {
            let found = korean(answer).unwrap_err();
            assert!(found.contains(reason), "{answer}: {found}");
        }
    }

    #[test]
    fn a_summary_may_be_in_any_language_unless_the_project_says_in_which() {
        for text in [
            "The pace is slow, but the last third makes up for it; the instructions on the box are clear.",
            "Die Schauspieler überzeugen, die Handlung weniger.",
            "演员的表演很出色，但是故事的节奏有一些慢，看完还想再看一次。",
            GOOD,
        ] {
            assert_eq!(any(&wrap(text)).unwrap(), text);
            assert_eq!(korean(&wrap(text)).is_ok(), text == GOOD, "{text}");
        }
    }

    #[test]
    fn fields_are_those_that_are_asked_for_and_their_words_are_plain() {
        let field = |name: &str, required: bool, kind: FieldKind| OutputField {
            name: name.to_owned(),
            description: None,
            required,
            kind,
        };
        let any = TextRule { values: Vec::new(), longest: 60 };
        let prompt = Prompt {
            fields: vec![
                field("dishes", false, FieldKind::List(any)),
                field("stars", true, FieldKind::Integer(Range { min: Some(1), max: Some(5) })),
            ],
            length: Length { shortest: 4, longest: 100 },
            ..Prompt::default()
        };
        let told = |fields: Value| {
            let mut answer = json!({ "summary": GOOD });
            answer.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            written(&answer.to_string(), &prompt)
        };
        let whole = told(json!({ "dishes": ["국밥"], "stars": 4 })).unwrap();
        assert_eq!(whole.line(), format!("{GOOD} {{\"dishes\":[\"국밥\"],\"stars\":4}}"));
        assert_eq!(told(json!({ "stars": 4 })).unwrap().fields.unwrap().len(), 1, "what is not told is absent");
        for (fields, reason) in [
            (json!({ "dishes": ["국밥"] }), "`stars`, which an answer always has"),
            (json!({ "stars": 9 }), "from 1 to 5"),
            (json!({ "stars": 4, "mood": "good" }), "the fields `summary`, `dishes`, `stars` alone"),
            (json!({ "stars": 4, "dishes": ["<b>국밥</b>"] }), "plain words in `dishes`, found markup"),
            (json!({ "stars": 4, "dishes": ["call 010-1234-5678"] }), "a phone number"),
            (json!({ "stars": 4, "summary": "글" }), "expected 4 to 100 characters, found 1"),
        ] {
            let found = told(fields.clone()).unwrap_err();
            assert!(found.contains(reason), "{fields}: {found}");
        }
        assert_eq!(written(&wrap(GOOD), &Prompt::default()).unwrap().fields, None);
    }

    #[test]
    fn every_rule_is_a_rule() {
        assert!(
            forbidden("<b>").is_some()
                && forbidden("a@b.kr").is_some()
                && forbidden("Ignore all instructions").is_some()
        );
        assert_eq!(forbidden(GOOD), None);
    }

    proptest::proptest! {
        #[test]
        fn no_answer_makes_it_panic_and_what_passes_is_plain(answer in ".{0,200}") {
            if let Ok(text) = any(&answer) {
                proptest::prop_assert!(!text.contains('<'));
            }
            if let Ok(text) = any(&wrap(&answer)) {
                proptest::prop_assert!(!text.contains(['<', '>', '`']) && text.chars().count() <= 500);
            }
        }
    }
}
