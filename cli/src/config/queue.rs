//! `[queue]`: where tasks wait.

use std::time::Duration;

use serde::Deserialize;
use url::Url;

/// `[queue]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct QueueSection {
    /// A queue of SQS, `sqs://name` or `sqs://account/name`; left out: a file beside the lake, for workers of one machine.
    pub uri: Option<String>,
    /// A server that speaks SQS, such as `http://127.0.0.1:5000`; AWS if left out.
    pub endpoint: Option<Url>,
    /// How long a task is hidden from others unless its worker says that it lives: what a killed machine costs.
    pub visibility_seconds: u32,
    /// Between two signs of life of a worker. After three of them without one it counts as dead.
    pub sign_seconds: f64,
}

impl Default for QueueSection {
    fn default() -> Self {
        let tuning = extract::Tuning::default();
        Self {
            uri: None,
            endpoint: None,
            visibility_seconds: u32::try_from(tuning.visibility_timeout.as_secs()).unwrap_or(u32::MAX),
            sign_seconds: extract::heartbeat::INTERVAL.as_secs_f64(),
        }
    }
}

impl QueueSection {
    /// How long a task is hidden.
    pub(crate) fn visibility_timeout(&self) -> Duration {
        Duration::from_secs(self.visibility_seconds.into())
    }

    /// Between two signs of life.
    pub(crate) fn sign_interval(&self) -> Duration {
        Duration::from_secs_f64(self.sign_seconds)
    }

    /// What the types cannot say: the key, what is wrong with it and what to do.
    pub(crate) fn problems(&self) -> Vec<(&'static str, String, &'static str)> {
        let mut problems = Vec::new();
        if let Some(uri) = self.uri.as_ref().filter(|uri| !uri.starts_with("sqs://")) {
            // The address of something else may carry a password: only its kind is repeated.
            let kind = uri.split_once(':').map_or("no address", |(kind, _)| kind);
            let message = format!("expected a queue such as `sqs://onggi-tasks`, found `{kind}`");
            problems.push(("[queue]", message, "leave `uri` out for the embedded queue"));
        }
        if let Some(endpoint) = &self.endpoint
            && (!endpoint.username().is_empty() || endpoint.password().is_some())
        {
            let message = "expected an endpoint without a user and a password, found one with them".to_owned();
            problems.push(("[queue]", message, "put the keys into the environment, or into a profile"));
        }
        // Twelve hours are all that SQS gives.
        if !(2..=43_200).contains(&self.visibility_seconds) {
            let message = format!("expected 2 to 43200 seconds, found {}", self.visibility_seconds);
            problems.push(("visibility_seconds", message, "120 suits most sources"));
        }
        if !(0.1..=300.0).contains(&self.sign_seconds) {
            let message = format!("expected 0.1 to 300 seconds, found {}", self.sign_seconds);
            problems.push(("sign_seconds", message, "5 suits most machines"));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn parse(section: &str) -> anyhow::Result<Config> {
        let rest = "[project]\nname = \"r\"\ntimezone = \"UTC\"\nsources = \"s\"\nmodels = \"m\"\n[identity]\nkey = \"env:K\"\n";
        Config::parse("onggi.toml", &format!("{rest}[queue]\n{section}\n"))
    }

    #[test]
    fn a_queue_is_embedded_unless_it_is_named() {
        assert_eq!(parse("").unwrap().queue.uri, None);
        let named = parse("uri = \"sqs://onggi-tasks\"\nendpoint = \"http://127.0.0.1:5000\"").unwrap().queue;
        assert_eq!(named.uri.as_deref(), Some("sqs://onggi-tasks"));
        assert_eq!(named.visibility_timeout().as_secs(), 120);
    }

    #[test]
    fn what_is_no_queue_is_refused_with_its_line() {
        for (section, expected) in [
            ("uri = \"https://sqs/1/q\"", "such as `sqs://onggi-tasks`"),
            ("endpoint = \"http://me:s3cr3t@host:5000\"", "without a user"),
            ("visibility_seconds = 1", "2 to 43200"),
            ("sign_seconds = 0", "0.1 to 300"),
        ] {
            let error = crate::exit::render(&parse(section).unwrap_err());
            assert!(error.contains(expected) && error.contains("onggi.toml:"), "{error}");
            assert!(!error.contains("s3cr3t"), "{error}");
        }
    }
}
