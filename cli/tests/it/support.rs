//! A project in a folder of its own, the local copy of the site, and the command as a person types it.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use replica::{Replica, ReplicaOptions};
use serde_json::Value;

/// The local copy of the site, on a runtime of its own, for as long as this lives.
pub(crate) struct Site {
    pub replica: Replica,
    _runtime: tokio::runtime::Runtime,
}

impl Site {
    /// A site of this many places and reviews.
    pub(crate) fn new(places: usize, reviews: u64) -> Self {
        Self::with(ReplicaOptions { places, reviews, ..ReplicaOptions::default() })
    }

    pub(crate) fn with(options: ReplicaOptions) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let options = ReplicaOptions { today: today(), ..options };
        let replica = runtime.block_on(Replica::start(options)).unwrap();
        Self { replica, _runtime: runtime }
    }

    /// The `[hosts]` tables that point the sources at this site.
    pub(crate) fn hosts(&self) -> String {
        let url = self.replica.url();
        ["pcmap.place.naver.com", "pcmap-api.place.naver.com"]
            .map(|host| format!("\n[hosts.\"{host}\"]\nurl = \"{url}\"\nrate = 1000\n"))
            .concat()
    }
}

/// A site that answers a path with a status and a body, and its address. It ends with the process; nobody waits for it.
pub(crate) fn serve(answer: impl Fn(&str) -> (u16, String) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = served(&stream, &answer);
        }
    });
    url
}

/// One request a connection.
fn served(mut stream: &TcpStream, answer: &impl Fn(&str) -> (u16, String)) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let (status, body) = answer(request.split(' ').nth(1).unwrap_or_default());
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status} so\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

/// The day it is in Seoul, as the command will find it.
pub(crate) fn today() -> catalog::Date {
    #[expect(clippy::disallowed_methods, reason = "the command under test reads the real clock; the site must agree")]
    jiff::Timestamp::now().in_tz("Asia/Seoul").unwrap().date()
}

/// A project made by `onggi init`, pointed at a site.
pub(crate) struct Project {
    pub folder: PathBuf,
    /// What its commands find in their environment.
    pub env: Vec<(&'static str, String)>,
    _keeps: Option<tempfile::TempDir>,
}

impl Project {
    pub(crate) fn new(site: &Site) -> Self {
        let project = Self::unpointed();
        project.append("onggi.toml", &site.hosts());
        project
    }

    /// A project whose sources name the real hosts: nothing may be fetched with it.
    pub(crate) fn unpointed() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("project");
        std::fs::create_dir(&folder).unwrap();
        let project = Self { folder, env: Vec::new(), _keeps: Some(temp) };
        let output = project.onggi(&["init", "--name", "test"]);
        assert!(output.status.success(), "{}", text(&output));
        // The same key everywhere: the same reviewer is the same hash in every project, so that lakes can be compared.
        std::fs::write(project.folder.join(".onggi/identity.key"), "a key that only these tests know").unwrap();
        project
    }

    /// A project of one's own, with nothing of the template in it: this configuration behind the sections that each needs.
    pub(crate) fn own(configuration: &str) -> Self {
        let project = Self::unpointed();
        for folder in ["sources", "sql"] {
            std::fs::remove_dir_all(project.folder.join(folder)).unwrap();
            std::fs::create_dir(project.folder.join(folder)).unwrap();
        }
        let head = "[project]\nname = \"test\"\ntimezone = \"Asia/Seoul\"\nsources = \"sources\"\nmodels = \"sql\"\n\
                    [identity]\nkey = \"file:.onggi/identity.key\"\n";
        project.put("onggi.toml", &format!("{head}{configuration}"));
        project
    }

    /// A project that stands somewhere already; whoever made the folder removes it.
    pub(crate) fn at(folder: PathBuf) -> Self {
        Self { folder, env: Vec::new(), _keeps: None }
    }

