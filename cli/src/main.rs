//! The `onggi` command: the only place that knows every room of the house.
//!
//! It alone reads the command line, the configuration, the environment and the clock, and it alone prints: results on
//! standard output, everything else on standard error. The other crates are handed values and hand back values.

mod args;
mod clock;
mod config;
mod count;
mod exit;
mod keys;
mod lake_state;
mod out;
mod progress;
mod project;
mod report;
mod reporter;
mod rows;
mod run;
#[cfg(test)]
#[cfg(feature = "failpoints")]
mod simulator;
mod sink_state;
mod steps;
mod table;
mod template;
mod toml_error;
mod verb;
mod wire;

use std::process::ExitCode;

use args::{CatalogVerb, Cli, Verb};
use clap::Parser;
use exit::Exit;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers, the rest is wrong usage; clap knows which stream each belongs on.
            let _ = error.print();
            if error.use_stderr() && std::env::args_os().any(|word| word == "--json") {
                exit::print_usage(&error.to_string());
            }
            return exit::end(if error.use_stderr() { Exit::Usage } else { Exit::Done });
        }
    };
    start_log(&cli.global.log);
    hush_known_panics();
    #[cfg(feature = "failpoints")]
    arm_failpoint();
    let json = cli.global.json;
    let exit = work(cli).unwrap_or_else(|error| {
        exit::print(&error, json);
        exit::code(&error)
    });
    exit::end(exit)
}

fn work(cli: Cli) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // Planning a deeply nested statement recurses; the default of 2 MiB is not enough for it.
        .thread_stack_size(8 << 20)
        .build()?;
    let exit = runtime.block_on(async {
        // On a worker thread, whose stack is the one set above.
        tokio::spawn(dispatch(cli)).await?
    });
    // Whatever still runs in the background has nothing left to say.
    runtime.shutdown_background();
    exit
}

async fn dispatch(cli: Cli) -> anyhow::Result<Exit> {
    let global = cli.global;
    match cli.verb {
        Verb::Demo(args) => verb::demo::demo(&global, &args).await,
        Verb::Init(args) => verb::init::init(&global, &args),
        Verb::Doctor => verb::doctor::doctor(&global).await,
        Verb::Plan(args) => verb::plan::plan(&global, &args).await,
        Verb::Run(args) if args.dry_run => verb::plan::plan(&global, &args).await,
        Verb::Run(args) => verb::run::run(&global, &args).await,
        Verb::Status(args) => verb::status::status(&global, &args).await,
        Verb::Check => verb::check::check(&global).await,
        Verb::Sql(args) => verb::sql::sql(&global, &args).await,
        Verb::Search(args) => verb::search::search(&global, &args).await,
        Verb::Reconcile(args) => verb::reconcile::reconcile(&global, &args).await,
        Verb::Worker(args) => verb::worker::worker(&global, &args).await,
        Verb::Retry(args) => verb::retry::retry(&global, &args).await,
        Verb::Upkeep(args) => verb::upkeep::upkeep(&global, &args).await,
        Verb::Catalog(args) => match args.verb {
            CatalogVerb::Publish(args) => verb::catalog::publish(&global, &args).await,
        },
    }
}

/// Whose log lines are shown, whatever the filter asks for. Libraries log what they send and get, at some level each: request headers
/// with tokens in them, raw frames with people in them, connection options with passwords. No filter may bring those into a log.
const OURS: [&str; 9] = ["onggi", "athena", "catalog", "enrich", "extract", "load", "replica", "rows", "transform"];

/// A filter of our own log lines: levels, and levels of one of our crates or of a part of one.
///
/// # Errors
/// Words for what is none: a filter that is misspelt would show nothing, and nobody would know.
fn log_filter(text: &str) -> Result<String, String> {
    for directive in text.split(',').map(str::trim).filter(|it| !it.is_empty()) {
        let (target, level) =
            directive.split_once('=').map_or((None, directive), |(target, level)| (Some(target), level));
        let is_ours = |target: &str| target.split("::").next().is_some_and(|root| OURS.contains(&root));
        let is_level = level.parse::<LevelFilter>().is_ok();
        if !(target.is_none_or(is_ours) && is_level || target.is_none() && is_ours(level)) {
            let ours = OURS.join(", ");
            return Err(format!(
                "expected a level (error, warn, info, debug, trace, off), or one of {ours} with `=` and a level"
            ));
        }
    }
    Ok(text.to_owned())
}

/// Log lines go to standard error, beside progress, so that standard output stays data.
fn start_log(filter: &str) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("warn"));
    let ours = filter_fn(|line| line.target().split("::").next().is_some_and(|root| OURS.contains(&root)));
    let lines = fmt::layer().with_writer(out::Log::default).log_internal_errors(false).with_ansi(false);
    let _ = tracing_subscriber::registry().with(filter).with(lines.with_filter(ours)).try_init();
}

/// The Delta library gives up an upload whose end failed, is told by a panic that it is over, and catches it. The error
/// itself comes as an error; that panic is no crash and is not shown as one.
fn hush_known_panics() {
    let shown = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let known =
            panic.location().is_some_and(|at| at.file().contains("object_store") && at.file().ends_with("buffered.rs"))
                && panic.payload_as_str() == Some("Already shut down");
        if !known {
            shown(panic);
        }
    }));
}

/// `ONGGI_FAILPOINT=name[:nth[:log file]]`: where a test wants this process to die.
#[cfg(feature = "failpoints")]
fn arm_failpoint() {
    #[expect(clippy::disallowed_methods, reason = "cli is the one reader of the environment")]
    let Ok(value) = std::env::var("ONGGI_FAILPOINT") else { return };
    let mut parts = value.splitn(3, ':');
    let name = parts.next().unwrap_or_default();
    let nth = parts.next().and_then(|nth| nth.parse().ok()).unwrap_or(1);
    if let Err(error) = catalog::failpoint::arm(name, nth, parts.next().map(Into::into)) {
        out::note(format_args!("error: {error}"));
    }
}
