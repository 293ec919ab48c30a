//! Which keys of a source a run has taken on, so that another run at the same time does not ask for them too.
//!
//! A run *claims* the keys that it is about to ask for: one object for each source, holder and day, which lives as long as
//! its holder gives signs of life ([`crate::heartbeat`]), told by durations and by no clock. Of a claim counts what its holder
//! has not tried yet; that stands in the outcomes. What becomes of a key that somebody else holds:
//!
//! | the holder | what a run does with the key |
//! |---|---|
//! | is of the same day | *joins*: works on the holder's tasks where they share a queue, and waits until the key has ended |
//! | is of another day, and lives | leaves it to the holder, says so, and is partial: a key is not asked for twice at once |
//! | died, or ended without it | takes it over |
//!
//! Two that claim at the same moment are told apart in this way. Each writes its claim as *wanted*, then looks at the others,
//! then writes what it takes as *settled*. What is settled is never taken from its holder. Of two that only want, the one
//! whose turn is later gives way at once, and the one whose turn is first waits until the other has settled. Who looked before
//! the other wrote is seen by the other, so exactly one of them takes each key, and nobody waits in a circle.
//!
//! Rows don't hang on this: they are fenced by outcomes. A holder that was frozen for too long may ask once more for a key that
//! was taken over, and lands nothing.

use std::collections::{BTreeMap, HashSet};

use catalog::simulation::sleep;
use catalog::{Date, ObjectPath, path};
use serde::{Deserialize, Serialize};

use super::Extractor;
use super::open_source::OpenSource;
use crate::error::Error;
use crate::heartbeat::{Heartbeat, Life};
use crate::task::Key;

/// What a run has taken on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Claim {
    /// Whose sign of life stands for it.
    holder: String,
    /// The run, for people.
    run: String,
    /// Its day.
    dt: Date,
    /// The number of the source's newest commit when the claim was made: what is newer was tried.
    began_at: Option<i64>,
    /// Whether these are the keys that it takes, and not only those that it wants.
    settled: bool,
    keys: Vec<String>,
}

impl Claim {
    /// Of two that want the same key at the same moment, whose turn it is: the older day's, so that it gets done.
    fn goes_before(&self, other: &Self) -> bool {
        (self.dt, &self.holder) < (other.dt, &other.holder)
    }
}

/// Another run that holds a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Holder {
    pub(super) run: String,
    pub(super) dt: Date,
    /// It was seen to live since we look, and has settled: it asks for the key, and we need not.
    pub(super) is_sure: bool,
}

/// The claims of one source, as one run of a day makes them.
pub(super) struct Claims<'a> {
    ctx: &'a Extractor,
    heartbeat: &'a Heartbeat,
    open: &'a OpenSource,
    dt: Date,
}

impl<'a> Claims<'a> {
    /// None where nobody else is told of us.
    pub(super) fn new(ctx: &'a Extractor, open: &'a OpenSource, dt: Date) -> Option<Self> {
        let heartbeat = ctx.heartbeat.as_ref()?;
        Some(Self { ctx, heartbeat, open, dt })
    }

    /// Claims those of these keys that nobody else holds, and says who holds the others.
    pub(super) async fn take(&self, wanted: &[Key]) -> Result<(Vec<Key>, BTreeMap<String, Holder>), Error> {
        let held = self.held(&self.others().await?, wanted, |_| true).await?;
        let (free, mut others) = divided(wanted, held);
        if free.is_empty() {
            return Ok((free, others));
        }
        let mut mine = self.claim(&free, false);
        self.put(&mine).await?;
        loop {
            let there = self.others().await?;
            let held = self.held(&there, &free, |other| other.settled || other.goes_before(&mine)).await?;
            let (taken, more) = divided(&free, held);
            let undecided = self.held(&there, &taken, |other| !other.settled && mine.goes_before(other)).await?;
            if undecided.is_empty() {
                mine = self.claim(&taken, true);
                self.put(&mine).await?;
                others.extend(more);
                return Ok((taken, others));
            }
            sleep(self.heartbeat.interval() / 5).await;
        }
    }

