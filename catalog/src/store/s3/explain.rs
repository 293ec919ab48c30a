//! From what the store said when a lake was opened to the setting that mends it.

use object_store::client::{HttpError, HttpErrorKind};

use crate::aws::NoCredentials;
use crate::error::{Access, Error, find, is_refused};

use super::Bucket;
use super::meter::element;
use super::probe::Failed;

/// What the store's answer means for the lake.
pub(super) fn failed(bucket: &Bucket, failed: Failed) -> Error {
    match failed {
        Failed::Unfit(reason) => {
            let hint = "commits would be lost there: choose a store with conditional writes, such as S3 or MinIO";
            Error::unsupported(bucket.lake.as_str(), format!("{} can't hold one: {reason}", bucket.server()), hint)
        }
        Failed::Store(error) => {
            let found = reason(bucket, &error);
            let uri = bucket.lake.to_string();
            match found {
                Some((reason, hint)) => Error::Unreachable { uri, reason, hint, source: error.into() },
                None => Error::store(&uri, Access::Read, format!("opening the lake {uri}"), error),
            }
        }
    }
}

/// What is wrong, and what to do about it.
fn reason(bucket: &Bucket, error: &object_store::Error) -> Option<(String, String)> {
    let Bucket { name, region, .. } = bucket;
    let server = bucket.server();
    if find::<NoCredentials>(error).is_some() {
        let hint = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a profile with `profile` under `[aws]` in \
            onggi.toml, or give the task a role";
        return Some(("no AWS credentials were found".into(), hint.into()));
    }
    if let Some(http) = find::<HttpError>(error) {
        let what = match http.kind() {
            HttpErrorKind::Connect => "can't be connected to",
            HttpErrorKind::Timeout => "does not answer in time",
            _ => "broke the connection off",
        };
        let hint = if bucket.endpoint.is_some() {
            "start the server, or correct `endpoint` under `[lake]` in onggi.toml"
        } else {
            "check the network's way to S3 (a private subnet needs an endpoint for it), and `region`"
        };
        return Some((format!("{server} {what}"), hint.into()));
    }
    let said = error.to_string();
    let code = element(&said, "Code").unwrap_or_default();
    if said.contains("redirect without LOCATION") {
        return Some(another_region(bucket, &said));
    }
    Some(match code {
        "NoSuchBucket" => (
            format!("there is no bucket `{name}` at {server}"),
            "make the bucket, or correct `uri` under `[lake]` in onggi.toml".into(),
        ),
        "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken" | "UnrecognizedClientException" => (
            format!("{server} does not know these credentials ({code})"),
            "correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or `profile` under `[aws]` in onggi.toml".into(),
        ),
        "ExpiredToken" | "RequestTimeTooSkewed" | "TokenRefreshRequired" => (
            format!("the credentials have expired, or this machine's clock is wrong ({code})"),
            "sign in again (`aws sso login`), or set the clock".into(),
        ),
        "PermanentRedirect"
        | "TemporaryRedirect"
        | "AuthorizationHeaderMalformed"
        | "IllegalLocationConstraintException" => another_region(bucket, &said),
        "NotImplemented" => (
            format!("{server} does not know conditional writes"),
            "choose a store with conditional writes, such as S3 or MinIO".into(),
        ),
        _ if is_refused(error) => (
            format!(
                "these credentials may not use the bucket `{name}` ({})",
                if code.is_empty() { "403" } else { code }
            ),
            format!(
                "allow s3:ListBucket on `{name}`, and s3:GetObject, s3:PutObject, s3:DeleteObject and \
                 s3:AbortMultipartUpload on `{name}{}*`",
                bucket.lake.path()
            ),
        ),
        _ if matches!(error, object_store::Error::NotFound { .. }) => (
            format!("{server} has no bucket `{name}`"),
            "correct `uri` or `endpoint` under `[lake]` in onggi.toml".into(),
        ),
        _ if said.contains("400 Bad Request") => (
            format!("{server} does not understand the request; its region is perhaps not `{region}`"),
            "correct `region` under `[lake]` in onggi.toml".into(),
        ),
        _ => return None,
    })
}

fn another_region(bucket: &Bucket, said: &str) -> (String, String) {
    let Bucket { name, region, .. } = bucket;
    let told = element(said, "Region").map(str::to_owned).or_else(|| bucket.meter.region());
    match told.filter(|told| told != region) {
        Some(told) => (
            format!("the bucket `{name}` is in the region `{told}`, not in `{region}`"),
            format!("set `region = \"{told}\"` under `[lake]` in onggi.toml"),
        ),
        None => (
            format!("the bucket `{name}` is not in the region `{region}`"),
            "set `region` under `[lake]` in onggi.toml to the bucket's".into(),
        ),
    }
}
