//! `onggi sql --athena`: a question to Athena, what it costs while it runs, and its answer.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use athena::{Execution, Progress, State};
use futures::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::args::{Global, Sql};
use crate::exit::{Exit, Failure};
use crate::out;
use crate::project::Project;
use crate::rows::{self, Format, Rows};
use crate::verb::check;
use crate::wire;

/// The longest silence in a log.
const LINE_EVERY: Duration = Duration::from_secs(2);

/// How long the service has to hear that a query is to be stopped.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// Asks Athena and writes its answer as it comes.
///
/// # Errors
/// What Athena says; a [`Failure`] when it was interrupted, after the query has been stopped.
pub(super) async fn ask(
    global: &Global,
    args: &Sql,
    project: &Project,
    statement: &str,
    format: Format,
) -> anyhow::Result<Exit> {
    if !global.quiet {
        warn(project, statement)?;
    }
    // Before the query is started, so that no signal comes too early to be heard.
    let mut interrupt = Interrupt::listen()?;
    let athena = wire::athena(project).await?;
    let mut watch = Watch::new(global.quiet);
    let mut execution = athena.start(statement).await?;
    let answer = tokio::select! {
        biased;
        () = interrupt.came() => None,
        answer = execution.wait(|progress| watch.show(progress)) => Some(answer),
    };
    let Some(answer) = answer else {
        watch.clear();
        return Err(stop(execution, watch.last).await);
    };
    let answer = answer.inspect_err(|_| watch.clear())?;
    watch.end(execution.id());
    let schema = answer.schema();
    let batches = futures::stream::unfold(answer, |mut answer| async {
        answer.next().await.map(|batch| (batch.map_err(Into::into), answer))
    });
    let written = tokio::select! {
        biased;
        () = interrupt.came() => {
            let message = "interrupted while the answer was read";
            return Err(Failure::failed(message, "the query had ended and is paid for").into());
        }
        written = rows::write(Rows { schema, batches: batches.boxed() }, format, args.output.as_deref()) => written?,
    };
    super::tell(global, args, written);
    Ok(Exit::Done)
}

/// Says what of the statement Athena answers differently than this program.
fn warn(project: &Project, statement: &str) -> anyhow::Result<()> {
    let schemas = check::askable(project)?;
    let question = transform::ModelFile { path: "the question".to_owned(), text: statement.to_owned() };
    for found in project.models.check_portable(&[question], &|name| schemas.get(name).cloned()) {
        out::note(format_args!("note: {found}"));
        if let Some(hint) = &found.hint {
            out::note(format_args!("  hint: {hint}"));
        }
    }
    Ok(())
}

/// Stops the query; what to say of that.
async fn stop(execution: Execution, last: Option<Progress>) -> anyhow::Error {
    let id = execution.id().to_owned();
    let charged = last.map_or_else(String::new, |last| {
        format!(": {} by the last look, {}", scanned(last.scanned_bytes), money(last.cost))
    });
    let failure = match tokio::time::timeout(STOP_PATIENCE, execution.stop()).await {
        Ok(Ok(())) => Failure::failed(
            format!("interrupted: the query was stopped in Athena ({id})"),
            format!("what it had scanned by then is charged{charged}"),
        ),
        Ok(Err(error)) => {
            let message = format!("interrupted, and the query could not be stopped: {error}");
            Failure::failed(message, format!("stop query {id} in Athena's console, or it runs to its end"))
        }
        Err(_) => {
            let message = "interrupted, and the query could not be stopped: no answer in time";
            Failure::failed(message, format!("stop query {id} in Athena's console, or it runs to its end"))
        }
    };
    failure.into()
}

/// Ctrl-C, or the signal that ends a container.
struct Interrupt {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupt {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn came(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Shows how far the query is: one line that changes on a terminal, a line now and then in a log.
struct Watch {
    quiet: bool,
    bar: Option<ProgressBar>,
    shown: Option<(State, Instant)>,
    last: Option<Progress>,
}

impl Watch {
    fn new(quiet: bool) -> Self {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let style = ProgressStyle::with_template("{spinner} {msg}");
            let bar = ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self { quiet, bar, shown: None, last: None }
    }

    fn show(&mut self, progress: &Progress) {
        self.last = Some(*progress);
        if let Some(bar) = &self.bar {
            return bar.set_message(line(progress));
        }
        let now = Instant::now();
        let due = self.shown.is_none_or(|(state, at)| state != progress.state || now - at >= LINE_EVERY);
        // The end has a line of its own.
        if !self.quiet && due && matches!(progress.state, State::Queued | State::Running) {
            out::note(line(progress));
            self.shown = Some((progress.state, now));
        }
    }

    fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// The query's end, with what it took.
    fn end(&self, id: &str) {
        self.clear();
        if let Some(progress) = self.last.as_ref().filter(|_| !self.quiet) {
            let (queued, ran) = (progress.queued.as_secs_f64(), progress.ran.as_secs_f64());
            out::note(format_args!("{} (queued {queued:.1}s, ran {ran:.1}s; query {id})", line(progress)));
        }
    }
}

/// `athena: running 3.2s, 12.4 MB scanned, $0.000065`
fn line(progress: &Progress) -> String {
    let seconds = progress.elapsed.as_secs_f64();
    let scanned = scanned(progress.scanned_bytes);
    format!("athena: {} {seconds:.1}s, {scanned} scanned, {}", progress.state.as_str(), money(progress.cost))
}

fn scanned(bytes: u64) -> String {
    let bytes = bytes as f64;
    match bytes {
        _ if bytes < 1e6 => format!("{:.1} kB", bytes / 1e3),
        _ if bytes < 1e9 => format!("{:.1} MB", bytes / 1e6),
        _ if bytes < 1e12 => format!("{:.2} GB", bytes / 1e9),
        _ => format!("{:.2} TB", bytes / 1e12),
    }
}

/// The smallest query costs a part of a cent, which must not look like nothing.
fn money(cost: f64) -> String {
    if cost > 0.0 && cost < 0.01 { format!("${cost:.6}") } else { format!("${cost:.2}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_state_time_bytes_and_price() {
        let mut progress = Progress {
            state: State::Running,
            elapsed: Duration::from_millis(3_240),
            queued: Duration::ZERO,
            ran: Duration::ZERO,
            scanned_bytes: 12_400_000,
            cost: athena::cost(12_400_000, 5.0),
        };
        assert_eq!(line(&progress), "athena: running 3.2s, 12.4 MB scanned, $0.000065");
        progress.scanned_bytes = 2_500_000_000_000;
        progress.cost = athena::cost(progress.scanned_bytes, 5.0);
        assert_eq!(line(&progress), "athena: running 3.2s, 2.50 TB scanned, $12.50");
        progress.cost = 0.0;
        assert!(line(&progress).ends_with("$0.00"));
    }
}
