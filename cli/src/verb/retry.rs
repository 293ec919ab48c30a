//! `onggi retry`: opens keys again that have ended, or lists those that did not end as they should; answers of models too.

mod answers;

use std::collections::BTreeSet;

use catalog::{CommitInfo, Date, RunId};
use extract::ledger::{Ledger, lost_with_table};
use extract::outcome::{KeyOutcome, Outcome};
use extract::unreadable;
use serde_json::json;

use crate::args::{Global, Retry};
use crate::clock;
use crate::count::counted;
use crate::exit::{Exit, Failure};
use crate::out;
use crate::run::extraction::told;
use crate::verb::check;
use crate::wire;

/// Opens keys again and says which.
///
/// # Errors
/// If the lake cannot be read or written.
pub(crate) async fn retry(global: &Global, args: &Retry) -> anyhow::Result<Exit> {
    let project = check::checked(global)?;
    if let Some(name) = args.source.as_ref().filter(|name| project.sources.iter().all(|it| it.name() != *name)) {
        let names: Vec<String> = project.sources.iter().map(|it| it.name().to_string()).collect();
        let hint = format!("the sources are: {}", names.join(", "));
        return Err(Failure::usage(format!("expected a source of the project, found `{name}`"), hint).into());
    }
    let lake = wire::lake(&project, global).await?;
    let now = clock::now();
    let today = clock::today(&project.config.timezone());
    let dt = args.dt.unwrap_or(today);
    let info = CommitInfo { run: RunId::at(now), now, lineage: Vec::new() };
    let mut keys: Vec<(String, KeyOutcome, bool)> = Vec::new();
    let mut open = Vec::new();
    for source in project.sources.iter().filter(|it| args.source.as_ref().is_none_or(|name| name == it.name())) {
        let Some(table) = lake.find(source.table()).await? else {
            let lost = if args.chooses() { Vec::new() } else { lost_with_table(&lake, source.name()).await? };
            let of_day = lost.into_iter().filter(|last| args.dt.is_none_or(|dt| dt == last.dt));
            keys.extend(of_day.map(|last| (source.name().to_string(), last, false)));
            continue;
        };
        open.push((source, table.clone(), Ledger::open(&lake, source, table, dt).await?));
    }
    named(args, dt, open.iter().flat_map(|(_, _, ledger)| ledger.outcomes()))?;
    for (source, table, ledger) in open {
        let found = if args.chooses() {
            ledger.reopen(|last| last.dt == dt && args.means(last), "asked for by `retry`", &info).await?
        } else {
            let of_day = |last: &KeyOutcome| args.dt.is_none_or(|dt| dt == last.dt);
            let mut found: Vec<KeyOutcome> = ledger.unfinished(today).into_iter().filter(of_day).collect();
            if args.dt.is_none() {
                // What is lost is lost, however long ago it had landed.
                let lost = Ledger::open(&lake, source, table, Date::MIN).await?.lost();
                let earlier = lost.into_iter().filter(|last| !found.contains(last)).collect::<Vec<_>>();
                found.splice(0..0, earlier);
            }
            found
        };
        let unreadable = found.iter().filter(|last| may_have_body(last)).map(|last| last.dt);
        let kept = match unreadable.min() {
            Some(since) => unreadable::kept(&lake, source.name(), since).await?,
            None => BTreeSet::new(),
        };
        keys.extend(found.into_iter().map(|last| {
            let has_body = may_have_body(&last) && kept.contains(&(last.dt, last.key.clone()));
            (source.name().to_string(), last, has_body)
        }));
    }
    // What is named by a source or a key is no answer of a model.
    let of_models = args.set_aside && args.source.is_none() && args.key.is_empty();
    let answers = if of_models { answers::ask_again(&project, &lake, now).await? } else { Vec::new() };
    if global.json {
        answers::objects(&answers)?;
        for (source, last, has_body) in &keys {
            let told = json!({ "source": source, "outcome": last, "reopened": args.chooses(), "body_kept": has_body });
            out::object(&told)?;
        }
        return Ok(Exit::Done);
    }
    if global.quiet {
        return Ok(Exit::Done);
    }
    answers::told(&answers);
    // Who asked for answers got some: that no key is meant beside them is no news.
    if answers.is_empty() || !keys.is_empty() {
        tell(&keys, args, dt, today);
    }
    Ok(Exit::Done)
}

/// Says which keys.
fn tell(keys: &[(String, KeyOutcome, bool)], args: &Retry, dt: Date, today: Date) {
    let count = counted(keys.len() as u64, "key");
    match (keys.is_empty(), args.chooses()) {
        (true, false) => out::line("no key is unfinished"),
        (true, true) => out::line(format_args!("no key of {dt} is meant: nothing was changed")),
        (false, false) => out::line(format_args!("{count} unfinished; a run asks for them again where it can:")),
        (false, true) => out::line(format_args!("{count} to be asked for again:")),
    }
    for (source, last, has_body) in keys {
        out::line(format_args!("  {source} {}  {}", last.dt, told(last)));
        if *has_body {
            out::line(format_args!("    what came: {}", body_query(source, last)));
        }
    }
    if !keys.is_empty() && args.chooses() {
        let select = if dt == today {
            String::new()
        } else {
            keys.first().map_or_else(String::new, |(source, ..)| format!(" --dt {dt} --select {source}"))
        };
        out::line(format_args!("`onggi run{select}` does it"));
    }
}

/// Keys that are told of those that could have been named.
const NAMED: usize = 20;

/// Whether each key that is named was asked for on the day, by what is known of it.
fn named(args: &Retry, dt: Date, known: impl Iterator<Item = KeyOutcome>) -> Result<(), Failure> {
    let known: BTreeSet<String> = known.filter(|last| last.dt == dt).map(|last| last.key).collect();
    let Some(key) = args.key.iter().find(|key| !known.contains(*key)) else { return Ok(()) };
    let more = known.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let names = known.iter().take(NAMED).map(|key| format!("`{}`", out::one_line(key))).collect::<Vec<_>>().join(", ");
    let hint = if known.is_empty() {
        format!("nothing was asked for on {dt}; `--dt` names another day")
    } else {
        format!("the keys of that day are: {names}{more}; `--dt` names another day")
    };
    let key = out::one_line(key);
    Err(Failure::usage(format!("expected a key that was asked for on {dt}, found `{key}`"), hint))
}

/// Whether something may have come for a key that could not be read.
fn may_have_body(last: &KeyOutcome) -> bool {
    matches!(last.outcome, Outcome::Unreadable | Outcome::Short)
}

/// How to look at what came for a key.
fn body_query(source: &str, last: &KeyOutcome) -> String {
    let key = last.key.replace('\'', "''");
    let select = format!(
        "select body from ops.unreadable where source = '{source}' and dt = date '{}' and key = '{key}'",
        last.dt
    );
    // As a shell takes it, whatever is in the key.
    format!("onggi sql '{}'", select.replace('\'', r"'\''"))
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
            Outcome::Landed | Outcome::Reopened | Outcome::Lost | Outcome::Unlisted => false,
        } || (self.set_aside && last.set_aside > 0);
        let by_outcome =
            self.failed || self.unreadable || self.set_aside || self.cut || self.refused || self.gone || self.empty;
        (outcome || !by_outcome) && (self.key.is_empty() || self.key.contains(&last.key))
    }
}
