//! `onggi demo`: the whole system on this machine, on generated data, with nothing to configure.
//!
//! The demo is a project like any other, made by the same code as `onggi init`. Nothing is different about it but its
//! `[hosts]` table, which points the sources at a local server that behaves as the real site does.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use replica::{Replica, ReplicaOptions};

use crate::args::{Demo, Fetchers, Global};
use crate::clock;
use crate::config::{self, Config};
use crate::count::thousands;
use crate::exit::{Exit, Failure};
use crate::out;
use crate::progress::Progress;
use crate::project::Project;
use crate::report::{RunReport, Status};
use crate::run::{Order, Request, run};
use crate::template::{self, Template};
use crate::verb::{run as run_verb, search};
use crate::wire;

/// What the demo asks.
const QUESTIONS: [&str; 3] =
    ["비 오는 날 혼자 먹기 좋은 국밥", "아이와 함께 가기 좋은 넓은 파스타집", "회식하기 좋은 고깃집"];
/// The name of the demo's project, which its lake remembers.
const NAME: &str = "demo";
/// The hosts that the sources name.
const HOSTS: [&str; 2] = ["pcmap.place.naver.com", "pcmap-api.place.naver.com"];
/// Requests a second to the local server: as good as no pace.
const RATE: f64 = 10_000.0;
/// Says that a folder was made by the demo.
const MARK: &str = ".onggi/demo";
/// What stands in its configuration above the hosts of the local site.
const LOCAL: &str = "\n# The demo's local site.\n";
/// Where the demo's data are, and what else only the program writes.
const LAKE: &str = "lake";
const HOUSE: &str = ".onggi";
/// The port that the demo's `[hosts]` names, so that its project goes on working with `--serve`.
const PORT: u16 = 8917;

/// Runs the day twice and asks three questions.
///
/// # Errors
/// If the server, the project or a run cannot begin.
pub(crate) async fn demo(global: &Global, args: &Demo) -> anyhow::Result<Exit> {
    let loud = !global.json && !global.quiet;
    // A lake that was named is somebody's: it is gone on with, and so is the project whose key it was hashed with.
    if !args.keep && global.lake.is_none() && global.config.is_none() {
        remove_former(&args.dir, args.fresh)?;
    }
    let options = ReplicaOptions {
        seed: args.seed,
        places: args.places,
        reviews: args.reviews as u64,
        today: clock::today(&jiff::tz::TimeZone::get("Asia/Seoul")?),
        ..ReplicaOptions::default()
    };
    // Its configuration is written anew: it has to be one that the demo wrote.
    if args.dir.join(config::FILE).exists() && !args.dir.join(MARK).exists() {
        let message = format!("expected a folder that the demo made, found a project in `{}`", args.dir.display());
        return Err(Failure::usage(message, "name another folder with `--dir`").into());
    }
    let site = start(options).await?;
    if !args.dir.join(config::FILE).exists() {
        template::write(&args.dir, Template::Reviews, NAME)?;
        let mark = args.dir.join(MARK);
        std::fs::write(&mark, "").with_context(|| format!("writing `{}`", mark.display()))?;
    }
    point_at(&args.dir, site.url())?;
    let mut project = Project::read(&args.dir, global.config.as_deref())?;
    // Whatever configuration was named, the demo asks no host but its own.
    project.config.hosts = Project::read(&args.dir, None)?.config.hosts;
    let lake = wire::lake(&project, global).await?;
    let dt = clock::today(&project.config.timezone());
    if loud {
        out::line(format_args!(
            "a site of {} places and {} reviews is at {} (generated from seed {})",
            thousands(args.places as u64),
            thousands(args.reviews as u64),
            site.url(),
            args.seed
        ));
        out::line(format_args!("the project is in {}, its lake at {}", args.dir.display(), lake.uri()));
    }

    let mut worst = Status::Done;
    for number in 1..=2 {
        if loud {
            out::line(format_args!(
                "\n{}",
                if number == 1 { "the first run of the day:" } else { "the same day again:" }
            ));
        }
        let report = one_run(global, &project, &lake, dt).await?;
        run_verb::print(&report, global)?;
        worst = worst.max(report.status);
        if number == 1 && loud {
            answer(&project, &lake).await?;
        }
    }
    if loud {
        farewell(&args.dir, global);
    }
    if args.keeps_site {
        out::note(format_args!("the site stays at {} until Ctrl-C", site.url()));
        tokio::signal::ctrl_c().await?;
    }
    site.stop().await;
    Ok(worst.into())
}

async fn one_run(
    global: &Global,
    project: &Project,
    lake: &catalog::Lake,
    dt: catalog::Date,
) -> anyhow::Result<RunReport> {
    let request = Request {
        project,
        lake,
        dt,
        today: dt,
        refetch: false,
        allow_deletes: false,
        renew: false,
        select: &[],
        jobs: usize::from(project.config.crawl.jobs),
        workers: Fetchers::Own,
        order: Order::SideBySide,
        progress: Arc::new(Progress::new(global.quiet)),
        cancel: extract::Cancel::new(),
    };
    run(&request).await
}

async fn answer(project: &Project, lake: &catalog::Lake) -> anyhow::Result<()> {
    let (opened, embedder) = (wire::search(project, lake)?, wire::query_embedder(project));
    for question in QUESTIONS {
        out::line(format_args!("\nonggi search \"{question}\""));
        let answer = opened.search(question, 3, &embedder).await?;
        out::marked(&search::text(&project.config, question, &answer.hits));
        search::say(&answer.notes);
    }
    Ok(())
}

