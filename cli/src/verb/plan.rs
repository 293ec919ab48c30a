//! `onggi plan` and `onggi run --dry-run`: what a run would do, and why, with nothing done.

mod money;

use std::collections::BTreeSet;

use catalog::schema::SchemaDifference;
use catalog::{Date, Lake, TableName, without_user};
use extract::ledger::Ledger;
use load::{SinkKind, SyncTarget};
use serde::Serialize;
use transform::LakeState;

use crate::args::{Global, RunArgs};
use crate::clock;
use crate::config::Provider;
use crate::count::counted;
use crate::exit::{self, Exit};
use crate::keys;
use crate::lake_state;
use crate::out;
use crate::project::Project;
use crate::run::extraction::{does_not_fit, lost};
use crate::sink_state::SinkState;
use crate::steps::{self, Placed, Step};
use crate::table;
use crate::verb::check;
use crate::wire;

/// One line of a plan.
#[derive(Serialize)]
pub(crate) struct Line {
    dt: Date,
    step: &'static str,
    name: String,
    action: &'static str,
    why: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    money: Option<money::Money>,
}

impl Line {
    /// What is to be done, in words; `None` if nothing is.
    pub(crate) fn to_do(&self) -> Option<String> {
        (self.action != "keep").then(|| format!("{} {} ({})", self.step, self.name, self.why))
    }
}

/// Prints each step that a run would do, and why.
///
/// # Errors
/// If a file is wrong or the lake cannot be read.
pub(crate) async fn plan(global: &Global, args: &RunArgs) -> anyhow::Result<Exit> {
    let project = check::checked(global)?;
    let lake = wire::lake_to_come(&project, global).await?;
    wire::identity_fits(&project, &lake).await?;
    let state = lake_state::look(&project, &lake).await?;
    let dt = args.dt.unwrap_or_else(|| clock::today(&project.config.timezone()));
    let lines = planned(&project, &lake, &state, dt, args).await?;
    let sinks = SinkState::look(&project, &lake).await?;
    if global.json {
        out::object(&serde_json::json!({ "lake": state }))?;
        for line in &lines {
            out::object(line)?;
        }
        sinks.objects().try_for_each(|it| out::object(&it))?;
        lake_state::refused(&state)?;
        return Ok(Exit::Done);
    }
    let command = match args {
        RunArgs { stale: true, .. } => "onggi run --stale".to_owned(),
        RunArgs { refetch: true, .. } => format!("onggi run --dt {dt} --refetch"),
        _ => format!("onggi run --dt {dt}"),
    };
    out::line(format_args!("what `{command}` would do on {}:", wire::lake_address(&project, global)));
    print_lines(&lines, args.stale);
    if args.stale {
        out::line(if lines.is_empty() {
            "no day is stale"
        } else {
            "nothing was done; `onggi run --stale` does it, and what is stale only after it"
        });
        return Ok(Exit::Done);
    }
    let standing = lake_state::lines(&state);
    if !standing.is_empty() {
        out::line("beside that day, the lake is not as the project says:");
        for line in &standing {
            out::line(format_args!("  {line}"));
        }
    }
    sinks.lines().iter().for_each(out::line);
    if !state.stale_days().is_empty() {
        out::line("`onggi run --stale` builds the stale days again");
    }
    // A run would end where rows don't fit: then nothing of this is promised.
    lake_state::refused(&state)?;
    let is_all = |actions: &[&str]| lines.iter().all(|line| actions.contains(&line.action));
    out::line(if is_all(&["keep"]) {
        "nothing is to be done"
    } else if is_all(&["keep", "blocked"]) {
        "nothing was done, and that run would do nothing either: see what is blocked"
    } else {
        "nothing was done; `onggi run` does it"
    });
    Ok(Exit::Done)
}

/// What the run would do that is asked for: of the day, or of each stale day.
///
/// # Errors
/// If the lake cannot be read.
pub(crate) async fn planned(
    project: &Project,
    lake: &Lake,
    state: &LakeState,
    dt: Date,
    args: &RunArgs,
) -> anyhow::Result<Vec<Line>> {
    let today = clock::today(&project.config.timezone());
    let mut coming = BTreeSet::new();
    if !args.stale {
        let asked = Asked { dt, today, select: &args.select, refetch: args.refetch, renew: true };
        return steps_of(project, lake, &asked, &mut coming).await;
    }
    let mut lines = Vec::new();
    let mut models = BTreeSet::new();
    for (day, stale) in state.stale_days() {
        let select: Vec<String> = stale.iter().map(ToString::to_string).collect();
        let asked = Asked { dt: day, today, select: &select, refetch: false, renew: false };
        lines.extend(steps_of(project, lake, &asked, &mut BTreeSet::new()).await?);
        models.extend(stale);
    }
    // What stands below the days follows them.
    let select = steps::below(project, &models)?;
    if !select.is_empty() {
        coming.extend(lines.iter().filter(|line| line.action == "build").filter_map(|line| line.name.parse().ok()));
        let asked = Asked { dt: today, today, select: &select, refetch: false, renew: false };
        let below = steps_of(project, lake, &asked, &mut coming).await?;
        lines.extend(below.into_iter().filter(|line| line.action != "keep"));
    }
    Ok(lines)
}

