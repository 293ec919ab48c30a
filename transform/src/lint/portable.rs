//! What means something else in Trino, and so in Athena: a question that is asked in both is to say which of the two it means.
//!
//! Only what both take and answer differently is looked for; what one of them refuses, it refuses loudly. Two differences have no
//! way to say which is meant, and are left: letters whose other case is more than one letter (`İ`, `ß`), and whether NaN equals
//! itself. `words` reads what can be seen in the text, `types` what only the columns tell.

mod types;
mod words;

use datafusion::logical_expr::LogicalPlan;

use crate::explain::SqlProblem;
use crate::statement::Statement;

/// Everything in the statement that Trino would answer differently; `plan` is the statement as it was written, where it can be
/// planned at all.
pub(crate) fn portable(statement: &Statement, plan: Option<&LogicalPlan>) -> Vec<SqlProblem> {
    let mut found = statement.query().map(words::differences).unwrap_or_default();
    found.extend(plan.map(types::differences).unwrap_or_default());
    found.sort_by_key(|problem| problem.place);
    found.dedup();
    found
}

#[cfg(test)]
mod tests;
