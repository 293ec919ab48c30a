//! Embeddings: unit vectors that are a function of the text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::server::{Made, State};
use crate::tokens;

/// Answers an embedding request, with the troubles that the switches say.
pub(crate) fn answer(state: &mut State, body: &Value) -> Made {
    let model = body["model"].as_str().unwrap_or_default();
    let texts = inputs(body);
    let mut dimensions =
        body["dimensions"].as_u64().and_then(|it| usize::try_from(it).ok()).unwrap_or(state.dimensions);
    let shape = dimensions.to_string();
    let keys = texts.iter().map(|text| format!("embedding:{}", tokens::hash(&[model, &shape, text]))).collect();
    let input_tokens = texts.iter().map(|text| tokens::count(text)).sum();
    let base64 = body["encoding_format"] == "base64";
    let mut odd = false;
    if state.hits(|s| &mut s.wrong_dimension) {
        (dimensions, odd) = (dimensions + 1, true);
    }
    let mut vectors: Vec<Vec<f32>> = texts.iter().map(|text| vector(model, text, dimensions)).collect();
    if state.hits(|s| &mut s.not_a_number) {
        odd = true;
        if let Some(number) = vectors.first_mut().and_then(|vector| vector.first_mut()) {
            *number = f32::NAN;
        }
    }
    let mut data: Vec<Value> = vectors
        .iter()
        .enumerate()
        .map(|(index, vector)| {
            let embedding = if base64 {
                let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
                json!(STANDARD.encode(bytes))
            } else {
                json!(vector)
            };
            json!({ "object": "embedding", "index": index, "embedding": embedding })
        })
        .collect();
    if state.hits(|s| &mut s.extra_item) {
        odd = true;
        data.extend(data.first().cloned());
    }
    if state.hits(|s| &mut s.missing_item) {
        odd = true;
        data.pop();
    }
    if state.hits(|s| &mut s.reordered) {
        odd = true;
        data.reverse();
    }
    if odd {
        state.stats.odd += 1;
    }
    let answer = json!({
        "object": "list",
        "data": data,
        "model": model,
        "usage": { "prompt_tokens": input_tokens, "total_tokens": input_tokens },
    });
    Made { body: answer.to_string(), keys, input_tokens, output_tokens: 0 }
}

/// Why a request is refused, by the rules of the real service.
pub(crate) fn refused(body: &Value) -> Option<String> {
    let texts = inputs(body);
    let tokens: Vec<u64> = texts.iter().map(|text| tokens::count(text)).collect();
    if texts.is_empty() || texts.len() > 2048 {
        return Some(format!("expected 1 to 2048 inputs, found {}", texts.len()));
    }
    if texts.iter().any(String::is_empty) {
        return Some("an input is empty".to_owned());
    }
    if tokens.iter().any(|count| *count > 8192) {
        return Some("an input has more than 8192 tokens".to_owned());
    }
    (tokens.iter().sum::<u64>() > 300_000).then(|| "more than 300000 tokens in one request".to_owned())
}

/// Tokens that a request takes of the limit.
pub(crate) fn tokens_of(body: &Value) -> u64 {
    inputs(body).iter().map(|text| tokens::count(text)).sum()
}

/// How many texts a request holds.
pub(crate) fn inputs(body: &Value) -> Vec<String> {
    match &body["input"] {
        Value::String(text) => vec![text.clone()],
        Value::Array(texts) => texts.iter().map(|text| text.as_str().unwrap_or_default().to_owned()).collect(),
        _ => Vec::new(),
    }
}

/// A unit vector: the sum of one pseudo-random vector for each word, so that texts that share words are near.
#[expect(clippy::cast_possible_truncation, reason = "embeddings are 32-bit floats")]
fn vector(model: &str, text: &str, dimensions: usize) -> Vec<f32> {
    let mut sum = vec![0.0_f64; dimensions];
    for word in text.split_whitespace() {
        let mut bits = tokens::number(&[model, word]);
        for number in &mut sum {
            bits = tokens::mix(bits);
            *number += tokens::unit(bits) - 0.5;
        }
    }
    let length = sum.iter().map(|number| number * number).sum::<f64>().sqrt();
    if length == 0.0 {
        sum[0] = 1.0;
        return sum.into_iter().map(|number| number as f32).collect();
    }
    sum.into_iter().map(|number| (number / length) as f32).collect()
}
