//! A lake in a bucket: S3, or a server that speaks its protocol.
//!
//! Commits need one thing of the store: that of several creates of one object one wins. S3 promises
//! it (`If-None-Match: *`), other servers may ignore the header, so each lake's place is [proved](probe)
//! before its first use. Nothing here locks, renames or copies.
//!
//! A lake in a bucket needs a runtime of several threads: the Delta library blocks the one that it looks at a log from,
//! and on a runtime of one thread the connection that it waits for would stand still with it.

mod credentials;
mod explain;
mod meter;
mod probe;

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::client::{HttpConnector, ReqwestConnector};
use object_store::path::Path;
use object_store::{BackoffConfig, ClientOptions, RetryConfig};
use url::Url;

use crate::aws::{Aws, SdkConfig};
use crate::error::{Error, Result};

use super::{CachedLog, CheckedLog, CreateOnce, Place, StoreSettings};

pub use meter::Requests;
use meter::{Meter, Metered};

/// A request that takes longer has been lost. The largest are parts of a few MiB.
const REQUEST: Duration = Duration::from_mins(1);

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);

/// What is known of the bucket that a lake is in.
#[derive(Debug)]
pub(crate) struct Bucket {
    lake: Url,
    name: String,
    region: String,
    endpoint: Option<Url>,
    meter: Arc<Meter>,
    /// Gives up soon: for the first look.
    hasty: Arc<CreateOnce<AmazonS3>>,
}

impl Bucket {
    /// The HTTP requests made so far.
    pub(crate) fn requests(&self) -> Requests {
        self.meter.requests()
    }

    /// The server's address, as it is told to people.
    pub(crate) fn server(&self) -> String {
        match &self.endpoint {
            Some(endpoint) => endpoint.as_str().trim_end_matches('/').to_owned(),
            None => format!("https://s3.{}.amazonaws.com", self.region),
        }
    }

    /// Makes sure, once a lake, that its place creates an object once.
    pub(crate) async fn prove(&self, prefix: &Path) -> Result<()> {
        probe::prove(&*self.hasty, prefix, &format!("{}/{}", self.server(), self.name))
            .await
            .map_err(|failed| explain::failed(self, failed))
    }
}

/// Opens the place of a lake in a bucket; nothing is asked of it yet.
pub(crate) async fn open(uri: &str, settings: &StoreSettings) -> Result<Place> {
    let region = settings.region.clone().or_else(|| settings.aws.region.clone());
    // A wrong URL is told before anything is looked for.
    parse(uri)?;
    let config = Aws { region, profile: settings.aws.profile.clone() }.sdk_config().await;
    open_bucket(uri, settings, &config, Arc::new(ReqwestConnector::default()), RetryConfig::default())
}

/// As [`open`], with the credentials, the way to send HTTP requests and to send them again at hand.
pub(crate) fn open_bucket(
    uri: &str,
    settings: &StoreSettings,
    config: &SdkConfig,
    http: Arc<dyn HttpConnector>,
    retry: RetryConfig,
) -> Result<Place> {
    let (url, name) = parse(uri)?;
    let prefix =
        Path::from_url_path(url.path()).map_err(|e| Error::unsupported(uri, e.to_string(), super::A_LAKE_IS))?;
    let region = match (config.region(), &settings.endpoint) {
        (Some(region), _) => region.to_string(),
        // Servers other than AWS are mostly not told any, and then take this one.
        (None, Some(_)) => "us-east-1".to_owned(),
        (None, None) => {
            let hint = "set `region` under `[aws]` in onggi.toml, or AWS_REGION";
            return Err(Error::unsupported(url.as_str(), "the region of its bucket is not known", hint));
        }
    };
    let meter = Arc::new(Meter::new(settings.requests));
    let chain = Arc::new(credentials::Chain::new(config.credentials_provider()));
    let metered = Metered::new(http, Arc::clone(&meter));
    // A bucket with dots in its name is no host that a certificate is for.
    let path_style = settings.path_style.unwrap_or(settings.endpoint.is_some() || name.contains('.'));
    let build = |retry: RetryConfig| {
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&name)
            .with_region(&region)
            .with_credentials(Arc::clone(&chain) as _)
            .with_client_options(ClientOptions::new().with_timeout(REQUEST).with_connect_timeout(CONNECT))
            .with_virtual_hosted_style_request(!path_style)
            .with_retry(retry)
            .with_http_connector(metered.clone());
        if let Some(endpoint) = &settings.endpoint {
            builder = builder.with_allow_http(endpoint.scheme() == "http");
            builder = builder.with_endpoint(address(endpoint, (!path_style).then_some(&name)));
        }
        builder.build().map_err(|e| Error::unsupported(url.as_str(), e.to_string(), super::A_LAKE_IS))
    };
    let hasty = Arc::new(CreateOnce::new(Arc::new(build(hasty())?)));
    let store = CreateOnce::new(Arc::new(build(retry)?));
    let root = Arc::new(CheckedLog::new(Arc::new(CachedLog::new(Arc::new(store)))));
    let endpoint = settings.endpoint.clone();
    let bucket = Bucket { lake: url.clone(), name, region, endpoint, meter, hasty };
    Ok(Place { url, root, prefix, folder: None, syncs: None, bucket: Some(bucket) })
}

/// For the first look: a wrong address is told within seconds.
fn hasty() -> RetryConfig {
    let backoff =
        BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(1), base: 2. };
    RetryConfig { backoff, max_retries: 3, retry_timeout: Duration::from_secs(10) }
}

/// An endpoint, with the bucket in its host if that is where it belongs.
fn address(endpoint: &Url, bucket: Option<&String>) -> String {
    let mut endpoint = endpoint.clone();
    if let (Some(bucket), Some(host)) = (bucket, endpoint.host_str()) {
        let host = format!("{bucket}.{host}");
        // A host that is none is refused by the first request, with its name.
        let _ = endpoint.set_host(Some(&host));
    }
    endpoint.as_str().trim_end_matches('/').to_owned()
}

/// The lake's URL, ending in `/`, and its bucket.
fn parse(uri: &str) -> Result<(Url, String)> {
    if uri.contains('@') {
        // What stands before an `@` is a secret: it is not repeated.
        let hint = "keys come from the environment, a profile or a role, never from a URL";
        return Err(Error::unsupported("s3://…", "expected `s3://bucket/prefix`, found keys in the URL", hint));
    }
    let unsupported = |reason: &str| Error::unsupported(uri, reason, super::A_LAKE_IS);
    let mut url = Url::parse(uri).map_err(|e| unsupported(&e.to_string()))?;
    let name = url.host_str().unwrap_or_default().to_owned();
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    if !(3..=63).contains(&name.len()) || !name.chars().all(fits) {
        return Err(unsupported("a bucket's name has 3 to 63 lower-case letters, digits, `-` and `.`"));
    }
    if url.query().is_some() || url.fragment().is_some() || url.port().is_some() {
        return Err(unsupported("expected `s3://bucket/prefix` and nothing more"));
    }
    let path: Vec<_> = url.path().split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
    let path = if path.is_empty() { "/".to_owned() } else { format!("/{}/", path.join("/")) };
    url.set_path(&path);
    Ok((url, name))
}

#[cfg(test)]
mod tests;