    /// Gives back what is claimed. What can't be removed counts for nothing once our signs of life end.
    pub(super) async fn release(&self) {
        if let Err(error) = self.ctx.lake.objects().delete(&self.place()).await {
            tracing::debug!(%error, "a claim stays behind");
        }
    }

    fn claim(&self, keys: &[Key], settled: bool) -> Claim {
        Claim {
            holder: self.heartbeat.holder().to_owned(),
            run: self.ctx.run.to_string(),
            dt: self.dt,
            began_at: self.open.ledger.mark(),
            settled,
            keys: keys.iter().map(|key| key.value.clone()).collect(),
        }
    }

    fn place(&self) -> ObjectPath {
        path::claim(self.open.source.name(), self.heartbeat.holder(), self.dt)
    }

    async fn put(&self, claim: &Claim) -> Result<(), Error> {
        let at = self.place();
        let body = serde_json::to_vec(claim).map_err(|source| Error::Note { path: at.to_string(), source })?;
        // What is lost with the power is lost with its holder.
        Ok(self.ctx.lake.objects().put_volatile(&at, body.into()).await?)
    }

    /// The claims of others that live, with whether they were seen to. Those of the dead are removed.
    async fn others(&self) -> Result<Vec<(Claim, Life)>, Error> {
        let objects = self.ctx.lake.objects();
        let mut found = Vec::new();
        for at in objects.list(&path::claims(Some(self.open.source.name()))).await? {
            // One that is gone meanwhile, or that another program wrote, holds nothing.
            let body = objects.get(&at).await?;
            let claim = body.and_then(|body| serde_json::from_slice::<Claim>(&body).ok());
            if let Some(claim) = claim.filter(|claim| claim.holder != self.heartbeat.holder()) {
                found.push((at, claim));
            }
        }
        if found.is_empty() {
            return Ok(Vec::new());
        }
        // A holder signs before it claims, so whoever has no sign by now is gone.
        self.heartbeat.look().await?;
        let mut living = Vec::new();
        for (at, claim) in found {
            match self.heartbeat.life_of(&claim.holder) {
                Life::Over => objects.delete(&at).await?,
                life => living.push((claim, life)),
            }
        }
        Ok(living)
    }

    /// Which of these keys are held by those of the others that are meant.
    async fn held(
        &self,
        others: &[(Claim, Life)],
        keys: &[Key],
        means: impl Fn(&Claim) -> bool,
    ) -> Result<BTreeMap<String, Holder>, Error> {
        let meant: Vec<&(Claim, Life)> = others.iter().filter(|(other, _)| means(other)).collect();
        let mut held = BTreeMap::new();
        if meant.is_empty() {
            return Ok(held);
        }
        let ledger = &self.open.ledger;
        for (other, _) in &meant {
            ledger.reach(other.dt, self.open.source.every_days()).await?;
        }
        ledger.catch_up(&self.open.table.head().await?).await?;
        let wanted: HashSet<&str> = keys.iter().map(|key| key.value.as_str()).collect();
        for (other, life) in meant {
            let holder = Holder { run: other.run.clone(), dt: other.dt, is_sure: *life == Life::Seen && other.settled };
            let is_to_come =
                |key: &str| ledger.get(other.dt, key).is_none_or(|state| Some(state.mark) <= other.began_at);
            for key in other.keys.iter().filter(|key| wanted.contains(key.as_str()) && is_to_come(key)) {
                held.insert(key.clone(), holder.clone());
            }
        }
        Ok(held)
    }
}

/// The keys that nobody holds, and who holds the rest.
fn divided(keys: &[Key], held: BTreeMap<String, Holder>) -> (Vec<Key>, BTreeMap<String, Holder>) {
    (keys.iter().filter(|key| !held.contains_key(&key.value)).cloned().collect(), held)
}
