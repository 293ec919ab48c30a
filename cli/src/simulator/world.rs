//! One history's world: the site, the project's folder, the clock, and what the oracle remembers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use catalog::simulation::{self, Draw, Life};
use catalog::{Date, Timestamp};
use extract::Cancel;
use jiff::ToSpan;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::damage::Damage;
use super::files::{Files, NOTES, ZONE};
use super::how::{End, How, Ran, once};
use super::service::{Service, Trouble};
use super::sinks::Sinks;
use super::site::Site;
use super::tables::Tables;
use super::tally::STATES;
use super::verbs::work;
use crate::args::Global;
use crate::verb::check;
use crate::{lake_state, wire};

/// No more processes than that ask at the same time.
const MOST_HOSTS: u64 = 2;

/// No run of this small project needs as much of its own time, and the machine's slowness is no part of it.
const PATIENCE: Duration = Duration::from_hours(6);

/// A world.
#[expect(clippy::struct_excessive_bools, reason = "each is a thing that is so or not")]
pub(super) struct World {
    keeps: tempfile::TempDir,
    /// The site.
    pub site: Arc<Site>,
    /// The project's files.
    pub files: Files,
    /// What the lake showed last.
    pub tables: Tables,
    /// The last run was done, nothing was touched since, and on this day.
    pub quiet: Option<Date>,
    /// A copy of `raw/items` lies aside.
    pub has_copy: bool,
    /// The newest day that `marts.asof` ever stood for.
    pub asof: Option<Date>,
    /// The last process was killed.
    pub was_killed: bool,
    /// Something of the lake was taken away, and no run was done since.
    pub is_damaged: bool,
    /// Rows of earlier days may be gone, and no run of its day was done since.
    pub lost_rows: bool,
    /// The last run left something undone.
    pub is_open: bool,
    /// The failpoints after which processes were killed.
    pub points: Vec<&'static str>,
    /// How often the last run that ended by itself wrote something.
    pub written: u64,
    /// How many runs there were.
    pub runs: u64,
    /// How many real milliseconds went into runs, and into looks at the lake.
    pub spent: (u128, u128),
    /// What befell the lake's files.
    pub damage: Damage,
    /// What lies in the sinks.
    pub sinks: Sinks,
    /// Who summarises.
    pub service: Service,
    /// What workers of the last run failed of.
    pub said: Arc<Mutex<Vec<String>>>,
    /// The last runs that ended by themselves.
    pub ran: Vec<Ran>,
    /// Days that somebody named, so that what the site showed later was filed under them.
    pub named: BTreeSet<Date>,
    names: u64,
}

