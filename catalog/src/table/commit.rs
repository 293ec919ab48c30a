//! Files become rows that readers see: once, or not at all.
//!
//! Each round loads the newest snapshot, reads the mark of this piece of work in it, and commits on
//! *that very snapshot*, with no retry below: if anybody committed in between, the next round looks
//! again. So nothing is ever decided on a version that is not the newest, and what a replace removes
//! is always what is there.
//!
//! When the store breaks off, the commit may stand all the same, or come to stand later: a request
//! that timed out can still land as long as its version is free. So a try that broke off is *open*
//! until a look at the log settles it. Each commit carries a mark of its own; of the versions since
//! the try, one with our mark is ours, and once the try's version is somebody else's it can't land any
//! more. Only then another version is tried, files are removed, or anything is called failed.
//!
//! | the call ended with | what it can mean | what is done |
//! |---|---|---|
//! | `Ok` | committed | `Done` |
//! | the version exists | another came first; or our own earlier try had landed | look: ours → `Done`; else the next version |
//! | an error after the log entry (a checkpoint failed) | committed | look: ours → `Done` |
//! | 5xx, timeout, lost connection | stored, not stored, or stored later | look: ours → `Done`; free → the same version again; taken → the next |
//! | a refusal (403, disk full) | this try was not stored | [`Error::Refused`], unless an earlier one is open |
//! | still open after four such tries, or three minutes | not known | [`Error::Unknown`]; the next run finds it or does it |

use std::sync::Arc;
use std::time::Duration;

use delta_kernel::table_features::TableFeature;
use deltalake::DeltaTableError;
use deltalake::checkpoints::create_checkpoint;
use deltalake::kernel::transaction::{CommitBuilder, CommitProperties, TableReference, TransactionError};
use deltalake::kernel::{Action, Transaction};
use deltalake::logstore::LogStore as _;
use deltalake::protocol::{DeltaOperation, SaveMode};
use deltalake::table::config::TablePropertiesExt as _;
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use crate::error::{Access, Error, Result, find, is_refused};
use crate::name::Layer;
use crate::schema::DT;
use crate::store::{InDoubt, SyncFailed};
use crate::{Version, failpoint};

use super::head::{Head, day_of};
use super::race::{BROKEN_ROUNDS, lost_race, pause};
use super::reshape::{self, Fit};
use super::snapshot::Snapshot;
use super::spec::{Change, CommitInfo, Committed, Scope, Txn, TxnRule};
use super::written::{NewShape, Pending, Written};
use super::{encode, log, notes};

/// Rounds lost to other writers before giving up: with its pauses about a minute.
const ROUNDS: u32 = 64;

/// How long after the first try an open outcome is looked into. The store's own retries are within it.
const PATIENCE: Duration = Duration::from_mins(3);

/// What to do, given what the newest snapshot shows.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Commit,
    Duplicate,
    Conflict,
}

/// A try whose outcome is open.
#[derive(Debug)]
struct Open {
    /// The version that the log is looked through from.
    after: Version,
    /// The version that the last try would have made.
    version: Version,
    /// Whether any try of that version may be stored, or come to be.
    doubt: bool,
    /// Whether the last try was refused, so that another is no use.
    refused: bool,
    error: DeltaTableError,
}

/// `base` is the work's mark when the writing began, `found` its mark now.
fn step(change: Change, txn: &Txn, base: Option<i64>, found: Option<i64>) -> Step {
    if let TxnRule::After(expected) = txn.rule
        && found != expected
    {
        Step::Conflict
    } else if txn.is_done(found) {
        Step::Duplicate
    } else if matches!(change, Change::Replace(_)) && found != base {
        // Another doing of this work came in while we wrote: it read inputs as new as ours, or newer.
        Step::Conflict
    } else {
        Step::Commit
    }
}

impl Written {
    /// Adds the rows to the table, once: [`Committed::Duplicate`] if the table's mark says that they
    /// are in it.
    pub async fn append(self, txn: Txn, info: &CommitInfo) -> Result<Committed> {
        commit(self.pending, Change::Append, &txn, info).await
    }

    /// Puts the rows in the place of those in `scope`. [`Committed::Duplicate`] if the same doing of
    /// this work is in the table, [`Committed::Conflict`] if another one came in since the writing began.
    pub async fn replace(self, scope: Scope, txn: Txn, info: &CommitInfo) -> Result<Committed> {
        commit(self.pending, Change::Replace(scope), &txn, info).await
    }
}

