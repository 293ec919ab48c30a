//! A MySQL or MariaDB server: databases for the asking, and one of one's own to be stopped and damaged.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Mutex, PoisonError};

use crate::guard::{Ready, folder, free_port, guarded, wait};
use crate::{PASSWORD, fresh};

const USER: &str = "onggi";

/// A server with its data. Its user may do everything, and its password is asked for.
#[derive(Debug)]
pub struct Mysql {
    /// Where its programs are: those of MySQL below a root of their own, those of MariaDB as links.
    home: PathBuf,
    is_mariadb: bool,
    dir: PathBuf,
    port: u16,
    running: Mutex<Option<Child>>,
    /// Removes the folder when this process has ended: the servers of a process are never dropped.
    _folder: Child,
}

impl Mysql {
    /// Makes a server's data with the programs in `home` and starts it. `durable` waits for the disk, as benches want it.
    pub(crate) fn start(home: &Path, is_mariadb: bool, durable: bool) -> Self {
        let dir = folder(if is_mariadb { "mariadb" } else { "mysql" });
        let port = free_port();
        let sweeper = guarded(&Command::new("true"), "TERM", Some(&dir), &dir.join("log"));
        let running = Mutex::new(None);
        let server = Self { home: home.to_owned(), is_mariadb, dir, port, running, _folder: sweeper };
        // Of its own: a server that starts removes what others of its kind keep in a folder that they share.
        std::fs::create_dir_all(server.dir.join("tmp")).expect("the folder can be written");
        let first = server.dir.join("first.sql");
        let statements = format!(
            "create user if not exists '{USER}'@'%' identified by '{PASSWORD}';\ngrant all on *.* to '{USER}'@'%' with grant option;\n"
        );
        std::fs::write(&first, statements).expect("the folder can be written");
        std::fs::write(server.settings(), server.first_settings(&first, durable)).expect("the folder can be written");
        let made = server.initialise().output().expect("the server's program runs");
        let said = [made.stdout, made.stderr].concat();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&said));
        server.start_again();
        server
    }

    fn first_settings(&self, first: &Path, durable: bool) -> String {
        let (dir, root) = (self.dir.display(), self.home.join("root/usr").display().to_string());
        let own = if self.is_mariadb {
            String::new()
        } else {
            format!(
                "basedir={root}\nlc-messages-dir={root}/share/mysql\ncharacter-sets-dir={root}/share/mysql/charsets\n\
                 plugin-dir={root}/lib/mysql/plugin\nmysqlx=OFF\nsecure-file-priv=\n"
            )
        };
        format!(
            "[mysqld]\n{own}user={}\ndatadir={dir}/data\ntmpdir={dir}/tmp\nsocket={dir}/my.sock\npid-file={dir}/my.pid\nport={}\n\
             bind-address=127.0.0.1\ninit-file={}\nlocal-infile=ON\nperformance-schema=OFF\nskip-log-bin\n\
             innodb-buffer-pool-size=256M\ninnodb-flush-log-at-trx-commit={}\n",
            me(),
            self.port,
            first.display(),
            i32::from(durable),
        )
    }

    /// A program of the server's; MySQL's runs with the libraries that it came with.
    fn program(&self, mariadb: &str, mysql: &str) -> Command {
        if self.is_mariadb {
            return Command::new(self.home.join(mariadb));
        }
        let libraries = self.home.join("root/usr/lib/x86_64-linux-gnu");
        let mut command = Command::new(libraries.join("ld-linux-x86-64.so.2"));
        command.arg("--library-path").arg(&libraries).arg(self.home.join("root/usr").join(mysql));
        command
    }

    fn initialise(&self) -> Command {
        if self.is_mariadb {
            let mut command = Command::new(self.home.join("mariadb-install-db"));
            command.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
            command.arg(format!("--user={}", me())).arg(format!("--datadir={}", self.data().display()));
            return command;
        }
        // The file of first statements is for a server that is there.
        let settings = std::fs::read_to_string(self.settings()).expect("it was written");
        let without = self.dir.join("initialise.cnf");
        let lines: Vec<&str> = settings.lines().filter(|line| !line.starts_with("init-file")).collect();
        std::fs::write(&without, lines.join("\n") + "\n").expect("the folder can be written");
        let mut command = self.program("mariadbd", "sbin/mysqld");
        command.arg(format!("--defaults-file={}", without.display())).arg("--initialize-insecure");
        command
    }

    /// A server of one's own with the same programs, durable.
    #[must_use]
    pub fn own(&self) -> Self {
        Self::start(&self.home, self.is_mariadb, true)
    }

    /// Which of the two it is.
    pub fn is_mariadb(&self) -> bool {
        self.is_mariadb
    }

    /// Makes an empty database and says its URL, password included.
    pub fn database(&self) -> String {
        let name = fresh("db").replace('-', "_");
        self.sql("mysql", &format!("create database {name}"));
        self.url(&name)
    }

    /// The URL of a database that is there. MySQL makes itself a certificate that proves nothing, MariaDB has none.
    pub fn url(&self, database: &str) -> String {
        let mode = if self.is_mariadb { "disabled" } else { "required" };
        format!("mysql://{USER}:{PASSWORD}@127.0.0.1:{}/{database}?ssl-mode={mode}", self.port)
    }

    /// The port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What the client prints for statements, cells between tabs and without headings. `database` is its name or its URL. An error is
    /// a panic.
    pub fn sql(&self, database: &str, statements: &str) -> String {
        let output = self.client(database).args(["-e", statements]).output().expect("the client runs");
        assert!(output.status.success(), "{statements}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The client program, connected to a database by its name or its URL.
    pub fn client(&self, database: &str) -> Command {
        let name = database.rsplit('/').next().unwrap_or_default();
        let mut command = self.program("mariadb", "bin/mysql");
        command.args(["--no-defaults", "--host=127.0.0.1", "--batch", "--skip-column-names", "--local-infile=1"]);
        command.args([format!("--port={}", self.port), format!("--user={USER}"), format!("--password={PASSWORD}")]);
        command.args(["--default-character-set=utf8mb4", name.split('?').next().unwrap_or_default()]);
        command
    }

    /// Stops it at once, as a power cut would.
    pub fn kill(&self) {
        let Some(mut shell) = self.running.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        drop(shell.stdin.take());
        let _ = shell.wait();
    }

    /// Starts it again after [`Mysql::kill`].
    pub fn start_again(&self) {
        let mut command = self.program("mariadbd", "sbin/mysqld");
        command.arg(format!("--defaults-file={}", self.settings().display()));
        let mut shell = guarded(&command, "KILL", None, &self.dir.join("log"));
        if let Err(why) = wait(&mut shell, Ready::Tcp(self.port)) {
            panic!("the server {why}:\n{}", std::fs::read_to_string(self.dir.join("log")).unwrap_or_default());
        }
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(shell);
        let began = std::time::Instant::now();
        while !self.client("mysql").args(["-e", "select 1"]).output().is_ok_and(|output| output.status.success()) {
            let log = || std::fs::read_to_string(self.dir.join("log")).unwrap_or_default();
            assert!(began.elapsed().as_secs() < 60, "the server does not answer:\n{}", log());
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }

    /// The folder of its data.
    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// The file of its settings, which it reads when it starts.
    pub fn settings(&self) -> PathBuf {
        self.dir.join("my.cnf")
    }
}

impl Drop for Mysql {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Who runs this: a server refuses to run as root without being told so.
fn me() -> String {
    let id = Command::new("id").arg("-un").output().expect("id runs");
    String::from_utf8_lossy(&id.stdout).trim().to_owned()
}