    /// The same project with everything that was done so far, in another folder.
    pub(crate) fn copy(&self) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("project");
        copy_folder(&self.folder, &folder);
        Self { folder, env: self.env.clone(), _keeps: Some(temp) }
    }

    pub(crate) fn put(&self, file: &str, text: &str) {
        let path = self.folder.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(crate) fn append(&self, file: &str, text: &str) {
        let path = self.folder.join(file);
        let before = std::fs::read_to_string(&path).unwrap();
        std::fs::write(path, before + text).unwrap();
    }

    pub(crate) fn replace(&self, file: &str, from: &str, to: &str) {
        let path = self.folder.join(file);
        let before = std::fs::read_to_string(&path).unwrap();
        assert!(before.contains(from), "`{from}` does not stand in {file}");
        std::fs::write(path, before.replacen(from, to, 1)).unwrap();
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onggi"));
        command.arg("--project").arg(&self.folder).args(arguments).stdin(Stdio::null());
        for name in ["ONGGI_PROJECT", "ONGGI_CONFIG", "ONGGI_LAKE", "ONGGI_LOG", "ONGGI_FAILPOINT"] {
            command.env_remove(name);
        }
        command.envs(self.env.iter().map(|(name, value)| (*name, value)));
        command
    }

    pub(crate) fn onggi(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// `onggi run --json` that must end with this exit code; its last line.
    pub(crate) fn run(&self, expected: i32) -> Value {
        let output = self.onggi(&["run", "--json", "--quiet"]);
        assert_eq!(output.status.code(), Some(expected), "{}", text(&output));
        last_object(&output)
    }

    /// The rows of a query, one JSON object each.
    pub(crate) fn sql(&self, query: &str) -> Vec<Value> {
        let output = self.onggi(&["sql", "--json", query]);
        assert!(output.status.success(), "{query}\n{}", text(&output));
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The one number that a query answers with.
    pub(crate) fn number(&self, query: &str) -> i64 {
        let rows = self.sql(query);
        let row = rows[0].as_object().unwrap();
        row.values().next().unwrap().as_i64().unwrap()
    }

    /// Everything that a reader of this lake and its sinks can see, but for the times of fetching, in a fixed order.
    pub(crate) fn contents(&self) -> Vec<(String, Vec<String>)> {
        let mut contents = self.tables();
        let serving = self.folder.join("lake/_onggi/serving");
        if serving.exists() {
            contents.push(("serving".to_owned(), vec![hash(&serving)]));
        }
        contents
    }

    /// Every row of the tables that are built, but for the times of fetching, in a fixed order.
    pub(crate) fn tables(&self) -> Vec<(String, Vec<String>)> {
        let tables = [
            ("staging.places", "place_id"),
            ("staging.reviews", "review_id"),
            ("staging.place_summaries", "place_id"),
            ("marts.reviews_daily", "dt, area"),
            ("marts.place_reviews", "place_id"),
            ("marts.places", "place_id"),
            ("marts.review_texts", "review_id"),
        ];
        let rows = tables.iter().map(|(table, order)| {
            let rows = self.sql(&format!("select * from {table} order by {order}"));
            let rows = rows.into_iter().map(|mut row| {
                let fields = row.as_object_mut().unwrap();
                fields.retain(|name, _| name != "fetched_at" && !name.starts_with('_'));
                row.to_string()
            });
            (table.to_string(), rows.collect())
        });
        rows.collect()
    }
}

/// The hash of everything that the sinks show.
fn hash(serving: &Path) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(load::serving_hash(serving)).unwrap()
}

/// What a command printed, both streams, for a failed assertion.
pub(crate) fn text(output: &Output) -> String {
    format!(
        "exit: {:?}\n--- stdout\n{}--- stderr\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// The JSON object on the last line of standard output.
pub(crate) fn last_object(output: &Output) -> Value {
    let stdout = String::from_utf8_lossy(&output.stdout);
    let line = stdout.lines().last().unwrap_or_else(|| panic!("nothing was printed\n{}", text(output)));
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in `{line}`"))
}

/// Whether a browser is here; a test without one says why it skips.
pub(crate) fn browser() -> bool {
    let found = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"].iter().any(|name| {
        let found = Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        found.is_ok_and(|status| status.success())
    });
    if !found {
        println!("skipped: no Chromium here; `make tools` installs it");
    }
    found
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
