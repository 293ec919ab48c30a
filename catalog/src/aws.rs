//! One way to AWS for the lake, the queue, Glue and Athena: a region and a chain of credentials.
//!
//! Nothing here is a secret: credentials come from where the SDKs look for them (environment, profile, single sign-on,
//! web identity, the role of a task or of a machine), and are renewed there before they expire.

use aws_config::{BehaviorVersion, Region};

pub use aws_config::SdkConfig;

/// The chain has no credentials.
#[derive(Debug, thiserror::Error)]
#[error("no AWS credentials were found")]
pub(crate) struct NoCredentials {
    #[source]
    pub(crate) source: Option<aws_credential_types::provider::error::CredentialsError>,
}

/// Which account and where; what is left out, the chain of the SDKs finds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Aws {
    /// The region, such as `ap-northeast-2`.
    pub region: Option<String>,
    /// The profile of `~/.aws/config`.
    pub profile: Option<String>,
}

impl Aws {
    /// The region and the credentials' chain, with no endpoint: each service is given its own.
    pub async fn sdk_config(&self) -> SdkConfig {
        let mut loader = aws_config::defaults(BehaviorVersion::latest());
        if let Some(region) = &self.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(profile) = &self.profile {
            loader = loader.profile_name(profile);
        }
        loader.load().await
    }
}
