//! Paid models with whole commands: what a run asks, what it costs, where it stops, and what a kill pays twice.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, ListBuilder, RecordBatch, StringArray, StringBuilder};
use arrow::datatypes::{DataType, Field};
use catalog::{CommitInfo, Lake, RunId, Scope, TableName, TableSpec, Txn, TxnRule, WriteOptions, failpoint};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use llm_replica::{Fault, LlmReplica, LlmReplicaOptions, Stats, Switches};
use serde_json::Value;

use crate::support::{self, Project, Site, last_object, text};

/// The step that all these tests are about.
const STEP: &str = "staging.place_summaries";
/// The key that the service wants.
pub(crate) const KEY: &str = "sk-canary-of-the-model";
const PRICES: &str = "[llm.prices.small]\ninput = 10.0\noutput = 100.0\n[llm.prices.embed]\ninput = 10.0\n";

/// A model service on a runtime of its own.
pub(crate) struct Service {
    replica: LlmReplica,
    runtime: tokio::runtime::Runtime,
}

impl Service {
    pub(crate) fn new(switches: Switches) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let options = LlmReplicaOptions { switches, key: KEY.to_owned(), ..LlmReplicaOptions::default() };
        let replica = runtime.block_on(LlmReplica::start(options)).unwrap();
        Self { replica, runtime }
    }

    pub(crate) fn stats(&self) -> Stats {
        self.replica.stats()
    }

    /// The `[llm]` section of a project whose models are this service's and whose key is in `llm.key`.
    pub(crate) fn section(&self, more: &str) -> String {
        format!(
            "\n[llm]\nprovider = \"openai\"\nurl = \"{}\"\nkey = \"file:llm.key\"\nsummary_model = \"small\"\n\
             embedding_model = \"embed\"\ndimensions = 8\noutput_tokens = 200\n{more}\n",
            self.replica.url()
        )
    }

    /// A project whose models are this service's, with so many places in its lake.
    fn project(&self, places: usize, more: &str) -> Project {
        let project = Project::unpointed();
        project.put("llm.key", KEY);
        project.append("onggi.toml", &self.section(more));
        self.runtime.block_on(fill(&project, places));
        project
    }
}

/// Writes the table whose texts are summarised, as the models would.
async fn fill(project: &Project, places: usize) {
    let lake = Lake::open(project.folder.join("lake").to_str().unwrap(), "test").await.unwrap();
    let keys: ArrayRef = Arc::new((0..places).map(|i| Some(format!("p{i:03}"))).collect::<StringArray>());
    let mut texts = ListBuilder::new(StringBuilder::new()).with_field(Field::new("element", DataType::Utf8, true));
    for place in 0..places {
        texts.append_value([Some(format!("{place}번 집은 국물이 진하고 친절해요")), Some("또 가고 싶어요".to_owned())]);
    }
    let texts: ArrayRef = Arc::new(texts.finish());
    let batch =
        RecordBatch::try_from_iter_with_nullable([("place_id", keys, true), ("summary_texts", texts, true)]).unwrap();
    let name: TableName = "marts.place_reviews".parse().unwrap();
    let spec = TableSpec { name, schema: batch.schema(), partitioned: false, stats_columns: Vec::new() };
    let table = lake.create(&spec).await.unwrap();
    let rows = Box::pin(RecordBatchStreamAdapter::new(batch.schema(), futures::stream::iter([Ok(batch)])));
    let written = table.write(vec![rows], &WriteOptions::default()).await.unwrap();
    let run: RunId = "by-hand".parse().unwrap();
    let info = CommitInfo { run, now: "2026-10-01T00:00:00Z".parse().unwrap(), lineage: Vec::new() };
    let txn = Txn { app_id: "build/by-hand".into(), version: i64::try_from(places).unwrap(), rule: TxnRule::Equal };
    let _ = written.replace(Scope::All, txn, &info).await.unwrap();
}

/// `onggi run --select` of the step; its exit code and report.
fn run(project: &Project) -> (i32, Value, String) {
    let output = project.onggi(&["run", "--json", "--select", STEP]);
    (output.status.code().unwrap_or(-1), last_object(&output), text(&output))
}

fn summaries(project: &Project) -> Vec<Value> {
    project.sql(&format!("select place_id, summary, embedding from {STEP} order by place_id"))
}

