//! The servers that sinks can be on: what each of their sections says, whatever its own keys are.

use std::ops::RangeInclusive;
use std::sync::Arc;

use load::SinkKind;
use load::sink::Sink;

use super::SecretRef;

/// What is wrong with a section: the key, the message, and a way out.
pub(super) type SectionProblem = (&'static str, String, &'static str);

/// The section of a server that a sink is on.
pub(crate) trait ServerSection: Sync {
    /// Which sink; its name is the section's.
    fn kind(&self) -> SinkKind;

    /// Where its URL is.
    fn url(&self) -> &SecretRef;

    /// What the types cannot say.
    fn problem(&self) -> Option<SectionProblem>;

    /// The sink itself, for a project of this name. Nothing is connected.
    ///
    /// # Errors
    /// If the URL is none. No part of it is in the message.
    fn sink(&self, url: String, project: &str) -> anyhow::Result<Arc<dyn Sink>>;
}

/// What is wrong with the bounds that every server has.
pub(super) fn bounds(
    pool: u32,
    fits: RangeInclusive<u32>,
    why: &'static str,
    rate: Option<u32>,
) -> Option<SectionProblem> {
    if !fits.contains(&pool) {
        let message = format!("expected a pool of {} to {} connections, found {pool}", fits.start(), fits.end());
        return Some(("pool", message, why));
    }
    if rate == Some(0) {
        let message = "expected a rate above 0 rows a second, found 0".to_owned();
        return Some(("rows_per_second", message, "leave it out for no bound"));
    }
    None
}
