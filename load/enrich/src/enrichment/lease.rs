//! One run at a time asks for a table's answers: two at once would pay for the same texts twice.
//!
//! A lease is a numbered object, created only if it is absent, with an id that is nobody else's. Its holder renews it every
//! ten seconds and says in it when it is over. Who finds one that is not over watches it: a renewal that is seen means that its run
//! lives, whatever the clocks of the two machines say, and the asking is left to it; none for a minute means that it is over. A run
//! that is known to have ended needs no watching.
//!
//! Numbers never begin anew: the last object stays when it is over. So who looked a while ago and creates a number that has been before
//! finds a higher one beside it, and takes its own back.
//!
//! Each renewal looks for a higher number. A holder that finds one, or that could not renew for a while (its machine slept, the store
//! was away), has lost the lease: it sends nothing more and publishes nothing. That is well before anybody else begins.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use catalog::run::RunStatus;
use catalog::simulation::{Instant, sleep};
use catalog::{Lake, ObjectPath, PutNew, RunId, TableName, Timestamp, path};
use serde::{Deserialize, Serialize};

use super::Context;
use crate::error::{Error, Result};

/// How long things take.
#[derive(Debug, Clone, Copy)]
struct Times {
    /// How often a lease is renewed.
    renewed_every: Duration,
    /// How long a renewal is good for: after it, and before others stop waiting, nothing is sent any more.
    trusted_for: Duration,
    /// How long a lease that nobody renews is watched before it is taken over.
    patience: Duration,
    /// How often somebody else's lease is looked at while it is watched.
    looked_every: Duration,
}

const TIMES: Times = Times {
    renewed_every: Duration::from_secs(10),
    trusted_for: Duration::from_secs(40),
    patience: Duration::from_mins(1),
    looked_every: Duration::from_secs(1),
};

/// A lease as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    id: String,
    run: RunId,
    at: Timestamp,
    /// Counts up with each renewal.
    renewals: u64,
    is_over: bool,
}

/// The right to ask, for as long as it is kept.
#[derive(Debug)]
pub(super) struct EnrichLease {
    lake: Lake,
    folder: String,
    times: Times,
    number: u64,
    mark: Mutex<Mark>,
    renewed_at: Mutex<Instant>,
    is_lost: AtomicBool,
}

impl EnrichLease {
    /// Takes the lease; `Err` in the answer names the run that has it.
    pub(super) async fn take(lake: &Lake, into: &TableName, context: &Context<'_>) -> Result<Result<Self, RunId>> {
        Self::take_in(TIMES, lake, into, context).await
    }

    async fn take_in(
        times: Times,
        lake: &Lake,
        into: &TableName,
        context: &Context<'_>,
    ) -> Result<Result<Self, RunId>> {
        if let Some(run) = held_by_an_earlier_release(lake, into, context).await? {
            return Ok(Err(run));
        }
        let folder = format!("lease-{into}");
        let next = match last(lake, &folder).await? {
            None => 1,
            Some((number, mark)) => {
                if let Some(run) = watched(times, lake, (&folder, number), mark, context).await? {
                    return Ok(Err(run));
                }
                number + 1
            }
        };
        Self::create(times, lake, folder, next, context).await
    }

    /// Creates the object of this number, unless somebody has gone further meanwhile.
    async fn create(
        times: Times,
        lake: &Lake,
        folder: String,
        next: u64,
        context: &Context<'_>,
    ) -> Result<Result<Self, RunId>> {
        let id = catalog::fresh_id();
        let mark = Mark { id, run: context.run.clone(), at: context.now, renewals: 0, is_over: false };
        let at = place(&folder, next);
        if lake.objects().put_new(&at, bytes(&at, &mark)?).await? == PutNew::Existed {
            let other = read(lake, &at).await?.map_or_else(|| context.run.clone(), |it| it.run);
            return Ok(Err(other));
        }
        let (renewed_at, is_lost) = (Mutex::new(Instant::now()), AtomicBool::new(false));
        let (lake, mark) = (lake.clone(), Mutex::new(mark));
        let lease = Self { lake, folder, times, number: next, mark, renewed_at, is_lost };
        let numbers = lease.numbers().await?;
        if let Some(higher) = numbers.iter().max().filter(|it| **it > next) {
            lease.lake.objects().delete(&at).await?;
            let other = read(&lease.lake, &place(&lease.folder, *higher)).await?;
            return Ok(Err(other.map_or_else(|| context.run.clone(), |it| it.run)));
        }
        for old in numbers.into_iter().filter(|it| *it < next) {
            lease.lake.objects().delete(&place(&lease.folder, old)).await?;
        }
        Ok(Ok(lease))
    }