#[test]
fn a_second_run_asks_nothing_and_the_plan_knew_what_the_first_would_cost() {
    let service = Service::new(Switches::default());
    let project = service.project(8, PRICES);
    let plan = project.onggi(&["plan", "--select", STEP]);
    let shown = text(&plan);
    assert!(shown.contains("8 summaries: 8 calls, at most") && shown.contains("in all at most"), "{shown}");
    assert_eq!(service.stats().requests, 0, "a plan asks nothing");
    let plan = last_object(&project.onggi(&["plan", "--json", "--select", STEP]));
    let most = plan["money"]["cost"].as_f64().unwrap();

    let (code, report, shown) = run(&project);
    assert_eq!((code, &report["summarised"], &report["embedded"]), (0, &Value::from(8), &Value::from(8)), "{shown}");
    assert!(shown.contains("9 calls") && shown.contains("cost 0."), "{shown}");
    let spent =
        project.sql("select sum(cost) as cost, sum(calls) as calls, count(distinct run) as runs from ops.costs");
    let cost = spent[0]["cost"].as_f64().unwrap();
    assert!(cost > 0.0 && cost <= most, "{cost} of {most}");
    assert_eq!((&spent[0]["calls"], &spent[0]["runs"]), (&Value::from(9), &Value::from(1)));

    let before = service.stats().requests;
    let (code, report, _) = run(&project);
    assert_eq!((code, &report["summarised"], service.stats().requests), (0, &Value::from(0), before));
    let plan = text(&project.onggi(&["plan", "--select", STEP]));
    assert!(plan.contains("nothing is to be done") && !plan.contains("at most"), "{plan}");
    no_key_anywhere(&project);
}

/// The key is in its file and nowhere else that this project wrote.
fn no_key_anywhere(project: &Project) {
    let mut folders = vec![project.folder.clone()];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if !path.ends_with("llm.key") {
                files += 1;
                let bytes = std::fs::read(&path).unwrap();
                let found = bytes.windows(9).any(|it| it == b"sk-canary");
                assert!(!found, "the key is in {}", path.display());
            }
        }
    }
    assert!(files > 20, "only {files} files");
}

#[test]
fn a_budget_is_of_a_day_and_every_run_of_it_is_partial() {
    let service = Service::new(Switches::default());
    let project = service.project(20, &format!("budget = 0.12\n{PRICES}"));
    let (code, report, shown) = run(&project);
    assert_eq!((code, &report["status"]), (3, &Value::from("partial")), "{shown}");
    assert!(
        shown.contains("stopped at the day's budget of 0.12:")
            && shown.contains("run again tomorrow or raise [llm] budget"),
        "{shown}"
    );
    let published = summaries(&project).iter().filter(|row| !row["summary"].is_null()).count();
    assert!(published > 0 && published < 20, "{published}");
    let status = text(&project.onggi(&["status", "--last", "1"]));
    assert!(status.contains("stopped at the day's budget"), "{status}");
    // Whoever repeats it, as schedulers do with what ended with 3, spends what is left of the day.
    for _ in 0..3 {
        assert_eq!(run(&project).0, 3);
    }
    let spent = || project.sql("select sum(cost) as cost from ops.costs")[0]["cost"].as_f64().unwrap();
    assert!(spent() <= 0.12, "{}", spent());
    project.replace("onggi.toml", "budget = 0.12", "budget = 10.0");
    let (code, _, shown) = run(&project);
    assert_eq!(code, 0, "{shown}");
    assert_eq!(summaries(&project).iter().filter(|row| !row["embedding"].is_null()).count(), 20);
    assert!(service.stats().paid_too_often().is_empty());
}

#[test]
fn what_is_set_aside_is_said_counts_in_the_exit_code_and_is_asked_for_on_request() {
    let service = Service::new(Switches { length: Fault::next(2), ..Switches::default() });
    let project = service.project(5, PRICES);
    let (code, report, shown) = run(&project);
    assert_eq!(
        (code, &report["status"], &report["summarised"]),
        (3, &Value::from("partial"), &Value::from(3)),
        "{shown}"
    );
    assert!(
        shown.contains("2 answers set aside (did not fit into `output_tokens`, the first since: ")
            && shown.contains("): asked for again from "),
        "{shown}"
    );
    assert!(shown.contains("hint: raise `output_tokens` in [llm]"), "{shown}");
    let asked = service.stats().calls;
    let (code, _, shown) = run(&project);
    assert_eq!((code, service.stats().calls), (3, asked), "it waits for its time: {shown}");
    let reasons = project.sql("select entity, reason, refusal, tries from ops.llm_results where reason is not null");
    assert_eq!(reasons.len(), 2);
    assert_eq!(reasons[0]["refusal"], "length", "{reasons:?}");

    let told = text(&project.onggi(&["retry", "--set-aside"]));
    assert!(told.contains("2 answers of a model to be asked for again, `onggi run` does it:"), "{told}");
    assert!(told.contains("asked 1 time: the answer did not fit into the 200 tokens that it may have"), "{told}");
    let plan = text(&project.onggi(&["plan", "--select", STEP]));
    assert!(plan.contains("2 summaries: 2 calls"), "{plan}");
    let (code, report, shown) = run(&project);
    assert_eq!((code, &report["summarised"]), (0, &Value::from(2)), "{shown}");
    assert!(summaries(&project).iter().all(|row| !row["summary"].is_null() && !row["embedding"].is_null()));
    assert_eq!(run(&project).0, 0);
    let none = text(&project.onggi(&["retry", "--set-aside"]));
    assert!(!none.contains("answers of a model"), "{none}");
}

