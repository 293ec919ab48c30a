//! robots.txt as RFC 9309 has it.
//!
//! - the group of our own name, all groups of that name together; else the groups of `*`; else everything is allowed;
//! - the longest matching rule decides, `allow` among equals; `*` is anything and a closing `$` the end;
//! - 4xx means that nothing is forbidden (2.3.1.3); 5xx, a request for patience or no answer, that nobody may ask *now*
//!   (2.3.1.4): that says nothing about the pages, and is kept by nobody as if it did;
//! - 500 KiB are read, and what comes after is not.
//!
//! `Crawl-delay` is no part of it, but sites write it and mean it.

use std::time::Duration;

use reqwest::header::{LOCATION, RETRY_AFTER};
use url::Url;

use crate::egress::{AskError, Declared, Egress, EgressDenied, ask};
use crate::source::percent_encode_path;
use crate::status::{StatusKind, answered};

/// What is read of a file: a little more than the 500 KiB that the RFC asks for.
const MOST_BYTES: usize = 512 * 1024;

/// Redirects that are followed: what the RFC (2.3.1.2) asks for.
const MOST_REDIRECTS: usize = 5;

const TIMEOUT: Duration = Duration::from_secs(20);

/// A parsed robots.txt.
#[derive(Clone, Debug, Default)]
pub struct RobotsTxt {
    groups: Vec<Group>,
}

#[derive(Clone, Debug, Default)]
struct Group {
    /// Lower-case product tokens, or `*`.
    agents: Vec<String>,
    rules: Vec<RobotsRule>,
    crawl_delay: Option<Duration>,
}

#[derive(Clone, Debug)]
struct RobotsRule {
    allow: bool,
    /// Normalised as paths are.
    pattern: String,
    /// As it was written, and on which line.
    line: String,
}

/// What robots.txt says about a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RobotsVerdict {
    /// Whether it may be fetched.
    pub allowed: bool,
    /// The line that decided, or why none did.
    pub rule: String,
}

/// A robots.txt that was asked for and answered.
#[derive(Clone, Debug)]
pub(super) enum RobotsAnswer {
    File(RobotsTxt),
    /// 4xx: there is none.
    None(u16),
}

/// A robots.txt that could not be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Missed {
    /// 5xx, or no answer.
    Unreachable(String),
    /// It asks for patience.
    TooMany(Option<Duration>),
}

impl RobotsAnswer {
    pub(super) fn verdict(&self, agent: &str, path: &str) -> RobotsVerdict {
        match self {
            Self::File(robots) => robots.verdict(agent, path),
            Self::None(status) => {
                RobotsVerdict { allowed: true, rule: format!("robots.txt answered {status}: nothing is forbidden") }
            }
        }
    }

    pub(super) fn crawl_delay(&self, agent: &str) -> Option<Duration> {
        if let Self::File(robots) = self { robots.crawl_delay(agent) } else { None }
    }
}

