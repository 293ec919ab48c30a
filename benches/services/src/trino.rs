//! Trino, the engine that Athena is made of, with a Delta catalog over the folders of this machine.
//!
//! Its metastore is a folder that ends with it. A table is registered once; what is committed afterwards is seen at once, since nothing
//! of the log is kept between two questions.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::guard::{PATIENCE, Ready, Server, free_port};
use crate::installed;

/// The catalog that the tables are in.
pub const TRINO_CATALOG: &str = "lake";

/// A Trino of one node with 1 GiB of memory, of whoever asked for it: it stops when it is dropped.
#[derive(Debug)]
pub struct Trino {
    endpoint: String,
    started: Duration,
    _server: Server,
}

/// A Trino of one's own.
pub fn trino() -> Option<Trino> {
    let java = installed("trino/java/bin/java", "the Java that runs Trino")?;
    let program = installed("trino/server", "Trino")?;
    let began = Instant::now();
    let port = free_port();
    let endpoint = format!("http://127.0.0.1:{port}");
    let server = Server::start("trino", Ready::Http(port, "/v1/info"), "TERM", |dir| {
        configure(dir, &program, port);
        let mut command = Command::new(java);
        // Its first compiler alone: questions are few and small, and the second one costs more than it brings.
        command.args(["-Xmx1g", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dfile.encoding=UTF-8"]);
        command.args(["-XX:+EnableDynamicAgentLoading", "-Djdk.attach.allowAttachSelf=true"]);
        command.arg(format!("-Djava.io.tmpdir={}", dir.display()));
        command.arg(format!("-Dconfig={}", dir.join("config.properties").display()));
        command.arg(format!("-Dlog.levels-file={}", dir.join("log.properties").display()));
        command.arg("-cp").arg(program.join("lib/*")).arg("io.trino.server.TrinoServer");
        command
    });
    while !started(&endpoint) {
        let log = || std::fs::read_to_string(server.dir().join("log")).unwrap_or_default();
        assert!(began.elapsed() < PATIENCE, "trino does not come up within {PATIENCE:?}:\n{}", log());
        std::thread::sleep(Duration::from_millis(200));
    }
    Some(Trino { endpoint, started: began.elapsed(), _server: server })
}

impl Trino {
    /// Its address.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// How long it took to start.
    pub fn started_in(&self) -> Duration {
        self.started
    }
}

/// Writes its configuration into its folder. A property that it does not know keeps it from starting.
fn configure(dir: &Path, program: &Path, port: u16) {
    let dir_of = |part: &str| dir.join(part).display().to_string();
    let config = format!(
        "node.environment=test\nnode.id=onggi\nnode.bind-ip=127.0.0.1\nnode.internal-address=127.0.0.1\n\
         coordinator=true\nnode-scheduler.include-coordinator=true\nhttp-server.http.port={port}\n\
         http-server.log.enabled=false\n\
         discovery.uri=http://127.0.0.1:{port}\nplugin.dir={}\ncatalog.config-dir={}\n\
         query.max-memory-per-node=400MB\nmemory.heap-headroom-per-node=200MB\n",
        program.join("plugin").display(),
        dir_of("catalog"),
    );
    let catalog = format!(
        "connector.name=delta_lake\nhive.metastore=file\nhive.metastore.catalog.dir=local://{}\n\
         hive.metastore.disable-location-checks=true\nfs.native-local.enabled=true\nlocal.location=/\n\
         delta.register-table-procedure.enabled=true\ndelta.metadata.cache-ttl=0s\n",
        dir_of("metastore"),
    );
    std::fs::create_dir_all(dir.join("catalog")).expect("the folder can be written");
    for (file, text) in [
        ("config.properties", config.as_str()),
        ("log.properties", "io.trino=WARN\nio.airlift=WARN\n"),
        (&format!("catalog/{TRINO_CATALOG}.properties"), catalog.as_str()),
    ] {
        std::fs::write(dir.join(file), text).expect("the folder can be written");
    }
}

/// Whether it takes questions: until then it answers that it is starting.
fn started(endpoint: &str) -> bool {
    let output = Command::new("curl").args(["--silent", &format!("{endpoint}/v1/info")]).output().expect("curl runs");
    String::from_utf8_lossy(&output.stdout).contains("\"starting\":false")
}
