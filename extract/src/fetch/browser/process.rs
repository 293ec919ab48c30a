//! The browser's process, which ends with ours however ours ends.
//!
//! A browser that nobody ends is 60 processes and 10 GB after a bad afternoon. A destructor can't promise it: a killed
//! process runs none. So Chromium is started by a *keeper*, a shell of a dozen lines in a process group of its own, whose
//! standard input is a pipe that only we hold open. When we close it, or the kernel does it for us, the keeper reads the
//! end of its input, kills the browser, removes the browser's profile and then its whole group with itself. When the
//! browser ends by itself, the keeper ends as well, and that is how we learn of it.
//!
//! What it holds is watched (`browser/memory.rs`), which pages of it crashed is remembered, and no worker that would answer
//! for a page later is ever run: it is stopped at its start, whichever page, frame or window registers it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chromiumoxide::Browser as Connection;
use chromiumoxide::cdp::browser_protocol::target::{
    EventTargetCrashed, FilterEntry, SetAutoAttachParams, TargetFilter, TargetId,
};
use chromiumoxide::error::CdpError;
use chromiumoxide::handler::HandlerConfig;
use chromiumoxide::listeners::EventStream;
use futures::StreamExt;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{ChildStdin, Command};
use tokio::sync::watch;

use super::{memory, profile};
use crate::error::FetchError;

/// Under which names Chromium is looked for.
const NAMES: [&str; 6] =
    ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome", "headless-shell"];

/// A browser that has not opened its port by then never will.
const LAUNCH_TIMEOUT: Duration = Duration::from_secs(30);

/// What a page's program may hold in its heap.
const HEAP_MIB: u32 = 1024;

/// A page that crashes so soon after a process was ended for what it held was that process's.
const SOON: Duration = Duration::from_secs(5);

/// $1 is the profile, the rest is the command. The browser's input is not the pipe, or it would read from it.
const KEEPER: &str = r#"
exec 3<&0
profile=$1
shift
"$@" </dev/null 3<&- &
browser=$!
(read -r line <&3; kill -KILL "$browser") 2>/dev/null &
wait "$browser" 2>/dev/null
tries=0
while ! rm -rf "$profile" 2>/dev/null && [ "$tries" -lt 40 ]; do
  tries=$((tries + 1))
  sleep 0.05
done
kill -KILL 0
"#;

/// A running browser. Dropping it ends it.
pub(super) struct Running {
    connection: Connection,
    user_agent: String,
    process_group: u32,
    /// The keeper's input: closing it ends the browser.
    leash: Mutex<Option<ChildStdin>>,
    /// The keeper has ended, and with it the whole group.
    ended: watch::Receiver<bool>,
    /// The connection broke, or the keeper has ended: nothing more can be asked.
    gone: watch::Receiver<bool>,
    /// Pages whose program is no more, and why.
    crashed: watch::Receiver<HashMap<String, Crash>>,
    /// When a process was ended for what it held.
    ended_for_memory: Arc<Mutex<Option<Instant>>>,
    most_bytes: u64,
    watcher: tokio::task::JoinHandle<()>,
    tabs_opened: AtomicU32,
}

/// Why a page's program is no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Crash {
    /// It held too much: what is too much.
    TooMuch(String),
    /// Something else.
    Other(String),
}

impl Crash {
    pub(super) fn reason(&self) -> &str {
        let (Self::TooMuch(reason) | Self::Other(reason)) = self;
        reason
    }
}

impl Running {
    /// Starts one, which may hold so many bytes.
    pub(super) async fn launch(setting: Option<&Path>, most_bytes: u64) -> Result<Self, FetchError> {
        let program = find_chromium(setting).await?;
        let failed = |tried: String| FetchError::NoBrowser { tried };
        let profile = profile::make().await.map_err(|error| failed(format!("no folder for its profile: {error}")))?;
        let mut command = Command::new("sh");
        if let Some(folder) = profile::temporary(profile.path()) {
            command.env("TMPDIR", folder);
        }
        let mut keeper = command
            .args(["-c", KEEPER, "onggi-keeper"])
            .arg(profile.path())
            .arg(&program)
            .args(flags(profile.path()))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|error| failed(format!("{}: {error}", program.display())))?;
        // From here on the keeper removes it.
        let profile = profile.keep();
        let leash = keeper.stdin.take();
        let process_group = keeper.id().unwrap_or_default();
        let said = Arc::new(Mutex::new(String::new()));
        if let Some(stderr) = keeper.stderr.take() {
            tokio::spawn(listen(stderr, Arc::clone(&said)));
        }
        let (gone_sender, mut gone) = watch::channel(false);
        let gone_sender = Arc::new(gone_sender);
        let (ended_sender, ended) = watch::channel(false);
        tokio::spawn({
            let gone = Arc::clone(&gone_sender);
            async move {
                let _ = keeper.wait().await;
                gone.send_replace(true);
                ended_sender.send_replace(true);
            }
        });

