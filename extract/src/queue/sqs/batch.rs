//! Many messages in few requests. The service answers 200 also when it took only some of them: its `Failed` list is read,
//! and what is on it is tried again, then reported.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_sqs::types::{
    BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry,
    SendMessageBatchRequestEntry,
};
use catalog::backoff;

use super::SqsQueue;
use super::fault::Fault;
use crate::error::Error;

/// Entries of a request at most, and bytes of their bodies. Older queues take 256 KiB.
const MOST_ENTRIES: usize = 10;
const MOST_BYTES: usize = 240 * 1024;

/// Tries of an entry.
const TRIES: u32 = 4;

/// What went wrong with the entries that were not taken, by their place in the batch.
type Failed = Vec<(usize, Fault)>;

fn failed(entries: Vec<BatchResultErrorEntry>) -> Failed {
    let one =
        |entry: BatchResultErrorEntry| Some((entry.id().parse().ok()?, Fault::of_entry(entry.code(), entry.message())));
    entries.into_iter().filter_map(one).collect()
}

/// Cuts a list into requests of a size that the service takes.
fn requests<T>(items: &[T], bytes: impl Fn(&T) -> usize) -> Vec<&[T]> {
    let mut cuts = Vec::new();
    let (mut start, mut size) = (0, 0);
    for (place, item) in items.iter().enumerate() {
        let more = bytes(item);
        if place > start && (place - start == MOST_ENTRIES || size + more > MOST_BYTES) {
            cuts.push(&items[start..place]);
            (start, size) = (place, 0);
        }
        size += more;
    }
    if start < items.len() {
        cuts.push(&items[start..]);
    }
    cuts
}

impl SqsQueue {
    /// Sends texts to the queue.
    pub(super) async fn send_texts(&self, texts: &[String]) -> Result<(), Error> {
        for request in requests(texts, String::len) {
            let mut left: BTreeMap<usize, &String> = request.iter().enumerate().collect();
            let mut turn = 0;
            while !left.is_empty() {
                turn += 1;
                let refused = self.send_once(&left).await.map_err(|fault| self.failed("sending tasks", fault))?;
                left = self.again("sending tasks", turn, left, refused).await?;
            }
        }
        Ok(())
    }

    async fn send_once(&self, texts: &BTreeMap<usize, &String>) -> Result<Failed, Fault> {
        let mut call = self.client.send_message_batch().queue_url(&self.url);
        for (place, text) in texts {
            let entry = SendMessageBatchRequestEntry::builder().id(place.to_string()).message_body(text.as_str());
            call =
                call.entries(entry.build().map_err(|error| Fault::of_entry("MissingField", Some(&error.to_string())))?);
        }
        Ok(failed(call.send().await?.failed))
    }

    /// Deletes messages of the queue at `url`.
    pub(super) async fn delete_tokens(&self, url: &str, tokens: &[String]) -> Result<(), Error> {
        for request in requests(tokens, |_| 0) {
            let mut left: BTreeMap<usize, &String> = request.iter().enumerate().collect();
            let mut turn = 0;
            while !left.is_empty() {
                turn += 1;
                let mut call = self.client.delete_message_batch().queue_url(url);
                for (place, token) in &left {
                    let entry = DeleteMessageBatchRequestEntry::builder().id(place.to_string());
                    let entry = entry.receipt_handle(token.as_str()).build();
                    call = call.entries(entry.map_err(|error| self.unbuilt(&error))?);
                }
                let answer = call.send().await.map_err(|error| self.failed("deleting messages", error.into()))?;
                left = self.again("deleting messages", turn, left, failed(answer.failed)).await?;
            }
        }
        Ok(())
    }

    /// Shows messages of the queue at `url` again. What is not shown now is shown when its timeout is over.
    pub(super) async fn show_tokens(&self, url: &str, tokens: &[String]) -> Result<(), Error> {
        for request in requests(tokens, |_| 0) {
            let mut call = self.client.change_message_visibility_batch().queue_url(url);
            for (place, token) in request.iter().enumerate() {
                let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(place.to_string());
                let entry = entry.receipt_handle(token).visibility_timeout(0).build();
                call = call.entries(entry.map_err(|error| self.unbuilt(&error))?);
            }
            let answer = call.send().await.map_err(|error| self.failed("showing messages again", error.into()))?;
            for entry in answer.failed {
                tracing::debug!(code = entry.code(), "a message stays hidden until its timeout");
            }
        }
        Ok(())
    }

    /// The entries that are to be tried again, after a wait; an error when they were tried often enough.
    async fn again<'t>(
        &self,
        doing: &'static str,
        turn: u32,
        mut left: BTreeMap<usize, &'t String>,
        refused: Failed,
    ) -> Result<BTreeMap<usize, &'t String>, Error> {
        let places: Vec<usize> = refused.iter().map(|(place, _)| *place).collect();
        left.retain(|place, _| places.contains(place));
        if let Some((_, fault)) = refused.into_iter().next() {
            if turn >= TRIES {
                return Err(self.failed(doing, fault));
            }
            tracing::warn!(
                doing,
                entries = left.len(),
                code = fault.code(),
                "a batch was taken in part: the rest again"
            );
            tokio::time::sleep(backoff(
                Duration::from_millis(200),
                turn.saturating_sub(1),
                Duration::from_secs(2),
                1.0,
            ))
            .await;
        }
        Ok(left)
    }

    fn unbuilt(&self, error: &aws_sdk_sqs::error::BuildError) -> Error {
        self.failed("preparing a batch", Fault::of_entry("MissingField", Some(&error.to_string())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_ten_entries_at_most_and_is_not_too_large() {
        let sizes =
            |sizes: &[usize]| -> Vec<usize> { requests(sizes, |size| *size).iter().map(|cut| cut.len()).collect() };
        assert_eq!(sizes(&[]), Vec::<usize>::new());
        assert_eq!(sizes(&[1; 25]), [10, 10, 5]);
        assert_eq!(sizes(&[100 * 1024; 5]), [2, 2, 1]);
        assert_eq!(sizes(&[900 * 1024, 1, 1]), [1, 2], "what is too large goes alone, and the service says so");
    }
}
