//! Chat completions: a summary that is a function of the prompt.

use serde_json::{Value, json};

use crate::server::{Made, State};
use crate::tokens;

/// What summaries are put together from; each is a sentence that a review site could show.
const SAID_IN_ENGLISH: [&str; 8] = [
    "Many people praise the generous portions and the rich flavour.",
    "Several mention a slow start and a rewarding end.",
    "It suits a quiet evening alone, according to some.",
    "Weekends are said to be crowded.",
    "Most find it worth the money.",
    "The details are called careful and fresh.",
    "A few complain about the noise.",
    "Quite a number want to come back.",
];

/// The same in the language of a model that is told of none.
const SAID: [&str; 8] = [
    "국물이 진하고 양이 넉넉하다는 평이 많습니다.",
    "직원이 친절하고 매장이 깨끗하다고 합니다.",
    "혼자 가기에도 편한 분위기라는 의견이 있습니다.",
    "주말에는 기다리는 시간이 길다는 점이 아쉽다고 합니다.",
    "가격에 비해 만족스럽다는 손님이 많습니다.",
    "재료가 신선하고 간이 세지 않다는 평입니다.",
    "주차가 어렵다는 말이 여러 번 나옵니다.",
    "다시 찾고 싶다는 후기가 이어집니다.",
];

/// Answers a chat completion, with the troubles that the switches say.
pub(crate) fn answer(state: &mut State, body: &Value) -> Made {
    let model = body["model"].as_str().unwrap_or_default();
    let prompt = messages(body);
    let key = format!("chat:{}", tokens::hash(&[model, &prompt]));
    let input_tokens = tokens::count(&prompt) + 4 * body["messages"].as_array().map_or(0, |it| it.len() as u64);
    let summary = summary(&prompt);
    let plain = said(&summary, &body["response_format"]["json_schema"]["schema"]).to_string();
    let is_cut = state.hits(|s| &mut s.length);
    let (content, refusal, odd) = match () {
        () if is_cut => (Some(String::new()), None, true),
        () if state.hits(|s| &mut s.wrong_schema) => {
            (Some(json!({ "text": summary, "score": 5 }).to_string()), None, true)
        }
        () if state.hits(|s| &mut s.fenced) => (Some(format!("```json\n{plain}\n```")), None, true),
        () if state.hits(|s| &mut s.refusal) => (None, Some("I can't help with that."), true),
        () if state.hits(|s| &mut s.empty) => (Some(json!({ "summary": "" }).to_string()), None, true),
        () if state.hits(|s| &mut s.obedient) => {
            let text = format!("{summary} <b>sk-secret</b> https://example.com/?q=key 010-1234-5678");
            (Some(json!({ "summary": text }).to_string()), None, true)
        }
        () => (Some(plain), None, false),
    };
    if odd {
        state.stats.odd += 1;
    }
    let most = body["max_completion_tokens"].as_u64().unwrap_or(0);
    let written = tokens::count(content.as_deref().or(refusal).unwrap_or_default());
    let output_tokens = if is_cut { most } else { written };
    let answer = json!({
        "id": format!("chatcmpl-{}", tokens::hash(&[&key])),
        "object": "chat.completion",
        "created": state.created(),
        "model": model,
        "choices": [{
            "index": 0,
            "message": { "role": "assistant", "content": content, "refusal": refusal },
            "logprobs": null,
            "finish_reason": if is_cut { "length" } else { "stop" },
        }],
        "usage": {
            "prompt_tokens": input_tokens,
            "completion_tokens": output_tokens,
            "total_tokens": input_tokens + output_tokens,
        },
    });
    Made { body: answer.to_string(), keys: vec![key], input_tokens, output_tokens }
}

/// Tokens that a request will take of the limit before it is answered.
pub(crate) fn tokens_of(body: &Value) -> u64 {
    tokens::count(&messages(body)) + body["max_completion_tokens"].as_u64().unwrap_or(0)
}

fn messages(body: &Value) -> String {
    let messages = body["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let texts: Vec<String> = messages
        .iter()
        .map(|message| match &message["content"] {
            Value::String(text) => text.clone(),
            Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
            _ => String::new(),
        })
        .collect();
    texts.join("\n\u{1}\n")
}

/// The summary, and a value of each other member that the schema asks for: a function of the summary and of the member's name.
fn said(summary: &str, schema: &Value) -> Value {
    let mut said = json!({ "summary": summary });
    let members = schema["properties"].as_object().into_iter().flatten().filter(|(name, _)| *name != "summary");
    for (name, schema) in members {
        let schema = schema["anyOf"].get(0).unwrap_or(schema);
        said[name] = value(schema, tokens::number(&[summary, name]));
    }
    said
}

fn value(schema: &Value, number: u64) -> Value {
    match schema["type"].as_str() {
        Some("string") => match schema["enum"].as_array() {
            Some(values) => values[usize::try_from(number % values.len() as u64).unwrap_or(0)].clone(),
            None => format!("word {}", number % 100).into(),
        },
        Some("array") => json!([value(&schema["items"], number), value(&schema["items"], tokens::mix(number))]),
        Some("integer") => (1 + number % 5).into(),
        Some("number") => json!((number % 100) as f64 / 100.0),
        Some("boolean") => number.is_multiple_of(2).into(),
        _ => Value::Null,
    }
}

fn summary(prompt: &str) -> String {
    let is_english = prompt.contains("in this language: English");
    let said = if is_english { SAID_IN_ENGLISH } else { SAID };
    let mut bits = tokens::number(&[prompt]);
    let mut sentences = Vec::new();
    while sentences.len() < 3 {
        let index = usize::try_from(bits % said.len() as u64).unwrap_or(0);
        if !sentences.contains(&said[index]) {
            sentences.push(said[index]);
        }
        bits = tokens::mix(bits);
    }
    let (sentences, number) = (sentences.join(" "), bits % 1_000_000);
    if is_english {
        format!("{sentences} This is summary number {number}.")
    } else {
        format!("{sentences} 후기 {number}호를 묶은 요약입니다.")
    }
}
