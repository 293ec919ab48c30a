//! How an enrichment ended, in words and counts.

use catalog::run::StepStatus;
use enrich::{Enriched, Outcome, RefusalKind, Spent, Wait};

use super::Ended;
use crate::count::{counted, thousands};

/// What an enrichment did, as a step ends.
pub(super) fn ended(enriched: &Enriched) -> Ended {
    let counted = |ended: Ended| {
        ended
            .count("summarised", enriched.summarised)
            .count("embedded", enriched.embedded)
            .count("reused", enriched.reused)
            .count("set_aside", enriched.aside())
            .count("calls", enriched.spent.usage.calls)
    };
    if let Some(Wait::AnotherRun { .. }) = &enriched.wait {
        let why = enriched.wait.as_ref().map(waits).unwrap_or_default();
        return Ended { why: Some(why.clone()), ..Ended::new(StepStatus::Partial, why) };
    }
    let whys: Vec<String> = enriched.wait.iter().map(waits).chain(set_aside(enriched)).collect();
    let is_new = matches!(enriched.outcome, Outcome::Built(_));
    if whys.is_empty() && !is_new {
        return counted(Ended::new(StepStatus::Unchanged, "up to date")).count("unchanged", 1);
    }
    let mut text = format!(
        "{} summaries, {} embeddings, {} known already",
        thousands(enriched.summarised),
        thousands(enriched.embedded),
        thousands(enriched.reused)
    );
    text += &spent(&enriched.spent);
    let made = |ended: Ended| counted(ended).count(if is_new { "built" } else { "unchanged" }, 1);
    if whys.is_empty() {
        return made(Ended::new(StepStatus::Done, text));
    }
    let why = whys.join("; ");
    let hints = enriched.set_aside.keys().filter_map(|kind| kind.hint()).map(|hint| format!("hint: {hint}"));
    for line in whys.into_iter().chain(hints) {
        text += &format!("\n    {line}");
    }
    Ended { why: Some(why), ..made(Ended::new(StepStatus::Partial, text)) }
}

/// How many answers are set aside, why, and when they are asked for again.
fn set_aside(enriched: &Enriched) -> Option<String> {
    let kinds: Vec<(&RefusalKind, &u64)> = enriched.set_aside.iter().collect();
    let (first, rest) = kinds.split_first()?;
    let whole = counted(enriched.aside(), "answer");
    let why = match rest {
        [] => first.0.words().to_owned(),
        _ => kinds
            .iter()
            .map(|(kind, n)| format!("{} × {}", thousands(**n), kind.words()))
            .collect::<Vec<_>>()
            .join(", "),
    };
    let again = enriched.asked_again_at.map_or_else(String::new, |at| format!("asked for again from {at:.0} on, "));
    let said =
        enriched.set_aside_for.as_ref().map_or_else(String::new, |reason| format!(", the first since: {reason}"));
    Some(format!("{whole} set aside ({why}{said}): {again}at once after `onggi retry --set-aside`"))
}

/// Why it is not complete, and what to do.
fn waits(wait: &Wait) -> String {
    match wait {
        Wait::Budget { budget, answered, of, batches } => {
            let sent = if *batches > 0 { format!(", {}", under_way(*batches)) } else { String::new() };
            format!(
                "stopped at the day's budget of {budget:.2}: {} of {} answered{sent}; run again tomorrow or raise [llm] budget",
                thousands(*answered),
                thousands(*of)
            )
        }
        Wait::AnotherRun { run } => {
            format!("run {run} asks for these answers at this moment; run again when it has ended")
        }
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
            "stopped at the day's budget of 5.00: 120 of 300 answered; run again tomorrow or raise [llm] budget"
        );
        let batches = Wait::Batches { batches: 2, answers: 3_000, answered: 0, of: 3_000 };
        assert_eq!(waits(&batches), "2 batches under way, 3,000 answers; run again later");
    }

    #[test]
    fn what_is_set_aside_is_counted_with_its_reasons_and_makes_the_step_partial() {
        let mut enriched = Enriched {
            summarised: 3,
            embedded: 3,
            reused: 0,
            set_aside: [(RefusalKind::Length, 2)].into(),
            set_aside_for: None,
            asked_again_at: Some("2026-10-01T04:00:00Z".parse().unwrap()),
            spent: Spent::default(),
            wait: None,
            outcome: Outcome::Unchanged(7),
        };
        assert_eq!(
            set_aside(&enriched).unwrap(),
            "2 answers set aside (did not fit into `output_tokens`): asked for again from 2026-10-01T04:00:00Z on, at once after \
             `onggi retry --set-aside`"
        );
        let told = ended(&enriched);
        assert_eq!(told.status, Some(StepStatus::Partial), "although the table has no new version");
        assert!(told.text.contains("hint: raise `output_tokens` in [llm]"), "{}", told.text);
        enriched.set_aside_for = Some("it has 3 words".to_owned());
        assert!(set_aside(&enriched).unwrap().contains("`output_tokens`, the first since: it has 3 words)"));
        enriched.set_aside_for = None;
        enriched.set_aside.insert(RefusalKind::Unusable, 1);
        assert!(
            set_aside(&enriched)
                .unwrap()
                .starts_with("3 answers set aside (2 × did not fit into `output_tokens`, 1 × failed a check)")
        );
        enriched.set_aside.clear();
        assert_eq!(ended(&enriched).status, Some(StepStatus::Unchanged));
    }

    #[test]
    fn money_shows_parts_of_a_cent() {
        assert_eq!((money(0.0), money(0.0123), money(12.5)), ("0.00".into(), "0.0123".into(), "12.50".into()));
    }
}