    /// Does the work, and renews the lease meanwhile.
    pub(super) async fn keep_while<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = sleep(self.times.renewed_every) => {}
            }
            let renewal = self.renew_if_possible();
            tokio::pin!(renewal);
            tokio::select! {
                done = &mut work => {
                    // A renewal under way may still reach the store: it comes before what is written at the end.
                    renewal.await;
                    return done;
                }
                () = &mut renewal => {}
            }
        }
    }

    /// Whether it may still be acted on. Looked at before every request that costs something.
    pub(super) fn is_lost(&self) -> bool {
        let renewed_at = *self.renewed_at.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_lost.load(Ordering::Relaxed) || renewed_at.elapsed() > self.times.trusted_for
    }

    /// Who has it now, after it was lost.
    pub(super) async fn holder(&self) -> Result<RunId> {
        let last = last(&self.lake, &self.folder).await?;
        Ok(last.map_or_else(|| self.current().run, |(_, mark)| mark.run))
    }

    /// Makes sure that it is still ours at this moment, before something is published.
    pub(super) async fn confirm(&self) -> Result<bool> {
        self.renew().await?;
        Ok(!self.is_lost())
    }

    async fn renew_if_possible(&self) {
        if let Err(error) = self.renew().await {
            // The next renewal may come through; if none does, the lease runs out.
            tracing::debug!(%error, "a lease could not be renewed");
        }
    }

    async fn renew(&self) -> Result<()> {
        let begun = Instant::now();
        let mark = {
            let mut mark = self.mark.lock().unwrap_or_else(PoisonError::into_inner);
            mark.renewals += 1;
            mark.clone()
        };
        if self.is_lost() || self.numbers().await?.into_iter().any(|it| it > self.number) {
            self.is_lost.store(true, Ordering::Relaxed);
            return Ok(());
        }
        self.put(&mark).await?;
        // It is good from when it was begun: nobody can have seen it earlier.
        *self.renewed_at.lock().unwrap_or_else(PoisonError::into_inner) = begun;
        Ok(())
    }

    /// Gives it back. One that was lost is somebody else's.
    pub(super) async fn end(self) -> Result<()> {
        if self.is_lost() || self.numbers().await?.into_iter().any(|it| it > self.number) {
            return Ok(());
        }
        let mark = Mark { is_over: true, ..self.current() };
        self.put(&mark).await
    }

    fn current(&self) -> Mark {
        self.mark.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn put(&self, mark: &Mark) -> Result<()> {
        let at = place(&self.folder, self.number);
        Ok(self.lake.objects().put(&at, bytes(&at, mark)?).await?)
    }

    async fn numbers(&self) -> Result<Vec<u64>> {
        let marks = self.lake.objects().list(&path::states(&self.folder)).await?;
        Ok(marks.iter().filter_map(number).collect())
    }
}

/// Watches a lease. Names the run that has it if it lives; `None` once it is over.
async fn watched(
    times: Times,
    lake: &Lake,
    (folder, number): (&str, u64),
    first: Mark,
    context: &Context<'_>,
) -> Result<Option<RunId>> {
    let begun = Instant::now();
    while !first.is_over && begun.elapsed() < times.patience {
        let Some(mark) = read(lake, &place(folder, number)).await? else {
            // Somebody took it over and removed it: the new one is the one to ask.
            let newer = last(lake, folder).await?.filter(|(it, _)| *it > number);
            return Ok(newer.map(|(_, mark)| mark.run));
        };
        if mark.is_over {
            return Ok(None);
        }
        if mark.renewals != first.renewals || mark.id != first.id {
            return Ok(Some(mark.run));
        }
        let state = catalog::run::read(lake, &mark.run, context.now).await?;
        if mark.run != context.run && state.is_some_and(|it| it.status != RunStatus::Running) {
            return Ok(None);
        }
        sleep(times.looked_every).await;
    }
    Ok(None)
}

/// Marks of a release that kept them elsewhere: one whose run goes on holds everybody off, others go.
async fn held_by_an_earlier_release(lake: &Lake, into: &TableName, context: &Context<'_>) -> Result<Option<RunId>> {
    #[derive(Deserialize)]
    struct EarlierMark {
        run: RunId,
    }
    for at in lake.objects().list(&path::states(&format!("turn-{into}"))).await? {
        let mark = lake.objects().get(&at).await?;
        if let Some(mark) = mark.and_then(|bytes| serde_json::from_slice::<EarlierMark>(&bytes).ok()) {
            let state = catalog::run::read(lake, &mark.run, context.now).await?;
            if mark.run != context.run && state.is_some_and(|it| it.status == RunStatus::Running) {
                return Ok(Some(mark.run));
            }
        }
        lake.objects().delete(&at).await?;
    }
    Ok(None)
}

fn place(folder: &str, number: u64) -> ObjectPath {
    path::state(folder, &format!("{number:08}"))
}

fn number(at: &ObjectPath) -> Option<u64> {
    at.stem().parse().ok()
}

/// The lease with the highest number.
async fn last(lake: &Lake, folder: &str) -> Result<Option<(u64, Mark)>> {
    let numbers = lake.objects().list(&path::states(folder)).await?;
    let Some(number) = numbers.iter().filter_map(number).max() else { return Ok(None) };
    // One that is gone since it was listed is over, and so is one that a power cut left half.
    let over = |run: RunId| Mark { id: String::new(), run, at: Timestamp::UNIX_EPOCH, renewals: 0, is_over: true };
    let mark = read(lake, &place(folder, number)).await?;
    Ok(Some((number, mark.unwrap_or_else(|| over(RunId::at(Timestamp::UNIX_EPOCH))))))
}

