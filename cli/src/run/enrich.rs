//! How an enrichment ended, in words and counts.

use catalog::run::StepStatus;
use load::{Enriched, Outcome, Spent, Wait};

use super::Ended;
use crate::progress::thousands;

/// What an enrichment did, as a step ends.
pub(super) fn ended(enriched: &Enriched) -> Ended {
    let counted = |ended: Ended| {
        ended
            .count("summarised", enriched.summarised)
            .count("embedded", enriched.embedded)
            .count("reused", enriched.reused)
            .count("set_aside", enriched.set_aside)
            .count("calls", enriched.spent.usage.calls)
    };
    if let Some(Wait::Others { .. }) = &enriched.wait {
        let why = enriched.wait.as_ref().map(waits).unwrap_or_default();
        return Ended { why: Some(why.clone()), ..Ended::new(StepStatus::Partial, why) };
    }
    if let Outcome::Unchanged(_) = enriched.outcome {
        return counted(Ended::new(StepStatus::Unchanged, "up to date")).count("unchanged", 1);
    }
    let mut text = format!(
        "{} summaries, {} embeddings, {} known already",
        thousands(enriched.summarised),
        thousands(enriched.embedded),
        thousands(enriched.reused)
    );
    if enriched.set_aside > 0 {
        text += &format!(", {} set aside", thousands(enriched.set_aside));
    }
    text += &spent(&enriched.spent);
    let Some(wait) = &enriched.wait else {
        return counted(Ended::new(StepStatus::Done, text)).count("built", 1);
    };
    let why = waits(wait);
    let ended = counted(Ended::new(StepStatus::Partial, format!("{text}\n    {why}"))).count("built", 1);
    Ended { why: Some(why), ..ended }
}

/// Why it is not complete, and what to do.
fn waits(wait: &Wait) -> String {
    match wait {
        Wait::Budget { budget, answered, of, batches } => {
            let sent = if *batches > 0 { format!(", {}", under_way(*batches)) } else { String::new() };
            format!(
                "stopped at the budget of {budget:.2}: {} of {} answered{sent}; run again or raise [llm] budget",
                thousands(*answered),
                thousands(*of)
            )
        }
        Wait::Others { run } => format!("run {run} asks for these answers at this moment; run again when it has ended"),
        Wait::Batches { batches: 0, answered, of, .. } => {
            format!("{} of {} answered; run again", thousands(*answered), thousands(*of))
        }
        Wait::Batches { batches, answers, .. } => {
            format!("{}, {} answers; run again later", under_way(*batches), thousands(*answers))
        }
    }
}

fn under_way(batches: u64) -> String {
    format!("{} {} under way", thousands(batches), if batches == 1 { "batch" } else { "batches" })
}

/// What was used and, where there are prices, what it cost.
fn spent(spent: &Spent) -> String {
    let usage = spent.usage;
    if usage.calls == 0 {
        return String::new();
    }
    let cost = spent.cost.map_or_else(String::new, |cost| format!(", cost {}", money(cost)));
    let tokens = thousands(usage.input_tokens + usage.output_tokens);
    format!("; {} calls, {tokens} tokens{cost}", thousands(usage.calls))
}

/// An amount with as many digits as it needs: parts of a cent are money too, by the thousand.
pub(crate) fn money(amount: f64) -> String {
    if amount == 0.0 || amount >= 1.0 { format!("{amount:.2}") } else { format!("{amount:.4}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wait_says_what_to_do() {
        let budget = Wait::Budget { budget: 5.0, answered: 120, of: 300, batches: 0 };
        assert_eq!(
            waits(&budget),
            "stopped at the budget of 5.00: 120 of 300 answered; run again or raise [llm] budget"
        );
        let batches = Wait::Batches { batches: 2, answers: 3_000, answered: 0, of: 3_000 };
        assert_eq!(waits(&batches), "2 batches under way, 3,000 answers; run again later");
    }

    #[test]
    fn money_shows_parts_of_a_cent() {
        assert_eq!((money(0.0), money(0.0123), money(12.5)), ("0.00".into(), "0.0123".into(), "12.50".into()));
    }
}
