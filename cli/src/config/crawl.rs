//! `[crawl]` and `[hosts."…"]`: how sites are asked, and where they really are.

use std::path::PathBuf;

use extract::politeness::{HostSetting, Hosts};
use extract::source::Rate;
use serde::Deserialize;

/// `[crawl]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CrawlSection {
    /// The browser; found on the PATH if not given.
    pub chromium: Option<PathBuf>,
    /// Tasks fetched at the same time.
    pub jobs: u16,
    /// What the crawler calls itself; add a way to reach you.
    pub user_agent: Option<String>,
    /// Memory that the browser's processes may hold together: 1024, and 512 for each job, if not given.
    pub browser_mib: Option<u64>,
}

impl Default for CrawlSection {
    fn default() -> Self {
        Self { chromium: None, jobs: 2, user_agent: None, browser_mib: None }
    }
}

/// `[hosts."…"]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HostSection {
    /// Where to go instead, such as `http://127.0.0.1:8917`.
    pub url: url::Url,
    /// Requests a second; the source's own rate if not given.
    pub rate: Option<f64>,
}

impl CrawlSection {
    /// What the types cannot say: the key, what is wrong with it and what to do.
    pub(crate) fn problems(&self) -> Vec<(&'static str, String, &'static str)> {
        let mut problems = Vec::new();
        if !(1..=64).contains(&self.jobs) {
            let message = format!("expected 1 to 64 jobs, found {}", self.jobs);
            problems.push(("jobs", message, "2 suits a small machine"));
        }
        if let Some(mib) = self.browser_mib.filter(|mib| !(512..=1 << 20).contains(mib)) {
            let message = format!("expected 512 to 1048576 MiB for the browser, found {mib}");
            let hint = "a browser with one page holds some 300 MiB; leave it out for 1024 and 512 for each job";
            problems.push(("browser_mib", message, hint));
        }
        // What a header can say.
        let is_said = |text: &str| text.chars().all(|letter| letter == ' ' || letter.is_ascii_graphic());
        if let Some(agent) = self.user_agent.as_ref().filter(|it| it.trim().is_empty() || !is_said(it)) {
            let message = format!("expected a user agent of visible ASCII characters and blanks, found {agent:?}");
            let hint = "it names the crawler and says where to complain; leave it out for the default";
            problems.push(("user_agent", message, hint));
        }
        problems
    }
}

impl HostSection {
    /// The same of the section of this host: what is wrong and what to do.
    pub(crate) fn problems(&self, host: &str) -> Vec<(String, &'static str)> {
        let mut problems = Vec::new();
        if let Err(message) = Hosts::new().insert(host, HostSetting { url: Some(self.url.clone()), rate: None }) {
            problems.push((message, "a path and whatever comes behind it stand in the addresses of the sources"));
        }
        if let Some(rate) = self.rate.filter(|rate| Rate::per_second(*rate).is_none()) {
            let message = format!("expected a rate of one request a day or more for `{host}`, found {rate:e} a second");
            problems.push((message, "leave it out to keep the source's own"));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_header_or_an_address_can_not_be_is_named() {
        let crawl = |agent: &str| CrawlSection { user_agent: Some(agent.to_owned()), ..CrawlSection::default() };
        assert_eq!(crawl("shop (+https://shop.example/bot)").problems(), []);
        for agent in ["", " ", "a\nb", "이름"] {
            assert_eq!(crawl(agent).problems().iter().map(|it| it.0).collect::<Vec<_>>(), ["user_agent"], "{agent:?}");
        }
        let host = |url: &str| HostSection { url: url.parse().unwrap(), rate: None }.problems("a.example").len();
        for (url, problems) in [
            ("http://127.0.0.1:1", 0),
            ("https://mirror.example/", 0),
            ("http://127.0.0.1:1/path", 1),
            ("http://me@127.0.0.1:1", 1),
            ("http://127.0.0.1:1/?q=1", 1),
            ("ftp://127.0.0.1:1", 1),
        ] {
            assert_eq!(host(url), problems, "{url}");
        }
    }
}
