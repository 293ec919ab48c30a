//! `onggi reconcile`: whether every sink holds what its mart holds, and how to mend one that does not.

use load::{Compared, SyncTarget};
use serde_json::json;

use crate::args::{Global, Reconcile};
use crate::exit::{Exit, Failure};
use crate::out;
use crate::progress::{counted, thousands};
use crate::table;
use crate::verb::check;
use crate::wire;

/// How many keys of a kind are named.
const NAMED: usize = 5;

/// Compares every sink with its mart; with `--mend` writes the rows that differ and compares again.
///
/// # Errors
/// A [`Failure`] if rows differ in the end; whatever the lake or a sink says.
pub(crate) async fn reconcile(global: &Global, args: &Reconcile) -> anyhow::Result<Exit> {
    let project = check::checked(global)?;
    let lake = wire::lake_to_read(&project, global).await?;
    let serving = wire::serving(&project, &lake)?;
    let mut found: Vec<(SyncTarget, Vec<Compared>)> = Vec::new();
    for (name, section) in &project.config.sync {
        let target = wire::target(&project.config, name, section);
        let mut compared = load::compare(&lake, &target, &serving).await?;
        if args.mend && !compared.iter().all(Compared::is_equal) {
            let mended = load::mend(&lake, &target, &serving, &|_| {}).await?;
            if !global.quiet && !global.json {
                for it in &mended.sinks {
                    let (written, deleted) = (thousands(it.upserted), thousands(it.deleted));
                    out::line(format_args!(
                        "mended {} in {}: {written} written, {deleted} deleted",
                        target.table, it.sink
                    ));
                }
            }
            compared = load::compare(&lake, &target, &serving).await?;
        }
        found.push((target, compared));
    }
    if global.json {
        for (target, it) in rows(&found) {
            out::object(&object(target, it))?;
        }
    } else if !global.quiet {
        out::text(&text(&found));
    }
    let wrong: Vec<_> = rows(&found).filter(|(_, it)| !it.is_equal()).collect();
    if wrong.is_empty() {
        return Ok(Exit::Done);
    }
    let count: usize = wrong.iter().map(|(_, it)| it.missing.len() + it.extra.len() + it.different.len()).sum();
    let message = format!("expected every sink to be as its mart, found {} that are not", counted(count as u64, "row"));
    let hint = "`onggi reconcile --mend` writes the rows that differ; where a sync is due, `onggi run` does it";
    Err(Failure::failed(message, hint).into())
}

fn rows(found: &[(SyncTarget, Vec<Compared>)]) -> impl Iterator<Item = (&SyncTarget, &Compared)> {
    found.iter().flat_map(|(target, compared)| compared.iter().map(move |it| (target, it)))
}

fn object(target: &SyncTarget, it: &Compared) -> serde_json::Value {
    json!({
        "table": target.table,
        "sink": it.sink.to_string(),
        "equal": it.equal,
        "missing": it.missing.len(),
        "extra": it.extra.len(),
        "different": it.different.len(),
    })
}

/// A line for each sink, and below it the first keys that differ.
fn text(found: &[(SyncTarget, Vec<Compared>)]) -> String {
    if found.iter().all(|(_, compared)| compared.is_empty()) {
        return "no table has a sink: there is nothing to compare\n".to_owned();
    }
    let mut cells = vec![["table", "sink", "equal", "missing", "extra", "different"].map(str::to_owned).to_vec()];
    let mut keys = String::new();
    for (target, it) in rows(found) {
        let (table, sink) = (target.table.to_string(), it.sink.to_string());
        let kinds = [("missing", &it.missing), ("extra", &it.extra), ("different", &it.different)];
        let mut row = vec![table.clone(), sink.clone(), thousands(it.equal)];
        row.extend(kinds.map(|(_, keys)| thousands(keys.len() as u64)));
        cells.push(row);
        for (kind, all) in kinds.into_iter().filter(|(_, keys)| !keys.is_empty()) {
            let named: Vec<&str> = all.iter().take(NAMED).map(String::as_str).collect();
            let more = if all.len() > NAMED { ", …" } else { "" };
            keys += &format!("{kind} in {table}, {sink}: {}{more}\n", named.join(", "));
        }
    }
    table::align(&cells) + &keys
}

#[cfg(test)]
mod tests {
    use load::SinkKind;

    use super::*;

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
        let missing = (1..=7).map(|n| format!("p{n}")).collect();
        let compared =
            Compared { sink: SinkKind::Sqlite, equal: 1_200, missing, extra: Vec::new(), different: vec!["x".into()] };
        insta::assert_snapshot!(text(&[(target.clone(), vec![compared])]), @r"
        table         sink    equal  missing  extra  different
        marts.places  sqlite  1,200        7      0          1
        missing in marts.places, sqlite: p1, p2, p3, p4, p5, …
        different in marts.places, sqlite: x
        ");
        assert_eq!(text(&[(target, Vec::new())]), "no table has a sink: there is nothing to compare\n");
    }
}
