//! Several workers on one queue, killed, stopped, frozen and poisoned: every task is in the lake once, and `status` says
//! what is. Each story is told with the embedded queue and with SQS.

#![expect(clippy::disallowed_methods, reason = "whole processes are waited for, which no clock of ours paces")]

use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use replica::{ReplicaOptions, Switches};
use serde_json::Value;

use crate::support::{self, Project, Site, last_object, text};

/// How long a message is hidden here: long enough for a heartbeat on a busy machine.
const VISIBILITY: Duration = Duration::from_secs(5);

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_mins(2);

/// Settings of tests: short waits.
const TUNING: &str = "\n[queue]\nvisibility_seconds = 5\nsign_seconds = 0.5\n";

/// A project on the embedded queue, and one on SQS where a server for it is installed.
fn projects(site: &Site) -> Vec<(&'static str, Project)> {
    let embedded = Project::new(site);
    embedded.append("onggi.toml", TUNING);
    let mut projects = vec![("embedded", embedded)];
    if let Some(server) = services::aws() {
        let (queue, _) = server.queue();
        let mut project = Project::new(site);
        let place = format!("uri = \"sqs://{queue}\"\nendpoint = \"{}\"\n", server.endpoint());
        project.append("onggi.toml", &format!("{TUNING}{place}[aws]\nregion = \"{}\"\n", services::REGION));
        for (name, value) in
            [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test"), ("AWS_EC2_METADATA_DISABLED", "true")]
        {
            project.env.push((name, value.to_owned()));
        }
        projects.push(("sqs", project));
    }
    projects
}

/// A command that goes on; killed when the test ends early.
struct Running(Option<Child>);

impl Running {
    fn start(project: &Project, arguments: &[&str]) -> Self {
        let mut command = project.command(arguments);
        Self(Some(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()))
    }

    fn worker(project: &Project, jobs: &str) -> Self {
        Self::start(project, &["worker", "--json", "--jobs", jobs])
    }

    fn pid(&self) -> u32 {
        self.0.as_ref().unwrap().id()
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status().unwrap();
        assert!(sent.success(), "kill -{name}");
    }

    /// What it printed until it ended.
    fn output(mut self) -> Output {
        self.0.take().unwrap().wait_with_output().unwrap()
    }

    /// Told to stop, it ends by itself and in time.
    fn stop(self) -> Value {
        self.signal("TERM");
        let began = Instant::now();
        let output = self.output();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        assert!(began.elapsed() < Duration::from_secs(10), "it took {:?} to stop", began.elapsed());
        last_object(&output)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = Command::new("kill").args(["-CONT", &child.id().to_string()]).status();
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The workers that `status` shows, by process id.
fn worker(project: &Project, pid: u32) -> Option<Value> {
    let output = project.onggi(&["status", "--json"]);
    assert!(output.status.success(), "{}", text(&output));
    let stdout = String::from_utf8(output.stdout).unwrap();
    let mut objects = stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    objects.find_map(|object| {
        let worker = object.get("worker")?.clone();
        (worker["process"]["pid"] == pid).then_some(worker)
    })
}

/// Waits until `status` says this of a worker.
fn until(project: &Project, pid: u32, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let began = Instant::now();
    let mut last = None;
    while began.elapsed() < PATIENCE {
        last = worker(project, pid);
        if let Some(worker) = last.as_ref().filter(|worker| holds(worker)) {
            return worker.clone();
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("worker {pid} was never {what}: {last:?}");
}

fn works(worker: &Value) -> bool {
    worker["health"] == "lives" && worker["state"] == "working" && worker["tasks"][0]["key"].is_string()
}

/// The rows of the list, without when and by whom they were fetched.
fn rows(project: &Project) -> Vec<String> {
    let rows = project.sql("select * from raw.naver_places order by _key, place_id");
    let rows = rows.into_iter().map(|mut row| {
        row.as_object_mut().unwrap().retain(|name, _| name != "_fetched_at");
        row.to_string()
    });
    rows.collect()
}

#[test]
fn killed_stopped_and_frozen_workers_do_every_task_once() {
    let site = Site::new(40, 100);
    let calm = Project::new(&site);
    let output = calm.onggi(&["run", "--quiet", "--select", "naver_places"]);
    assert!(output.status.success(), "{}", text(&output));
    let expected = rows(&calm);
    assert!(expected.len() >= 40, "{} rows", expected.len());
    // From here on a task takes some seconds, so that what happens to a worker happens in the middle of one.
    let slow = Switches { latency: Duration::from_millis(500), ..Switches::default() };
    site.replica.set_switches(slow);

    for (name, project) in projects(&site) {
        println!("--- {name}");
        let run = Running::start(
            &project,
            &["run", "--json", "--quiet", "--workers", "external", "--select", "naver_places"],
        );
        let (killed, stopped, frozen) =
            (Running::worker(&project, "1"), Running::worker(&project, "1"), Running::worker(&project, "1"));
        for worker in [&killed, &stopped, &frozen] {
            until(&project, worker.pid(), "at work", works);
        }
        let held = until(&project, frozen.pid(), "at work", works)["tasks"][0]["task"].clone();
        frozen.signal("STOP");
        let began = Instant::now();

        let pid = killed.pid();
        killed.signal("KILL");
        assert_eq!(killed.output().status.code(), None, "{name}");
        until(&project, pid, "dead", |worker| worker["health"] == "dead");

        let pid = stopped.pid();
        let worked = stopped.stop();
        assert_eq!(worked["lost"], 0, "{name}: {worked}");
        let last = until(&project, pid, "stopped", |worker| worker["health"] == "stopped");
        assert_eq!(last["tasks"], serde_json::json!([]), "{name}: it handed back what it had");

        // Nobody is left who moves; a fresh one takes over what the others held.
        until(&project, frozen.pid(), "dead", |worker| worker["health"] == "dead");
        let fresh = Running::worker(&project, "3");
        until(&project, fresh.pid(), "at work", works);
        let text_of_status = text(&project.onggi(&["status"]));
        for word in ["workers", "working", "dead", "ago"] {
            assert!(text_of_status.contains(word), "{name}: {word} is not in\n{text_of_status}");
        }
        std::thread::sleep((VISIBILITY + Duration::from_secs(2)).saturating_sub(began.elapsed()));
        frozen.signal("CONT");
        until(&project, frozen.pid(), "back", |worker| worker["health"] == "lives");

        let output = run.output();
        assert_eq!(output.status.code(), Some(0), "{name}\n{}", text(&output));
        let report = last_object(&output);
        let (frozen, fresh) = (frozen.stop(), fresh.stop());
        assert!(frozen["lost"].as_u64() >= Some(1), "{name}: it held {held} when it froze: {frozen}");
        assert!(fresh["tasks"].as_u64() >= Some(1), "{name}: {fresh}");

        let found = rows(&project);
        assert_eq!(found, expected, "{name}: rows as of an undisturbed run");
        assert_eq!(report["fetched"].as_u64(), Some(found.len() as u64), "{name}: {report}");
        let dead = project.onggi(&["retry", "--json"]);
        assert!(dead.status.success() && dead.stdout.is_empty(), "{name}: {}", text(&dead));
        let again = project.onggi(&["run", "--json", "--quiet", "--select", "naver_places"]);
        assert_eq!(last_object(&again)["fetched"], 0, "{name}: {}", text(&again));
    }
}

#[test]
fn a_poisoned_key_fails_alone_and_is_asked_for_when_the_cause_is_mended() {
    if !support::browser() {
        return;
    }
    let site = Site::with(ReplicaOptions { places: 3, reviews: 40, ..ReplicaOptions::default() });
    let calm = Project::new(&site);
    calm.run(0);
    let poisoned = calm.sql("select place_id from marts.places order by place_id")[1]["place_id"].clone();
    let poisoned = poisoned.as_str().unwrap();

    for (name, project) in projects(&site) {
        println!("--- {name}");
        project.replace("sources/naver_reviews.toml", "per_task = 10", "per_task = 1");
        project.replace("sources/naver_reviews.toml", "max_receives = 5", "max_receives = 2");
        let listed = project.onggi(&["run", "--quiet", "--select", "+staging.places"]);
        assert!(listed.status.success(), "{}", text(&listed));
        site.replica.set_switches(Switches { poisoned: [poisoned.to_owned()].into(), ..Switches::default() });

        let worker = Running::worker(&project, "1");
        let output = project.onggi(&["run", "--json", "--workers", "external"]);
        assert_eq!(output.status.code(), Some(3), "{name}\n{}", text(&output));
        let report = last_object(&output);
        assert_eq!(report["status"], "partial", "{name}");
        let failed = format!("key `{poisoned}` failed");
        assert!(text(&output).contains(&failed), "{name}\n{}", text(&output));
        assert_eq!(project.number("select count(distinct _key) from raw.naver_reviews"), 2, "{name}: the rest landed");
        let open = "select count(*) from ops.outcomes where source = 'naver_reviews' and outcome = 'failed'";
        assert_eq!(project.number(open), 1, "{name}");
        worker.stop();
        for arguments in [&["status"][..], &["retry"], &["retry", "--source", "naver_reviews"]] {
            let shown = text(&project.onggi(arguments));
            assert!(shown.contains(&failed), "{name}\n{shown}");
        }

        // A run of one's own asks for that key again and for no other, and says the same as long as it fails.
        let pages = site.replica.stats().pages();
        assert_eq!(project.run(3)["status"], "partial", "{name}");
        assert!(site.replica.stats().pages() > pages, "{name}");

        site.replica.set_switches(Switches::default());
        project.run(0);
        assert_eq!(project.tables(), calm.tables(), "{name}: as of a day without poison");
        let nothing = text(&project.onggi(&["retry"]));
        assert!(nothing.contains("no key is unfinished"), "{name}\n{nothing}");
    }
}

#[test]
fn a_run_that_waits_says_that_nobody_works_and_leaves_its_tasks_to_the_next() {
    let site = Site::new(3, 10);
    for (name, project) in projects(&site) {
        println!("--- {name}");
        let run = Running::start(&project, &["run", "--workers", "external", "--select", "naver_places"]);
        std::thread::sleep(Duration::from_secs(20));
        run.signal("INT");
        let output = run.output();
        assert_eq!(output.status.code(), Some(1), "{name}\n{}", text(&output));
        let said = text(&output);
        assert!(said.contains("no worker has shown a sign of life") && said.contains("onggi worker"), "{name}\n{said}");

        let idle = project.onggi(&["worker", "--until-idle", "--json", "--quiet"]);
        assert_eq!(idle.status.code(), Some(0), "{name}\n{}", text(&idle));
        assert_eq!(last_object(&idle)["tasks"], 10, "{name}");
        let run = project.onggi(&["run", "--json", "--quiet", "--select", "naver_places"]);
        assert_eq!(last_object(&run)["fetched"], 0, "{name}: {}", text(&run));
    }
}

#[test]
fn three_workers_together_keep_a_hosts_pace() {
    /// Requests a second.
    const RATE: u64 = 10;
    let site = Site::new(20, 50);
    let project = Project::new(&site);
    project.append("onggi.toml", TUNING);
    let before = std::fs::read_to_string(project.folder.join("onggi.toml")).unwrap();
    std::fs::write(project.folder.join("onggi.toml"), before.replace("rate = 1000", &format!("rate = {RATE}")))
        .unwrap();

    let run = Running::start(&project, &["run", "--quiet", "--workers", "external", "--select", "naver_places"]);
    let workers = [(); 3].map(|()| Running::worker(&project, "2"));
    let began = Instant::now();
    let mut seen: Vec<(Duration, u64)> = Vec::new();
    let mut run = run;
    while run.0.as_mut().unwrap().try_wait().unwrap().is_none() {
        assert!(began.elapsed() < PATIENCE, "{:?}", seen.last());
        seen.push((began.elapsed(), site.replica.stats().requests));
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = run.output();
    assert!(output.status.success(), "{}", text(&output));
    let worked: Vec<u64> = workers.map(|worker| worker.stop()["tasks"].as_u64().unwrap()).into();
    assert!(worked.iter().filter(|tasks| **tasks > 0).count() >= 2, "one worker did everything: {worked:?}");

    // robots.txt is asked for by each worker and for each host, without waiting; a burst of one a worker is allowed.
    let robots = site.replica.stats().robots;
    let window = Duration::from_secs(2);
    let most = RATE * window.as_secs() + 3 + robots + 1;
    for (place, (from, first)) in seen.iter().enumerate() {
        let last = seen[place..].iter().take_while(|(at, _)| at.saturating_sub(*from) <= window).last().unwrap().1;
        assert!(last - first <= most, "{} requests in {window:?} from {from:?}, {most} are allowed", last - first);
    }
    let (requests, took) = (seen.last().unwrap().1, began.elapsed());
    println!("{requests} requests in {took:?} by {worked:?}");
    assert!(requests >= 50, "{requests} requests");
}

/// Where a worker can die, in the order in which it comes by.
const DEATHS: [&str; 11] = [
    "extract.receive.after",
    "extract.fetch.before",
    "extract.fetch.after",
    "extract.stage.before",
    "extract.stage.after",
    "extract.land.before",
    "extract.land.after",
    "extract.delete.before",
    "extract.delete.after",
    "extract.unstage.after",
    "catalog.commit.after",
];

#[test]
fn a_worker_killed_at_any_point_is_followed_by_one_that_ends_its_work() {
    let site = Site::new(12, 20);
    let calm = Project::new(&site);
    // Fewer words make shorter stories: two tasks.
    let few = |project: &Project| project.replace("sources/naver_places.toml", "per_task = 5", "per_task = 25");
    few(&calm);
    let output = calm.onggi(&["run", "--quiet", "--select", "naver_places"]);
    assert!(output.status.success(), "{}", text(&output));
    let expected = rows(&calm);

    for death in DEATHS {
        for (name, project) in projects(&site) {
            few(&project);
            project.replace("onggi.toml", "visibility_seconds = 5", "visibility_seconds = 2");
            let run = Running::start(
                &project,
                &["run", "--json", "--quiet", "--workers", "external", "--select", "naver_places"],
            );
            let log = project.folder.join("fired.log");
            let point = format!("{death}:1:{}", log.display());
            let killed =
                project.command(&["worker", "--quiet", "--jobs", "1"]).env("ONGGI_FAILPOINT", point).output().unwrap();
            assert_eq!(std::fs::read_to_string(&log).unwrap_or_default().trim(), death, "{name}: {}", text(&killed));
            let heir = Running::worker(&project, "2");
            let output = run.output();
            assert_eq!(output.status.code(), Some(0), "{name}, {death}\n{}", text(&output));
            assert_eq!(heir.stop()["lost"], 0, "{name}, {death}");
            assert_eq!(rows(&project), expected, "{name}, {death}");
            let dead = project.onggi(&["retry", "--json"]);
            assert!(dead.stdout.is_empty(), "{name}, {death}: {}", text(&dead));
        }
    }
}

#[test]
fn a_queue_that_is_not_there_is_said_with_a_way_out() {
    let site = Site::new(2, 4);
    let Some((_, project)) = projects(&site).into_iter().find(|(name, _)| *name == "sqs") else { return };
    project.replace("onggi.toml", "uri = \"sqs://", "uri = \"sqs://nobody-made-");
    for command in [&["worker", "--until-idle"][..], &["run", "--select", "naver_places"], &["doctor"]] {
        let output = project.onggi(command);
        assert_eq!(output.status.code(), Some(1), "{command:?}\n{}", text(&output));
        let said = text(&output);
        assert!(said.contains("hint: make it and its dead-letter queue"), "{command:?}\n{said}");
        assert!(said.contains("--queue-name nobody-made-"), "{command:?}\n{said}");
    }
}