/// Asks a host for its robots.txt. `patience` reads a `Retry-After`.
pub(super) async fn fetch(
    client: &reqwest::Client,
    egress: &Egress,
    declared: &Declared,
    somewhere: &Url,
    patience: &(dyn Fn(&str) -> Option<Duration> + Sync),
) -> Result<RobotsAnswer, Missed> {
    let unreachable = |why: String| Missed::Unreachable(why);
    let mut url = somewhere.clone();
    url.set_path("/robots.txt");
    url.set_query(None);
    url.set_fragment(None);
    egress.check_form(&url).map_err(|refusal| unreachable(refusal.to_string()))?;
    for _ in 0..=MOST_REDIRECTS {
        let answer = match ask(client.get(url.clone()), TIMEOUT, MOST_BYTES).await {
            Ok(answer) => answer,
            Err(AskError::Refused(refusal)) => return Err(unreachable(refusal.to_string())),
            Err(AskError::Late(_)) => return Err(unreachable("no answer in time".to_owned())),
            Err(AskError::Broken(how)) => return Err(unreachable(how.to_owned())),
        };
        let status = answer.status;
        if status == 429 || status == 408 || status == 425 {
            return Err(Missed::TooMany(answer.header(RETRY_AFTER).and_then(patience)));
        }
        if status.is_redirection() {
            let to = answer.header(LOCATION).and_then(|to| url.join(to).ok());
            let to = to.ok_or_else(|| unreachable("it redirects to nowhere".to_owned()))?;
            // A site's own http and https are one host.
            let is_own = to.host() == url.host() && to.port().is_none();
            let checked = if is_own { egress.check_form(&to) } else { egress.check_declared(&to, declared) };
            checked.map_err(|refusal: EgressDenied| unreachable(format!("it redirects: {refusal}")))?;
            url = to;
            continue;
        }
        if status.is_client_error() {
            return Ok(RobotsAnswer::None(status.as_u16()));
        }
        if !matches!(StatusKind::of(status.as_u16()), StatusKind::Whole | StatusKind::Nothing) {
            return Err(unreachable(answered(status.as_u16())));
        }
        return Ok(RobotsAnswer::File(RobotsTxt::parse(&answer.body)));
    }
    Err(unreachable("too many redirects".to_owned()))
}

impl RobotsTxt {
    /// Reads a file. Nothing in it is an error: what isn't understood is passed over.
    pub fn parse(bytes: &[u8]) -> Self {
        let mut bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        if bytes.len() > MOST_BYTES {
            // The line that is cut is not a rule any more.
            let end = bytes[..MOST_BYTES].iter().rposition(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(0);
            bytes = &bytes[..end];
        }
        let text = String::from_utf8_lossy(bytes);
        let mut groups: Vec<Group> = Vec::new();
        let mut naming = false;
        let text = text.replace("\r\n", "\n");
        for (number, line) in text.split(['\n', '\r']).enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            let Some((field, value)) = line.split_once(':') else { continue };
            let (field, value) = (field.trim().to_ascii_lowercase(), value.trim());
            if field == "user-agent" {
                if !naming {
                    groups.push(Group::default());
                }
                naming = true;
                if let Some(group) = groups.last_mut() {
                    group.agents.push(token(value));
                }
                continue;
            }
            let Some(group) = groups.last_mut() else { continue };
            match field.as_str() {
                "allow" | "disallow" => {
                    naming = false;
                    // An empty rule says nothing.
                    if !value.is_empty() {
                        let allow = field == "allow";
                        group.rules.push(RobotsRule {
                            allow,
                            pattern: percent_encode_path(value),
                            line: format!(
                                "{}: {value} (line {})",
                                if allow { "Allow" } else { "Disallow" },
                                number + 1
                            ),
                        });
                    }
                }
                "crawl-delay" => {
                    naming = false;
                    group.crawl_delay = value
                        .parse()
                        .ok()
                        .filter(|seconds: &f64| (0.0..=86_400.0).contains(seconds))
                        .map(Duration::from_secs_f64);
                }
                // A sitemap stands outside of groups and ends none (2.2.4).
                _ => {}
            }
        }
        Self { groups }
    }

    /// Whether `agent`, a product token, may fetch `path`, which is a path and its query.
    pub fn verdict(&self, agent: &str, path: &str) -> RobotsVerdict {
        if path == "/robots.txt" {
            return RobotsVerdict { allowed: true, rule: "robots.txt itself is always allowed".to_owned() };
        }
        let path = percent_encode_path(path);
        let rules = self.groups(agent).flat_map(|group| &group.rules).filter(|rule| matches(&rule.pattern, &path));
        match rules.max_by_key(|rule| (rule.pattern.len(), rule.allow)) {
            Some(rule) => RobotsVerdict { allowed: rule.allow, rule: rule.line.clone() },
            None => RobotsVerdict { allowed: true, rule: "no rule of robots.txt matches".to_owned() },
        }
    }

