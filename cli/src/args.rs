//! What can be typed: one struct a verb, with help that teaches.
//!
//! The texts here are the manual that `--help` prints, so each verb says what it is for, gives an example and names its
//! neighbour. Meaning is never defaulted silently: a default that matters (the day, the lake) is printed when a run starts.

use std::path::PathBuf;

use catalog::{Date, SourceName};
use clap::builder::RangedU64ValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::rows::Format;
use crate::template::Template;

/// What is logged unless asked otherwise: our own warnings. Libraries warn of what we resolve ourselves, such as a lost
/// race for a table's creation.
const LOG: &str = "off,onggi=warn,athena=warn,catalog=warn,enrich=warn,extract=warn,load=warn,rows=warn,transform=warn";

/// A daily lakehouse in one binary: crawl, land, model, summarise, sync and search.
#[derive(Debug, Parser)]
#[command(
    name = "onggi",
    version,
    about = "A daily lakehouse in one binary",
    long_about = "Onggi crawls web pages and APIs, lands the raw records untouched in Delta tables, cleans and \
        aggregates them with plain SQL, summarises and embeds what changed, keeps serving tables and search indexes in \
        step, and answers questions.\n\nStart with `onggi demo`: the whole line on this machine, with nothing to configure.",
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 done, but something is missing \
        (unfinished keys, a blocked host, a spent budget, a table that Athena would not read).\nEvery verb explains itself: `onggi help run`.",
    max_term_width = 110,
    arg_required_else_help = true,
    subcommand_required = true
)]
pub(crate) struct Cli {
    /// Options that every verb takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// Options that every verb takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// The project: the folder that holds onggi.toml
    #[arg(long, global = true, value_name = "DIR", default_value = ".", env = "ONGGI_PROJECT")]
    pub project: PathBuf,
    /// The configuration, from the project's folder; onggi.toml if not given
    #[arg(long, global = true, value_name = "FILE", env = "ONGGI_CONFIG")]
    pub config: Option<PathBuf>,
    /// The lake: a folder or a URL; instead of the one in onggi.toml
    #[arg(long, global = true, value_name = "URL", env = "ONGGI_LAKE")]
    pub lake: Option<String>,
    /// Print JSON on standard output, one object a line
    #[arg(long, global = true)]
    pub json: bool,
    /// Print nothing but results and errors
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// What to log on standard error, such as `info` or `extract=debug`
    #[arg(long, global = true, value_name = "FILTER", default_value = LOG, env = "ONGGI_LOG", hide_default_value = true, value_parser = crate::log_filter)]
    pub log: String,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run the whole system on this machine, on generated data
    #[command(long_about = "Starts a local copy of a restaurant-review site on generated data, makes a project in \
        ./onggi-demo, crawls it with headless Chromium, builds the models, summarises, embeds and syncs, asks three \
        questions in Korean, and runs the same day again to show that nothing happens twice.")]
    Demo(Demo),
    /// Make a new project in a folder
    Init(Init),
    /// Say what is reachable, what is missing, and how to get it
    Doctor,
    /// Say what a run would do, and why, without doing it
    Plan(RunArgs),
    /// Extract, build, summarise and sync one day
    #[command(long_about = "Runs one day: fetches what is due, builds what changed, summarises and embeds new texts \
        and syncs the serving side. A run can be stopped at any time and repeated: what is done is not done again, and a \
        second run of a finished day does nothing.\n\nExamples:\n  onggi run\n  onggi run --dt 2026-10-01\n  onggi run --select +marts.places")]
    Run(RunArgs),
    /// Show the steps of the last runs: done, running (how far), failed and why
    Status(StatusArgs),
    /// Plan every model against the tables it reads, with no data, and report every error
    Check,
    /// Ask the lake in SQL
    #[command(
        long_about = "Asks the lake in SQL (DataFusion's dialect). Only the tables that the statement names are \
        opened, at their newest version.\n\nExamples:\n  onggi sql \"select count(*) from staging.reviews\"\n  onggi sql --json \"select name, reviews from marts.places order by reviews desc limit 5\"\n  onggi sql \"show tables\"\n  onggi sql - < sql/analyses/rating_by_week.sql\n\n\
        With --athena the statement goes to Athena as it is (Trino's dialect), over the tables that `onggi catalog publish` \
        registered; state, bytes scanned and price are shown while it runs, and Ctrl-C stops it. CSV quotes what needs it \
        and alters no value: a spreadsheet may take one that begins with `=` for a formula, so import such columns as text.\n  \
        onggi sql --athena --output places.parquet \"select * from marts.places\""
    )]
    Sql(Sql),
    /// Find rows by keyword and by meaning
    #[command(
        long_about = "Searches the serving tables: the words of the question in their texts and in the texts about them, and \
        the question as a whole by vector similarity, fused into one list with the reason for each answer. What is searched, \
        how much each part counts and what is shown stands in [search] of onggi.toml. Where the embedder is away (no key, \
        no answer), words alone answer, and a note says so. A search writes nothing to the lake: what a paid embedder takes for \
        questions stands on its bill, not in ops.costs.\n\n\
        With --json each answer is an object on a line of its own; notes follow in a last object, `{\"notes\": […]}`.\n\n\
        Examples:\n  onggi search \"a quiet place for a rainy day\"\n  onggi search --keyword \"soup\" --limit 20"
    )]
    Search(Search),
    /// Compare every sink with its mart, row by row, and repair what differs
    #[command(
        long_about = "Reads every row that each sink holds and compares it with its mart's, cell by cell. Rows that somebody \
        deleted, added or changed are told, with their first keys, and so are a table that is laid out in another way, an \
        index whose files are damaged, and tables that no [sync] section asks for any more (orphans); the exit code is 1 \
        then. A sink that is behind its mart is told the same way. Nothing is changed without --repair, which writes the rows \
        that differ and no others, and --drop-orphans, which removes those tables.\n\n\
        Examples:\n  onggi reconcile\n  onggi reconcile --repair\n  onggi reconcile --drop-orphans"
    )]
    Reconcile(Reconcile),
    /// Take tasks from the queue and do them, beside others
    #[command(
        long_about = "Takes tasks that runs have put into the queue – of any source, day and run – fetches and lands them, \
        until it is stopped. Any number of workers share one queue: on one machine with the embedded queue, on many with \
        SQS. Ctrl-C and SIGTERM hand back what is under way at once; a worker that is killed costs its tasks the visibility \
        timeout and nothing else. `onggi run --workers external` plans and waits for them, `onggi status` shows them.\n\n\
        Examples:\n  onggi worker --jobs 4\n  onggi worker --until-idle"
    )]
    Worker(Worker),
    /// Ask again for keys that have ended, or list those that have not
    #[command(
        long_about = "Opens keys of a day again, so that the next `onggi run` of that day asks for them. Which keys is said by how \
        they ended, by name, or both. Without any choice it lists the keys that did not end as they should and changes nothing: \
        what failed, broke off, could not be read or was blocked is asked for by the next run in any case. What came and \
        could not be read is kept for some days in ops.unreadable, of sources without rules for persons; the list says how to \
        look at it.\n\n\
        Examples:\n  onggi retry\n  onggi retry --set-aside --source naver_reviews\n  onggi retry --key 1234567 --dt 2026-10-01"
    )]
    Retry(Retry),
    /// Remove what nobody needs any more, and say what it frees
    #[command(
        long_about = "Removes what the lake has outgrown: files of earlier builds that no version of the last days names, \
        what kills left behind, log entries that a checkpoint covers, what was staged for tasks that have landed, events of \
        old runs (they stay in ops.runs), unreadable answers of days that are over, and folders of browsers and queries whose process is gone. What is younger than a \
        day is never touched, so it may run beside anything. A run does it by itself once a day.\n\n\
        After it the tables can be read as of any moment of the days kept, and not before.\n\n\
        Examples:\n  onggi upkeep --dry-run\n  onggi upkeep --keep-days 30"
    )]
    Upkeep(Upkeep),
    /// Keep the catalog of AWS in line with the lake
    Catalog(Catalog),
}