/// Commits the files, or says why not; then they are removed.
pub(super) async fn commit(written: Pending, change: Change, txn: &Txn, info: &CommitInfo) -> Result<Committed> {
    check(&written, change)?;
    let name = written.base.table().clone();
    let base = written.base.txn(&txn.app_id).await?;
    let begun = Instant::now();
    let mut open: Option<Open> = None;
    let mut broken = 0;
    for round in 0..=ROUNDS {
        let snapshot = match look(&written, change, open.as_ref()).await {
            Ok(Look::Ours(version)) => {
                tracing::debug!(%name, version, "the commit stands although its call failed");
                return Ok(Committed::Done(version));
            }
            Ok(Look::Others(snapshot)) => {
                // Once its version is taken, what was open has not landed and never will.
                let free = |open: &Open| snapshot.version() < open.version;
                if let Some(open) = open.take_if(|open| open.refused) {
                    let unknown = open.doubt && free(&open);
                    return Err(if unknown {
                        Error::Unknown { table: name, source: open.error.into() }
                    } else {
                        Error::delta(written.lake.uri().as_str(), Access::Write, &name, open.error)
                    });
                }
                open = open.filter(free);
                snapshot
            }
            Err(error) => {
                let Some(open) = &open else { return Err(error) };
                tracing::debug!(%name, %error, after = %open.error, "the log can't be looked at");
                broken += 1;
                if broken >= BROKEN_ROUNDS || begun.elapsed() > PATIENCE {
                    return Err(Error::Unknown { table: name, source: error.into() });
                }
                tokio::time::sleep(pause(round)).await;
                continue;
            }
        };
        if let Some(open) = open.take_if(|_| broken >= BROKEN_ROUNDS || begun.elapsed() > PATIENCE) {
            return Err(Error::Unknown { table: name, source: open.error.into() });
        }
        let found = match snapshot.txn(&txn.app_id).await {
            Ok(found) => found,
            Err(error) if open.is_some() => return Err(Error::Unknown { table: name, source: error.into() }),
            Err(error) => return Err(error),
        };
        match step(change, txn, base, found) {
            Step::Duplicate => {
                encode::remove(&written.lake, &written.base, &written.files).await;
                return Ok(Committed::Duplicate(snapshot.version()));
            }
            Step::Conflict => {
                encode::remove(&written.lake, &written.base, &written.files).await;
                return Ok(Committed::Conflict(snapshot.version()));
            }
            Step::Commit if round == ROUNDS => break,
            Step::Commit => match reshape::still_fits(&written, change, &snapshot)? {
                Fit::Fits => {}
                Fit::RowsMoved => {
                    encode::remove(&written.lake, &written.base, &written.files).await;
                    return Ok(Committed::Conflict(snapshot.version()));
                }
                Fit::Reshaped => {
                    encode::remove(&written.lake, &written.base, &written.files).await;
                    return Err(Error::Contended { table: name, attempts: round + 1 });
                }
            },
        }
        failpoint!("catalog.commit.before");
        let error = match attempt(&written, &snapshot, change, txn, info).await {
            Ok(version) => {
                failpoint!("catalog.commit.after");
                return Ok(Committed::Done(version));
            }
            Err(error) => error,
        };
        if find::<SyncFailed>(&error).is_some() {
            // It may be visible and not durable. Only a later run can tell.
            return Err(Error::Unknown { table: name, source: error.to_string().into() });
        }
        let refused = is_refused(&error) && find::<InDoubt>(&error).is_none();
        broken += u32::from(!lost_race(&error) && !refused);
        open = Some(Open {
            after: open.as_ref().map_or(snapshot.version(), |open| open.after),
            version: snapshot.version() + 1,
            doubt: !refused || open.is_some_and(|open| open.doubt),
            refused,
            error,
        });
        tokio::time::sleep(pause(round)).await;
    }
    encode::remove(&written.lake, &written.base, &written.files).await;
    Err(Error::Contended { table: name, attempts: ROUNDS })
}

/// What the log shows.
enum Look {
    /// Our commit, in this version.
    Ours(Version),
    /// Not ours; the newest version.
    Others(Head),
}