    /// How long it asks `agent` to wait between requests.
    pub fn crawl_delay(&self, agent: &str) -> Option<Duration> {
        self.groups(agent).filter_map(|group| group.crawl_delay).max()
    }

    fn groups<'r>(&'r self, agent: &str) -> impl Iterator<Item = &'r Group> {
        let own = token(agent);
        let own = if self.groups.iter().any(|group| group.agents.contains(&own)) { own } else { "*".to_owned() };
        self.groups.iter().filter(move |group| group.agents.contains(&own))
    }
}

/// `Onggi/0.1 (…)` → `onggi`
fn token(agent: &str) -> String {
    if agent.starts_with('*') {
        return "*".to_owned();
    }
    agent
        .chars()
        .take_while(|c| c.is_ascii_alphabetic() || matches!(c, '-' | '_'))
        .collect::<String>()
        .to_ascii_lowercase()
}

/// `*` is anything, a closing `$` is the end, and without it a pattern is a prefix. Greedy with one step back, so that no
/// pattern takes more than its length times the path's.
fn matches(pattern: &str, path: &str) -> bool {
    let (pattern, anchored) = pattern.strip_suffix('$').map_or((pattern, false), |pattern| (pattern, true));
    let (pattern, path) = (pattern.as_bytes(), path.as_bytes());
    let (mut p, mut s) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        if p == pattern.len() {
            if !anchored || s == path.len() {
                return true;
            }
        } else if pattern[p] == b'*' {
            star = Some((p + 1, s));
            p += 1;
            continue;
        } else if s < path.len() && pattern[p] == path[s] {
            p += 1;
            s += 1;
            continue;
        }
        match star {
            Some((after, from)) if from < path.len() => {
                star = Some((after, from + 1));
                p = after;
                s = from + 1;
            }
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(text: &str, path: &str) -> bool {
        RobotsTxt::parse(text.as_bytes()).verdict("Onggi", path).allowed
    }

    #[test]
    fn rules_match() {
        // (the rules of `*`, path, allowed)
        let cases = [
            ("Disallow: /", "/a", false),
            ("Disallow:", "/a", true),
            ("Disallow: /fish", "/fish.html", false),
            ("Disallow: /fish", "/catfish", true),
            ("Disallow: /fish", "/Fish", true),
            ("Disallow: /fish/", "/fish", true),
            ("Disallow: /*.php", "/a/b.php?x", false),
            ("Disallow: /*.php$", "/a/b.php", false),
            ("Disallow: /*.php$", "/a/b.php?x", true),
            ("Disallow: /a*b*c", "/axxbyyc", false),
            ("Disallow: /a*b*c", "/axxbyy", true),
            ("Disallow: /$", "/", false),
            ("Disallow: /$", "/a", true),
            ("Disallow: *", "/a", false),
            ("Disallow: /?q=", "/?q=1", false),
            ("Allow: /p\nDisallow: /", "/page", true),
            ("Allow: /page\nDisallow: /*.htm", "/page.htm", false),
            ("Allow: /a\nDisallow: /a", "/a", true),
            ("Disallow: /a\nAllow: /a", "/a", true),
            ("Allow: /folder\nDisallow: /folder", "/folder/x", true),
            ("Disallow: /a/b\nAllow: /a", "/a/b/c", false),
            ("Disallow: /", "/robots.txt", true),
            // Percent-encoding is compared by octets.
            ("Disallow: /국밥", "/%EA%B5%AD%EB%B0%A5/1", false),
            ("Disallow: /%ea%b5%ad", "/%EA%B5%AD", false),
            ("Disallow: /%7Euser", "/~user", false),
            ("Disallow: /a%2Fb", "/a/b", true),
            ("DISALLOW : /x", "/x", false),
            ("disallow: /x # why", "/x", false),
            ("Disallow /x", "/x", true),
            ("Noindex: /x", "/x", true),
        ];
        for (rules, path, expected) in cases {
            assert_eq!(allowed(&format!("User-agent: *\n{rules}\n"), path), expected, "{rules:?} {path}");
        }
    }

    #[test]
    fn our_group_is_found() {
        let cases = [
            ("User-agent: Onggi\nDisallow: /\nUser-agent: *\nAllow: /", false),
            ("User-agent: *\nDisallow: /\nUser-agent: onggi\nAllow: /", true),
            ("User-agent: OtherBot\nDisallow: /", true),
            ("User-agent: OtherBot\nUser-agent: ONGGI\nDisallow: /", false),
            ("User-agent: Onggi/0.1\nDisallow: /", false),
            ("User-agent: OnggiBot\nDisallow: /", true),
            ("User-agent: Onggi\nAllow: /a\n\nUser-agent: x\nDisallow: /\n\nUser-agent: Onggi\nDisallow: /", false),
            ("Disallow: /", true),
            ("", true),
            ("\u{feff}User-agent: *\nDisallow: /", false),
            ("User-agent: *\rDisallow: /\r", false),
            ("User-agent: *\r\n\r\nDisallow: /\r\n", false),
            ("User-agent: *\nSitemap: https://a/s.xml\nDisallow: /", false),
            ("User-agent: a\nSitemap: x\nUser-agent: Onggi\nDisallow: /", false),
            ("User-agent: a\nCrawl-delay: 1\nUser-agent: Onggi\nAllow: /\n", true),
            ("<html><body>User-agent: * Disallow: /</body></html>", true),
        ];
        for (text, expected) in cases {
            assert_eq!(allowed(text, "/b"), expected, "{text:?}");
        }
    }

    #[test]
    fn the_deciding_line_is_named() {
        let robots = RobotsTxt::parse(b"User-agent: *\r\nDisallow: /a\nAllow: /a/b\n");
        assert_eq!(
            robots.verdict("Onggi", "/a/x"),
            RobotsVerdict { allowed: false, rule: "Disallow: /a (line 2)".to_owned() }
        );
        assert_eq!(
            robots.verdict("Onggi", "/a/b"),
            RobotsVerdict { allowed: true, rule: "Allow: /a/b (line 3)".to_owned() }
        );
        assert_eq!(robots.verdict("Onggi", "/c").rule, "no rule of robots.txt matches");
    }

    #[test]
    fn a_crawl_delay_is_read() {
        let robots = RobotsTxt::parse(
            b"User-agent: *\nCrawl-delay: 2.5\nUser-agent: x\nCrawl-delay: 9\nUser-agent: y\nCrawl-delay: soon",
        );
        assert_eq!(robots.crawl_delay("Onggi"), Some(Duration::from_millis(2500)));
        assert_eq!(robots.crawl_delay("y"), None);
    }

    #[test]
    fn a_large_file_is_read_to_its_limit_and_a_hostile_one_ends() {
        let mut text = "User-agent: *\n".to_owned();
        while text.len() < 500 * 1024 {
            text.push_str("Disallow: /some/long/path/that/is/not/ours\n");
        }
        let with = format!("{text}Disallow: /late\n");
        assert!(!allowed(&with, "/late"));
        assert!(allowed(&format!("{text}{}\nDisallow: /late\n", "#".repeat(100_000)), "/late"));
        assert!(allowed(
            &format!("User-agent: *\nDisallow: /{}b", "*a".repeat(2_000)),
            &format!("/{}", "a".repeat(5_000))
        ));
        RobotsTxt::parse(&[0xff, 0xfe, b'\n', 0]);
    }

    #[test]
    fn a_file_that_is_not_there_forbids_nothing() {
        assert!(RobotsAnswer::None(404).verdict("Onggi", "/").allowed);
    }
}