/// `onggi upkeep`
#[derive(Debug, Clone, Args)]
pub(crate) struct Upkeep {
    /// For how many days what no newer version names is kept
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..=3650))]
    pub keep_days: u16,
    /// Say what would go, remove nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `onggi catalog`
#[derive(Debug, Clone, Args)]
pub(crate) struct Catalog {
    /// What to do with it
    #[command(subcommand)]
    pub verb: CatalogVerb,
}

/// What can be done with the catalog.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum CatalogVerb {
    /// Register the lake's tables in AWS Glue, where Athena finds them
    #[command(
        long_about = "Registers every table of the lake in AWS Glue: one database a layer, so that `marts.places` is \
        the same name in `onggi sql` and in Athena. Nothing is written twice: a table that is as it should be stays, one \
        with a new column is updated. Only tables that this project made are ever changed or removed, and no data is \
        touched. A table with a column that Athena does not read is left out, with the cast to write, and the exit code is \
        3.\n\nExamples:\n  onggi catalog publish --dry-run\n  onggi catalog publish --prune"
    )]
    Publish(Publish),
}

/// `onggi catalog publish`
#[derive(Debug, Clone, Args)]
pub(crate) struct Publish {
    /// Remove tables from Glue that are no longer in the lake
    #[arg(long)]
    pub prune: bool,
    /// Say what would be done, change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `onggi demo`
#[derive(Debug, Clone, Args)]
pub(crate) struct Demo {
    /// How many places the site has
    #[arg(long, default_value_t = 200, value_name = "N")]
    pub places: usize,
    /// How many reviews the site has
    #[arg(long, default_value_t = 20_000, value_name = "N")]
    pub reviews: usize,
    /// What the site's data are generated from: the same seed gives the same site
    #[arg(long, default_value_t = 7, value_name = "S")]
    pub seed: u64,
    /// Where the demo's project is made
    #[arg(long, default_value = "onggi-demo", value_name = "DIR")]
    pub dir: PathBuf,
    /// Continue on the lake of the last demo instead of a fresh one
    #[arg(long)]
    pub keep: bool,
    /// Remove the folder of the last demo also where somebody has changed it
    #[arg(long, conflicts_with = "keep")]
    pub fresh: bool,
    /// Keep the site running after the runs, until Ctrl-C
    #[arg(long = "serve")]
    pub keeps_site: bool,
}

/// `onggi init`
#[derive(Debug, Clone, Args)]
pub(crate) struct Init {
    /// What the project starts from
    #[arg(long, default_value = "reviews")]
    pub template: Template,
    /// The project's name; the folder's if not given
    #[arg(long)]
    pub name: Option<String>,
}

/// `onggi plan` and `onggi run`
#[derive(Debug, Clone, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag that is given or not")]
pub(crate) struct RunArgs {
    /// The day, such as 2026-10-01; today in the project's time zone if not given
    #[arg(long, value_name = "DATE")]
    pub dt: Option<Date>,
    /// Only these steps: a name, `+name` with all it needs, `name+` with all that needs it, `tag:…`, `path:…`
    #[arg(long, value_name = "SELECTOR")]
    pub select: Vec<String>,
    /// Say what would be done, change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Ask again for keys that have ended on the day, of the sources that are selected
    #[arg(long)]
    pub refetch: bool,
    /// Build the days again that are no longer as they would be built now, the oldest first, and nothing else
    #[arg(long, conflicts_with_all = ["dt", "select", "refetch"])]
    pub stale: bool,
    /// Let a sync remove any share of a sink's rows, for once
    #[arg(long)]
    pub allow_deletes: bool,
    /// Tasks fetched at the same time; instead of the number in onggi.toml
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub jobs: Option<u16>,
    /// Who fetches: this process, or workers that were started elsewhere
    #[arg(long, value_enum, default_value_t = Fetchers::Own)]
    pub workers: Fetchers,
}

/// Who fetches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fetchers {
    /// This process itself
    Own,
    /// `onggi worker`, here or on other machines; this process plans and waits
    External,
}

