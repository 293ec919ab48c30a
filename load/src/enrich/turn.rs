//! One run at a time asks for a table's answers: two at once would pay for the same texts twice.
//!
//! A turn is a numbered object, created only if it is absent. Who finds a turn of a run that goes on leaves the asking to it; who
//! finds one of a run that is over, killed or ended, creates the next number, and of several who try, one does.

use bytes::Bytes;
use catalog::run::RunStatus;
use catalog::{Lake, ObjectPath, PutNew, RunId, TableName, Timestamp, path};
use serde::{Deserialize, Serialize};

use super::Context;
use crate::error::{Error, Result};

/// How long a run on a machine that can't be looked at is believed to go on.
const PATIENCE_SECONDS: i64 = 6 * 3600;

#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    run: RunId,
    at: Timestamp,
}

/// The right to ask, until it is ended.
pub(super) struct Turn {
    lake: Lake,
    at: ObjectPath,
}

impl Turn {
    /// Takes the turn; `Err` in the answer names the run that has it.
    pub(super) async fn take(lake: &Lake, into: &TableName, context: &Context<'_>) -> Result<Result<Self, RunId>> {
        let part = format!("turn-{into}");
        let before = lake.objects().list(&path::states(&part)).await?;
        let mut next = 1_u64;
        if let Some(last) = before.last() {
            next = last.stem().parse::<u64>().unwrap_or(0) + 1;
            if let Some(mark) = mark(lake, last).await?
                && !is_left(lake, &mark.run, mark.at, (&context.run, context.now), PATIENCE_SECONDS).await?
            {
                return Ok(Err(mark.run));
            }
        }
        let at = path::state(&part, &format!("{next:08}"));
        let mine = Mark { run: context.run.clone(), at: context.now };
        let bytes = serde_json::to_vec(&mine)
            .map_err(|source| Error::Journal { object: at.to_string(), source: source.into() })?;
        if lake.objects().put_new(&at, Bytes::from(bytes)).await? == PutNew::Existed {
            let other = mark(lake, &at).await?.map_or_else(|| context.run.clone(), |it| it.run);
            return Ok(Err(other));
        }
        for old in before {
            lake.objects().delete(&old).await?;
        }
        Ok(Ok(Self { lake: lake.clone(), at }))
    }

    /// Gives it back.
    pub(super) async fn end(self) -> Result<()> {
        Ok(self.lake.objects().delete(&self.at).await?)
    }
}

async fn mark(lake: &Lake, at: &ObjectPath) -> Result<Option<Mark>> {
    let Some(bytes) = lake.objects().get(at).await? else { return Ok(None) };
    // A mark that can't be read is nobody's.
    Ok(serde_json::from_slice(&bytes).ok())
}

/// Whether nobody works any more on what this run began.
pub(super) async fn is_left(
    lake: &Lake,
    run: &RunId,
    at: Timestamp,
    me: (&RunId, Timestamp),
    patience: i64,
) -> Result<bool> {
    let (mine, now) = me;
    if run == mine {
        return Ok(true);
    }
    let state = catalog::run::read(lake, run, now).await?;
    Ok(state.is_none_or(|it| it.status != RunStatus::Running) || now.duration_since(at).as_secs() > patience)
}
