//! `[lake]` and `[aws]`: where the tables are, and how they are reached.

use catalog::StoreSettings;
use catalog::aws::Aws;
use serde::Deserialize;
use url::Url;

/// `[aws]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AwsSection {
    /// The region, such as `ap-northeast-2`; else what the environment or the profile says.
    pub region: Option<String>,
    /// The profile of `~/.aws/config`; else the chain of the SDKs: environment, default profile, role of the task.
    pub profile: Option<String>,
}

/// What addresses of lakes begin with.
const LAKE_SCHEMES: [&str; 3] = ["s3", "file", "memory"];

/// `[lake]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LakeSection {
    /// A folder, relative to the project, or a URL such as `s3://bucket/prefix`.
    pub uri: String,
    /// An S3-compatible server such as `http://127.0.0.1:9000`; AWS if left out.
    pub endpoint: Option<Url>,
    /// The bucket's region, if it is not that of `[aws]`.
    pub region: Option<String>,
    /// Whether the bucket is named in the path of a URL; if left out, only with an endpoint.
    pub path_style: Option<bool>,
    /// Requests at the same time, at most.
    pub requests: u16,
}

impl Default for LakeSection {
    fn default() -> Self {
        Self { uri: "lake".to_owned(), endpoint: None, region: None, path_style: None, requests: 32 }
    }
}

impl AwsSection {
    /// As the rooms take it.
    pub(crate) fn aws(&self) -> Aws {
        Aws { region: self.region.clone(), profile: self.profile.clone() }
    }
}

impl LakeSection {
    /// What opening a lake needs beside its URL.
    pub(crate) fn settings(&self, aws: &AwsSection) -> StoreSettings {
        StoreSettings {
            aws: aws.aws(),
            endpoint: self.endpoint.clone(),
            region: self.region.clone(),
            path_style: self.path_style,
            requests: usize::from(self.requests),
        }
    }

    /// What the types cannot say: the key, what is wrong with it and what to do.
    pub(crate) fn problems(&self) -> Vec<(&'static str, String, &'static str)> {
        let mut problems = Vec::new();
        if let Some(endpoint) = &self.endpoint {
            if !matches!(endpoint.scheme(), "http" | "https") || endpoint.host_str().is_none() {
                let message = format!("expected an endpoint such as `https://host:9000`, found `{endpoint}`");
                problems.push(("endpoint", message, "it is the address of an S3-compatible server"));
            } else if !endpoint.username().is_empty() || endpoint.password().is_some() {
                let message = "expected an endpoint without a user and a password, found one with them".to_owned();
                let hint = "put the keys into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or into a profile";
                problems.push(("endpoint", message, hint));
            }
        }
        if let Some((scheme, rest)) = self.uri.split_once(':')
            && scheme.len() > 1
            && scheme.chars().all(|letter| letter.is_ascii_alphanumeric())
            && !(LAKE_SCHEMES.contains(&scheme) && rest.starts_with("//"))
        {
            let message = format!("expected a folder or an address such as `s3://bucket/prefix`, found `{}`", self.uri);
            problems.push(("uri", message, "a lake lies in a folder or in a bucket of S3"));
        }
        if self.uri.trim().is_empty() {
            problems.push((
                "uri",
                "expected a folder or an address, found nothing".to_owned(),
                "`lake` is the default",
            ));
        }
        if !(1..=1024).contains(&self.requests) {
            let message = format!("expected 1 to 1024 requests at the same time, found {}", self.requests);
            problems.push(("requests", message, "32 suits one machine"));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn parse(sections: &str) -> anyhow::Result<Config> {
        let rest = "[project]\nname = \"r\"\ntimezone = \"UTC\"\nsources = \"s\"\nmodels = \"m\"\n[identity]\nkey = \"env:K\"\n";
        Config::parse("onggi.toml", &format!("{rest}{sections}"))
    }

    #[test]
    fn what_is_neither_a_folder_nor_a_bucket_is_named() {
        let lake = |uri: &str| parse(&format!("[lake]\nuri = \"{uri}\"\n")).map(drop);
        for fine in ["lake", "../lake", "C:/lake", "s3://bucket/prefix", "file:///lake", "memory://x"] {
            lake(fine).unwrap();
        }
        for bad in ["", " ", "http://x/y", "s3:/x", "s3:x", "gs://bucket"] {
            assert!(lake(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_lake_on_a_server_of_ones_own() {
        let config = parse(
            "[aws]\nregion = \"ap-northeast-2\"\n[lake]\nuri = \"s3://b/p\"\nendpoint = \"http://127.0.0.1:9000\"\n",
        );
        let settings = config.map(|it| it.lake.settings(&it.aws)).unwrap();
        assert_eq!(settings.endpoint.unwrap().as_str(), "http://127.0.0.1:9000/");
        assert_eq!(settings.aws.region.as_deref(), Some("ap-northeast-2"));
        assert_eq!((settings.path_style, settings.requests), (None, 32));
    }

    #[test]
    fn an_endpoint_never_carries_a_password() {
        for (section, expected) in [
            ("endpoint = \"http://me:s3cr3t@host:9000\"", "without a user"),
            ("endpoint = \"ftp://host\"", "found `ftp://host"),
            ("requests = 0", "1 to 1024"),
        ] {
            let error = crate::exit::render(&parse(&format!("[lake]\n{section}\n")).unwrap_err());
            assert!(error.contains(expected) && error.contains("onggi.toml:9:1"), "{error}");
            assert!(!error.contains("s3cr3t"), "{error}");
        }
    }
}