/// What a run is asked to do, as far as a plan needs it.
struct Asked<'a> {
    dt: Date,
    today: Date,
    select: &'a [String],
    refetch: bool,
    renew: bool,
}

/// A line for each step, with its day where there are several.
fn print_lines(lines: &[Line], with_day: bool) {
    let row = |line: &Line| {
        let day = with_day.then(|| format!("  {}", line.dt));
        let step = vec![format!("  {}", line.step), line.name.clone(), line.action.to_owned(), line.why.clone()];
        day.into_iter().chain(step).collect()
    };
    let rows: Vec<Vec<String>> = lines.iter().map(row).collect();
    for (text, line) in table::align(&rows).lines().zip(lines) {
        out::line(text);
        for money in line.money.iter().flat_map(money::Money::lines) {
            out::line(format_args!("      {money}"));
        }
    }
}

/// What a run of the day would do, step by step.
///
/// # Errors
/// If the lake cannot be read.
pub(crate) async fn lines(project: &Project, lake: &Lake, dt: Date, select: &[String]) -> anyhow::Result<Vec<Line>> {
    let today = clock::today(&project.config.timezone());
    steps_of(project, lake, &Asked { dt, today, select, refetch: false, renew: false }, &mut BTreeSet::new()).await
}

async fn steps_of(
    project: &Project,
    lake: &Lake,
    asked: &Asked<'_>,
    coming: &mut BTreeSet<TableName>,
) -> anyhow::Result<Vec<Line>> {
    let Asked { dt, today, select, refetch, renew } = *asked;
    let plan = steps::plan(project, select)?;
    let mut lines = Vec::new();
    for Placed { step, .. } in &plan {
        let mut money = None;
        let (action, why) = match step {
            Step::Extract(source) => {
                let planned = extraction(project, lake, source, (dt, refetch), coming).await?;
                let (action, why) = match does_not_fit(source, dt, today, select) {
                    Some((refused, hint)) if planned.0 == "fetch" => {
                        ("blocked", format!("{}; {refused}; {hint}", planned.1))
                    }
                    _ => planned,
                };
                let wider = gets_columns(lake, source).await?;
                if action == "fetch" || wider {
                    coming.insert(source.table().clone());
                }
                (action, if wider { format!("{why}; its table gets the columns that are new in it") } else { why })
            }
            Step::Build(model) => {
                let names = BTreeSet::from([model.name().clone()]);
                let renew = renew && steps::is_named(select, &model.name().to_string());
                let when = transform::When { dt, today, now: clock::now(), renew };
                let planned = transform::plan(lake, &project.models, &names, &when, coming).await?;
                let Some(planned) = planned.into_iter().next() else { continue };
                let why = planned.why.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                let action = match planned.action {
                    transform::Action::Build => "build",
                    transform::Action::Recheck => "recheck",
                    transform::Action::Keep => "keep",
                    transform::Action::Blocked => "blocked",
                };
                if planned.action == transform::Action::Build {
                    coming.insert(model.name().clone());
                }
                (action, why)
            }
            Step::Enrich(enrichment) => {
                money = money::of(project, lake, enrichment, dt).await?;
                let due = money.as_ref().is_some_and(money::Money::is_due);
                if coming.contains(&enrichment.from) {
                    coming.insert(enrichment.into.clone());
                    let cost = match (&money, project.config.llm.provider) {
                        (_, Provider::Local) => "",
                        (None, _) => "; what it costs is known when it is there",
                        (Some(_), _) => "; as it is now:",
                    };
                    ("build", format!("{} will change; only new texts are sent to the model{cost}", enrichment.from))
                } else if lake.find(&enrichment.from).await?.is_none() {
                    ("blocked", format!("{} is not there", enrichment.from))
                } else if lake.find(&enrichment.into).await?.is_none() {
                    coming.insert(enrichment.into.clone());
                    ("build", "never built".to_owned())
                } else if due {
                    coming.insert(enrichment.into.clone());
                    ("build", "answers are missing".to_owned())
                } else {
                    ("keep", "up to date, unless a model's version changed".to_owned())
                }
            }
            Step::Sync(target) => {
                let sinks: Vec<&str> = target.sinks.iter().map(|sink| sink.name()).collect();
                if coming.contains(&target.table) {
                    ("sync", format!("{} will change; changed rows go to {}", target.table, sinks.join(", ")))
                } else if lake.find(&target.table).await?.is_none() {
                    ("blocked", format!("{} is not there", target.table))
                } else if target.sinks.iter().any(|sink| sink.is_embedded())
                    && !wire::serving(project, lake)?.dir().exists()
                {
                    ("sync", format!("there is no serving side yet; all rows go to {}", sinks.join(", ")))
                } else {
                    behind(project, lake, target).await
                }
            }
        };
        lines.push(Line { dt, step: step.verb(), name: step.name(), action, why, money });
    }
    Ok(lines)
}

