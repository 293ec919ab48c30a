//! `onggi reconcile`: whether every sink holds what its mart holds and nothing else, and how to repair one that does not.

use catalog::Lake;
use load::{Compared, Differing, NAMED, Orphan, Rules, Serving, SyncTarget};
use serde_json::json;

use crate::args::{Global, Reconcile};
use crate::count::{counted, thousands};
use crate::exit::{Exit, Failure};
use crate::out;
use crate::sink_state;
use crate::table;
use crate::verb::check;
use crate::wire;

/// What was found in the sinks.
#[derive(Default)]
struct Found {
    targets: Vec<(SyncTarget, Vec<Compared>)>,
    orphans: Vec<Orphan>,
    /// Whether something was repaired, and compared once more.
    repaired: bool,
}

/// Compares every sink with its mart; with `--repair` writes the rows that differ and compares again.
///
/// # Errors
/// A [`Failure`] if rows differ or tables are orphaned in the end; whatever the lake or a sink says.
pub(crate) async fn reconcile(global: &Global, args: &Reconcile) -> anyhow::Result<Exit> {
    let project = check::checked(global)?;
    let lake = wire::lake_to_read(&project, global).await?;
    let serving = wire::serving(&project, &lake)?;
    let targets: Vec<SyncTarget> =
        project.config.sync.iter().map(|(name, section)| wire::target(&project.config, name, section)).collect();
    let say = |line: String| {
        if !global.quiet && !global.json {
            out::line(line);
        }
    };
    let mut found = Found::default();
    for target in &targets {
        let rules = Rules { adopt: args.adopt, ..wire::sync_rules(&project.config, target, args.allow_deletes) };
        let compared = compared(&lake, target, &serving, args.adopt).await?;
        let compared = match compared {
            Some(compared) if !args.repair || compared.iter().all(Compared::is_equal) => compared,
            _ => {
                let repaired = load::repair(&lake, target, &serving, &rules, &|_| {}).await?;
                for it in &repaired.sinks {
                    let (written, deleted) = (thousands(it.upserted), thousands(it.deleted));
                    say(format!("repaired {} in {}: {written} written, {deleted} deleted", target.table, it.sink));
                }
                found.repaired = true;
                load::compare(&lake, target, &serving).await?
            }
        };
        found.targets.push((target.clone(), compared));
    }
    for orphan in load::orphans(&lake, &serving, &targets).await? {
        if args.drop_orphans {
            let waiting = || say("waiting for a sync".to_owned());
            load::drop_orphan(&serving, &orphan, &waiting).await?;
            say(format!("removed {} from {}", orphan.table, orphan.sink));
        } else {
            found.orphans.push(orphan);
        }
    }
    show(&found, global)?;
    found.verdict()
}

/// What a comparison says; `None` where a sink follows another lake and is to be adopted.
async fn compared(
    lake: &Lake,
    target: &SyncTarget,
    serving: &Serving,
    adopt: bool,
) -> anyhow::Result<Option<Vec<Compared>>> {
    match load::compare(lake, target, serving).await {
        Err(load::Error::OtherLake { .. }) if adopt => Ok(None),
        compared => Ok(Some(compared?)),
    }
}

fn show(found: &Found, global: &Global) -> anyhow::Result<()> {
    if global.json {
        for (target, it) in found.rows() {
            out::object(&object(target, it))?;
        }
        for orphan in &found.orphans {
            out::object(&sink_state::object(orphan))?;
        }
    } else if !global.quiet {
        out::text(&text(found));
    }
    Ok(())
}

impl Found {
    fn rows(&self) -> impl Iterator<Item = (&SyncTarget, &Compared)> {
        self.targets.iter().flat_map(|(target, compared)| compared.iter().map(move |it| (target, it)))
    }

