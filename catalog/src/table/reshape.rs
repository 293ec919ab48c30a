//! What a commit has to know when a table takes another shape: the metadata that goes with it, and whether what was written for
//! an older version still fits.

use deltalake::DeltaTableError;
use deltalake::kernel::{Action, MetadataExt as _};

use crate::error::Result;
use crate::schema::holds;

use super::head::Head;
use super::spec::{Change, Scope};
use super::written::{NewShape, Pending};

/// The metadata that gives a table its new shape: that of a blank table, its columns, its split and its settings, under the
/// table's own id; or its own with more columns.
pub(super) fn metadata(of: &Head, shape: &NewShape) -> Result<Action, DeltaTableError> {
    match shape {
        NewShape::Other(blank) => {
            Ok(Action::Metadata(blank.metadata().clone().with_table_id(of.table_id().to_owned())?))
        }
        NewShape::Widened(_, change) => match of.state_with_files() {
            Some(state) => change.metadata(state),
            None => Err(DeltaTableError::NotInitializedWithFiles("a head".into())),
        },
    }
}

/// Whether what was written on `written.base` may still be committed on `newest`, as far as columns and rows go.
pub(super) fn still_fits(written: &Pending, change: Change, newest: &Head) -> Result<Fit> {
    if newest.version() == written.base.version() {
        return Ok(Fit::Fits);
    }
    let as_before = |of: &Head| of.content_id(None);
    if let Some(NewShape::Widened(..)) = &written.shape {
        let same = newest.is_partitioned() == written.base.is_partitioned()
            && newest.stored_schema() == written.base.stored_schema();
        return Ok(if same { Fit::Fits } else { Fit::RowsMoved });
    }
    if written.shape.is_some() {
        let alone = change == Change::Replace(Scope::All) && as_before(newest)? == as_before(&written.base)?;
        return Ok(if alone { Fit::Fits } else { Fit::RowsMoved });
    }
    let fits = newest.is_partitioned() == written.base.is_partitioned()
        && holds(&newest.stored_schema(), &written.base.stored_schema());
    Ok(if fits { Fit::Fits } else { Fit::Reshaped })
}

/// How a newer version of a table stands to files that were written for an older one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    /// They may be committed.
    Fits,
    /// Rows came or went, and a whole table in a new shape would take them away unseen; or columns did, and a wider table would.
    RowsMoved,
    /// The table has another shape now.
    Reshaped,
}
