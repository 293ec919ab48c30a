//! Dead letters: why a task was given up, kept where it can be read.
//!
//! SQS can't be asked for what lies in a dead-letter queue without receiving it, and what it moves there itself comes
//! without a reason. So a note in the lake (`_onggi/dead/<source>/<dt>/<task>.json`) is what `status` and a run read:
//!
//! ```text
//! SQS moves a message           found there when somebody looks → note    every worker that took it was killed
//! redrive                       send → delete from the dead-letter queue → delete the note
//! ```
//!
//! A kill between two of these steps leaves a note or a letter too many, never one too few. A note of a task that has landed
//! since means nothing: the table is asked first.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::time::Duration;

use aws_sdk_sqs::types::{MessageAttributeValue, MessageSystemAttributeName};
use bytes::Bytes;
use catalog::{Date, Lake, PutNew, SourceName, Timestamp, path};
use tokio::time::Instant;

use super::body::MessageBody;
use super::fault::Fault;
use super::{SqsQueue, count};
use crate::error::Error;
use crate::queue::{DeadLetter, NO_WORD, TaskFilter};
use crate::task::{Task, TaskId};

/// How long the letters are hidden from others while we look through them.
const LOOK: Duration = Duration::from_secs(30);

/// After how long letters are looked at again that are no more and no less than the last time.
const LOOK_AGAIN: Duration = Duration::from_mins(1);

/// Looks of ten letters at most, so that a dead-letter queue that others feed can't hold us for ever.
const MOST_LOOKS: usize = 500;

/// What an attribute of a message may hold of an error.
const MOST_ERROR_BYTES: usize = 8 * 1024;

/// One letter of the dead-letter queue.
struct Letter {
    token: String,
    task: Task,
    receives: u32,
    error: Option<String>,
}

impl SqsQueue {
    /// Sets a message apart that is no task, with the reason; else it would come back for ever.
    pub(super) async fn set_aside(
        &self,
        message: &aws_sdk_sqs::types::Message,
        token: &str,
        reason: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        let text = message.body().unwrap_or_default();
        tracing::error!(message = message.message_id(), reason, "a message that is no task is set aside");
        let receives = count(message, &MessageSystemAttributeName::ApproximateReceiveCount);
        if self.dead_url.is_some() {
            self.send_dead(text, reason, receives, now).await?;
        } else {
            let at = path::state("unreadable-messages", message.message_id().unwrap_or("unnamed"));
            self.lake.objects().put(&at, Bytes::from(format!("{reason}\n{text}"))).await?;
        }
        match self.remove(token).await {
            Err(fault) if !fault.is_lost_handle() => Err(self.failed("deleting a message", fault)),
            _ => Ok(()),
        }
    }

    async fn send_dead(&self, text: &str, error: &str, receives: u32, now: Timestamp) -> Result<(), Error> {
        let Some(url) = &self.dead_url else { return Ok(()) };
        let value =
            |kind: &str, text: &str| MessageAttributeValue::builder().data_type(kind).string_value(text).build();
        let mut call = self.client.send_message().queue_url(url).message_body(text);
        let (receives, dead_at) = (receives.to_string(), now.to_string());
        for (name, kind, text) in [
            ("error", "String", shorten(error)),
            ("receive_count", "Number", &receives),
            ("dead_at", "String", &dead_at),
        ] {
            let value = value(kind, if text.is_empty() { "-" } else { text });
            let value = value.map_err(|error| {
                self.failed("preparing a dead letter", Fault::of_entry("MissingField", Some(&error.to_string())))
            })?;
            call = call.message_attributes(name, value);
        }
        call.send().await.map(drop).map_err(|error| self.failed("sending a dead letter", error.into()))
    }

