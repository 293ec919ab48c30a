//! Who turns a question into a vector, and what happens when nobody does: the answer is given by words, and says so.
//!
//! A service that costs money is asked once for each question of a process: its vectors are kept in memory, and nowhere else. A search
//! reads a lake and writes nothing to it, so what these calls cost stands on the service's bill and not in `ops.costs`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use enrich::Llm;
use rows::text::nfc;

/// How long a person waits for a vector before the answer is given without it.
const PATIENCE: Duration = Duration::from_secs(10);
/// Questions whose vectors are kept.
const KEPT: usize = 1_000;

/// The embedder of questions.
pub struct QueryEmbedder {
    llm: Result<Arc<dyn Llm>, String>,
    kept: Mutex<HashMap<String, Vec<f32>>>,
}

impl QueryEmbedder {
    /// One that can be asked.
    pub fn new(llm: Arc<dyn Llm>) -> Self {
        Self { llm: Ok(llm), kept: Mutex::default() }
    }

    /// One that is away from the beginning, and why.
    pub fn away(why: impl Into<String>) -> Self {
        Self { llm: Err(why.into()), kept: Mutex::default() }
    }

    /// The name of the model; none where nobody can be asked.
    pub(super) fn model(&self) -> Option<String> {
        self.llm.as_ref().ok().map(|llm| llm.embedder().id())
    }

    /// The vector of a question, or why there is none.
    pub(super) async fn vector(&self, question: &str) -> Result<Vec<f32>, String> {
        let llm = self.llm.as_ref().map_err(Clone::clone)?;
        let question = nfc(question);
        if let Some(vector) = self.kept.lock().unwrap_or_else(PoisonError::into_inner).get(&question) {
            return Ok(vector.clone());
        }
        let asked = [question.clone()];
        let answer = tokio::time::timeout(PATIENCE, llm.embed(&asked)).await;
        let answer = answer.map_err(|_| format!("no answer within {} s", PATIENCE.as_secs()))?;
        let vector = answer.map_err(|error| causes(&error))?.into_iter().next().map(|it| it.vector);
        let vector = vector.ok_or_else(|| "no vector in its answer".to_owned())?;
        if vector.is_empty() || vector.iter().any(|number| !number.is_finite()) {
            return Err("expected finite numbers in its vector, found others".to_owned());
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT {
            kept.insert(question, vector.clone());
        }
        Ok(vector)
    }
}

/// An error and what is below it, in one line.
fn causes(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut below = error.source();
    while let Some(cause) = below {
        said += &format!(": {cause}");
        below = cause.source();
    }
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}
