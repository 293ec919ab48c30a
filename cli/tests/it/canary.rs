//! No secret in anything that is printed or kept: every secret of a project holds one word, every verb is run at trace level, in
//! success and in failure, and the word is looked for in all that was said and in all that is there afterwards. The same for
//! what a site tells of persons, in every kind of answer, and for the secrets that its source sends along.

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
        &["reconcile", "--repair"],
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

/// What names a person at the site below, and a number to call.
const NICKNAME: &str = "canary-7f3a91-nick";
const PICTURE: &str = "https://img.example/canary-7f3a91.jpg";
const PHONE: &str = "010-7391-5528";

/// A site that says of a person, and of what it was told, all it can in each kind of answer.
fn talkative_site() -> u16 {
    use std::io::{BufRead, BufReader, Read};

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let Ok(mut socket) = socket else { continue };
            let lines = BufReader::new(socket.try_clone().unwrap().take(65_536)).lines();
            let request: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
            let answer = talkative_answer(&request);
            let _ = std::io::Write::write_all(&mut socket, answer.as_bytes());
        }
    });
    port
}

fn talkative_answer(request: &[String]) -> String {
    let path = request.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
    let told =
        request.iter().find(|line| line.to_lowercase().starts_with("authorization")).cloned().unwrap_or_default();
    let said = format!("{NICKNAME} {PICTURE} {PHONE} {path} {told}");
    let item = serde_json::json!({
        "id": "1", "author": {"id": "canary-7f3a91-id", "name": NICKNAME, "picture": PICTURE},
        "body": format!("thanks {NICKNAME}, call {PHONE}"), "reply": {"text": format!("dear {NICKNAME}")}, "new": said,
    });
    let list = serde_json::json!({ "items": [item] }).to_string();
    let key = path.split("q=").nth(1).and_then(|rest| rest.split('&').next()).unwrap_or_default();
    let (status, head, body) = match key {
        "good" => ("200 OK", String::new(), list),
        "broken" => ("200 OK", String::new(), list.replace("\"1\"", "NaN")),
        "cut" => ("200 OK", String::new(), format!("{{\"items\": [], {said}")),
        "shape" => ("200 OK", String::new(), serde_json::json!({ "said": said, NICKNAME: [said] }).to_string()),
        "garbage" => ("200 OK", String::new(), format!("<html>{said}")),
        "words" => ("200 OK", String::new(), said),
        "error" => ("500 Internal Server Error", String::new(), said),
        "moved" => ("302 Found", format!("location: https://other.example{path}&n={NICKNAME}\r\n"), said),
        "zz_slow" => ("429 Too Many Requests", "retry-after: 3600\r\n".to_owned(), said),
        "gone" => ("404 Not Found", String::new(), said),
        _ => ("200 OK", String::new(), "User-agent: *\nDisallow: /*q=refused\n".to_owned()),
    };
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n{head}\r\n{body}"
    )
}

#[test]
fn what_a_site_tells_of_persons_and_what_it_is_told_is_nowhere() {
    let port = talkative_site();
    let mut project =
        Project::own(&format!("[hosts.\"notes.example\"]\nurl = \"http://127.0.0.1:{port}\"\nrate = 1000\n"));
    project.put(
        "sources/notes.toml",
        "name = \"notes\"\nfetch = \"http\"\nevery = \"1d\"\nrate = \"1000/s\"\nmax_receives = 1\n\
         [keys]\nlist = [\"good\", \"broken\", \"cut\", \"shape\", \"garbage\", \"words\", \"error\", \"moved\", \"gone\", \"refused\", \"zz_slow\"]\n\
         [secrets]\nAPI_KEY = \"env:SITE_KEY\"\nTOKEN = \"env:SITE_TOKEN\"\n\
         [http]\nurl = \"https://notes.example/list?q={key}&key={secret:API_KEY}\"\nheaders = { authorization = \"Bearer {secret:TOKEN}\" }\n\
         [items]\npath = \"/items\"\nkey = \"id\"\n\
         [fields]\nid = { path = \"/id\", type = \"id\", required = true }\nauthor = { path = \"/author/id\", type = \"hash\" }\n\
         body = { path = \"/body\", type = \"string\" }\nreply = { path = \"/reply/text\", type = \"string\" }\n\
         [identity]\ndrop = [\"/author/name\", \"/author/picture\"]\n",
    );
    project.put(
        "sql/notes/staging/notes.sql",
        "-- One row per note.\n-- materialize: latest by id order by fetched_at\n-- key: id\n\
         select id, author, body, reply, _fetched_at as fetched_at from raw.notes where dt = $dt and _error is null\n",
    );
    project.env.push(("SITE_KEY", "canary-7f3a91-key".to_owned()));
    project.env.push(("SITE_TOKEN", "canary-7f3a91-token".to_owned()));

    let mut heard = Heard { text: String::new() };
    for verb in [&["check"][..], &["plan"], &["run"], &["status"], &["retry"], &["sql", "select * from ops.outcomes"]] {
        heard.listen(&project, verb, &[]);
    }
    assert!(heard.text.contains("refused") && heard.text.contains("DEBUG"), "it was heard");
    let mut kept = String::new();
    files(&project.folder, &mut kept);
    rows(&project, &mut kept);
    assert!(
        kept.contains("thanks [name], call [phone]") && kept.contains("dear [name]"),
        "the search looks where it should"
    );
    for (what, text) in [("heard", &heard.text), ("kept", &kept)] {
        assert!(leaks(text).is_empty(), "{what}: {}", leaks(text).join("\n"));
        assert!(!text.contains(PHONE), "{what}");
    }
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
    rows(project, &mut kept);
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

/// Every row of every table.
fn rows(project: &Project, kept: &mut String) {
    for row in project.sql(
        "select table_schema, table_name from information_schema.tables where table_schema <> 'information_schema'",
    ) {
        let table = format!("{}.{}", row["table_schema"].as_str().unwrap(), row["table_name"].as_str().unwrap());
        let _ = writeln!(kept, "== {table}");
        for row in project.sql(&format!("select * from {table}")) {
            let _ = writeln!(kept, "{row}");
        }
    }
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
