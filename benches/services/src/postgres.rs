//! A PostgreSQL server: databases for the asking, and one of one's own to be stopped and damaged.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Mutex, PoisonError};

use crate::fresh;
use crate::guard::{Ready, folder, free_port, guarded, wait};

const USER: &str = "onggi";
/// The password of every role that is made here.
pub const PASSWORD: &str = "canary-7f3a91-of-postgres";

/// A server with its data. Its role is a superuser whose password is asked for.
#[derive(Debug)]
pub struct Postgres {
    bin: PathBuf,
    dir: PathBuf,
    port: u16,
    running: Mutex<Option<Child>>,
    /// Removes the folder when this process has ended: the servers of a process are never dropped.
    _folder: Child,
}

impl Postgres {
    /// Makes a cluster with the programs in `bin` and starts it. `durable` leaves `fsync` on, as benches want it.
    pub(crate) fn start(bin: &Path, durable: bool) -> Self {
        let bin = bin.canonicalize().expect("the programs are there");
        let dir = folder("postgres");
        let password = dir.join("password");
        std::fs::write(&password, PASSWORD).expect("the folder can be written");
        let made = unprivileged(&bin.join("initdb"))
            .args(["--no-sync", "--encoding=UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256", "--username", USER])
            .arg("--pwfile")
            .arg(&password)
            .arg("--pgdata")
            .arg(dir.join("data"))
            .output()
            .expect("initdb runs");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let port = free_port();
        let settings = format!(
            "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = ''\nfsync = {}\nmax_wal_size = '4GB'\nshared_buffers = '256MB'\n",
            if durable { "on" } else { "off" }
        );
        let config = dir.join("data/postgresql.conf");
        let before = std::fs::read_to_string(&config).expect("initdb wrote it");
        std::fs::write(&config, before + &settings).expect("the folder can be written");
        let sweeper = guarded(&Command::new("true"), "TERM", Some(&dir), &dir.join("log"));
        let server = Self { bin, dir, port, running: Mutex::new(None), _folder: sweeper };
        server.start_again();
        server
    }

    /// A server of one's own with the same programs, durable.
    #[must_use]
    pub fn own(&self) -> Self {
        Self::start(&self.bin, true)
    }

    /// Makes an empty database and says its URL, password included.
    pub fn database(&self) -> String {
        let name = fresh("db").replace('-', "_");
        self.psql(&self.url("postgres"), &format!("create database {name}"));
        self.url(&name)
    }

    /// The URL of a database that is there.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}:{PASSWORD}@127.0.0.1:{}/{database}", self.port)
    }

    /// The port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What psql prints for a statement, unaligned and without headings. An error is a panic.
    pub fn psql(&self, url: &str, statement: &str) -> String {
        let output = Command::new(self.bin.join("psql"))
            .args([
                "--no-psqlrc",
                "--quiet",
                "--tuples-only",
                "--no-align",
                "--set=ON_ERROR_STOP=1",
                url,
                "-c",
                statement,
            ])
            .output()
            .expect("psql runs");
        assert!(output.status.success(), "psql: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Stops it at once, as a power cut would (`pg_ctl stop -m immediate`).
    pub fn kill(&self) {
        let Some(mut shell) = self.running.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        drop(shell.stdin.take());
        let _ = shell.wait();
    }

    /// Starts it again after [`Postgres::kill`].
    pub fn start_again(&self) {
        let mut command = unprivileged(&self.bin.join("postgres"));
        command.arg("-D").arg(self.data());
        // An immediate stop is QUIT (`man postgres`).
        let mut shell = guarded(&command, "QUIT", None, &self.dir.join("log"));
        if let Err(why) = wait(&mut shell, Ready::Tcp(self.port)) {
            panic!("postgres {why}:\n{}", std::fs::read_to_string(self.dir.join("log")).unwrap_or_default());
        }
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(shell);
        // It takes connections before it has recovered; then it says so instead of answering.
        let began = std::time::Instant::now();
        while !self.is_up() {
            assert!(began.elapsed().as_secs() < 60, "postgres does not recover");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }

    /// The folder of its data.
    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// The folder of its programs.
    pub fn bin(&self) -> &Path {
        &self.bin
    }

    fn is_up(&self) -> bool {
        let mut psql = Command::new(self.bin.join("psql"));
        psql.args(["--no-psqlrc", "-c", "select 1", &self.url("postgres")]);
        psql.output().is_ok_and(|output| output.status.success())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
    }
}

/// PostgreSQL refuses to run as root; root then runs it in a user namespace in which it is somebody else.
fn unprivileged(program: &Path) -> Command {
    let id = Command::new("id").arg("-u").output().expect("id runs");
    if id.stdout.trim_ascii() != b"0" {
        return Command::new(program);
    }
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-user=1000", "--map-group=1000"]).arg(program);
    command
}