/// What a sync would do to sinks whose mart stays as it is: they may have lost their tables, or stand where an older copy left them.
async fn behind(project: &Project, lake: &Lake, target: &SyncTarget) -> (&'static str, String) {
    let asked = match wire::serving(project, lake) {
        Ok(serving) => load::behind(lake, target, &serving).await.map_err(anyhow::Error::from),
        Err(error) => Err(error),
    };
    let list = |sinks: &[SinkKind]| sinks.iter().map(|sink| sink.name()).collect::<Vec<_>>().join(", ");
    match asked {
        Ok(behind) if behind.is_empty() => ("keep", format!("{}: at its newest version", list(&target.sinks))),
        Ok(behind) => ("sync", format!("changed rows go to {}, not at its newest version", list(&behind))),
        Err(error) => {
            ("sync", format!("not every sink could be asked: {}", without_user(&exit::causes(&error).join(": "))))
        }
    }
}

/// Whether the source has columns that its table has not: a run adds them, also where nothing is to be fetched.
async fn gets_columns(lake: &Lake, source: &extract::Source) -> anyhow::Result<bool> {
    let Some(table) = lake.find(source.table()).await? else { return Ok(false) };
    let differences = table.differences(&source.table_spec())?;
    Ok(differences.iter().any(|it| matches!(it, SchemaDifference::Added { .. })))
}

async fn extraction(
    project: &Project,
    lake: &Lake,
    source: &extract::Source,
    (dt, refetch): (Date, bool),
    coming: &BTreeSet<TableName>,
) -> anyhow::Result<(&'static str, String)> {
    let reads = match source.keys() {
        extract::source::Keys::List(_) => Vec::new(),
        extract::source::Keys::Query(sql) => {
            let own = steps::made_of(project, source.table());
            transform::parents(sql)?.into_iter().filter(|table| !own.contains(table)).collect()
        }
    };
    for table in &reads {
        if coming.contains(table) {
            return Ok(("fetch", format!("its keys come from {table}, which will change")));
        }
        if !transform::is_there(lake, &project.models, table).await? {
            return Ok(("blocked", format!("its keys come from {table}, which is not there")));
        }
    }
    let engine = wire::engine(project)?;
    let found = keys::keys(&engine, lake, project, source).await?;
    let without_key = found.told();
    let keys = found.keys;
    let due = extract::worker::due(lake, source, dt, &keys).await?;
    if refetch && let Some(table) = lake.find(source.table()).await? {
        let ledger = Ledger::open(lake, source, table, dt).await?;
        let has_ended = |key: &&extract::Key| ledger.get(dt, &key.value).is_some_and(|it| !it.last.outcome.is_open());
        let again = keys.iter().filter(has_ended).count();
        if again > 0 {
            return Ok(("fetch", format!("{again} of {} keys have ended on {dt} and are asked for again", keys.len())));
        }
    }
    let left = if due.leftovers == 0 { String::new() } else { format!(", {} of them were left open", due.leftovers) };
    let all = due.due.len() + due.ended;
    let (action, mut why) = match (due.due.len(), due.fresh) {
        (0, Some((newest, next))) if newest < dt => ("keep", format!("fetched on {newest}, due on {next}")),
        (0, _) => ("keep", format!("its {all} keys are fetched")),
        (count, _) => ("fetch", format!("{count} of {all} keys are to be fetched{left}")),
    };
    if due.redefined > 0 {
        let keys = counted(due.redefined as u64, "key");
        why += &format!("; rows of {keys} are as the source was defined before, `--refetch` asks again");
    }
    for told in lost(&due.lost).into_iter().chain(without_key) {
        why += &format!("; {told}");
    }
    Ok((action, why))
}