    fn verdict(&self) -> anyhow::Result<Exit> {
        let wrong: Vec<&Compared> = self.rows().map(|(_, it)| it).filter(|it| !it.is_equal()).collect();
        if !wrong.is_empty() {
            let rows = counted(wrong.iter().map(|it| it.differing()).sum(), "row");
            let message = format!("expected every sink to be as its mart, found {rows} that are not");
            let hint = if self.repaired {
                "they were repaired a moment ago: something else writes to that sink; find it, and repair once more"
            } else {
                "`onggi reconcile --repair` writes the rows that differ; where a sync is due, `onggi run` does it"
            };
            return Err(Failure::failed(message, hint).into());
        }
        if !self.orphans.is_empty() {
            let tables = counted(self.orphans.len() as u64, "table");
            let message = format!("expected no table in a sink that no [sync] section asks for, found {tables}");
            let hint = "`onggi reconcile --drop-orphans` removes them; or name them in [sync] again";
            return Err(Failure::failed(message, hint).into());
        }
        Ok(Exit::Done)
    }
}

fn object(target: &SyncTarget, it: &Compared) -> serde_json::Value {
    json!({
        "table": target.table,
        "sink": it.sink.to_string(),
        "fits": it.fits,
        "equal": it.equal,
        "missing": it.missing.rows,
        "extra": it.extra.rows,
        "different": it.different.rows,
    })
}

/// A line for each sink, and below it the first keys that differ.
fn text(found: &Found) -> String {
    let mut lines = String::new();
    if found.rows().next().is_none() {
        lines += "no table has a sink: there is nothing to compare\n";
    } else {
        let mut cells = vec![["table", "sink", "equal", "missing", "extra", "different"].map(str::to_owned).to_vec()];
        let mut keys = String::new();
        for (target, it) in found.rows() {
            let (table, sink) = (target.table.to_string(), it.sink.to_string());
            let kinds = [("missing", &it.missing), ("extra", &it.extra), ("different", &it.different)];
            let mut row = vec![table.clone(), sink.clone(), thousands(it.equal)];
            row.extend(kinds.map(|(_, differing)| thousands(differing.rows)));
            cells.push(row);
            if !it.fits {
                keys +=
                    &format!("{table}, {sink}: damaged, or laid out for another key, other columns or other roles\n");
                continue;
            }
            for (kind, differing) in kinds.into_iter().filter(|(_, differing)| differing.rows > 0) {
                keys += &format!("{kind} in {table}, {sink}: {}\n", named(differing));
            }
        }
        lines += &(table::align(&cells) + &keys);
    }
    for orphan in &found.orphans {
        lines += &format!("orphaned: {} in {}, which no [sync] section asks for\n", orphan.table, orphan.sink);
    }
    lines
}

fn named(differing: &Differing) -> String {
    let first: Vec<&str> = differing.first.iter().map(String::as_str).collect();
    let more = if differing.rows > NAMED as u64 { ", …" } else { "" };
    format!("{}{more}", first.join(", "))
}

#[cfg(test)]
mod tests {
    use load::SinkKind;

    use super::*;

    fn differing(rows: u64, keys: &[&str]) -> Differing {
        Differing { rows, first: keys.iter().map(|key| (*key).to_owned()).collect() }
    }

    #[test]
    fn a_sink_is_a_line_and_the_first_keys_that_differ_are_named() {
        let target = SyncTarget {
            table: "marts.places".parse().unwrap(),
            key: "place_id".to_owned(),
            sinks: vec![SinkKind::Sqlite],
            texts: Vec::new(),
            title: None,
            entity: None,
            vector: None,
        };
        let compared = Compared {
            sink: SinkKind::Sqlite,
            fits: true,
            equal: 1_200,
            missing: differing(7, &["p1", "p2", "p3", "p4", "p5"]),
            extra: Differing::default(),
            different: differing(1, &["x"]),
        };
        let other = Compared { sink: SinkKind::Keywords, fits: false, ..compared.clone() };
        let orphans = vec![Orphan { sink: SinkKind::Vectors, table: "marts.drinks".parse().unwrap() }];
        let found = Found { targets: vec![(target, vec![compared, other])], orphans, repaired: false };
        insta::assert_snapshot!(text(&found), @r"
        table         sink      equal  missing  extra  different
        marts.places  sqlite    1,200        7      0          1
        marts.places  keywords  1,200        7      0          1
        missing in marts.places, sqlite: p1, p2, p3, p4, p5, …
        different in marts.places, sqlite: x
        marts.places, keywords: damaged, or laid out for another key, other columns or other roles
        orphaned: marts.drinks in vectors, which no [sync] section asks for
        ");
        assert_eq!(text(&Found::default()), "no table has a sink: there is nothing to compare\n");
    }
}