/// Looks at the newest version, and for our own commit if a try of it is open.
async fn look(written: &Pending, change: Change, open: Option<&Open>) -> Result<Look> {
    let name = written.base.table();
    let snapshot = match change {
        // What goes is told from what is there.
        Change::Append if written.shape.is_none() => Head::newest(&written.lake, name).await?,
        _ => Snapshot::newest(&written.lake, name).await?.head().clone(),
    };
    if let Some(open) = open
        && let Some(version) =
            log::find_mark(&written.lake, name, &written.mark, open.after, snapshot.version()).await?
    {
        return Ok(Look::Ours(version));
    }
    Ok(Look::Others(snapshot))
}

/// What can be seen wrong before anything is tried.
fn check(written: &Pending, change: Change) -> Result<()> {
    let table = written.base.table();
    if matches!(written.shape, Some(NewShape::Other(_))) && change != Change::Replace(Scope::All) {
        return Err(Error::SchemaMismatch {
            table: table.clone(),
            column: DT.to_owned(),
            expected: "a replace of the whole table, whose shape changes".into(),
            found: format!("{change:?}"),
        });
    }
    let Change::Replace(scope) = change else { return Ok(()) };
    if table.layer() == Layer::Raw {
        return Err(Error::AppendOnly(table.clone()));
    }
    let Scope::Day(day) = scope else { return Ok(()) };
    let mismatch = |expected: String, found: String| {
        Err(Error::SchemaMismatch { table: table.clone(), column: DT.to_owned(), expected, found })
    };
    if !written.base.is_partitioned() {
        return mismatch("a table split by day".into(), "one piece".into());
    }
    match written.files.adds.iter().map(|add| day_of(&add.partition_values)).find(|found| *found != Some(day)) {
        None => Ok(()),
        Some(other) => mismatch(day.to_string(), other.map_or_else(|| "null".into(), |d| d.to_string())),
    }
}

/// One try to commit on `snapshot`.
async fn attempt(
    written: &Pending,
    snapshot: &Head,
    change: Change,
    txn: &Txn,
    info: &CommitInfo,
) -> Result<Version, DeltaTableError> {
    let mut actions: Vec<Action> = written.files.adds.iter().cloned().map(Action::Add).collect();
    let (mode, predicate) = match change {
        Change::Append => (SaveMode::Append, None),
        Change::Replace(scope) => {
            let files = snapshot.views().map_err(|error| DeltaTableError::GenericError { source: error.into() })?;
            for view in files.iter() {
                let inside = match scope {
                    Scope::All => true,
                    Scope::Day(day) => day_of(&view.partition_values_map()) == Some(day),
                };
                if inside {
                    actions.push(Action::Remove(view.remove_action(true)));
                }
            }
            let predicate = match scope {
                Scope::All => None,
                Scope::Day(day) => Some(format!("{DT} = '{day}'")),
            };
            (SaveMode::Overwrite, predicate)
        }
    };
    if let Some(shape) = &written.shape {
        actions.push(reshape::metadata(snapshot, shape)?);
    }
    let partition_by =
        written.shape.as_ref().map_or(snapshot, NewShape::head).is_partitioned().then(|| vec![DT.to_owned()]);
    let operation = DeltaOperation::Write { mode, partition_by, predicate };
    // The library adds the commit's info and the marks.
    let metadata = metadata(written, info, actions.len() + 2 + written.others.len());
    let mark =
        |app_id: &str, version| Transaction::new_with_last_update(app_id, version, Some(info.now.as_millisecond()));
    let others = written.others.iter().map(|(app_id, version)| mark(app_id, *version));
    let properties = others
        .fold(CommitProperties::default(), CommitProperties::with_application_transaction)
        .with_application_transaction(mark(&txn.app_id, txn.version))
        .with_metadata(metadata)
        .with_max_retries(0)
        .with_cleanup_expired_logs(Some(false));
    let builder = CommitBuilder::from(properties).with_actions(actions);
    let log = snapshot.log();
    if let Some(state) = snapshot.state_with_files() {
        let commit = builder.build(Some(state as &dyn TableReference), Arc::clone(log), operation).await?;
        return Ok(commit.version());
    }
    // The library's own way reads all of the table's files, before and after.
    check_writer(snapshot)?;
    let prepared = builder.build(None, Arc::clone(log), operation).into_prepared_commit_future().await?;
    let version = snapshot.version() + 1;
    log.write_commit_entry(version, prepared.commit_or_bytes().clone(), Uuid::new_v4()).await?;
    let interval = snapshot.properties().checkpoint_interval().get();
    let cache = written.lake.cache();
    let is_due = cache.next_checkpoint(snapshot.table());
    if is_due.map_or_else(|| (version + 1).is_multiple_of(interval), |next| version >= next) {
        let files = checkpoint(written, version).await.unwrap_or_default();
        cache.plan_checkpoint(snapshot.table(), version + interval.max(files / FILES_A_COMMIT));
    }
    Ok(version)
}

