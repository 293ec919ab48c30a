//! Where the hosts of the source files really are, and how fast each may be asked.

use std::collections::BTreeMap;

use catalog::without_user;
use url::Url;

use crate::source::{Rate, host_of};

/// One host's setting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostSetting {
    /// A base address to ask instead: `http://127.0.0.1:8080`.
    pub url: Option<Url>,
    /// Its pace, whatever a source says.
    pub rate: Option<Rate>,
}

/// Settings by host. A host without one is where its name says, at its source's pace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts(BTreeMap<String, HostSetting>);

impl Hosts {
    /// No settings.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a host's setting. The error says what was expected.
    pub fn insert(&mut self, host: &str, setting: HostSetting) -> Result<(), String> {
        if host.is_empty() || host.contains(['/', '@', ' ']) {
            return Err(format!("expected a host name such as `m.place.naver.com`, found `{host}`"));
        }
        if let Some(url) = &setting.url {
            let plain = matches!(url.scheme(), "http" | "https")
                && url.path() == "/"
                && url.query().is_none()
                && url.username().is_empty()
                && url.password().is_none();
            if !plain {
                return Err(format!(
                    "expected a base address such as `http://127.0.0.1:8080`, found `{}`",
                    without_user(url.as_str())
                ));
            }
        }
        self.0.insert(host.to_ascii_lowercase(), setting);
        Ok(())
    }

    /// Every host at one base address and one pace: what a test and the demo do with a local server.
    pub fn all_at<'h>(names: impl IntoIterator<Item = &'h str>, base: &Url, rate: Rate) -> Self {
        Self(
            names
                .into_iter()
                .map(|name| (name.to_ascii_lowercase(), HostSetting { url: Some(base.clone()), rate: Some(rate) }))
                .collect(),
        )
    }

    /// A host's own pace.
    pub fn rate(&self, host: &str) -> Option<Rate> {
        self.0.get(host)?.rate
    }

    /// The address to really ask.
    pub fn locate(&self, url: &Url) -> Url {
        let Some(base) = self.0.get(&host_of(url)).and_then(|setting| setting.url.as_ref()) else { return url.clone() };
        let mut really = base.clone();
        really.set_path(url.path());
        really.set_query(url.query());
        really
    }

    /// The same for a request of a page, which may name a host at any port. Nowhere for one that is told to be elsewhere.
    pub(crate) fn locate_any(&self, url: &Url) -> Option<Url> {
        let really = self.locate(url);
        if really != *url {
            return Some(really);
        }
        let base = self.0.get(url.host_str()?).and_then(|setting| setting.url.as_ref());
        match (base, url.port_or_known_default()) {
            // `ws:` is asked for as a tunnel to port 80.
            (Some(base), Some(80 | 443)) => Some(base.clone()),
            // It is where it says.
            (Some(base), port) if base.host() == url.host() && base.port_or_known_default() == port => Some(really),
            (Some(_), _) => None,
            (None, _) => Some(really),
        }
    }

    /// The hosts that have a place of their own.
    pub(crate) fn moved(&self) -> impl Iterator<Item = (&str, &Url)> {
        self.0.iter().filter_map(|(name, setting)| Some((name.as_str(), setting.url.as_ref()?)))
    }

    /// Every host that is spoken of.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The address as the sources would name it: the way back, for what a page asked for itself.
    pub(crate) fn name(&self, really: &str, document: &Url) -> String {
        let Ok(url) = Url::parse(really) else { return really.to_owned() };
        let at = |setting: &HostSetting| setting.url.as_ref().is_some_and(|base| base.origin() == url.origin());
        // Several hosts may be at one address; then the document's own is as good as any.
        let own = host_of(document);
        let name = match self.0.get(&own) {
            Some(setting) if at(setting) => own,
            _ => match self.0.iter().find(|(_, setting)| at(setting)) {
                Some((name, _)) => name.clone(),
                None => return really.to_owned(),
            },
        };
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        format!("{}://{name}{}{query}", document.scheme(), url.path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn a_host_is_asked_elsewhere_and_named_as_before() {
        let base = url("http://127.0.0.1:8080");
        let hosts = Hosts::all_at(["pcmap.place.naver.com", "Other.example"], &base, Rate::DEFAULT);
        let page = url("https://pcmap.place.naver.com/restaurant/1/review?x=%EA%B5%AD&y=1");
        assert_eq!(hosts.locate(&page).as_str(), "http://127.0.0.1:8080/restaurant/1/review?x=%EA%B5%AD&y=1");
        assert_eq!(hosts.name("http://127.0.0.1:8080/graphql?a=1", &page), "https://pcmap.place.naver.com/graphql?a=1");
        assert_eq!(hosts.name("http://127.0.0.1:9/graphql", &page), "http://127.0.0.1:9/graphql");
        assert_eq!(hosts.locate(&url("https://elsewhere.example/a")).as_str(), "https://elsewhere.example/a");
        assert_eq!(hosts.rate("other.example"), Some(Rate::DEFAULT));
        assert_eq!(hosts.rate("elsewhere.example"), None);
    }

    #[test]
    fn bad_settings_are_refused() {
        let mut hosts = Hosts::new();
        let at = |text: &str| HostSetting { url: Some(url(text)), rate: None };
        assert!(hosts.insert("a.example", at("http://127.0.0.1:1")).is_ok());
        for (host, setting) in [
            ("https://a.example/", HostSetting::default()),
            ("", HostSetting::default()),
            ("a", at("http://u:p@h/")),
            ("a", at("http://h/path")),
            ("a", at("file:///etc")),
        ] {
            assert!(hosts.insert(host, setting).unwrap_err().contains("expected"), "{host}");
        }
    }
}
