//! What is left of keys that are done: staged pieces and dead letters that nobody will ask for any more.
//!
//! The day's own run removes what it leaves; this is for days that no run comes back to.

use std::collections::{BTreeMap, BTreeSet};

use catalog::upkeep::{TaskObject, TaskObjectKind};
use catalog::{Date, Lake, ObjectPath};

use crate::error::Error;
use crate::ledger::Ledger;
use crate::queue::DeadLetter;
use crate::source::Source;
use crate::task::Key;

/// Those of a source's objects that nothing can come of: of a staged piece, because its key was closed since; of a letter,
/// because all its keys were. What can't be told is not among them.
pub async fn landed(lake: &Lake, source: &Source, objects: &[TaskObject]) -> Result<BTreeSet<ObjectPath>, Error> {
    let of_source = || objects.iter().filter(|it| it.source == *source.name());
    let (Some(since), Some(table)) = (of_source().map(|it| it.dt).min(), lake.find(source.table()).await?) else {
        return Ok(BTreeSet::new());
    };
    let ledger = Ledger::open(lake, source, table, since).await?;
    let mut closed: BTreeMap<(Date, String), Option<i64>> = BTreeMap::new();
    for last in ledger.outcomes() {
        let state = ledger.get(last.dt, &last.key);
        closed.insert((last.dt, Key::new(last.key).file_id()), state.and_then(|state| state.closed));
    }
    let mut landed = BTreeSet::new();
    for object in of_source() {
        let is_landed = match object.kind {
            TaskObjectKind::Staged => is_over(object, &closed),
            TaskObjectKind::DeadLetter => match lake.objects().get(&object.path).await? {
                Some(body) => serde_json::from_slice::<DeadLetter>(&body).is_ok_and(|letter| {
                    let is_closed = |key: &Key| closed.get(&(object.dt, key.file_id())).is_some_and(Option::is_some);
                    letter.task.keys.iter().all(is_closed)
                }),
                None => true,
            },
        };
        if is_landed {
            landed.insert(object.path.clone());
        }
    }
    Ok(landed)
}

/// Whether a staged piece can't land any more: something else closed its key than what it was to land on top of.
fn is_over(object: &TaskObject, closed: &BTreeMap<(Date, String), Option<i64>>) -> bool {
    let over = match object.folder.as_str() {
        "first" => None,
        folder => match folder.strip_prefix("over-").map(str::parse) {
            Some(Ok(over)) => Some(over),
            // Staged by task, as older programs did: nothing reads it any more.
            _ => return true,
        },
    };
    closed.get(&(object.dt, object.path.stem().to_owned())).is_some_and(|closed| *closed != over)
}

#[cfg(test)]
mod tests {
    use catalog::upkeep::{self, Upkeep};
    use catalog::{CommitInfo, Timestamp, path};

    use super::*;
    use crate::outcome::Outcome;
    use crate::outcome::tests::outcome;
    use crate::stage;
    use crate::task::Task;

    #[tokio::test]
    async fn what_closed_keys_left_is_known_and_nothing_else() {
        let lake = Lake::open("memory://leftover", "test").await.unwrap();
        let source = crate::source::tests::any();
        let table = lake.create(&source.table_spec()).await.unwrap();
        let dt: Date = "2026-10-01".parse().unwrap();
        let ledger = Ledger::open(&lake, &source, table, dt).await.unwrap();
        let info = CommitInfo { run: "r1".parse().unwrap(), now: Timestamp::UNIX_EPOCH, lineage: Vec::new() };
        let say = async |key, one| ledger.say(&[outcome(key, "2026-10-01", one)], &info).await.unwrap();
        say("closed", Outcome::Landed).await;
        say("failed", Outcome::Failed).await;
        let over = ledger.get(dt, "closed").unwrap().closed;
        let staged = |key: &str, over| stage::place(source.name(), dt, &Key { over, ..Key::new(key) });
        let letter = |keys: &[&str]| {
            let task = Task::new(source.name(), dt, keys.iter().map(|key| Key::new(*key)).collect());
            let at = path::dead(source.name(), dt, task.id.as_str());
            let error = "boom".to_owned();
            (at, serde_json::to_vec(&DeadLetter { task, receive_count: 5, error, dead_at: info.now }).unwrap())
        };
        let gone = [staged("closed", None), path::staged(source.name(), dt, "00112233aabbccdd", "k")];
        let kept = [staged("closed", over), staged("failed", None), staged("never asked", None)];
        for at in gone.iter().chain(&kept) {
            lake.objects().put(at, "x".into()).await.unwrap();
        }
        let letters = [letter(&["closed"]), letter(&["closed", "failed"])];
        for (at, body) in &letters {
            lake.objects().put(at, body.clone().into()).await.unwrap();
        }
        // Long after all of them were written.
        let later = "2100-01-01T00:00:00Z".parse().unwrap();
        let objects = upkeep::old_task_objects(&lake, &Upkeep::at(later)).await.unwrap();
        assert_eq!(objects.len(), 7);
        let expected: BTreeSet<_> = gone.into_iter().chain([letters[0].0.clone()]).collect();
        assert_eq!(landed(&lake, &source, &objects).await.unwrap(), expected);
    }
}