#[test]
fn a_batch_is_left_and_taken_by_a_later_run() {
    let service = Service::new(Switches {
        batch_polls: 1,
        batch_shuffle: true,
        batch_expire: Fault::next(3),
        ..Switches::default()
    });
    let project = service.project(12, &format!("mode = \"batch\"\nbatch_requests = 5\n{PRICES}"));
    let (code, _, shown) = run(&project);
    assert_eq!(code, 3, "{shown}");
    assert!(shown.contains("3 batches under way, 12 answers; run again later"), "{shown}");
    let plan = text(&project.onggi(&["plan", "--select", STEP]));
    assert!(plan.contains("12 answers come with batches under way"), "{plan}");
    let mut runs = 1;
    while run(&project).0 == 3 {
        runs += 1;
        assert!(runs < 20);
    }
    assert_eq!(summaries(&project).iter().filter(|row| !row["embedding"].is_null()).count(), 12);
    let stats = service.stats();
    assert!(stats.batch_unpaid == 3 && stats.calls == 0, "{stats:?}");
    assert_eq!(stats.payments(), 24, "every key has one result, none was paid twice");
    assert!(stats.paid_ids.values().all(|times| *times == 1));
}

#[test]
fn a_key_that_is_missing_or_refused_is_a_clear_error() {
    let service = Service::new(Switches::default());
    let project = service.project(2, "");
    std::fs::write(project.folder.join("llm.key"), "sk-wrong").unwrap();
    let (code, _, shown) = run(&project);
    assert_eq!(code, 1, "{shown}");
    assert!(shown.contains("status 401") && !shown.contains("sk-wrong"), "{shown}");
    std::fs::remove_file(project.folder.join("llm.key")).unwrap();
    assert!(run(&project).2.contains("llm.key"));
    assert!(project.onggi(&["plan", "--select", STEP]).status.success(), "a plan needs no key");
    project.replace("onggi.toml", "output_tokens = 200", "output_tokens = 200\nbudget = 5.0");
    let output = project.onggi(&["plan"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("[llm.prices.\"small\"]"), "{}", text(&output));
}

#[test]
fn a_url_where_nobody_listens_fails_its_step_alone_and_says_so() {
    if !support::browser() {
        return;
    }
    let site = Site::new(3, 30);
    let project = Project::new(&site);
    std::fs::write(project.folder.join("llm.key"), "sk-canary-of-the-model\n").unwrap();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nowhere = format!("http://{closed}/v1");
    project.append(
        "onggi.toml",
        &format!(
            "\n[llm]\nprovider = \"openai\"\nurl = \"{nowhere}\"\nkey = \"file:llm.key\"\n\
             summary_model = \"small\"\nembedding_model = \"embed\"\n"
        ),
    );
    let output = project.onggi(&["run", "--json"]);
    let shown = text(&output);
    assert_eq!(output.status.code(), Some(1), "{shown}");
    assert!(
        shown.contains("asking `small`: the service can't be reached") && shown.contains("; tried 5 times"),
        "{shown}"
    );
    assert!(shown.contains("hint: check `url` in [llm], and that the server there runs"), "{shown}");
    assert!(shown.contains("skipped: `staging.place_summaries` failed"), "{shown}");
    let report = last_object(&output);
    assert_eq!((&report["status"], report["fetched"].as_u64()), (&Value::from("failed"), Some(33)), "{report}");
    assert_eq!(project.number("select count(*) from marts.place_reviews"), 3, "what stands before the step has landed");

    let service = Service::new(Switches::default());
    project.replace("onggi.toml", &nowhere, service.replica.url());
    let report = project.run(0);
    assert_eq!((&report["fetched"], &report["summarised"]), (&Value::from(0), &Value::from(3)), "{report}");
    assert_eq!(project.number("select count(*) from marts.places where embedding is not null"), 3);
    assert_eq!(service.stats().payments(), 6);
}

/// Kills a run at a point and finishes it by further runs; what was paid more than once, and how many calls were made before.
fn killed_at(point: &str, nth: u32, service: &Service, project: &Project) -> (BTreeMap<String, u64>, u64) {
    let log = project.folder.join("fired.log");
    let mut deaths = 0;
    for _ in 0..4 {
        let output = project
            .command(&["run", "--quiet", "--select", STEP])
            .env("ONGGI_FAILPOINT", format!("{point}:{nth}:{}", log.display()))
            .output()
            .unwrap();
        if output.status.signal() == Some(9) {
            deaths += 1;
            break;
        }
        // Points of a later run: a batch is taken by the next.
        assert_eq!(output.status.code(), Some(3), "{point}: {}", text(&output));
    }
    assert_eq!(deaths, 1, "{point} was not reached");
    assert_eq!(std::fs::read_to_string(&log).unwrap(), format!("{point}\n"));
    let before = service.stats().calls;
    let mut runs = 0;
    while run(project).0 == 3 {
        runs += 1;
        assert!(runs < 12, "{point}: no end");
    }
    (service.stats().paid.into_iter().filter(|(_, times)| *times > 1).collect(), before)
}

#[test]
fn killed_at_every_point_nothing_is_lost_and_only_what_was_under_way_is_paid_again() {
    let calm = Service::new(Switches::default()).project_done(9, "");
    let mut fired = 0;
    for point in failpoint::NAMES.iter().filter(|name| name.starts_with("llm.")) {
        let interactive =
            ["call", "reply", "costs", "gather"].iter().any(|it| point.starts_with(&format!("llm.{it}.")));
        let service = Service::new(Switches::default());
        let mode = if interactive { "interactive" } else { "batch" };
        let project = service.project(9, &format!("mode = \"{mode}\"\nbatch_requests = 4\n"));
        let (twice, sent) = killed_at(point, 1, &service, &project);
        fired += 1;
        assert_eq!(summaries(&project), calm, "{point}");
        let distinct = "select count(*) - count(distinct content_key) from ops.llm_results";
        assert_eq!(project.number(distinct), 0, "{point}: an answer is there twice");
        let stats = service.stats();
        if interactive {
            // Until the first reply is kept all that was sent may be lost, then one less, and nothing once all are kept.
            let lost = match point.split('.').nth(1) {
                Some("call") => sent,
                Some("reply") => sent - u64::from(*point == "llm.reply.after"),
                _ => 0,
            };
            assert!(twice.len() as u64 <= lost, "{point}: {sent} sent, {twice:?}");
        } else {
            assert!(twice.is_empty(), "{point}: {twice:?}");
            assert_eq!(stats.payments(), 18, "{point}");
        }
        let paid = project.number("select cast(sum(input_tokens) as bigint) from ops.costs");
        assert!(u64::try_from(paid).unwrap() <= stats.input_tokens, "{point}: a reply is counted twice");
        if !point.starts_with("llm.reply.before") && twice.is_empty() {
            assert_eq!(u64::try_from(paid).unwrap(), stats.input_tokens, "{point}: a reply is not counted");
        }
    }
    assert!(fired >= 13, "only {fired} points");
}

impl Service {
    /// The summaries of a run that nobody disturbs.
    fn project_done(&self, places: usize, more: &str) -> Vec<Value> {
        let project = self.project(places, more);
        let (code, _, shown) = run(&project);
        assert_eq!(code, 0, "{shown}");
        summaries(&project)
    }
}

#[test]
fn a_kill_in_the_middle_pays_for_nothing_twice_but_the_reply_that_was_lost() {
    let service = Service::new(Switches { latency: Duration::from_millis(40), ..Switches::default() });
    // After the first twenty the pace is four a second: one call is under way when the process dies.
    let project = service.project(28, "requests_per_minute = 240\n");
    let (twice, _) = killed_at("llm.reply.before", 25, &service, &project);
    assert!((1..=2).contains(&twice.len()), "{twice:?}");
    assert_eq!(summaries(&project).iter().filter(|row| !row["embedding"].is_null()).count(), 28);
}
