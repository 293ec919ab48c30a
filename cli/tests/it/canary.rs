//! No secret in anything that is printed or kept: every secret of a project holds one word, every verb is run at trace level, in
//! success and in failure, and the word is looked for in all that was said and in all that is there afterwards.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use llm_replica::{LlmReplica, LlmReplicaOptions};

use crate::cloud::{self, Servers};
use crate::support::{self, Project, Site};

/// In every secret, and nowhere else.
const CANARY: &str = "canary-7f3a91";
const API_KEY: &str = "sk-canary-7f3a91-of-the-model";
const IDENTITY_KEY: &str = "canary-7f3a91-of-identity";

/// Everything that commands said, and what they are.
struct Heard {
    text: String,
}

impl Heard {
    /// Runs a verb at trace level, as text and as JSON, with changes to the environment.
    fn listen(&mut self, project: &Project, arguments: &[&str], changes: &[(&str, &str)]) {
        for json in [false, true] {
            let mut all = vec!["--log", "trace"];
            all.extend(json.then_some("--json"));
            all.extend(arguments);
            let mut command = project.command(&all);
            command.envs(changes.iter().copied());
            let output = command.output().unwrap();
            let _ = writeln!(
                self.text,
                "$ onggi {all:?} with {:?}: {:?}",
                changes.iter().map(|c| c.0).collect::<Vec<_>>(),
                output.status.code()
            );
            self.text += &String::from_utf8_lossy(&output.stdout);
            self.text += &String::from_utf8_lossy(&output.stderr);
        }
    }

    /// The lines with the word, shortened around it.
    fn leaks(&self) -> Vec<String> {
        leaks(&self.text)
    }
}

fn leaks(text: &str) -> Vec<String> {
    let mut heading = "";
    let mut found = Vec::new();
    for line in text.lines() {
        if line.starts_with("$ onggi") || line.starts_with("== ") {
            heading = line;
        }
        if let Some(at) = line.find(CANARY) {
            let (from, to) = (line.floor_char_boundary(at.saturating_sub(120)), line.ceil_char_boundary(at + 60));
            found.push(format!("{heading}\n   …{}", &line[from..to]));
        }
    }
    found
}

#[test]
fn no_secret_is_printed_or_kept() {
    if !support::browser() {
        return;
    }
    let (Some(servers), Some(python)) = (cloud::servers(), services::python()) else { return };
    let site = Site::new(4, 40);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let options = LlmReplicaOptions { key: API_KEY.to_owned(), ..LlmReplicaOptions::default() };
    let model = runtime.block_on(LlmReplica::start(options)).unwrap();
    let mut project = cloud::project(&site, &servers);
    cloud::ask(&project, &model);
    set(&mut project, "OPENAI_API_KEY", API_KEY);
    set(&mut project, "ONGGI_IDENTITY_KEY", IDENTITY_KEY);

    let mut heard = Heard { text: String::new() };
    let wrong_key = [("OPENAI_API_KEY", "sk-canary-7f3a91-that-is-wrong")];
    let wrong_aws =
        [("AWS_SECRET_ACCESS_KEY", "canary-7f3a91-that-is-wrong"), ("AWS_SESSION_TOKEN", "canary-7f3a91-token")];
    let port = servers.postgres.port();
    let wrong_password = format!("postgres://onggi:canary-7f3a91-that-is-wrong@127.0.0.1:{port}/postgres");
    let nobody_there = "postgres://onggi:canary-7f3a91-to-nobody@127.0.0.1:9/postgres";
    let no_url = "postgres//onggi:canary-7f3a91-in-no-url";
    // In failure first: the runs that fail leave something to do for the one that does not.
    heard.listen(&project, &["doctor"], &wrong_aws);
    heard.listen(&project, &["sql", "show tables"], &wrong_aws);
    heard.listen(&project, &["run"], &wrong_key);
    for url in [wrong_password.as_str(), nobody_there, no_url] {
        heard.listen(&project, &["doctor"], &[("ONGGI_POSTGRES", url)]);
        heard.listen(&project, &["run"], &[("ONGGI_POSTGRES", url)]);
        heard.listen(&project, &["search", "국"], &[("ONGGI_POSTGRES", url)]);
        heard.listen(&project, &["reconcile"], &[("ONGGI_POSTGRES", url)]);
    }
    for verb in [
        &["plan"][..],
        &["run"],
        &["run"],
        &["doctor"],
        &["status"],
        &["check"],
        &["worker", "--until-idle"],
        &["retry"],
        &["search", "국"],
        &["reconcile", "--mend"],
        &["sql", "select * from ops.runs"],
        &["sql", "select * from ops.costs"],
        &["catalog", "publish"],
        &["sql", "--athena", "select 1"],
    ] {
        heard.listen(&project, verb, &[]);
    }
    let report = project.run(0);
    assert_eq!(report["status"], "done");
    assert!(heard.text.contains("TRACE") || heard.text.contains("DEBUG"), "trace level was heard");
    assert!(heard.leaks().is_empty(), "{}", heard.leaks().join("\n"));

    let kept = kept(&project, &servers, &python);
    assert!(
        kept.contains("_onggi/lake.json") && kept.contains("CREATE TABLE serving.places"),
        "the search looks where it should"
    );
    assert!(leaks(&kept).is_empty(), "{}", leaks(&kept).join("\n"));
}

