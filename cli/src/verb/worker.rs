//! `onggi worker`: takes tasks of any run from the queue, beside any number of others.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use catalog::RunId;
use extract::Cancel;
use extract::heartbeat::Role;
use extract::worker::{Until, Worked};

use crate::args::{Global, Worker};
use crate::clock;
use crate::count::thousands;
use crate::exit::Exit;
use crate::out;
use crate::progress::Progress;
use crate::run::cancel_on_signal;
use crate::run::extraction::short;
use crate::verb::check;
use crate::wire;

/// How often it says how far it is, if it is any further.
const SAY_EVERY: Duration = Duration::from_secs(5);

/// Works until it is stopped, or until the queue is empty.
///
/// # Errors
/// If it cannot begin, or what it needs breaks under it.
pub(crate) async fn worker(global: &Global, args: &Worker) -> anyhow::Result<Exit> {
    let project = check::checked(global)?;
    let lake = wire::lake(&project, global).await?;
    let progress = Arc::new(Progress::new(global.quiet));
    let jobs = usize::from(args.jobs.unwrap_or(project.config.crawl.jobs));
    let cancel = Cancel::new();
    let stopping = "stopping: what is under way is handed back";
    cancel_on_signal(cancel.clone(), Arc::clone(&progress), stopping);
    let id = RunId::at(clock::now());
    let hands = wire::Hands {
        id: id.clone(),
        role: Some(Role::Worker),
        jobs,
        cancel: cancel.clone(),
        progress: teller(&progress),
    };
    let extractor = wire::extractor(&project, &lake, hands).await?;
    let queue = project.config.queue.uri.as_deref().unwrap_or("the embedded queue");
    progress.line(&format!("worker {id}: {jobs} jobs on {}, tasks from {queue}", lake.uri()));
    if let Some(heartbeat) = extractor.heartbeat.clone() {
        let cancel = cancel.clone();
        tokio::spawn(async move {
            cancel.cancelled().await;
            heartbeat.stopping();
        });
    }
    let until = if args.until_idle { Until::Idle } else { Until::Stopped };
    let worked = extract::worker::work(&extractor, until).await;
    extractor.fetchers.close().await;
    if let Some(heartbeat) = &extractor.heartbeat {
        heartbeat.stop().await;
    }
    let worked = worked?;
    print(&worked, global)?;
    let gave_up = !worked.blocked.is_empty();
    // Who was told to stop did what it was told.
    Ok(if gave_up && !cancel.is_cancelled() { Exit::Partial } else { Exit::Done })
}

fn print(worked: &Worked, global: &Global) -> anyhow::Result<()> {
    if global.json {
        out::object(worked)?;
    } else if !global.quiet {
        let mut parts =
            vec![format!("{} tasks", thousands(worked.tasks)), format!("{} records", thousands(worked.fetched))];
        for (count, what) in
            [(worked.set_aside, "set aside"), (worked.lost, "tasks left to others, whose lease was lost")]
        {
            if count > 0 {
                parts.push(format!("{} {what}", thousands(count)));
            }
        }
        if worked.short_keys > 0 {
            parts.push(short(worked.short_keys, worked.short_items));
        }
        out::line(format_args!("stopped: {}", parts.join(" · ")));
        for (host, evidence) in &worked.blocked {
            out::line(format_args!("  blocked by `{host}`: {evidence}"));
        }
    }
    Ok(())
}

/// Says now and then how far it is.
fn teller(progress: &Arc<Progress>) -> Arc<dyn Fn(extract::Progress) + Send + Sync> {
    let progress = Arc::clone(progress);
    let last = Mutex::new((Instant::now(), extract::Progress::default()));
    Arc::new(move |now: extract::Progress| {
        let Ok(mut last) = last.lock() else { return };
        if last.0.elapsed() >= SAY_EVERY && now != last.1 {
            *last = (Instant::now(), now);
            progress.line(&format!("  keys {} · records {}", thousands(now.done_keys), thousands(now.records)));
        }
    })
}
