//! The call of `page.js`, the little that runs inside a page.

use std::time::Duration;

use serde_json::{Value, json};

use crate::source::{BrowserRecipe, More};

/// A loaded page that does not change for so long, and has no list, is half rendered.
pub(super) const REST: Duration = Duration::from_millis(1_500);

const PAGE_JS: &str = include_str!("page.js");

/// What the page is asked to do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    /// Wait until it is rendered.
    Ready,
    /// Let it draw, and find what loads more.
    Look {
        /// The list is to grow, after an answer with items.
        expect: bool,
        /// How long to wait for what is gone to come back.
        grace: Duration,
    },
    /// Load more.
    Click,
}

/// The call of `page.js`. Its argument is JSON, and JSON is JavaScript. What the page makes it throw is of any length.
pub(super) fn script(recipe: &BrowserRecipe, act: Act, wait: Duration) -> String {
    let (name, expect, grace) = match act {
        Act::Ready => ("ready", false, Duration::ZERO),
        Act::Look { expect, grace } => ("look", expect, grace),
        Act::Click => ("click", false, Duration::ZERO),
    };
    let mut argument = json!({
        "act": name, "wait": millis(wait), "rest": millis(REST), "expect": expect, "grace": millis(grace),
        "ready": recipe.ready, "scrolls": matches!(recipe.more, More::Scroll { .. }),
    });
    let own = match &recipe.more {
        More::Button(more) => json!({
            "list": more.list, "within": more.within, "button": more.button, "texts": more.texts, "prune": more.prune,
            "keep": more.keep,
        }),
        More::Next(more) => json!({ "next": more.next, "texts": more.texts }),
        More::Nothing | More::Scroll { .. } => Value::Null,
    };
    if let (Value::Object(own), Value::Object(members)) = (own, &mut argument) {
        members.extend(own);
    }
    format!(
        "({PAGE_JS})({argument}).catch((thrown) => {{ try {{ return {{ state: 'threw', text: String(thrown).slice(0, 300) }}; }} catch {{ return {{ state: 'threw' }}; }} }})"
    )
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
