//! Which nodes a person means: dbt's selectors.
//!
//! `staging.reviews` one node · `staging.*` all of a layer · `+x` with everything it needs · `x+` with everything that needs it ·
//! `2+x` only two steps up · `tag:daily` · `path:sql/reviews` · `a,b` what both mean. Several selectors mean all that any of them means.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::{Graph, closure};
use crate::nearest::nearest;

/// One selector, as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    text: String,
    /// What all must hold: `a,b`.
    terms: Vec<Term>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Term {
    up: usize,
    down: usize,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Name(String),
    Tag(String),
    Path(String),
}

/// A selector that can't be read, or that means nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectorError {
    /// The selector as typed.
    pub selector: String,
    /// What was probably meant.
    pub hint: Option<String>,
}

impl fmt::Display for SelectorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nothing is selected by `{}`", self.selector)
    }
}

impl std::error::Error for SelectorError {}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let wrong = || SelectorError {
            selector: text.to_owned(),
            hint: Some("a selector is `name`, `+name`, `name+`, `tag:x` or `path:x`, several joined by `,`".to_owned()),
        };
        let terms = text.split(',').map(|term| Term::parse(term.trim()).ok_or_else(wrong)).collect::<Result<_, _>>()?;
        Ok(Self { text: text.to_owned(), terms })
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Term {
    fn parse(text: &str) -> Option<Self> {
        let (up, text) = match text.split_once('+') {
            Some(("", rest)) => (usize::MAX, rest),
            Some((steps, rest)) if !rest.is_empty() && steps.bytes().all(|byte| byte.is_ascii_digit()) => {
                (steps.parse().ok()?, rest)
            }
            _ => (0, text),
        };
        let (text, down) = match text.rsplit_once('+') {
            Some((rest, "")) => (rest, usize::MAX),
            Some((rest, steps)) => (rest, steps.parse().ok()?),
            None => (text, 0),
        };
        let what = match text.split_once(':') {
            Some(("tag", tag)) => What::Tag(tag.to_owned()),
            Some(("path", path)) => What::Path(path.trim_start_matches("./").trim_end_matches('/').to_owned()),
            Some(_) => return None,
            None => What::Name(text.to_owned()),
        };
        (!text.is_empty() && !text.contains('+')).then_some(Self { up, down, what })
    }

    fn choose(&self, graph: &Graph) -> BTreeSet<usize> {
        let chosen = graph.nodes.iter().enumerate().filter(|(_, node)| match &self.what {
            What::Name(pattern) => {
                glob(pattern, &node.name) || node.writes.iter().any(|table| glob(pattern, &table.to_string()))
            }
            What::Tag(tag) => node.tags.contains(tag),
            What::Path(path) => node.path.as_deref().is_some_and(|found| {
                let found = found.trim_start_matches("./");
                found == path || found.strip_prefix(path.as_str()).is_some_and(|rest| rest.starts_with('/'))
            }),
        });
        chosen
            .flat_map(|(place, _)| {
                closure(&graph.above, place, self.up).into_iter().chain(closure(&graph.below, place, self.down))
            })
            .collect()
    }
}

/// `*` stands for any letters.
fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, rest)) => text.strip_prefix(before).is_some_and(|text| {
            text.char_indices().map(|(at, _)| at).chain([text.len()]).any(|at| glob(rest, &text[at..]))
        }),
    }
}

impl Selector {
    pub(super) fn choose(&self, graph: &Graph) -> Result<BTreeSet<usize>, SelectorError> {
        let mut chosen: Option<BTreeSet<usize>> = None;
        for term in &self.terms {
            let found = term.choose(graph);
            chosen = Some(match chosen {
                Some(before) => before.intersection(&found).copied().collect(),
                None => found,
            });
        }
        let chosen = chosen.unwrap_or_default();
        if !chosen.is_empty() {
            return Ok(chosen);
        }
        let known: BTreeSet<&str> = graph
            .nodes
            .iter()
            .flat_map(|node| std::iter::once(node.name.as_str()).chain(node.tags.iter().map(String::as_str)))
            .collect();
        let hint = self.terms.iter().find_map(|term| match &term.what {
            What::Name(name) | What::Tag(name) => nearest(name, known.iter().copied().filter(|other| other != name)),
            What::Path(_) => None,
        });
        let hint = hint.map(|meant| format!("did you mean `{meant}`?"));
        let each_means_something = self.terms.len() > 1 && self.terms.iter().all(|term| !term.choose(graph).is_empty());
        let hint = if each_means_something {
            Some("`a,b` means what both select; give the option once for each to select either".to_owned())
        } else {
            hint
        };
        Err(SelectorError { selector: self.text.clone(), hint })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Node;

    fn graph() -> Graph {
        let node = |name: &str, reads: &[&str], tags: &[&str]| Node {
            name: name.to_owned(),
            reads: reads.iter().map(|table| table.parse().unwrap()).collect(),
            writes: [name.parse().unwrap()].into(),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            path: Some(format!("sql/reviews/{}.sql", name.replace('.', "/"))),
        };
        Graph::new(vec![
            node("raw.reviews", &[], &["source"]),
            node("staging.reviews", &["raw.reviews"], &["daily"]),
            node("staging.places", &[], &[]),
            node("marts.places", &["staging.places", "staging.reviews"], &["daily", "served"]),
        ])
        .unwrap()
    }

    #[test]
    fn selectors_mean_what_they_mean_in_dbt() {
        let cases: &[(&str, &[&str])] = &[
            ("staging.places", &["staging.places"]),
            ("+staging.reviews", &["raw.reviews", "staging.reviews"]),
            ("staging.reviews+", &["staging.reviews", "marts.places"]),
            ("+staging.reviews+", &["raw.reviews", "staging.reviews", "marts.places"]),
            ("1+marts.places", &["staging.places", "staging.reviews", "marts.places"]),
            ("raw.reviews+1", &["raw.reviews", "staging.reviews"]),
            ("tag:daily", &["staging.reviews", "marts.places"]),
            ("tag:daily,staging.*", &["staging.reviews"]),
            ("path:sql/reviews/staging", &["staging.places", "staging.reviews"]),
            ("path:./sql/reviews/marts/places.sql", &["marts.places"]),
            ("*.places", &["staging.places", "marts.places"]),
        ];
        for (text, expected) in cases {
            let mut found = graph().select(&[text.parse().unwrap()]).unwrap();
            let mut expected: Vec<String> = expected.iter().map(|name| (*name).to_owned()).collect();
            found.sort();
            expected.sort();
            assert_eq!(found, expected, "{text}");
        }
        assert_eq!(graph().select(&[]).unwrap().len(), 4);
    }

    #[test]
    fn a_selector_that_means_nothing_is_an_error_with_a_suggestion() {
        let wrong = graph().select(&["staging.review".parse().unwrap()]).unwrap_err();
        assert_eq!(
            (wrong.to_string().as_str(), wrong.hint.as_deref()),
            ("nothing is selected by `staging.review`", Some("did you mean `staging.reviews`?"))
        );
        let both = graph().select(&["staging.places,staging.reviews".parse().unwrap()]).unwrap_err();
        assert!(both.hint.unwrap().contains("what both select"));
        for text in ["", "+", "a+b+c", "kind:x", "a,,b"] {
            assert!(text.parse::<Selector>().is_err(), "{text}");
        }
    }
}
