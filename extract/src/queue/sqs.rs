//! The queue of many machines: Amazon SQS, or a server that speaks its protocol.
//!
//! What SQS can't do, and what is done about it:
//!
//! - It *can't receive by source or day*. Whoever receives takes tasks of any run, so [`Queue::sorts`] is false here and a
//!   worker finds the source by the name in the message.
//! - It *can't tell whether a task is there already*. Which tasks of a day were sent is noted in the lake
//!   (`_onggi/sent/<source>/<dt>.json`), after they were sent; a noted task is sent again only when the queue has looked
//!   empty for a while ([`SqsSettings::settle`]) or the note is older than the queue keeps a message. A kill between
//!   sending and noting, or two runs at once, make duplicates: each costs a look at the table or at the staged keys.
//! - It *can't count a receive back*, nor put a message back and keep a word about it. So a message whose receive is not to
//!   count is handed back as a fresh copy that carries the count it had, and the old one is deleted; in between there are
//!   two of them, which is harmless.
//! - Its *counts are approximate* and of the whole queue. Nothing is concluded from them but when to look again.
//! - *A stale receipt handle may still work.* So we keep our own monotonic deadline for each message in our hands: past it
//!   the lease is lost without asking, whatever the service would say.
//! - *Dead letters* are moved by SQS itself, to the queue that the redrive policy names, because every worker that took them
//!   was killed. They are found there, and a note in the lake (`_onggi/dead/…`) is what is read later: see `sqs/dead.rs`.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{MessageSystemAttributeName, QueueAttributeName};
use catalog::{Lake, Timestamp};
use tokio::time::Instant;

use self::body::MessageBody;
use self::fault::Fault;
use super::{Counts, DeadLetter, Message, Queue, ReceiptHandle, ReceiptState, ReceiveOptions, Release, TaskFilter};
use crate::error::Error;
use crate::task::Task;

mod batch;
mod body;
mod dead;
mod fault;
mod open;
mod sent;

pub use dead::noted_dead_letters;

/// A message may be delayed by this much at most.
const LONGEST_DELAY: Duration = Duration::from_mins(15);

/// Which queue, and how patiently it is asked.
#[derive(Clone, Debug)]
pub struct SqsSettings {
    /// `sqs://name` or `sqs://account/name`.
    pub uri: String,
    /// A server that speaks SQS; left out: AWS.
    pub endpoint: Option<String>,
    /// How long a receive waits for a message at most, up to 20 seconds. It is also how long an interrupt may have to wait.
    pub wait: Duration,
    /// Before it is believed that the queue is empty: its counts may be late by a minute.
    pub settle: Duration,
}

impl SqsSettings {
    /// A queue of AWS, with the waits that suit it.
    pub fn new(uri: impl Into<String>) -> Self {
        Self { uri: uri.into(), endpoint: None, wait: Duration::from_secs(2), settle: Duration::from_mins(1) }
    }
}

/// A queue of SQS.
pub struct SqsQueue {
    client: Client,
    lake: Lake,
    settings: SqsSettings,
    url: String,
    /// Where dead letters go, if the queue names a place.
    dead_url: Option<String>,
    /// How long a message lives.
    retention: Duration,
    /// Until when each message in our hands is surely ours, by receipt handle.
    deadlines: Mutex<HashMap<String, Instant>>,
    /// When the dead letters were last looked through, and how many there were.
    looked: Mutex<Option<(Instant, usize)>>,
}

impl SqsQueue {
    /// Whether the queue names a dead-letter queue.
    pub fn has_dead_letter_queue(&self) -> bool {
        self.dead_url.is_some()
    }

    /// What the queue is called in the configuration.
    pub fn uri(&self) -> &str {
        &self.settings.uri
    }

    fn deadlines(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.deadlines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a message is surely still ours.
    fn holds(&self, token: &str) -> bool {
        let mut deadlines = self.deadlines();
        let held = deadlines.get(token).is_some_and(|deadline| *deadline > Instant::now());
        if !held {
            deadlines.remove(token);
        }
        held
    }

    fn failed(&self, doing: &'static str, fault: Fault) -> Error {
        fault.into_error(&self.settings.uri, doing)
    }

    /// An answer about a message in our hands: a handle that is refused means that it is not ours any more.
    fn held(&self, doing: &'static str, token: &str, answer: Result<(), Fault>) -> Result<ReceiptState, Error> {
        match answer {
            Ok(()) => Ok(ReceiptState::Current),
            Err(fault) if fault.is_lost_handle() => {
                tracing::debug!(code = fault.code(), doing, "the message is not ours any more");
                self.deadlines().remove(token);
                Ok(ReceiptState::Stale)
            }
            Err(fault) => Err(self.failed(doing, fault)),
        }
    }

    async fn hide(&self, token: &str, timeout: Duration) -> Result<(), Fault> {
        let change = self.client.change_message_visibility().queue_url(&self.url).receipt_handle(token);
        change.visibility_timeout(whole_seconds(timeout)).send().await.map(drop).map_err(Fault::from)
    }

    async fn remove(&self, token: &str) -> Result<(), Fault> {
        self.client.delete_message().queue_url(&self.url).receipt_handle(token).send().await?;
        Ok(())
    }

    /// How many messages there are, waiting or delayed, and in somebody's hands: about.
    async fn about(&self, url: &str) -> Result<(usize, usize), Fault> {
        let names = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesDelayed,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        ];
        let ask = self.client.get_queue_attributes().queue_url(url).set_attribute_names(Some(names.to_vec()));
        let answer = ask.send().await?;
        let [visible, delayed, hidden] = names.map(|name| {
            let text = answer.attributes().and_then(|attributes| attributes.get(&name));
            text.and_then(|text| text.parse::<usize>().ok()).unwrap_or_default()
        });
        Ok((visible, delayed + hidden))
    }

