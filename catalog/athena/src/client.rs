//! Clients of the services: where they are, how often they are asked again, and what their errors mean.

use std::error::Error as StdError;
use std::time::Duration;

use aws_sdk_glue::config::retry::RetryConfig;
use aws_sdk_glue::error::{ProvideErrorMetadata, SdkError};
use catalog::aws::SdkConfig;

use crate::error::{Error, Result};

/// How often a request is made at most. Both services answer bursts with throttling, which passes within seconds; the waits
/// between are the SDK's: random, doubling, from a quarter of a second to ten.
const ATTEMPTS: u32 = 8;

pub(crate) fn retries() -> RetryConfig {
    RetryConfig::standard()
        .with_max_attempts(ATTEMPTS)
        .with_initial_backoff(Duration::from_millis(250))
        .with_max_backoff(Duration::from_secs(10))
}

/// Glue's catalog. Clones share their connections.
#[derive(Debug, Clone)]
pub struct Glue {
    pub(crate) client: aws_sdk_glue::Client,
}

impl Glue {
    /// The catalog of the account and region of `sdk`; `endpoint` is for servers that are not AWS.
    pub fn new(sdk: &SdkConfig, endpoint: Option<&str>) -> Result<Self> {
        sdk.region().ok_or(Error::NoRegion)?;
        let mut config = aws_sdk_glue::config::Builder::from(sdk).retry_config(retries());
        if let Some(endpoint) = endpoint {
            config = config.endpoint_url(endpoint);
        }
        Ok(Self { client: aws_sdk_glue::Client::from_conf(config.build()) })
    }
}

/// The code that the service itself gave, if it was the service that failed.
pub(crate) fn code<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> Option<&str> {
    error.as_service_error().and_then(ProvideErrorMetadata::code)
}

/// What a failed request means, where it was `what` that was asked for.
pub(crate) fn failed<E, R>(what: impl Into<String>, error: SdkError<E, R>) -> Error
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    let what = what.into();
    match error {
        SdkError::ServiceError(error) => {
            let error = error.into_err();
            let code = error.code().unwrap_or("an error without a code").to_owned();
            let message = error.message().map_or_else(|| crate::error::chain(&error), str::to_owned);
            Error::Refused { what, code, message }
        }
        // The outermost error often says no more than "other"; in one line the reasons below it read well.
        other => {
            let text =
                other.into_source().map_or_else(|error| error.to_string(), |source| crate::error::chain(&*source));
            let text = text.strip_prefix("other: ").unwrap_or(&text);
            Error::Unreachable { what, source: text.into() }
        }
    }
}