async fn read(lake: &Lake, at: &ObjectPath) -> Result<Option<Mark>> {
    let Some(bytes) = lake.objects().get(at).await? else { return Ok(None) };
    // A mark that can't be read is nobody's.
    Ok(serde_json::from_slice(&bytes).ok())
}

fn bytes(at: &ObjectPath, mark: &Mark) -> Result<Bytes> {
    let bytes = serde_json::to_vec(mark);
    Ok(bytes.map_err(|source| Error::Journal { object: at.to_string(), source: source.into() })?.into())
}

/// Whether nobody works any more on what this run began on a service, as far as the lake tells.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{World, context_of, name, now};

    /// A hundred times as fast as in earnest, about.
    const QUICK: Times = Times {
        renewed_every: Duration::from_millis(60),
        trusted_for: Duration::from_millis(1_200),
        patience: Duration::from_secs(2),
        looked_every: Duration::from_millis(15),
    };

    async fn take(world: &World, run: &str) -> Result<EnrichLease, RunId> {
        let run: RunId = run.parse().unwrap();
        let into = name("staging.summaries");
        EnrichLease::take_in(QUICK, &world.lake, &into, &context_of(&run, now())).await.unwrap()
    }

    async fn marks(world: &World) -> Vec<u64> {
        let marks = world.lake.objects().list(&path::states("lease-staging.summaries")).await.unwrap();
        marks.iter().filter_map(number).collect()
    }

    #[tokio::test]
    async fn a_lease_whose_run_lives_is_never_taken_however_long_it_works() {
        let world = World::new().await;
        let first = take(&world, "m1").await.unwrap();
        let days = first.keep_while(tokio::time::sleep(3 * QUICK.patience));
        let others = async {
            for _ in 0..2 {
                tokio::time::sleep(QUICK.patience).await;
                // The mark is as old as the work is, and nobody cares.
                assert_eq!(take(&world, "m2").await.unwrap_err().as_str(), "m1");
            }
        };
        tokio::join!(days, others);
        assert!(!first.is_lost());
        first.end().await.unwrap();
        let second = take(&world, "m2").await.unwrap();
        assert_eq!((second.number, marks(&world).await), (2, vec![2]), "what is over goes when the next is there");
    }

    #[tokio::test]
    async fn a_lease_that_nobody_renews_is_taken_over_and_its_holder_knows() {
        let world = World::new().await;
        let slept = take(&world, "m1").await.unwrap();
        let begun = Instant::now();
        let second = take(&world, "m2").await.unwrap();
        assert!(begun.elapsed() >= QUICK.patience);
        assert!(slept.is_lost(), "it stopped long before the other one began");
        assert!(!slept.confirm().await.unwrap());
        assert_eq!(slept.holder().await.unwrap().as_str(), "m2");
        slept.end().await.unwrap();
        assert!(second.confirm().await.unwrap(), "who lost it ends nobody else's");
        assert_eq!(marks(&world).await, [2]);
    }

    #[tokio::test]
    async fn two_of_the_same_name_are_two() {
        let world = World::new().await;
        let first = take(&world, "m1").await.unwrap();
        let (kept, other) = tokio::join!(first.keep_while(tokio::time::sleep(QUICK.patience)), take(&world, "m1"));
        let () = kept;
        assert!(other.is_err(), "a run id says nothing of who it is");
    }

    /// Who looked while the first was there comes back when the second has been and gone, and the third works.
    #[tokio::test]
    async fn a_late_look_creates_no_second_lease() {
        let world = World::new().await;
        for run in ["m1", "m2"] {
            take(&world, run).await.unwrap().end().await.unwrap();
        }
        let third = take(&world, "m3").await.unwrap();
        assert_eq!(marks(&world).await, [3]);
        // It saw number 1, and that it was over.
        let run: RunId = "late".parse().unwrap();
        let folder = "lease-staging.summaries".to_owned();
        let late = EnrichLease::create(QUICK, &world.lake, folder, 2, &context_of(&run, now())).await.unwrap();
        assert_eq!(late.unwrap_err().as_str(), "m3");
        assert_eq!(marks(&world).await, [3], "it took its own back");
        assert!(third.confirm().await.unwrap());
    }

    #[tokio::test]
    async fn of_many_at_once_one_has_it() {
        let world = World::new().await;
        take(&world, "before").await.unwrap().end().await.unwrap();
        let runs: Vec<String> = (0..8).map(|number| format!("m{number}")).collect();
        // Who has it works, and renews it, for longer than anybody waits.
        let worked = runs.iter().map(async |run| {
            let lease = take(&world, run).await.ok()?;
            lease.keep_while(tokio::time::sleep(2 * QUICK.patience)).await;
            Some(lease.number)
        });
        let worked: Vec<u64> = futures::future::join_all(worked).await.into_iter().flatten().collect();
        assert_eq!(worked, [2]);
    }
}