    /// One message, if one comes in time.
    async fn take(&self, options: &ReceiveOptions) -> Result<Option<aws_sdk_sqs::types::Message>, Error> {
        let ask = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(1)
            .visibility_timeout(whole_seconds(options.visibility_timeout))
            .wait_time_seconds(whole_seconds(self.settings.wait).min(20))
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount);
        let answer = ask.send().await.map_err(|error| self.failed("receiving a message", error.into()))?;
        Ok(answer.messages.unwrap_or_default().into_iter().next())
    }
}

#[async_trait]
impl Queue for SqsQueue {
    async fn send(&self, tasks: &[Task], now: Timestamp) -> Result<usize, Error> {
        self.send_unless_sent(tasks, now).await
    }

    async fn receive(
        &self,
        _of: &TaskFilter,
        options: &ReceiveOptions,
        now: Timestamp,
    ) -> Result<Option<Message>, Error> {
        loop {
            // From before the request: the service began to count some time after that.
            let began = Instant::now();
            let Some(found) = self.take(options).await? else { return Ok(None) };
            let token = found.receipt_handle().unwrap_or_default().to_owned();
            let text = found.body().unwrap_or_default();
            let body = match MessageBody::parse(text) {
                Ok(body) => body,
                Err(reason) => {
                    self.set_aside(&found, &token, &reason, now).await?;
                    continue;
                }
            };
            // A long poll may have waited before the message came; it was hidden only then.
            let deadline = began.max(Instant::now().checked_sub(Duration::from_secs(1)).unwrap_or(began));
            self.deadlines().insert(token.clone(), deadline + options.visibility_timeout);
            let receives = count(&found, &MessageSystemAttributeName::ApproximateReceiveCount).max(1);
            let task = body.task;
            let receipt_handle =
                ReceiptHandle { source: task.source.clone(), dt: task.dt, task: task.id.clone(), token };
            return Ok(Some(Message { task, receipt_handle, receive_count: receives.saturating_add(body.receives) }));
        }
    }

    async fn change_visibility(
        &self,
        handle: &ReceiptHandle,
        timeout: Duration,
        _now: Timestamp,
    ) -> Result<ReceiptState, Error> {
        if !self.holds(&handle.token) {
            return Ok(ReceiptState::Stale);
        }
        let began = Instant::now();
        let answer = self.hide(&handle.token, timeout).await;
        let held = self.held("extending a message's visibility timeout", &handle.token, answer)?;
        if held == ReceiptState::Current {
            self.deadlines().insert(handle.token.clone(), began + timeout);
        }
        Ok(held)
    }

    async fn release(&self, message: &Message, release: &Release, _now: Timestamp) -> Result<ReceiptState, Error> {
        let token = &message.receipt_handle.token;
        if !self.holds(token) {
            return Ok(ReceiptState::Stale);
        }
        let answer = if release.uncounted {
            self.hand_back(message, release.after).await
        } else {
            self.hide(token, release.after).await
        };
        let held = self.held("putting a message back", token, answer)?;
        self.deadlines().remove(token);
        Ok(held)
    }

    async fn delete(&self, handle: &ReceiptHandle) -> Result<ReceiptState, Error> {
        if !self.holds(&handle.token) {
            return Ok(ReceiptState::Stale);
        }
        let answer = self.remove(&handle.token).await;
        let held = self.held("deleting a message", &handle.token, answer)?;
        self.deadlines().remove(&handle.token);
        Ok(held)
    }

    async fn counts(&self, of: &TaskFilter, _now: Timestamp) -> Result<Counts, Error> {
        let (visible, in_flight) =
            self.about(&self.url).await.map_err(|fault| self.failed("counting the messages", fault))?;
        Ok(Counts { visible, in_flight, dead: noted_dead_letters(&self.lake, of).await?.len() })
    }

    async fn dead_letters(&self, of: &TaskFilter, now: Timestamp) -> Result<Vec<DeadLetter>, Error> {
        self.note_what_sqs_moved(now).await?;
        noted_dead_letters(&self.lake, of).await
    }

    async fn redrive(&self, letters: &[DeadLetter], now: Timestamp) -> Result<usize, Error> {
        self.send_again(letters, now).await
    }

    fn sorts(&self) -> bool {
        false
    }
}

impl SqsQueue {
    /// Puts a fresh copy in, with the receives of the message but for this one, and deletes the message.
    async fn hand_back(&self, message: &Message, after: Duration) -> Result<(), Fault> {
        let body = MessageBody { task: message.task.clone(), receives: message.receive_count.saturating_sub(1) };
        let delay = whole_seconds(after.min(LONGEST_DELAY));
        let send = self.client.send_message().queue_url(&self.url).message_body(body.text());
        send.delay_seconds(delay).send().await?;
        self.remove(&message.receipt_handle.token).await
    }
}

/// Seconds, rounded up: SQS knows nothing finer, and nothing beyond twelve hours.
fn whole_seconds(time: Duration) -> i32 {
    const LONGEST: i32 = 12 * 60 * 60;
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    i32::try_from(seconds).unwrap_or(LONGEST).min(LONGEST)
}

fn count(message: &aws_sdk_sqs::types::Message, name: &MessageSystemAttributeName) -> u32 {
    let text = message.attributes().and_then(|attributes| attributes.get(name));
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}

impl fmt::Debug for SqsQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqsQueue").field("uri", &self.settings.uri).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
