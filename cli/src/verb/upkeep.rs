//! `onggi upkeep`: what may go from the lake and from this machine, and what it frees.

mod folders;

use std::time::Duration;

use catalog::Lake;
use catalog::upkeep::{self, UpkeepReport};
use serde_json::json;

use crate::args::{Global, Upkeep};
use crate::clock;
use crate::count::{counted, thousands};
use crate::exit::{DAMAGED_HINT, Exit};
use crate::out;
use crate::progress::Progress;
use crate::project::Project;
use crate::table;
use crate::wire;

use folders::FreedFolders;

/// Removes what may go, or says what would.
///
/// # Errors
/// If the lake cannot be opened or listed.
pub(crate) async fn upkeep(global: &Global, args: &Upkeep) -> anyhow::Result<Exit> {
    let project = Project::open(global)?;
    let lake = wire::lake(&project, global).await?;
    let keep = Duration::from_hours(24 * u64::from(args.keep_days));
    let (report, folders) = keep_up(&project, &lake, keep, args.dry_run).await?;
    if global.json {
        out::object(&json!({ "lake": report, "folders": folders }))?;
    } else if !global.quiet {
        out::text(&text(&report, &folders));
    }
    // What could not be looked at is still there, and somebody should know.
    let whole = report.left_alone.is_empty() && report.damaged.is_empty();
    Ok(if whole { Exit::Done } else { Exit::Partial })
}

/// What a run does by itself at its end, at most once a day. It never fails the run; gives the files that readers need and
/// that are gone or cut, for with such not all is well.
pub(crate) async fn when_due(project: &Project, lake: &Lake, progress: &Progress) -> Vec<String> {
    let done = async {
        if !upkeep::is_due(lake, clock::now()).await? {
            return anyhow::Ok(None);
        }
        keep_up(project, lake, upkeep::KEEP, false).await.map(Some)
    };
    match done.await {
        Ok(None) => Vec::new(),
        Ok(Some((report, folders))) => {
            let objects: u64 = report.freed.iter().map(|it| it.objects).sum();
            let freed = report.freed.iter().map(|it| it.bytes).sum::<u64>() + folders.bytes;
            if objects + folders.folders > 0 {
                let what = counted(objects + folders.folders, "thing");
                progress.line(&format!("  upkeep  {what} that nobody needs removed, {} freed", size(freed)));
            }
            if !report.damaged.is_empty() {
                progress.error(&damaged(&report));
            }
            for left in &report.left_alone {
                progress.line(&format!("  upkeep  left alone: {left}"));
            }
            report.damaged
        }
        Err(error) => {
            tracing::warn!(%error, "the upkeep was not done; the next run tries again");
            Vec::new()
        }
    }
}

async fn keep_up(
    project: &Project,
    lake: &Lake,
    keep: Duration,
    dry_run: bool,
) -> anyhow::Result<(UpkeepReport, FreedFolders)> {
    let mut settings = upkeep::Upkeep { keep, dry_run, ..upkeep::Upkeep::at(clock::now()) };
    let left = upkeep::old_task_objects(lake, &settings).await?;
    for source in &project.sources {
        settings.landed.extend(extract::leftover::landed(lake, source, &left).await?);
    }
    let report = upkeep::upkeep(lake, &settings).await?;
    let now = clock::now();
    let folders = catalog::simulation::blocking(move || folders::free(&std::env::temp_dir(), now, dry_run)).await?;
    Ok((report, folders))
}

fn text(report: &UpkeepReport, folders: &FreedFolders) -> String {
    let mut rows: Vec<Vec<String>> =
        report.freed.iter().map(|it| vec![thousands(it.objects), size(it.bytes), it.kind.to_string()]).collect();
    if folders.folders > 0 {
        rows.push(vec![
            thousands(folders.folders),
            size(folders.bytes),
            "folders of browsers and queries whose process is gone".to_owned(),
        ]);
    }
    let bytes = report.freed.iter().map(|it| it.bytes).sum::<u64>() + folders.bytes;
    let mut text = match (rows.is_empty(), report.dry_run) {
        (true, _) => "nothing is to be removed\n".to_owned(),
        (false, true) => format!("{}would free {}; nothing was removed\n", table::align(&rows), size(bytes)),
        (false, false) => format!("{}freed {}\n", table::align(&rows), size(bytes)),
    };
    for left in &report.left_alone {
        text += &format!("left alone: {left}\n");
    }
    text + &damaged(report)
}

/// What is wrong with files that are needed, and the way out.
fn damaged(report: &UpkeepReport) -> String {
    let mut lines: Vec<String> = report.damaged.iter().map(|file| format!("damaged: {file}\n")).collect();
    if !lines.is_empty() {
        lines.push(format!("hint: {DAMAGED_HINT}\n"));
    }
    lines.concat()
}

fn size(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use catalog::upkeep::{Freed, Leftover};

    use super::*;

    #[test]
    fn what_goes_is_told_by_kind() {
        let freed = vec![
            Freed { kind: Leftover::DataFiles, objects: 1_200, bytes: 5 << 30 },
            Freed { kind: Leftover::RunEvents, objects: 3, bytes: 900 },
        ];
        let mut report = UpkeepReport { dry_run: true, freed, left_alone: Vec::new(), damaged: Vec::new() };
        let folders = FreedFolders { folders: 2, bytes: 1 << 20 };
        insta::assert_snapshot!(text(&report, &folders), @r"
        1,200  5.00 GiB  data files that no kept version names
            3  900 B     events of runs that are in ops.runs
            2  1.00 MiB  folders of browsers and queries whose process is gone
        would free 5.00 GiB; nothing was removed
        ");
        report = UpkeepReport {
            freed: Vec::new(),
            left_alone: vec!["raw.t: it is damaged".to_owned()],
            dry_run: false,
            ..report
        };
        insta::assert_snapshot!(text(&report, &FreedFolders::default()), @r"
        nothing is to be removed
        left alone: raw.t: it is damaged
        ");
        report = UpkeepReport {
            left_alone: Vec::new(),
            damaged: vec!["raw.t: `raw/t/a` is not there".to_owned()],
            ..report
        };
        insta::assert_snapshot!(text(&report, &FreedFolders::default()), @r"
        nothing is to be removed
        damaged: raw.t: `raw/t/a` is not there
        hint: put the file back from a copy of the lake; the folder of a table that a model makes may be removed instead, and the next run makes it anew; with that of a raw table all its days go, and only what its source still shows comes back
        ");
    }
}
