//! Reading what the service answers. Compatible servers leave things out, so nothing is asked for that is not used, and everything
//! that is used is checked: the number of vectors, their indexes, their dimension, every number of them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::llm::{Call, Content, Endpoint, Refusal, RefusalKind, Reply, Usage};

#[derive(Debug, Deserialize)]
struct Chat {
    choices: Vec<Choice>,
    usage: Option<Counted>,
}

#[derive(Debug, Deserialize)]
struct Choice {
    message: Message,
    finish_reason: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Message {
    content: Option<String>,
    refusal: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Embeddings {
    data: Vec<Item>,
    usage: Option<Counted>,
}

#[derive(Debug, Deserialize)]
struct Item {
    index: usize,
    embedding: Numbers,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Numbers {
    Base64(String),
    Floats(Vec<Option<f32>>),
}

#[derive(Debug, Deserialize)]
struct Counted {
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
}

/// What the answer to a call says; `Err` is why it can't be read, in words.
pub(super) fn read(call: &Call, dimension: usize, body: &[u8]) -> Result<Reply, String> {
    match call.endpoint {
        Endpoint::Chat => chat(call, body),
        Endpoint::Embeddings => embeddings(call, dimension, body),
    }
}

fn chat(call: &Call, body: &[u8]) -> Result<Reply, String> {
    let answer: Chat = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let usage = used(call, answer.usage);
    let choice = answer.choices.into_iter().next().ok_or("expected a choice, found none")?;
    let refused = |kind: RefusalKind, reason: &str| Content::Refused(Refusal::new(kind, reason));
    let content = match (choice.message.content, choice.message.refusal, choice.finish_reason.as_deref()) {
        (_, Some(refusal), _) if !refusal.trim().is_empty() => {
            refused(RefusalKind::Declined, &format!("the model refused: {refusal}"))
        }
        (_, _, Some("content_filter")) => refused(RefusalKind::Filtered, "the service's filter held the answer back"),
        // What is cut is no answer, however much of it there is: a model that reasons may have written nothing at all yet.
        (_, _, Some("length")) => {
            let most = call.estimate.output_tokens;
            refused(RefusalKind::Length, &format!("the answer did not fit into the {most} tokens that it may have"))
        }
        (Some(text), ..) if !text.trim().is_empty() => Content::Text(text),
        _ => refused(RefusalKind::Empty, "the model wrote nothing"),
    };
    Ok(Reply { content, usage })
}

fn embeddings(call: &Call, dimension: usize, body: &[u8]) -> Result<Reply, String> {
    let answer: Embeddings = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let usage = used(call, answer.usage);
    let wanted = call.parts.len();
    if answer.data.len() != wanted {
        return Err(format!("expected {wanted} vectors, found {}", answer.data.len()));
    }
    let mut vectors: Vec<Option<Vec<f32>>> = vec![None; wanted];
    for item in answer.data {
        let vector = numbers(item.embedding)?;
        if vector.len() != dimension {
            return Err(format!("expected vectors of {dimension} numbers, found one of {}", vector.len()));
        }
        if vector.iter().any(|number| !number.is_finite()) {
            return Err("expected finite numbers, found one that is not".to_owned());
        }
        if vector.iter().all(|number| *number == 0.0) {
            return Err("expected vectors with a direction, found one of zeros".to_owned());
        }
        // A served order is not an asked order: the index says whose vector it is.
        let place = vectors
            .get_mut(item.index)
            .ok_or_else(|| format!("expected indexes below {wanted}, found {}", item.index))?;
        if place.replace(vector).is_some() {
            return Err(format!("expected each index once, found {} twice", item.index));
        }
    }
    let vectors = vectors.into_iter().collect::<Option<Vec<_>>>().ok_or("expected every index, found one missing")?;
    Ok(Reply { content: Content::Vectors(vectors), usage })
}

fn numbers(found: Numbers) -> Result<Vec<f32>, String> {
    match found {
        Numbers::Floats(numbers) => {
            numbers.into_iter().map(|it| it.ok_or_else(|| "expected numbers, found null".to_owned())).collect()
        }
        Numbers::Base64(text) => {
            let bytes = STANDARD.decode(text).map_err(|error| format!("expected base64: {error}"))?;
            let (chunks, rest) = bytes.as_chunks::<4>();
            if !rest.is_empty() {
                return Err(format!("expected 4 bytes a number, found {} bytes", bytes.len()));
            }
            Ok(chunks.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect())
        }
    }
}

/// What the service counted; by our own rule where it says nothing.
fn used(call: &Call, counted: Option<Counted>) -> Usage {
    counted.map_or(call.estimate, |it| Usage {
        calls: 1,
        input_tokens: it.prompt_tokens,
        output_tokens: it.completion_tokens,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::llm::AnswerKind;

    fn call(endpoint: Endpoint, parts: usize) -> Call {
        Call {
            key: "k".into(),
            kind: AnswerKind::Summary,
            model: "m".into(),
            endpoint,
            body: Value::Null,
            parts: (0..parts).map(|i| i.to_string()).collect(),
            estimate: Usage { calls: 1, input_tokens: 9, output_tokens: 9 },
        }
    }

    fn vectors(items: &Value) -> Result<Reply, String> {
        let body = json!({ "data": items, "usage": { "prompt_tokens": 3 } }).to_string();
        read(&call(Endpoint::Embeddings, 2), 2, body.as_bytes())
    }

    #[test]
    fn vectors_find_their_places_by_index() {
        let base64 = STANDARD.encode([1.0_f32, 2.0].iter().flat_map(|it| it.to_le_bytes()).collect::<Vec<u8>>());
        let reply =
            vectors(&json!([{ "index": 1, "embedding": [3.0, 4.0] }, { "index": 0, "embedding": base64 }])).unwrap();
        assert_eq!(reply.content, Content::Vectors(vec![vec![1.0, 2.0], vec![3.0, 4.0]]));
        assert_eq!(reply.usage, Usage { calls: 1, input_tokens: 3, output_tokens: 0 });
    }

    #[test]
    fn every_wrong_list_of_vectors_is_refused() {
        let nan = STANDARD.encode([f32::NAN, 2.0].iter().flat_map(|it| it.to_le_bytes()).collect::<Vec<u8>>());
        let good = json!([1.0, 2.0]);
        for (items, reason) in [
            (json!([]), "found 0"),
            (json!([{ "index": 0, "embedding": good }]), "found 1"),
            (json!([{ "index": 0, "embedding": good }, { "index": 0, "embedding": good }]), "twice"),
            (json!([{ "index": 0, "embedding": good }, { "index": 2, "embedding": good }]), "below 2"),
            (json!([{ "index": 0, "embedding": good }, { "index": 1, "embedding": [1.0] }]), "one of 1"),
            (json!([{ "index": 0, "embedding": good }, { "index": 1, "embedding": [1.0, null] }]), "null"),
            (json!([{ "index": 0, "embedding": good }, { "index": 1, "embedding": nan }]), "finite"),
            (json!([{ "index": 0, "embedding": good }, { "index": 1, "embedding": [0.0, 0.0] }]), "direction"),
            (json!([{ "index": 0, "embedding": good }, { "index": 1, "embedding": "AAA" }]), "base64"),
            (json!([{ "index": 0, "embedding": good }, { "index": 1, "embedding": "AAAAAAA=" }]), "4 bytes"),
        ] {
            let found = vectors(&items).unwrap_err();
            assert!(found.contains(reason), "{items}: {found}");
        }
    }

    #[test]
    fn a_chat_answer_is_a_text_or_a_reason() {
        let said = |choice: Value| {
            let body = json!({ "choices": [choice] }).to_string();
            read(&call(Endpoint::Chat, 0), 2, body.as_bytes()).map(|it| it.content)
        };
        assert_eq!(said(json!({ "message": { "content": "x" } })), Ok(Content::Text("x".into())));
        let kind = |choice: Value| match said(choice) {
            Ok(Content::Refused(refusal)) => refusal.kind,
            other => panic!("{other:?}"),
        };
        assert_eq!(kind(json!({ "message": { "refusal": "no" } })), RefusalKind::Declined);
        for content in [Value::Null, json!(""), json!("{\"summary\": \"cut")] {
            let cut = json!({ "message": { "content": content }, "finish_reason": "length" });
            assert_eq!(kind(cut.clone()), RefusalKind::Length);
            assert_eq!(
                said(cut).unwrap(),
                Content::Refused(Refusal::new(
                    RefusalKind::Length,
                    "the answer did not fit into the 9 tokens that it may have",
                ))
            );
        }
        let filtered = json!({ "message": { "content": "x" }, "finish_reason": "content_filter" });
        assert_eq!(kind(filtered), RefusalKind::Filtered);
        assert_eq!(kind(json!({ "message": {} })), RefusalKind::Empty);
        assert_eq!(kind(json!({ "message": { "content": " " }, "finish_reason": "stop" })), RefusalKind::Empty);
        assert!(said(json!({})).is_err());
        let cut = read(&call(Endpoint::Chat, 0), 2, b"{\"choices\":[{\"mess");
        assert!(cut.is_err());
    }
}
