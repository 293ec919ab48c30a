//! Somebody who reads a table while it is synced: how long the longest answer took.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

/// How long a reader rests between two questions.
const PAUSE: Duration = Duration::from_millis(5);

/// A client of a database that asks the same question again and again.
#[derive(Debug)]
pub struct Reader {
    ended: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<Waits>>,
}

/// What a reader saw.
#[derive(Clone, Copy, Debug, Default)]
pub struct Waits {
    /// Answers that it got.
    pub answers: u64,
    /// The longest that it waited for one.
    pub longest: Duration,
}

impl Reader {
    /// Starts a client that reads statements from its input and prints each answer at once, and asks a question whose answer is one
    /// line.
    ///
    /// # Errors
    /// If the client can't be started.
    #[expect(clippy::disallowed_methods, reason = "a thread of its own, beside the runtime that is measured")]
    pub fn start(mut client: Command, question: &str) -> anyhow::Result<Self> {
        let mut client = client.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("starting a reader")?;
        let mut asks = client.stdin.take().context("no way to ask")?;
        let mut answers = BufReader::new(client.stdout.take().context("no answers")?);
        let ended = Arc::new(AtomicBool::new(false));
        let (asked, stop) = (format!("{question};\n"), Arc::clone(&ended));
        let thread = std::thread::spawn(move || {
            let (mut waits, mut line) = (Waits::default(), String::new());
            // The first answer is that of a client that has just started.
            for number in 0.. {
                line.clear();
                let began = Instant::now();
                asks.write_all(asked.as_bytes())?;
                asks.flush()?;
                answers.read_line(&mut line)?;
                ensure!(!line.trim().is_empty(), "the reader got no answer");
                if number > 0 {
                    waits = Waits { answers: waits.answers + 1, longest: waits.longest.max(began.elapsed()) };
                }
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                std::thread::sleep(PAUSE);
            }
            drop(asks);
            client.wait()?;
            Ok(waits)
        });
        Ok(Self { ended, thread })
    }

    /// Ends it.
    ///
    /// # Errors
    /// If it did not get an answer to each question.
    pub fn end(self) -> anyhow::Result<Waits> {
        self.ended.store(true, Ordering::SeqCst);
        self.thread.join().map_err(|_| anyhow::anyhow!("the reader gave up"))?
    }
}
