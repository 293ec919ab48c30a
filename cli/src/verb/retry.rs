//! `onggi retry`: opens keys again that have ended, or lists those that did not end as they should.

use catalog::{CommitInfo, RunId};
use extract::ledger::Ledger;
use extract::outcome::{KeyOutcome, Outcome};
use serde_json::json;

use crate::args::{Global, Retry};
use crate::clock;
use crate::exit::Exit;
use crate::progress::counted;
use crate::run::extraction::told;
use crate::verb::check;
use crate::wire;

/// Opens keys again and says which.
///
/// # Errors
/// If the lake cannot be read or written.
pub(crate) async fn retry(global: &Global, args: &Retry) -> anyhow::Result<Exit> {
    let project = check::checked(global)?;
    let lake = wire::lake(&project, global).await?;
    let now = clock::now();
    let today = clock::today(&project.config.timezone());
    let dt = args.dt.unwrap_or(today);
    let info = CommitInfo { run: RunId::at(now), now, lineage: Vec::new() };
    let mut keys: Vec<(String, KeyOutcome)> = Vec::new();
    for source in project.sources.iter().filter(|it| args.source.as_ref().is_none_or(|name| name == it.name())) {
        let Some(table) = lake.find(source.table()).await? else { continue };
        let ledger = Ledger::open(&lake, source, table, dt).await?;
        let found = if args.chooses() {
            ledger.reopen(|last| last.dt == dt && args.means(last), "asked for by `retry`", &info).await?
        } else {
            let of_day = |last: &KeyOutcome| args.dt.is_none_or(|dt| dt == last.dt);
            ledger.unfinished().into_iter().filter(of_day).collect()
        };
        keys.extend(found.into_iter().map(|last| (source.name().to_string(), last)));
    }
    if global.json {
        for (source, last) in &keys {
            println!("{}", json!({ "source": source, "outcome": last, "reopened": args.chooses() }));
        }
        return Ok(Exit::Done);
    }
    if global.quiet {
        return Ok(Exit::Done);
    }
    let count = counted(keys.len() as u64, "key");
    match (keys.is_empty(), args.chooses()) {
        (true, false) => println!("no key is unfinished"),
        (true, true) => println!("no key of {dt} is meant: nothing was changed"),
        (false, false) => println!("{count} unfinished; a run asks for them again where it can:"),
        (false, true) => println!("{count} to be asked for again:"),
    }
    for (source, last) in &keys {
        println!("  {source} {}  {}", last.dt, told(last));
    }
    if !keys.is_empty() && args.chooses() {
        let select = if dt == today {
            String::new()
        } else {
            keys.first().map_or_else(String::new, |(source, _)| format!(" --dt {dt} --select {source}"))
        };
        println!("`onggi run{select}` does it");
    }
    Ok(Exit::Done)
}

impl Retry {
    /// Whether keys are chosen by how they ended, or by name.
    fn chooses(&self) -> bool {
        self.failed
            || self.unreadable
            || self.set_aside
            || self.cut
            || self.refused
            || self.gone
            || self.empty
            || !self.key.is_empty()
    }

    /// Whether a key is meant: by its name if names are given, by its outcome if outcomes are, by both if both.
    fn means(&self, last: &KeyOutcome) -> bool {
        let outcome = match last.outcome {
            Outcome::Failed | Outcome::Short | Outcome::Blocked => self.failed,
            Outcome::Unreadable => self.unreadable,
            Outcome::Cut => self.cut,
            Outcome::Refused => self.refused,
            Outcome::Gone => self.gone,
            Outcome::Empty => self.empty,
            Outcome::Landed | Outcome::Reopened => false,
        } || (self.set_aside && last.set_aside > 0);
        let by_outcome =
            self.failed || self.unreadable || self.set_aside || self.cut || self.refused || self.gone || self.empty;
        (outcome || !by_outcome) && (self.key.is_empty() || self.key.contains(&last.key))
    }
}
