//! Finding a queue by its name, and what it says of itself.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::Builder;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::types::QueueAttributeName;
use catalog::Lake;
use catalog::aws::SdkConfig;
use serde::Deserialize;

use super::fault::Fault;
use super::{SqsQueue, SqsSettings};
use crate::error::Error;

/// What SQS keeps messages for unless told otherwise.
const USUAL_RETENTION: Duration = Duration::from_hours(4 * 24);

/// How long an answer may take, beside the wait for a message.
const PATIENCE: Duration = Duration::from_secs(15);

/// A queue's name, and whose it is if it is not ours.
#[derive(Debug, PartialEq, Eq)]
struct QueueName<'u> {
    account: Option<&'u str>,
    queue: &'u str,
}

/// `sqs://name` or `sqs://account/name`.
fn name(uri: &str) -> Option<QueueName<'_>> {
    let rest = uri.strip_prefix("sqs://")?;
    let (account, queue) = rest.split_once('/').map_or((None, rest), |(account, queue)| (Some(account), queue));
    let fits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    let whose = account.is_none_or(|account| !account.is_empty() && account.bytes().all(|b| b.is_ascii_digit()));
    (whose && fits(queue) && queue.len() <= 80).then_some(QueueName { account, queue })
}

/// A queue's `RedrivePolicy`, as far as we read it.
#[derive(Deserialize)]
struct RedrivePolicy {
    #[serde(rename = "deadLetterTargetArn")]
    target: String,
}

impl SqsQueue {
    /// Finds the queue. `lake` is where is noted what SQS can't keep. Nothing is made: a queue has costs and rights.
    pub async fn open(lake: &Lake, sdk: &SdkConfig, settings: SqsSettings) -> Result<Self, Error> {
        let Some(wanted) = name(&settings.uri) else { return Err(Error::QueueUri { uri: settings.uri }) };
        // The service's own rule for a name's end, capitals included.
        if wanted.queue.strip_suffix(".fifo").is_some() {
            return Err(Error::QueueUri { uri: settings.uri });
        }
        // Without bounds of ours a server that accepts and never answers would hold us for ever.
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(5))
            .operation_attempt_timeout(settings.wait + PATIENCE)
            .operation_timeout((settings.wait + PATIENCE) * 2);
        let mut config = Builder::from(sdk).timeout_config(timeouts.build());
        if let Some(endpoint) = &settings.endpoint {
            config = config.endpoint_url(endpoint);
        }
        let client = Client::from_conf(config.build());
        let failed = |fault: Fault| fault.into_error(&settings.uri, "looking for it");
        let url = url_of(&client, wanted.queue, wanted.account).await.map_err(failed)?;
        let names = [QueueAttributeName::RedrivePolicy, QueueAttributeName::MessageRetentionPeriod];
        let asked = client.get_queue_attributes().queue_url(&url).set_attribute_names(Some(names.to_vec())).send();
        let attributes = asked.await.map_err(|error| failed(error.into()))?.attributes.unwrap_or_default();
        let retention = attributes.get(&QueueAttributeName::MessageRetentionPeriod);
        let retention = retention.and_then(|text| text.parse().ok()).map_or(USUAL_RETENTION, Duration::from_secs);
        let policy = attributes.get(&QueueAttributeName::RedrivePolicy);
        let dead_url = if let Some((account, queue)) = policy.and_then(|text| target(text)) {
            let url = url_of(&client, &queue, Some(&account)).await;
            Some(url.map_err(|fault| fault.into_error(&settings.uri, "looking up its dead-letter queue"))?)
        } else {
            tracing::warn!(
                queue = settings.uri,
                "the queue has no redrive policy: a task that kills its worker each time comes back for ever; \
                 give it a RedrivePolicy with a dead-letter queue and maxReceiveCount 5"
            );
            None
        };
        let (lake, deadlines, looked) = (lake.clone(), Mutex::new(HashMap::new()), Mutex::new(None));
        Ok(Self { client, lake, settings, url, dead_url, retention, deadlines, looked })
    }
}

async fn url_of(client: &Client, queue: &str, account: Option<&str>) -> Result<String, Fault> {
    let ask = client.get_queue_url().queue_name(queue);
    let ask = ask.set_queue_owner_aws_account_id(account.map(str::to_owned));
    Ok(ask.send().await?.queue_url.unwrap_or_default())
}

/// Account and name of a policy's target, `arn:aws:sqs:<region>:<account>:<name>`.
fn target(policy: &str) -> Option<(String, String)> {
    let policy: RedrivePolicy = serde_json::from_str(policy).ok()?;
    let mut parts = policy.target.rsplit(':');
    let (name, account) = (parts.next()?, parts.next()?);
    Some((account.to_owned(), name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_named_with_or_without_its_account() {
        assert_eq!(name("sqs://onggi-tasks"), Some(QueueName { account: None, queue: "onggi-tasks" }));
        assert_eq!(name("sqs://123456789012/q_1"), Some(QueueName { account: Some("123456789012"), queue: "q_1" }));
        for wrong in ["", "sqs:/q", "sqs://", "sqs://team/q", "sqs:///q", "sqs://1/", "https://sqs/1/q", "sqs://1/a/b"]
        {
            assert_eq!(name(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_redrive_policy_names_its_target() {
        let policy =
            r#"{"deadLetterTargetArn":"arn:aws:sqs:ap-northeast-2:123456789012:q-dead","maxReceiveCount":"5"}"#;
        assert_eq!(target(policy), Some(("123456789012".into(), "q-dead".into())));
        assert_eq!(target("{}"), None);
    }
}