impl World {
    /// The first morning.
    pub(super) fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let keeps = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let start: Timestamp = "2026-10-01T03:00:00+09:00".parse().unwrap();
        simulation::enter(start);
        let site = Arc::new(Site::new(day_of(start)));
        let closed = format!("{}/v1", site.closed());
        let mut world = Self {
            keeps,
            site,
            files: Files::default(),
            tables: Tables::default(),
            quiet: None,
            has_copy: false,
            asof: None,
            was_killed: false,
            is_damaged: false,
            lost_rows: false,
            is_open: false,
            points: Vec::new(),
            written: 0,
            runs: 0,
            spent: (0, 0),
            damage: Damage::default(),
            sinks: Sinks::default(),
            service: Service::new(&closed),
            said: Arc::default(),
            ran: Vec::new(),
            named: BTreeSet::new(),
            names: 0,
        };
        for note in NOTES {
            let items = (0..3).map(|_| world.item()).collect();
            world.site.state().lists.insert(("notes".to_owned(), note.to_owned()), items);
        }
        for (area, shelves) in [("north", 3), ("south", 2)] {
            for _ in 0..shelves {
                world.add_shelf(area);
            }
        }
        world.write_files();
        world
    }

    /// The project's folder.
    pub(super) fn folder(&self) -> &Path {
        self.keeps.path()
    }

    /// A folder of the lake.
    pub(super) fn in_lake(&self, path: &str) -> PathBuf {
        self.folder().join("lake").join(path)
    }

    /// Writes the project's files as they are meant to be.
    pub(super) fn write_files(&self) {
        self.files.write(self.folder(), self.site.url(), self.service.url());
    }

    /// Edits the project's files.
    pub(super) fn edit(&mut self, edit: impl FnOnce(&mut Files)) {
        edit(&mut self.files);
        self.write_files();
    }

    /// What the clock shows.
    #[expect(clippy::unused_self, reason = "the clock is the world's, wherever it is kept")]
    pub(super) fn now(&self) -> Timestamp {
        simulation::now().unwrap_or_default()
    }

    /// The day it is.
    pub(super) fn today(&self) -> Date {
        day_of(self.now())
    }

    /// The newest day that `marts.asof` stood for, and must not go behind: one that has not come anywhere, not even where the sun
    /// rises first, was built by mistake and holds nothing.
    pub(super) fn asof_now(&self) -> Option<Date> {
        let last = (self.now() + 14.hours()).to_zoned(jiff::tz::TimeZone::UTC).date();
        self.asof.filter(|day| *day <= last)
    }

    /// Notes the day that `marts.asof` stands for.
    pub(super) fn stands_for(&mut self, day: Option<Date>) {
        self.asof = self.asof_now().max(day);
    }

    /// Sets the clock forward, or back.
    pub(super) fn pass(&self, minutes: i64) {
        simulation::set_now(self.now() + minutes.minutes());
    }

    /// The next morning, give or take an hour.
    pub(super) fn next_day(&self, draw: &mut Draw) {
        let morning = self.today().tomorrow().unwrap().at(3, 0, 0, 0).in_tz(ZONE).unwrap().timestamp();
        simulation::set_now(morning + i64::try_from(draw.below(60)).unwrap().minutes());
    }

    /// A name that was not given before.
    pub(super) fn name(&mut self, kind: &str) -> String {
        self.names += 1;
        format!("{kind}{}", self.names)
    }

    /// A new item.
    pub(super) fn item(&mut self) -> Value {
        let id = self.name("i");
        json!({ "id": id, "name": format!("thing {id}"), "price": 100 + self.names * 37 % 900, "stars": self.names % 6 })
    }

    /// A new shelf in an area, with a few items on it.
    pub(super) fn add_shelf(&mut self, area: &str) {
        let shelf = self.name("s");
        let items: Vec<Value> = (0..2 + self.names % 5).map(|_| self.item()).collect();
        let mut state = self.site.state();
        let list = ("shelves".to_owned(), area.to_owned());
        state.lists.entry(list).or_default().push(json!({ "id": shelf, "name": format!("shelf {shelf}") }));
        state.lists.insert(("items".to_owned(), shelf), items);
    }

    /// The lists of items that the site has.
    pub(super) fn item_lists(&self) -> Vec<super::site::List> {
        self.site.state().lists.keys().filter(|(source, _)| source == "items").cloned().collect()
    }

    /// What processes did so far, in a few words.
    pub(super) fn did(&self) -> String {
        let mut paths = self.site.state().paths.clone();
        paths.sort_unstable();
        format!("{} runs, the last of which asked for {}", self.runs, paths.join(" "))
    }

    /// Whether the last run was told to stop.
    pub(super) fn was_stopped(&self) -> bool {
        self.site.state().stopping.as_ref().is_some_and(|(_, told)| told.is_cancelled())
    }

    /// Whether the site has everything and nothing in the files is meant to fail.
    pub(super) fn is_healthy(&self) -> bool {
        let state = self.site.state();
        // How many odd records are too many is the program's to say.
        let is_odd = state.lists.values().flatten().any(super::operation::is_odd);
        let is_told = self.service.trouble == Trouble::None && !self.service.is_aside && self.files.budget.is_none();
        state.condition.is_well() && !is_odd && is_told && self.files.are_fine()
    }

    /// Whether a file of a table is damaged.
    pub(super) fn is_damaged_table(&self, table: &str) -> bool {
        self.damage.is_below(&self.in_lake(&table.replace('.', "/")))
    }

    /// The states that an operation meets now.
    pub(super) fn states(&self) -> Vec<&'static str> {
        let files = &self.files;
        let states = [
            self.is_healthy() && !self.was_killed && !self.is_damaged && !self.is_open,
            !self.site.state().condition.is_well(),
            files.item_bound == 1 || files.view_bound == 1,
            files.has_other_types(),
            self.was_killed,
            self.is_damaged,
            !self.damage.now().is_empty(),
            self.is_open,
            !self.sinks.touched.is_empty(),
            !self.sinks.orphans.is_empty(),
            self.service.trouble != Trouble::None,
            self.files.budget.is_some(),
        ];
        STATES.into_iter().zip(states).filter(|(_, is)| *is).map(|(state, _)| state).collect()
    }

    /// Runs the project.
    pub(super) fn run(&mut self, how: &How) -> End {
        let begun = std::time::Instant::now();
        self.site.state().day = how.dt.unwrap_or(self.today());
        self.site.state().deadly = how.deadly;
        let told = Cancel::new();
        self.site.state().stopping = how.stop.map(|at| (at, told.clone()));
        self.site.state().asked = 0;
        self.site.state().asked_for.clear();
        self.site.state().paths.clear();
        self.damage.moment(self.now());
        self.said.lock().unwrap().clear();
        self.sinks.begin();
        self.service.begin(self.today(), self.files.budget);
        simulation::live(Life { death: how.death, patience: Some(PATIENCE) });
        let (born, runtime) = (simulation::elapsed(), runtime());
        let hosts = if how.hosts.is_empty() { vec![None] } else { how.hosts.clone() };
        let ended = runtime.block_on(async {
            self.site.serve();
            self.service.serve();
            let runs = hosts.into_iter().enumerate().map(|(number, host)| {
                let (folder, told) = (self.folder().to_owned(), told.clone());
                async move {
                    if host.is_none() {
                        // Two people don't press a key in the same second; two containers are started in it.
                        simulation::sleep(Duration::from_secs(2) * u32::try_from(number).unwrap()).await;
                    }
                    on(host, Box::pin(once(folder, how, told))).await
                }
            });
            let stop = Cancel::new();
            let workers = how.workers.iter().map(|hand| {
                on(
                    hand.host.clone(),
                    Box::pin(work(self.folder().to_owned(), hand.clone(), stop.clone(), Arc::clone(&self.said))),
                )
            });
            let workers = futures::future::join_all(workers);
            let runs = async {
                let ran = futures::future::join_all(runs).await;
                stop.cancel();
                ran
            };
            tokio::select! {
                (ran, _) = async { futures::join!(runs, workers) } => Some(ran),
                () = simulation::died() => None,
                () = self.site.killed() => None,
            }
        });
        // What was handed to the disk gets there; nothing else goes on.
        runtime.shutdown_timeout(Duration::from_secs(20));
        if ended.is_some() {
            self.written = simulation::written();
        }
        let broke_off = (ended.is_none() || told.is_cancelled()).then(|| how.jobs.max(1) as u64 * MOST_HOSTS);
        self.service.end(broke_off);
        self.runs += 1;
        self.spent.0 += begun.elapsed().as_millis();
        match ended {
            Some(ran) => End::Ran(ran),
            None if simulation::elapsed().checked_sub(born).unwrap() > PATIENCE => End::Endless,
            None => End::Killed(simulation::current_point()),
        }
    }

    /// Looks at the lake.
    ///
    /// # Errors
    /// If a table can't be read.
    pub(super) fn look(&mut self) -> anyhow::Result<Tables> {
        let begun = std::time::Instant::now();
        simulation::live(Life::default());
        let runtime = runtime();
        let folder = self.folder().to_owned();
        let (sinks, before, served) = (&mut self.sinks, &self.tables, &self.files.served);
        let tables = runtime.block_on(async {
            let global = global(&folder);
            let project = crate::project::Project::open(&global)?;
            let lake = wire::lake(&project, &global).await?;
            let tables = Tables::read(&folder, &lake, &wire::engine(&project)?, before).await?;
            sinks.look(&folder, (&project, &lake), &tables, served).await?;
            anyhow::Ok(tables)
        });
        runtime.shutdown_timeout(Duration::from_secs(20));
        self.spent.1 += begun.elapsed().as_millis();
        tables
    }

    /// What `onggi plan` says now.
    ///
    /// # Errors
    /// If it can't say.
    pub(super) fn plan(&self) -> anyhow::Result<Plan> {
        simulation::live(Life::default());
        let runtime = runtime();
        let plan = runtime.block_on(async {
            let global = global(self.folder());
            let project = check::checked(&global)?;
            let lake = wire::lake(&project, &global).await?;
            let lines = crate::verb::plan::lines(&project, &lake, self.today(), &[]).await?;
            let steps = lines.iter().map(serde_json::to_value).collect::<Result<_, _>>()?;
            let state = lake_state::look(&project, &lake).await?;
            let tables = state.tables.into_iter().map(|table| {
                let stale = table.stale.iter().flat_map(|stale| stale.days.iter()).chain(&table.as_of_then);
                (table.table.to_string(), (table.reshaped, stale.map(ToString::to_string).collect()))
            });
            anyhow::Ok(Plan { steps, tables: tables.collect() })
        });
        runtime.shutdown_timeout(Duration::from_secs(20));
        plan
    }
}

/// What a run would do, and how the lake stands.
pub(super) struct Plan {
    /// A line a step.
    pub steps: Vec<Value>,
    /// Tables that are not as the project says: whether they are made anew as a whole, and which days are not as they would
    /// be built now.
    pub tables: BTreeMap<String, (bool, BTreeSet<String>)>,
}

/// The day of an instant in the project's zone.
pub(super) fn day_of(at: Timestamp) -> Date {
    at.in_tz(ZONE).unwrap().date()
}

/// The work, each step of it done on a machine of this name.
async fn on<T>(host: Option<String>, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    std::future::poll_fn(|context| {
        simulation::set_host(host.clone());
        let polled = work.as_mut().poll(context);
        simulation::set_host(None);
        polled
    })
    .await
}

pub(super) fn runtime() -> Runtime {
    simulation::runtime().unwrap()
}

pub(super) fn global(folder: &Path) -> Global {
    Global { project: folder.to_owned(), config: None, lake: None, json: false, quiet: true, log: String::new() }
}