#[test]
fn the_search_bites() {
    let heard = format!("$ onggi run\nfine\nauthorization: Bearer {API_KEY} 국\n");
    assert_eq!(leaks(&heard).len(), 1);
}

fn set(project: &mut Project, name: &str, value: &str) {
    let secret = &mut project.env.iter_mut().find(|(it, _)| *it == name).unwrap().1;
    value.clone_into(secret);
}

/// Everything that is there afterwards, as text: the project's files, the bucket, every table, the database, the catalog.
fn kept(project: &Project, servers: &Servers, python: &Path) -> String {
    let mut kept = String::new();
    files(&project.folder, &mut kept);
    for row in project.sql(
        "select table_schema, table_name from information_schema.tables where table_schema <> 'information_schema'",
    ) {
        let table = format!("{}.{}", row["table_schema"].as_str().unwrap(), row["table_name"].as_str().unwrap());
        let _ = writeln!(kept, "== {table}");
        for row in project.sql(&format!("select * from {table}")) {
            let _ = writeln!(kept, "{row}");
        }
    }
    let url = &project.env.iter().find(|(name, _)| *name == "ONGGI_POSTGRES").unwrap().1;
    let dump = Command::new(servers.postgres.bin().join("pg_dump")).arg(url).output().unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    kept += "== database\n";
    kept += &String::from_utf8_lossy(&dump.stdout);
    let script = "import boto3, json, sys
keys = dict(region_name='us-east-1')
s3 = boto3.client('s3', endpoint_url=sys.argv[1], **keys)
for bucket in s3.list_buckets()['Buckets']:
    for page in s3.get_paginator('list_objects_v2').paginate(Bucket=bucket['Name']):
        for it in page.get('Contents', []):
            body = s3.get_object(Bucket=bucket['Name'], Key=it['Key'])['Body'].read()
            print('==', it['Key']); print(body.decode('latin-1'))
glue = boto3.client('glue', endpoint_url=sys.argv[2], **keys)
for it in glue.get_databases()['DatabaseList']:
    print('== glue', it['Name']); print(json.dumps(glue.get_tables(DatabaseName=it['Name'])['TableList'], default=str))
";
    let dump = Command::new(python)
        .args(["-c", script, servers.s3.endpoint(), servers.aws.endpoint()])
        .env("AWS_ACCESS_KEY_ID", servers.s3.access_key())
        .env("AWS_SECRET_ACCESS_KEY", servers.s3.secret_key())
        .output()
        .unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    kept += &String::from_utf8_lossy(&dump.stdout);
    kept
}

fn files(folder: &Path, kept: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, kept);
        } else {
            let _ =
                writeln!(kept, "== {}\n{}", path.display(), String::from_utf8_lossy(&std::fs::read(&path).unwrap()));
        }
    }
}
