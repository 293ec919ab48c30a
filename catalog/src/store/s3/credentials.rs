//! Credentials for the store, from the same chain that the SDKs of the other rooms use.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::aws::NoCredentials;

/// Credentials are renewed this long before they expire. A put may be retried for three minutes with
/// the signature that it began with.
const AHEAD: Duration = Duration::from_mins(5);

/// Credentials that don't say when they expire are looked for again after this time: a file may have changed.
const LASTING: Duration = Duration::from_mins(15);

/// The chain's credentials, kept until shortly before they expire.
pub(super) struct Chain {
    provider: Option<SharedCredentialsProvider>,
    kept: Mutex<Option<Kept>>,
}

struct Kept {
    credential: Arc<AwsCredential>,
    until: Instant,
}

impl Chain {
    pub(super) fn new(provider: Option<SharedCredentialsProvider>) -> Self {
        Self { provider, kept: Mutex::default() }
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Chain(…)")
    }
}

#[async_trait]
impl CredentialProvider for Chain {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let mut kept = self.kept.lock().await;
        if let Some(kept) = kept.as_ref().filter(|kept| Instant::now() < kept.until) {
            return Ok(Arc::clone(&kept.credential));
        }
        let missing = |source| object_store::Error::Generic { store: "S3", source: NoCredentials { source }.into() };
        let provider = self.provider.as_ref().ok_or_else(|| missing(None))?;
        let found = provider.provide_credentials().await.map_err(|e| missing(Some(e)))?;
        let until = Instant::now() + lasts(&found);
        let credential = Arc::new(AwsCredential {
            key_id: found.access_key_id().to_owned(),
            secret_key: found.secret_access_key().to_owned(),
            token: found.session_token().map(str::to_owned),
        });
        *kept = Some(Kept { credential: Arc::clone(&credential), until });
        Ok(credential)
    }
}

/// How long they may be used: until they expire, less [`AHEAD`]. Those about to expire are used once.
fn lasts(found: &Credentials) -> Duration {
    let Some(expiry) = found.expiry() else { return LASTING };
    #[expect(
        clippy::disallowed_methods,
        reason = "credentials expire by the wall clock; nothing in the lake follows it"
    )]
    let now = SystemTime::now();
    expiry.duration_since(now).unwrap_or_default().saturating_sub(AHEAD)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use aws_credential_types::provider::future;

    use super::*;

    /// Hands out a new key with each call, each good for as long as said.
    #[derive(Debug)]
    struct Rotating {
        calls: Arc<AtomicU32>,
        good_for: Option<Duration>,
    }

    impl ProvideCredentials for Rotating {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            let n = self.calls.fetch_add(1, Ordering::Relaxed);
            #[expect(clippy::disallowed_methods, reason = "credentials expire by the wall clock")]
            let expiry = self.good_for.map(|it| SystemTime::now() + it);
            future::ProvideCredentials::ready(Ok(Credentials::new(
                format!("key{n}"),
                "s3cr3t",
                Some("t0ken".into()),
                expiry,
                "test",
            )))
        }
    }

    fn chain(good_for: Option<Duration>) -> (Chain, Arc<AtomicU32>) {
        let calls = Arc::new(AtomicU32::new(0));
        let rotating = Rotating { calls: Arc::clone(&calls), good_for };
        (Chain::new(Some(SharedCredentialsProvider::new(rotating))), calls)
    }

    #[tokio::test]
    async fn credentials_are_kept_until_shortly_before_they_expire() {
        let (long, calls) = chain(Some(Duration::from_hours(1)));
        for _ in 0..3 {
            assert_eq!(long.get_credential().await.unwrap().key_id, "key0");
        }
        assert_eq!(calls.load(Ordering::Relaxed), 1);
        let (short, calls) = chain(Some(Duration::from_mins(4)));
        for n in 0..3 {
            assert_eq!(short.get_credential().await.unwrap().key_id, format!("key{n}"), "four minutes before the end");
        }
        assert_eq!(calls.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn nothing_of_a_secret_is_shown() {
        let (chain, _) = chain(None);
        let shown = format!("{:?} {:?}", chain, chain.get_credential().await.unwrap());
        assert!(!shown.contains("s3cr3t") && !shown.contains("t0ken"), "{shown}");
        let none = Chain::new(None).get_credential().await.unwrap_err();
        assert!(crate::error::find::<NoCredentials>(&none).is_some());
    }
}