    /// Notes what SQS moved by itself. A letter that another process looks at in this moment is missed, and found by the
    /// next look.
    pub(super) async fn note_what_sqs_moved(&self, now: Timestamp) -> Result<(), Error> {
        let Some(url) = &self.dead_url else { return Ok(()) };
        let about = self.about(url).await.map_err(|fault| self.failed("counting the dead letters", fault))?;
        let total = about.0 + about.1;
        let looked = *self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if total == 0 || looked.is_some_and(|(at, count)| count == total && at.elapsed() < LOOK_AGAIN) {
            return Ok(());
        }
        let letters = self.look_through(url).await?;
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), total));
        for letter in &letters {
            let note = DeadLetter {
                task: letter.task.clone(),
                receive_count: letter.receives,
                error: letter.error.clone().unwrap_or_else(|| NO_WORD.to_owned()),
                dead_at: now,
            };
            let at = path::dead(&note.task.source, note.task.dt, note.task.id.as_str());
            let body = serde_json::to_vec(&note).map_err(|source| Error::Note { path: at.to_string(), source })?;
            if self.lake.objects().put_new(&at, body.into()).await? == PutNew::Created {
                tracing::warn!(task = note.task.id.as_str(), "found a dead letter that nobody had told of");
            }
        }
        let tokens: Vec<String> = letters.into_iter().map(|letter| letter.token).collect();
        self.show_tokens(url, &tokens).await
    }

    /// Receives all there is in the dead-letter queue. What is no task stays hidden until its timeout.
    async fn look_through(&self, url: &str) -> Result<Vec<Letter>, Error> {
        let mut letters: Vec<Letter> = Vec::new();
        for _ in 0..MOST_LOOKS {
            let ask = self
                .client
                .receive_message()
                .queue_url(url)
                .max_number_of_messages(10)
                .visibility_timeout(super::whole_seconds(LOOK))
                // A long poll asks all of the service's machines, a short one only some.
                .wait_time_seconds(1)
                .message_attribute_names("All")
                .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount);
            let answer = ask.send().await.map_err(|error| self.failed("looking at the dead letters", error.into()))?;
            let found = answer.messages.unwrap_or_default();
            if found.is_empty() {
                break;
            }
            for message in found {
                let Ok(body) = MessageBody::parse(message.body().unwrap_or_default()) else { continue };
                let attribute = |name: &str| {
                    let found = message.message_attributes().and_then(|attributes| attributes.get(name));
                    found.and_then(MessageAttributeValue::string_value).map(str::to_owned)
                };
                let told = attribute("receive_count").and_then(|text| text.parse().ok());
                letters.push(Letter {
                    token: message.receipt_handle().unwrap_or_default().to_owned(),
                    task: body.task,
                    receives: told.unwrap_or_else(|| {
                        count(&message, &MessageSystemAttributeName::ApproximateReceiveCount).saturating_sub(1)
                    }),
                    error: attribute("error"),
                });
            }
        }
        Ok(letters)
    }

    /// Sends dead letters again: fresh messages first, and only then they are forgotten as dead.
    pub(super) async fn send_again(&self, letters: &[DeadLetter], now: Timestamp) -> Result<usize, Error> {
        if letters.is_empty() {
            return Ok(0);
        }
        let mut noted = Vec::new();
        for letter in letters {
            let Task { source, dt, id, .. } = &letter.task;
            if self.lake.objects().get(&path::dead(source, *dt, id.as_str())).await?.is_some() {
                noted.push(letter);
            }
        }
        let texts: Vec<String> = noted.iter().map(|letter| MessageBody::fresh(&letter.task).text()).collect();
        self.send_texts(&texts).await?;
        self.forget(&noted, now).await?;
        Ok(noted.len())
    }

    async fn forget(&self, letters: &[&DeadLetter], now: Timestamp) -> Result<(), Error> {
        type LetterKey<'l> = (&'l SourceName, Date, &'l TaskId);
        let places: BTreeSet<LetterKey<'_>> =
            letters.iter().map(|letter| (&letter.task.source, letter.task.dt, &letter.task.id)).collect();
        if let Some(url) = &self.dead_url
            && self.about(url).await.map_err(|fault| self.failed("counting the dead letters", fault))? != (0, 0)
        {
            let found = self.look_through(url).await?;
            let (ours, others): (Vec<Letter>, Vec<Letter>) = found
                .into_iter()
                .partition(|letter| places.contains(&(&letter.task.source, letter.task.dt, &letter.task.id)));
            let tokens = |letters: Vec<Letter>| letters.into_iter().map(|letter| letter.token).collect::<Vec<_>>();
            self.delete_tokens(url, &tokens(ours)).await?;
            self.show_tokens(url, &tokens(others)).await?;
        }
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = None;
        for letter in letters {
            tracing::debug!(task = letter.task.id.as_str(), at = %now, "sent again");
            let Task { source, dt, id, .. } = &letter.task;
            self.lake.objects().delete(&path::dead(source, *dt, id.as_str())).await?;
        }
        Ok(())
    }
}

/// The dead letters that are noted in the lake, by source, day and task id, with nothing asked of the service.
pub async fn noted_dead_letters(lake: &Lake, of: &TaskFilter) -> Result<Vec<DeadLetter>, Error> {
    let mut letters = Vec::new();
    for at in lake.objects().list(&path::dead_letters(of.source.as_ref(), of.dt)).await? {
        let Some(body) = lake.objects().get(&at).await? else { continue };
        match serde_json::from_slice::<DeadLetter>(&body) {
            Ok(letter) if of.has(&letter.task) => letters.push(letter),
            Ok(_) => {}
            Err(error) => tracing::warn!(object = %at, %error, "a note of a dead letter can't be read"),
        }
    }
    let key = |letter: &DeadLetter| (letter.task.source.clone(), letter.task.dt, letter.task.id.clone());
    letters.sort_by_cached_key(key);
    Ok(letters)
}

/// The beginning of an error, cut between characters.
fn shorten(error: &str) -> &str {
    let mut end = error.len().min(MOST_ERROR_BYTES);
    while !error.is_char_boundary(end) {
        end -= 1;
    }
    &error[..end]
}