        let address = tokio::select! {
            address = tokio::time::timeout(LAUNCH_TIMEOUT, port_of(&profile)) => address.ok(),
            _ = gone.wait_for(|gone| *gone) => None,
        };
        let last_words = || said.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(address) = address else {
            let why = if *gone.borrow() { "it ended at once" } else { "it opened no port" };
            return Err(failed(format!("{}: {why}: {}", program.display(), last_words())));
        };
        let config = HandlerConfig {
            ignore_https_errors: false,
            viewport: None,
            request_timeout: Duration::from_secs(30),
            // So that the library answers the proxy's question for a password, and leaves requests to us.
            request_intercept: true,
            ..HandlerConfig::default()
        };
        let (connection, mut handler) = Connection::connect_with_config(address, config)
            .await
            .map_err(|error| failed(format!("{}: no connection to it: {error}", program.display())))?;
        // Ends with an error of the connection. A connection that was closed in good order only falls silent: `gone` tells.
        let mut stop = gone.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    event = handler.next() => if !matches!(event, Some(Ok(()))) { break },
                    _ = stop.wait_for(|gone| *gone) => break,
                }
            }
            gone_sender.send_replace(true);
        });
        let user_agent = connection
            .user_agent()
            .await
            .map_err(|error| failed(format!("{}: it does not answer: {error}", program.display())))?;
        let no_answer = |error: CdpError| failed(format!("{}: it does not answer: {error}", program.display()));
        stop_workers(&connection).await.map_err(no_answer)?;
        let crashes = connection.event_listener::<EventTargetCrashed>().await.map_err(no_answer)?;
        let (crashed_sender, crashed) = watch::channel(HashMap::new());
        let ended_for_memory = Arc::new(Mutex::new(None));
        tokio::spawn(listen_for_crashes(crashes, crashed_sender, Arc::clone(&ended_for_memory), most_bytes));
        let mark = Arc::clone(&ended_for_memory);
        let mark = Arc::new(move || *mark.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now()));
        let watcher = tokio::spawn(memory::watch(process_group, most_bytes, mark));
        tracing::debug!(program = %program.display(), user_agent, process_group, "the browser is up");
        Ok(Self {
            connection,
            user_agent,
            process_group,
            leash: Mutex::new(leash),
            ended,
            gone,
            crashed,
            ended_for_memory,
            most_bytes,
            watcher,
            tabs_opened: AtomicU32::new(0),
        })
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(super) fn count_tab(&self) {
        self.tabs_opened.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn user_agent(&self) -> &str {
        &self.user_agent
    }

    pub(super) fn process_group(&self) -> u32 {
        self.process_group
    }

    pub(super) fn tabs_opened(&self) -> u32 {
        self.tabs_opened.load(Ordering::Relaxed)
    }

    pub(super) fn is_alive(&self) -> bool {
        !*self.gone.borrow()
    }

    /// Waits until the browser is gone.
    pub(super) async fn gone(&self) {
        // A sender that is dropped is as good as one that said so.
        let _ = self.gone.clone().wait_for(|gone| *gone).await;
    }

    /// Why a page's program is no more, if it is.
    pub(super) fn crash_of(&self, page: &TargetId) -> Option<Crash> {
        if let Some(crash) = self.crashed.borrow().get(page.as_ref()) {
            return Some(crash.clone());
        }
        // The browser as a whole was ended: which of its pages held too much is not known.
        let was_ended = was_ended_for_memory(&self.ended_for_memory);
        (!self.is_alive() && was_ended).then(|| Crash::Other(too_much(self.most_bytes)))
    }

    /// Waits until a page's program is no more.
    pub(super) async fn crashed(&self, page: &TargetId) -> String {
        let mut crashed = self.crashed.clone();
        let reason = match crashed.wait_for(|crashed| crashed.contains_key(page.as_ref())).await {
            Ok(crashed) => crashed.get(page.as_ref()).map(|crash| crash.reason().to_owned()),
            Err(_) => None,
        };
        match reason {
            Some(reason) => reason,
            // Nobody tells any more: that the browser is gone is told elsewhere.
            None => std::future::pending().await,
        }
    }

    async fn ended(&self) {
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
    }

    /// Ends the browser and waits until its keeper is gone, and with it every process of its group.
    pub(super) async fn close(&self) {
        // In good order first: a browser that ends its own children leaves none behind for others to reap.
        if self.is_alive() {
            let close = chromiumoxide::cdp::browser_protocol::browser::CloseParams::default();
            let _ = tokio::time::timeout(Duration::from_secs(2), self.connection.execute(close)).await;
            let _ = tokio::time::timeout(Duration::from_secs(2), self.ended()).await;
        }
        drop(self.leash.lock().unwrap_or_else(PoisonError::into_inner).take());
        if tokio::time::timeout(Duration::from_secs(5), self.ended()).await.is_err() {
            tracing::warn!(process_group = self.process_group, "the browser's keeper does not end; killing its group");
            if let Some(group) = i32::try_from(self.process_group).ok().and_then(rustix::process::Pid::from_raw) {
                let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

/// A service worker answers for pages that come later, and what it asks for is not the page's: each is stopped at its start
/// and never told to go on.
async fn stop_workers(connection: &Connection) -> Result<(), CdpError> {
    let workers = FilterEntry::builder().r#type("service_worker").build();
    let others = FilterEntry::builder().exclude(true).build();
    let mut attach = SetAutoAttachParams::new(true, true);
    attach.flatten = Some(true);
    attach.filter = Some(TargetFilter::new(vec![workers, others]));
    connection.execute(attach).await.map(|_| ())
}

fn too_much(most_bytes: u64) -> String {
    format!("it makes the browser hold more than {} MiB of memory, [crawl] browser_mib", most_bytes >> 20)
}

fn was_ended_for_memory(at: &Mutex<Option<Instant>>) -> bool {
    at.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|at| at.elapsed() < SOON)
}

async fn listen_for_crashes(
    mut crashes: EventStream<EventTargetCrashed>,
    crashed: watch::Sender<HashMap<String, Crash>>,
    ended_for_memory: Arc<Mutex<Option<Instant>>>,
    most_bytes: u64,
) {
    while let Some(crash) = crashes.next().await {
        let why = if was_ended_for_memory(&ended_for_memory) {
            Crash::TooMuch(too_much(most_bytes))
        } else if crash.status == "oom" {
            Crash::TooMuch(format!("its program holds more than {HEAP_MIB} MiB of memory"))
        } else {
            Crash::Other(format!("the page crashed: {}", crate::items::excerpt(&crash.status, 60)))
        };
        crashed.send_modify(|crashed| {
            crashed.insert(crash.target_id.inner().clone(), why);
        });
    }
}

/// The setting, or the first of the usual names that the shell finds.
///
/// # Errors
/// [`FetchError::NoBrowser`], which says what was tried.
pub async fn find_chromium(setting: Option<&Path>) -> Result<PathBuf, FetchError> {
    if let Some(path) = setting {
        return match tokio::fs::metadata(path).await {
            Ok(file) if file.is_file() => Ok(path.to_owned()),
            _ => Err(FetchError::NoBrowser { tried: format!("there is no program at `{}`", path.display()) }),
        };
    }
    // The shell knows the search path; we don't read the environment.
    let script = r#"for name in "$@"; do command -v "$name" && exit; done; exit 1"#;
    let found = Command::new("sh")
        .args(["-c", script, "sh"])
        .args(NAMES)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .await;
    if let Ok(output) = found
        && let Some(line) = String::from_utf8_lossy(&output.stdout).lines().next().filter(|line| !line.is_empty())
    {
        return Ok(PathBuf::from(line));
    }
    for place in [
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
        "/Applications/Chromium.app/Contents/MacOS/Chromium",
        "/snap/bin/chromium",
    ] {
        if tokio::fs::try_exists(place).await.unwrap_or(false) {
            return Ok(PathBuf::from(place));
        }
    }
    Err(FetchError::NoBrowser {
        tried: format!("none of {} is on the search path", NAMES.map(|name| format!("`{name}`")).join(", ")),
    })
}

fn flags(profile: &Path) -> Vec<std::ffi::OsString> {
    const FLAGS: [&str; 29] = [
        "--headless",
        "--remote-debugging-port=0",
        "--disable-gpu",
        // Never loaded, without a word over the wire for each of them.
        "--blink-settings=imagesEnabled=false",
        "--disable-remote-fonts",
        "--mute-audio",
        "--autoplay-policy=document-user-activation-required",
        // A tab that nobody looks at must not fall asleep.
        "--disable-background-timer-throttling",
        "--disable-backgrounding-occluded-windows",
        "--disable-renderer-backgrounding",
        // It asks for nothing that we did not ask for.
        "--disable-quic",
        // Nothing goes past the proxy of a page: no name is resolved here, no datagram sent, and what belongs to no page
        // finds nobody at its proxy.
        "--proxy-server=http://127.0.0.1:9",
        "--proxy-bypass-list=<-loopback>",
        "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
        // Its name with newer versions, and with older ones.
        "--webrtc-ip-handling-policy=disable_non_proxied_udp",
        "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
        "--no-first-run",
        "--no-default-browser-check",
        "--no-pings",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-default-apps",
        "--disable-extensions",
        "--disable-sync",
        "--disable-breakpad",
        "--disable-features=Translate,MediaRouter,OptimizationHints,AutofillServerCommunication",
        "--password-store=basic",
        "--use-mock-keychain",
        // Containers give /dev/shm 64 MB.
        "--disable-dev-shm-usage",
    ];
    let mut flags: Vec<std::ffi::OsString> = FLAGS.iter().map(Into::into).collect();
    flags.push(format!("--js-flags=--max-old-space-size={HEAP_MIB}").into());
    let mut folder = std::ffi::OsString::from("--user-data-dir=");
    folder.push(profile);
    flags.push(folder);
    if rustix::process::geteuid().is_root() {
        // Chromium has no sandbox for root. In production it is run as somebody else, with the sandbox.
        flags.push("--no-sandbox".into());
    }
    flags.push("about:blank".into());
    flags
}

/// Chromium writes its port and path there once it listens.
async fn port_of(profile: &Path) -> String {
    let file = profile.join("DevToolsActivePort");
    loop {
        if let Ok(text) = tokio::fs::read_to_string(&file).await {
            let mut lines = text.lines();
            if let (Some(port), Some(path)) = (
                lines.next().and_then(|port| port.parse::<u16>().ok()),
                lines.next().filter(|path| path.starts_with('/')),
            ) {
                return format!("ws://127.0.0.1:{port}{path}");
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Keeps the last line that says something, and keeps the pipe empty.
async fn listen(stderr: tokio::process::ChildStderr, said: Arc<Mutex<String>>) {
    let mut lines = BufReader::new(stderr).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        let line = String::from_utf8_lossy(&line);
        if !line.trim().is_empty() {
            *said.lock().unwrap_or_else(PoisonError::into_inner) = crate::items::excerpt(line.trim(), 300);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_browser_that_is_not_there_is_said_so() {
        let error = find_chromium(Some(Path::new("/nowhere/chromium"))).await.unwrap_err();
        assert_eq!(error, FetchError::NoBrowser { tried: "there is no program at `/nowhere/chromium`".to_owned() });
    }

    #[tokio::test]
    async fn a_program_that_is_no_browser_is_said_so_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("chromium");
        std::fs::write(&program, "#!/bin/sh\necho 'no display' >&2\nexit 7\n").unwrap();
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let error = Running::launch(Some(&program), 1 << 30).await.err().unwrap();
        let FetchError::NoBrowser { tried } = &error else { panic!("{error:?}") };
        assert!(tried.contains("it ended at once"), "{tried}");
    }
}
