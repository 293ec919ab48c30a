//! Calls: how a summary and embeddings become requests within the service's bounds, and what they need at most.

use async_openai::types::embeddings::{CreateEmbeddingRequest, EmbeddingInput, EncodingFormat};

use super::prompt::Role;
use super::{LEVELS, OpenAi, grouping, prompt};
use crate::llm::AnswerKind;
use crate::llm::{Call, Endpoint, Mode, OutputField, Prompt, Usage, tokens};
use rows::content_hash;
use rows::text::nfc;

/// The service's own bound on the inputs of one embedding request.
const INPUTS: usize = 2_048;
/// … on the tokens of one input.
const INPUT_TOKENS: u64 = 8_192;
/// … on the tokens of one request.
const REQUEST_TOKENS: u64 = 300_000;

impl OpenAi {
    pub(super) fn chat(
        &self,
        (role, prompt): (Role, &Prompt),
        texts: &[String],
        refused: Option<(&str, &str)>,
    ) -> Call {
        let (body, input) = prompt::request(&self.summary_model, (role, prompt), texts, self.output_tokens, refused);
        let version = self.summariser.version.to_string();
        let tokens = self.output_tokens.to_string();
        let mut parts = vec!["chat", &self.summary_model, &version, role.name(), &tokens];
        let said = prompt.key_parts();
        parts.extend(said.iter().map(String::as_str));
        parts.extend(refused.iter().flat_map(|(answer, reason)| [*answer, *reason]));
        let key = content_hash(parts.into_iter().chain(texts.iter().map(String::as_str)).map(str::as_bytes));
        Call {
            key,
            kind: AnswerKind::Summary,
            model: self.summary_model.clone(),
            endpoint: Endpoint::Chat,
            body,
            parts: Vec::new(),
            estimate: Usage { calls: 1, input_tokens: input, output_tokens: u64::from(self.output_tokens) },
        }
    }

    /// The calls that embed these texts, each given with its content key; in a batch one text a call.
    pub(crate) fn embedding_calls(&self, wanted: &[(String, String)]) -> Vec<Call> {
        let texts: Vec<String> =
            wanted.iter().map(|(_, text)| tokens::truncate(&nfc(text), INPUT_TOKENS).to_owned()).collect();
        let costs: Vec<u64> = texts.iter().map(|text| tokens::estimate(text)).collect();
        let mut inputs = wanted.iter().zip(texts).map(|((key, _), text)| (key.as_str(), text));
        let mut costs_left = costs.as_slice();
        let mut calls = Vec::new();
        for count in self.embedding_groups(&costs) {
            let (these, rest) = costs_left.split_at(count);
            costs_left = rest;
            let group: Vec<(&str, String)> = inputs.by_ref().take(count).collect();
            calls.push(self.embedding(&group, these.iter().sum()));
        }
        calls
    }

    /// How many inputs each call takes, by the tokens of each input.
    pub(crate) fn embedding_groups(&self, costs: &[u64]) -> Vec<usize> {
        let (most, tokens) = match self.mode {
            Mode::Batch => (1, REQUEST_TOKENS),
            // A request that takes a third of a minute's tokens would stop the pace.
            Mode::Interactive => {
                let pace = self.tokens_per_minute.map_or(REQUEST_TOKENS, |it| u64::from(it) / 3);
                (INPUTS, REQUEST_TOKENS.min(pace.max(INPUT_TOKENS)))
            }
        };
        let mut groups = Vec::new();
        let (mut count, mut held) = (0, 0);
        for cost in costs {
            if count > 0 && (count >= most || held + cost > tokens) {
                groups.push(std::mem::take(&mut count));
                held = 0;
            }
            count += 1;
            held += cost;
        }
        groups.extend((count > 0).then_some(count));
        groups
    }

    /// A call whose inputs were refused together, as two calls: one of them may be taken.
    pub(crate) fn halves(&self, call: &Call, texts: impl Fn(&str) -> Option<String>) -> Vec<Call> {
        let wanted: Vec<(String, String)> =
            call.parts.iter().filter_map(|key| Some((key.clone(), texts(key)?))).collect();
        let (first, second) = wanted.split_at(wanted.len() / 2);
        [first, second].into_iter().flat_map(|half| self.embedding_calls(half)).collect()
    }

    fn embedding(&self, group: &[(&str, String)], input_tokens: u64) -> Call {
        let request = CreateEmbeddingRequest {
            model: self.embedding_model.clone(),
            input: EmbeddingInput::StringArray(group.iter().map(|(_, text)| text.clone()).collect()),
            encoding_format: Some(EncodingFormat::Base64),
            user: None,
            dimensions: u32::try_from(self.dimensions).ok(),
        };
        let parts: Vec<String> = group.iter().map(|(key, _)| (*key).to_owned()).collect();
        let key = match parts.as_slice() {
            [one] => one.clone(),
            many => content_hash(many.iter().map(String::as_bytes)),
        };
        Call {
            key,
            kind: AnswerKind::Embedding,
            model: self.embedding_model.clone(),
            endpoint: Endpoint::Embeddings,
            body: serde_json::to_value(request).unwrap_or_default(),
            parts,
            estimate: Usage { calls: 1, input_tokens, output_tokens: 0 },
        }
    }

    /// What a summary of these texts needs at most, without repairs: every level of it.
    pub(crate) fn expect(&self, texts: &[String], prompt: &Prompt) -> Usage {
        let mut usage = Usage::default();
        let groups = grouping::by_content(grouping::pieces(texts, self.prompt_tokens), self.prompt_tokens);
        for group in &groups {
            let texts = grouping::texts(group);
            let asked = (Role::Whole, prompt);
            let (_, input) = prompt::request(&self.summary_model, asked, &texts, self.output_tokens, None);
            usage += Usage { calls: 1, input_tokens: input, output_tokens: u64::from(self.output_tokens) };
        }
        let frame = prompt::request(&self.summary_model, (Role::Parts, prompt), &[], self.output_tokens, None).1;
        let longest = longest_answer(prompt) + tokens::MESSAGE + prompt::MARKS_TOKENS;
        let mut answers = groups.len() as u64;
        for _ in 0..LEVELS {
            if answers <= 1 {
                break;
            }
            let calls = answers.div_ceil((self.prompt_tokens / longest).max(2));
            let output_tokens = calls * u64::from(self.output_tokens);
            usage += Usage { calls, input_tokens: calls * frame + answers * longest, output_tokens };
            answers = calls;
        }
        usage
    }

    /// What the embedding of a summary that is not written yet needs at most.
    pub(crate) fn expect_embedding(text: Option<&str>, prompt: &Prompt) -> u64 {
        text.map_or(longest_summary(prompt), tokens::estimate).min(INPUT_TOKENS)
    }
}

/// Tokens of the longest summary, by the rule for letters of any script.
fn longest_summary(prompt: &Prompt) -> u64 {
    2 * prompt.length.longest as u64
}

/// … with the other fields behind it, as an answer to a part is given to the next level.
fn longest_answer(prompt: &Prompt) -> u64 {
    longest_summary(prompt) + prompt.fields.iter().map(OutputField::longest_tokens).sum::<u64>()
}