/// Summing up costs each file that the table has: so many of them are worth the reading of one commit more. A table of ten
/// thousand files is summed up every hundred commits, and the sum of it all does not grow with the table.
const FILES_A_COMMIT: u64 = 100;

/// Sums the log up, and says of how many files. If that fails the rows stand all the same, and a later commit does it.
async fn checkpoint(written: &Pending, version: Version) -> Option<u64> {
    let name = written.base.table();
    let summed_up = async {
        let snapshot = Snapshot::at(&written.lake, name, version).await?;
        let failed = |error| Error::delta(written.lake.uri().as_str(), Access::Write, name, error);
        create_checkpoint(snapshot.delta(), None).await.map_err(failed)?;
        Ok::<_, Error>(snapshot.head().views()?.num_files() as u64)
    };
    match summed_up.await {
        Ok(files) => Some(files),
        Err(error) => {
            tracing::warn!(%name, version, %error, "the log could not be summed up");
            None
        }
    }
}

/// Refuses a table that another program gave features whose rules for writers are not known here. Those of versions up to 2,
/// and the named ones of later versions, ask nothing of a program that adds rows of a table without such properties.
fn check_writer(head: &Head) -> Result<(), DeltaTableError> {
    let protocol = head.protocol();
    let known = [TableFeature::AppendOnly, TableFeature::TimestampWithoutTimezone];
    let unknown = match (protocol.min_writer_version(), protocol.writer_features()) {
        (..=2, _) => return Ok(()),
        (_, Some(features)) => features.iter().filter(|feature| !known.contains(feature)).cloned().collect(),
        (_, None) => Vec::new(),
    };
    if protocol.min_writer_version() == 7 && unknown.is_empty() {
        return Ok(());
    }
    Err(TransactionError::UnsupportedTableFeatures(unknown).into())
}

/// What every commit says about itself. Keys that Delta reserves would be dropped, hence the prefix.
fn metadata(written: &Pending, info: &CommitInfo, actions: usize) -> Vec<(String, Value)> {
    let lineage: serde_json::Map<_, _> =
        info.lineage.iter().map(|(table, version)| (table.to_string(), json!(version))).collect();
    let mut metadata = vec![
        ("elt.run_id".to_owned(), json!(info.run)),
        ("elt.committed_at".to_owned(), json!(info.now)),
        ("elt.lineage".to_owned(), Value::Object(lineage)),
        ("elt.commit".to_owned(), json!(written.mark)),
        ("elt.actions".to_owned(), json!(actions)),
    ];
    metadata.extend(written.note.clone().map(|note| (notes::KEY.to_owned(), note)));
    metadata
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions() {
        let append = Txn { app_id: "a".into(), version: 3, rule: TxnRule::AtLeast };
        let build = Txn { app_id: "b".into(), version: 3, rule: TxnRule::Equal };
        let after = Txn { app_id: "c".into(), version: 8, rule: TxnRule::After(Some(7)) };
        let replace = Change::Replace(Scope::All);
        for (change, txn, base, found, expected) in [
            (Change::Append, &append, None, None, Step::Commit),
            (Change::Append, &append, Some(2), Some(2), Step::Commit),
            (Change::Append, &append, None, Some(2), Step::Commit),
            (Change::Append, &append, None, Some(3), Step::Duplicate),
            (Change::Append, &append, Some(7), Some(7), Step::Duplicate),
            (replace, &build, None, None, Step::Commit),
            (replace, &build, Some(9), Some(9), Step::Commit),
            (replace, &build, Some(2), Some(2), Step::Commit),
            (replace, &build, Some(9), Some(3), Step::Duplicate),
            (replace, &build, None, Some(9), Step::Conflict),
            (replace, &build, Some(2), Some(9), Step::Conflict),
            (Change::Append, &after, Some(7), Some(7), Step::Commit),
            (Change::Append, &after, Some(6), Some(7), Step::Commit),
            (Change::Append, &after, Some(7), Some(8), Step::Conflict),
            (Change::Append, &after, Some(7), Some(9), Step::Conflict),
            (Change::Append, &after, None, None, Step::Conflict),
        ] {
            assert_eq!(step(change, txn, base, found), expected, "{change:?} {txn:?} {base:?} {found:?}");
        }
    }
}