/// The usual port, or any free one if that is taken.
async fn start(options: ReplicaOptions) -> anyhow::Result<Replica> {
    match Replica::start(ReplicaOptions { port: PORT, ..options.clone() }).await {
        Ok(site) => Ok(site),
        Err(_) => Replica::start(ReplicaOptions { port: 0, ..options }).await.context("starting the local site"),
    }
}

/// A fresh demo begins without the former one's lake; what is not a demo's, or was changed by somebody, is left alone.
fn remove_former(folder: &Path, fresh: bool) -> anyhow::Result<()> {
    if !folder.join(config::FILE).exists() {
        return Ok(());
    }
    let config = Config::read(folder, None)?;
    if config.project.name != NAME {
        let message = format!(
            "expected the demo's own folder, found the project `{}` in `{}`",
            config.project.name,
            folder.display()
        );
        return Err(Failure::usage(message, "name another folder with `--dir`").into());
    }
    if !fresh && let Some(file) = somebodys(folder)? {
        let message = format!("expected nothing but the last demo in `{}`, found {file}", folder.display());
        let hint =
            "`--keep` goes on with it, `--fresh` removes it with all that is in it, `--dir` names another folder";
        return Err(Failure::usage(message, hint).into());
    }
    std::fs::remove_dir_all(folder).with_context(|| format!("removing the former demo in `{}`", folder.display()))
}

/// What in the folder of a demo is not the demo's own doing.
fn somebodys(folder: &Path) -> anyhow::Result<Option<String>> {
    if !folder.join(MARK).is_file() {
        return Ok(Some("a project that no demo made".to_owned()));
    }
    let mut own: BTreeMap<String, String> = template::files(Template::Reviews, NAME).into_iter().collect();
    own.insert(config::FILE.to_owned(), template::configuration(Template::Reviews, NAME));
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in std::fs::read_dir(&at).with_context(|| format!("listing `{}`", at.display()))? {
            let path = entry.with_context(|| format!("listing `{}`", at.display()))?.path();
            let name = path.strip_prefix(folder).unwrap_or(&path).display().to_string();
            if [LAKE, HOUSE, ".gitignore"].contains(&name.as_str()) {
                continue;
            }
            let is = || std::fs::read_to_string(&path).unwrap_or_default();
            match own.get(&name) {
                _ if path.is_dir() && !path.is_symlink() => folders.push(path),
                None => return Ok(Some(format!("`{name}`, which no demo made"))),
                // Below its mark stand the hosts of the local site, which hang on the port that was free.
                Some(text) if is().split(LOCAL).next() != Some(text) => {
                    return Ok(Some(format!("`{name}`, which somebody has changed")));
                }
                Some(_) => {}
            }
        }
    }
    Ok(None)
}

/// Points the sources' hosts at the local server, in the project's own configuration.
fn point_at(folder: &Path, url: &str) -> anyhow::Result<()> {
    let path = folder.join(config::FILE);
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading `{}`", path.display()))?;
    let own = text.split(LOCAL).next().unwrap_or_default();
    let hosts: String = HOSTS.map(|host| format!("[hosts.\"{host}\"]\nurl = \"{url}\"\nrate = {RATE:.1}\n")).concat();
    std::fs::write(&path, format!("{own}{LOCAL}{hosts}")).with_context(|| format!("writing `{}`", path.display()))
}

fn farewell(folder: &Path, global: &Global) {
    let folder = folder.display();
    let config = global.config.as_ref().map_or_else(String::new, |file| format!(" --config {}", file.display()));
    let lake = global.lake.as_ref().map_or(config.clone(), |lake| format!("{config} --lake {lake}"));
    out::line("\ngo on with the same project:");
    out::line(format_args!("  onggi --project {folder}{lake} status"));
    out::line(format_args!("  onggi --project {folder}{lake} search --keyword \"국\""));
    out::line(format_args!(
        "  onggi --project {folder}{lake} sql \"select area, count(*) as places from marts.places group by area order by places desc limit 5\""
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What somebody does to the folder.
    type Touch = fn(&Path);

    /// Only what a demo made and nobody touched is removed for the next one.
    #[test]
    fn what_somebody_made_or_changed_is_not_removed() {
        let touches: [(&str, Touch); 6] = [
            ("a note", |folder| std::fs::write(folder.join("notes.md"), "mine").unwrap()),
            ("the configuration", |folder| {
                let file = folder.join(config::FILE);
                let text = std::fs::read_to_string(&file).unwrap();
                std::fs::write(file, format!("# mine\n{text}{LOCAL}")).unwrap();
            }),
            ("a model", |folder| std::fs::write(folder.join("sql/mine.sql"), "-- mine").unwrap()),
            ("another source", |folder| std::fs::write(folder.join("sources/naver_places.toml"), "mine").unwrap()),
            ("no mark", |folder| std::fs::remove_file(folder.join(MARK)).unwrap()),
            ("a link", |folder| std::os::unix::fs::symlink("/", folder.join("all")).unwrap()),
        ];
        for (what, touch) in touches {
            let folder = tempfile::tempdir().unwrap();
            let folder = folder.path().join("demo");
            template::write(&folder, Template::Reviews, NAME).unwrap();
            std::fs::write(folder.join(MARK), "").unwrap();
            assert_eq!(somebodys(&folder).unwrap(), None);
            touch(&folder);
            assert!(remove_former(&folder, false).is_err(), "{what}");
            assert!(folder.join(config::FILE).exists(), "{what}");
            remove_former(&folder, true).unwrap();
            assert!(!folder.exists(), "{what}");
        }
    }
}
