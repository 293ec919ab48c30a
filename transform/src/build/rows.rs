//! The rows of a build from the writing to the commit: where they go, and that nobody sees them until then.

use std::collections::BTreeSet;

use catalog::{Date, Draft, Lake, Table, TableSpec, WriteOptions, Written};
use datafusion::execution::SendableRecordBatchStream;

use crate::model::Model;

/// Rows that nobody sees yet.
pub(super) enum Rows {
    /// Of a table that is there.
    Written(Table, Box<Written>),
    /// Of one that is made when they are known to be good.
    Draft(Draft),
}

impl Rows {
    pub(super) fn count(&self) -> u64 {
        match self {
            Self::Written(_, written) => written.rows(),
            Self::Draft(draft) => draft.rows(),
        }
    }

    pub(super) fn files_id(&self, day: Option<Date>) -> String {
        match self {
            Self::Written(_, written) => written.files_id(day),
            Self::Draft(draft) => draft.files_id(day),
        }
    }

    pub(super) async fn discard(self, model: &Model) {
        match self {
            Self::Written(_, written) => discard(model, *written).await,
            Self::Draft(draft) => draft.discard().await,
        }
    }
}

/// The rows of a build.
pub(super) struct Fresh {
    pub(super) rows: Rows,
    /// The days that were made, if they are the whole table in another shape.
    pub(super) reshaped: Option<BTreeSet<Date>>,
    /// How many were left out.
    pub(super) set_aside: u64,
}

/// Where rows are written for.
pub(super) enum Place {
    /// A table as it is, with columns that come with the rows if it does not have them.
    There(Table, TableSpec),
    /// A table that takes another shape with them.
    Reshaped(Table, TableSpec),
    /// A table that is not there yet.
    New(TableSpec),
}

impl Place {
    /// Writes the rows where nobody sees them.
    pub(super) async fn write(self, lake: &Lake, streams: Vec<SendableRecordBatchStream>) -> catalog::Result<Rows> {
        let options = WriteOptions::default();
        let written = |table, written| Rows::Written(table, Box::new(written));
        Ok(match self {
            Self::Reshaped(table, spec) => {
                let rows = table.write_reshaped(&spec, streams, &options).await?;
                written(table, rows)
            }
            Self::There(table, spec) => {
                let rows = table.write_widened(&spec, streams, &options).await?;
                written(table, rows)
            }
            Self::New(spec) => Rows::Draft(lake.draft(&spec, streams, &options).await?),
        })
    }
}

/// Removes rows that nobody has seen.
pub(super) async fn discard(model: &Model, written: Written) {
    if let Err(error) = written.discard().await {
        tracing::warn!(model = %model.name(), %error, "files that nobody sees could not be removed");
    }
}
