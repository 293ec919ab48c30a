//! Calls: how a summary and embeddings become requests within the service's bounds, and what they need at most.

use async_openai::types::embeddings::{CreateEmbeddingRequest, EmbeddingInput, EncodingFormat};

use super::prompt::Role;
use super::{LEVELS, OpenAi, check, prompt};
use crate::enrich::AnswerKind;
use crate::llm::{Call, Endpoint, Mode, Usage, tokens};
use crate::text::nfc;
use crate::value::content_hash;

/// The service's own bound on the inputs of one embedding request.
const INPUTS: usize = 2_048;
/// … on the tokens of one input.
const INPUT_TOKENS: u64 = 8_192;
/// … on the tokens of one request.
const REQUEST_TOKENS: u64 = 300_000;

impl OpenAi {
    pub(super) fn chat(&self, role: Role, texts: &[String], refused: Option<(&str, &str)>) -> Call {
        let (body, input) = prompt::request(&self.summary_model, role, texts, self.output_tokens, refused);
        let version = self.summariser.version.to_string();
        let tokens = self.output_tokens.to_string();
        let mut parts = vec!["chat", &self.summary_model, &version, role.name(), &tokens];
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
        let (most, tokens) = match self.mode {
            Mode::Batch => (1, REQUEST_TOKENS),
            // A request that takes a third of a minute's tokens would stop the pace.
            Mode::Interactive => {
                let pace = self.tokens_per_minute.map_or(REQUEST_TOKENS, |it| u64::from(it) / 3);
                (INPUTS, REQUEST_TOKENS.min(pace.max(INPUT_TOKENS)))
            }
        };
        let mut calls = Vec::new();
        let mut group: Vec<(&str, String)> = Vec::new();
        let mut held = 0;
        for (key, text) in wanted {
            let text = tokens::truncate(&nfc(text), INPUT_TOKENS).to_owned();
            let cost = tokens::estimate(&text);
            if !group.is_empty() && (group.len() >= most || held + cost > tokens) {
                calls.push(self.embedding(&std::mem::take(&mut group), held));
                held = 0;
            }
            held += cost;
            group.push((key, text));
        }
        if !group.is_empty() {
            calls.push(self.embedding(&group, held));
        }
        calls
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
    pub(crate) fn expect(&self, texts: &[String]) -> Usage {
        let mut usage = Usage::default();
        let mut groups = prompt::pack(texts, self.prompt_tokens);
        for _ in 0..LEVELS {
            let single = groups.len() <= 1;
            for group in &groups {
                let (_, input) = prompt::request(&self.summary_model, Role::Whole, group, self.output_tokens, None);
                usage += Usage { calls: 1, input_tokens: input, output_tokens: u64::from(self.output_tokens) };
            }
            if single {
                break;
            }
            let answers = vec!["가".repeat(check::LONGEST); groups.len()];
            groups = prompt::pack(&answers, self.prompt_tokens);
        }
        usage
    }

    /// What the embedding of a summary that is not written yet needs at most.
    pub(crate) fn expect_embedding(text: Option<&str>) -> u64 {
        text.map_or_else(|| tokens::estimate(&"가".repeat(check::LONGEST)), tokens::estimate).min(INPUT_TOKENS)
    }
}