/// `onggi worker`
#[derive(Debug, Clone, Args)]
pub(crate) struct Worker {
    /// Tasks fetched at the same time; instead of the number in onggi.toml
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub jobs: Option<u16>,
    /// End when the queue is empty
    #[arg(long)]
    pub until_idle: bool,
}

/// `onggi reconcile`
#[derive(Debug, Clone, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag that is given or not")]
pub(crate) struct Reconcile {
    /// Write the rows that differ, then compare again
    #[arg(long, alias = "mend")]
    pub repair: bool,
    /// Let tables that follow another lake follow this one from now on
    #[arg(long, requires = "repair")]
    pub adopt: bool,
    /// Let a repair remove any share of a sink's rows
    #[arg(long, requires = "repair")]
    pub allow_deletes: bool,
    /// Remove what lies in a sink and that no section of `sync` asks for any more
    #[arg(long)]
    pub drop_orphans: bool,
}

/// `onggi retry`
#[derive(Debug, Clone, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag that is given or not")]
pub(crate) struct Retry {
    /// Keys that were asked for as often as their tasks may, or whose lists broke off; the next run asks for them anyway
    #[arg(long, visible_alias = "dead")]
    pub failed: bool,
    /// Keys whose answers were not what the source file describes; the next run asks for them anyway
    #[arg(long)]
    pub unreadable: bool,
    /// Keys that have records which were set aside, and answers of models that were; the next run asks for them at once
    #[arg(long)]
    pub set_aside: bool,
    /// Keys that were cut at a bound of ours
    #[arg(long)]
    pub cut: bool,
    /// Keys that robots.txt refused
    #[arg(long)]
    pub refused: bool,
    /// Keys that the site does not have
    #[arg(long)]
    pub gone: bool,
    /// Keys that had no records
    #[arg(long)]
    pub empty: bool,
    /// Only this key, however it ended; may be given several times
    #[arg(long, value_name = "KEY")]
    pub key: Vec<String>,
    /// Only keys of this source
    #[arg(long, value_name = "NAME")]
    pub source: Option<SourceName>,
    /// Only keys of this day; today in the project's time zone if not given
    #[arg(long, value_name = "DATE")]
    pub dt: Option<Date>,
}

/// `onggi status`
#[derive(Debug, Clone, Args)]
pub(crate) struct StatusArgs {
    /// A run's name, as `onggi run` printed it; the last runs if not given
    pub run: Option<String>,
    /// How many runs
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    pub last: usize,
}

/// `onggi sql`
#[derive(Debug, Clone, Args)]
pub(crate) struct Sql {
    /// The statement; `-` reads it from standard input
    pub statement: String,
    /// Ask Athena instead of the engine in this program
    #[arg(long)]
    pub athena: bool,
    /// How rows are written; by the ending of --output if not given, else as a table
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub format: Option<Format>,
    /// Write the rows to this file, which appears when it is complete
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// `onggi search`
#[derive(Debug, Clone, Args)]
pub(crate) struct Search {
    /// What to look for
    pub query: String,
    /// Find every row whose texts have exactly this
    #[arg(long)]
    pub keyword: bool,
    /// How many answers; if not given, all of them for --keyword, else the `limit` of `search`
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=10_000))]
    pub limit: Option<usize>,
}
