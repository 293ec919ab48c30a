//! What an enrichment would cost, before anything is spent.

use catalog::{Date, Lake, RunId};
use enrich::{Enrichment, Estimate, Expected};
use serde::Serialize;

use crate::clock;
use crate::count::thousands;
use crate::project::Project;
use crate::run::money;
use crate::wire;

/// The money of a plan's line.
#[derive(Debug, Serialize)]
pub(super) struct Money {
    mode: &'static str,
    summaries: Kind,
    embeddings: Kind,
    /// Answers that batches under way will bring.
    under_way: u64,
    /// At most; `None` where a price is missing.
    cost: Option<f64>,
    budget: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Kind {
    answers: u64,
    calls: u64,
    input_tokens: u64,
    output_tokens: u64,
    cost: Option<f64>,
}

impl Kind {
    fn new(expected: &Expected) -> Self {
        let usage = expected.usage;
        Self {
            answers: expected.answers,
            calls: usage.calls,
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            cost: expected.cost,
        }
    }

    fn text(&self, name: &str) -> String {
        let cost = self.cost.map_or_else(|| "no price is given".to_owned(), |cost| format!("cost {}", money(cost)));
        let (calls, input, output) =
            (thousands(self.calls), thousands(self.input_tokens), thousands(self.output_tokens));
        format!("{} {name}: {calls} calls, at most {input} tokens in, {output} out, {cost}", thousands(self.answers))
    }
}

impl Money {
    fn new(estimate: &Estimate) -> Self {
        let cost = estimate.summaries.cost.zip(estimate.embeddings.cost).map(|(a, b)| a + b);
        Self {
            mode: estimate.mode.name(),
            summaries: Kind::new(&estimate.summaries),
            embeddings: Kind::new(&estimate.embeddings),
            under_way: estimate.under_way,
            cost,
            budget: estimate.budget,
        }
    }

    /// Whether something is to be asked for or waited for.
    pub(super) fn is_due(&self) -> bool {
        self.summaries.answers + self.embeddings.answers + self.under_way > 0
    }

    /// The lines below the step's own.
    pub(super) fn lines(&self) -> Vec<String> {
        if !self.is_due() {
            return Vec::new();
        }
        let mut lines = vec![self.summaries.text("summaries"), self.embeddings.text("embeddings")];
        if self.under_way > 0 {
            lines.push(format!("{} answers come with batches under way", thousands(self.under_way)));
        }
        let total = self.cost.map_or_else(
            || "add `[llm.prices.\"…\"]` to see what it costs".to_owned(),
            |cost| format!("in all at most {}, {}", money(cost), self.mode),
        );
        let budget = match (self.budget, self.cost) {
            (Some(budget), Some(cost)) if cost > budget => {
                format!("; the budget of {} a day may stop it, the next day goes on", money(budget))
            }
            (Some(budget), _) => format!("; the budget of a day is {}", money(budget)),
            (None, _) => String::new(),
        };
        lines.push(total + &budget);
        lines
    }
}

/// What an enrichment would cost; `None` where answers are free or the input is not there yet.
///
/// # Errors
/// If the lake cannot be read.
pub(super) async fn of(
    project: &Project,
    lake: &Lake,
    enrichment: &Enrichment,
    dt: Date,
) -> anyhow::Result<Option<Money>> {
    let now = clock::now();
    let today = clock::today(&project.config.timezone());
    let context = enrich::Context { run: RunId::at(now), dt, today, now, batch: 1, jobs: 1, progress: &|_| {} };
    let llm = wire::llm_unasked(project)?;
    let estimate = enrich::estimate(lake, enrichment, llm.as_ref(), &context).await?;
    Ok(estimate.as_ref().map(Money::new))
}
