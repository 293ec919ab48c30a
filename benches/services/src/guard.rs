//! A server that ends with us.
//!
//! It is started by a shell that waits on a pipe from this process. When this process ends, whether it returns, panics or is killed,
//! the system closes the pipe, and the shell stops the server and removes its folder. Nothing has to be dropped for that.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take before it answers: the slowest takes half a minute on an idle machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(4);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// `$1` is the signal, `$2` the folder to remove or nothing, the rest the server.
const SHELL: &str = r#"signal=$1; dir=$2; shift 2
"$@" </dev/null & server=$!
cat >/dev/null
kill -"$signal" $server 2>/dev/null; wait $server 2>/dev/null
[ -n "$dir" ] && rm -rf "$dir""#;

/// How to see that a server is ready.
#[derive(Debug, Clone, Copy)]
pub enum Ready {
    /// A port on loopback and a path that answers 200.
    Http(u16, &'static str),
    /// A port on loopback that takes connections.
    Tcp(u16),
}

/// A running server with a folder of its own.
#[derive(Debug)]
pub struct Server {
    dir: PathBuf,
    shell: Child,
}

impl Server {
    /// Starts what `command` makes of a fresh folder and waits until it is ready. `signal` is how it is stopped.
    pub fn start(name: &str, ready: Ready, signal: &str, command: impl FnOnce(&Path) -> Command) -> Self {
        let dir = folder(name);
        let command = command(&dir);
        let shell = guarded(&command, signal, Some(&dir), &dir.join("log"));
        let mut server = Self { dir, shell };
        server.wait(name, ready);
        server
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn wait(&mut self, name: &str, ready: Ready) {
        if let Err(why) = wait(&mut self.shell, ready) {
            let log = std::fs::read_to_string(self.dir.join("log")).unwrap_or_default();
            panic!("{name} {why}:\n{log}");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

/// Starts `command` under the shell above; its output goes to `log`.
pub fn guarded(command: &Command, signal: &str, remove: Option<&Path>, log: &Path) -> Child {
    let output = std::fs::File::options().create(true).append(true).open(log).expect("the folder can be written");
    let mut shell = Command::new("sh");
    shell.args(["-c", SHELL, "onggi-guard", signal]).arg(remove.unwrap_or(Path::new("")));
    shell.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell.stdin(Stdio::piped()).stdout(output.try_clone().expect("a handle can be copied")).stderr(output);
    shell.spawn().expect("sh runs")
}

/// Waits until it is ready; the error says what happened instead.
pub fn wait(shell: &mut Child, ready: Ready) -> Result<(), String> {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if answers(ready) {
            return Ok(());
        }
        if let Ok(Some(status)) = shell.try_wait() {
            return Err(format!("ended with {status}"));
        }
        std::thread::sleep(LOOK);
    }
    Err(format!("did not answer within {PATIENCE:?}"))
}

/// A port that is free now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.local_addr().expect("a bound port has an address").port()
}

/// A fresh folder in the system's temporary one.
pub fn folder(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("onggi-{name}-{}-{}", std::process::id(), free_port()));
    std::fs::create_dir_all(&dir).expect("the temporary folder can be written");
    dir
}

fn answers(ready: Ready) -> bool {
    let (Ready::Http(port, _) | Ready::Tcp(port)) = ready;
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let Ready::Http(_, path) = ready else { return true };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
    let asked = write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
    let mut answer = [0; 16];
    asked.is_ok() && stream.read(&mut answer).is_ok() && answer.windows(3).any(|w| w == b"200")
}
