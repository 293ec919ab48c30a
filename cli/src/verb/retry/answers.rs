//! `onggi retry --set-aside`, the half that is about answers of models.

use catalog::{Lake, RunId, Timestamp};
use enrich::Reasked;
use serde_json::json;

use crate::count::counted;
use crate::out;
use crate::project::Project;
use crate::{clock, steps, wire};

/// Answers that the next run asks for again, by the table that they belong to.
pub(super) type Answers = Vec<(String, Reasked)>;

/// Takes the waiting off every answer that is set aside.
///
/// # Errors
/// If the lake cannot be read or written.
pub(super) async fn ask_again(project: &Project, lake: &Lake, now: Timestamp) -> anyhow::Result<Answers> {
    let llm = wire::llm_unasked(project)?;
    let today = clock::today(&project.config.timezone());
    let context = enrich::Context { run: RunId::at(now), dt: today, today, now, batch: 1, jobs: 1, progress: &|_| {} };
    let mut answers = Vec::new();
    for enrichment in steps::enrichments(project) {
        let reasked = enrich::ask_again(lake, &enrichment, llm.as_ref(), &context).await?;
        answers.extend(reasked.into_iter().map(|answer| (enrichment.into.to_string(), answer)));
    }
    Ok(answers)
}

/// One object for each.
///
/// # Errors
/// If standard output is closed.
pub(super) fn objects(answers: &Answers) -> anyhow::Result<()> {
    for (table, answer) in answers {
        let Reasked { kind, entity, refusal, tries } = answer;
        let told = json!({
            "enrichment": table, "kind": kind.name(), "entity": entity, "refusal": refusal.kind.name(),
            "reason": refusal.reason, "tries": tries, "reopened": true,
        });
        out::object(&told)?;
    }
    Ok(())
}

/// Says which.
pub(super) fn told(answers: &Answers) {
    if answers.is_empty() {
        return;
    }
    let count = counted(answers.len() as u64, "answer");
    out::line(format_args!("{count} of a model to be asked for again, `onggi run` does it:"));
    for (table, Reasked { kind, entity, refusal, tries }) in answers {
        let (entity, reason) = (out::one_line(entity), out::one_line(&refusal.reason));
        let asked = counted(u64::from(*tries), "time");
        out::line(format_args!("  {table} {entity}: {} set aside, asked {asked}: {reason}", kind.name()));
    }
}
