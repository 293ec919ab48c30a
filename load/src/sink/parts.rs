//! What lies in a sink that is read by a thread, as a stream: a few parts at a time, however many rows there are.

use futures::StreamExt as _;
use futures::stream;
use tokio::sync::mpsc;

use super::Contents;
use crate::error::{Error, Result};
use crate::keys::Hashes;
use rows::RowHash;

/// Rows of a part.
const ROWS: usize = 8_192;
/// Parts that wait to be looked at.
const WAITING: usize = 2;

/// Where a thread puts the rows that it reads.
pub(crate) struct Parts {
    sender: mpsc::Sender<Result<Hashes>>,
    part: Hashes,
}

impl Parts {
    /// One more row. `false`: nobody wants the rest.
    pub(crate) fn push(&mut self, key: &str, hash: RowHash) -> bool {
        self.part.push(key, hash);
        self.part.len() < ROWS || self.sender.blocking_send(Ok(std::mem::take(&mut self.part))).is_ok()
    }
}

/// Runs `read` away from the threads that drive I/O, and hands out what it puts in.
pub(crate) fn parts(read: impl FnOnce(&mut Parts) -> Result<()> + Send + 'static) -> Contents {
    let (sender, receiver) = mpsc::channel(WAITING);
    let thread = tokio::task::spawn_blocking(move || {
        let mut parts = Parts { sender, part: Hashes::default() };
        let last = read(&mut parts).map(|()| std::mem::take(&mut parts.part));
        // Nobody may be there any more, and then nobody misses it.
        let _ = parts.sender.blocking_send(last);
    });
    let next = async |(mut receiver, thread): (mpsc::Receiver<Result<Hashes>>, Option<tokio::task::JoinHandle<()>>)| {
        match receiver.recv().await {
            Some(part) => Some((part, (receiver, thread))),
            // A thread that panicked has not read everything, and an end would say that it has.
            None => thread?.await.err().map(|error| (Err(Error::Stopped(error)), (receiver, None))),
        }
    };
    stream::unfold((receiver, Some(thread)), next).boxed()
}
