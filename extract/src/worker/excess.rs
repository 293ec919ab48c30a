//! What is wrong with a day as a whole, though no key of it is open.
//!
//! A change of the site does not fail: it sets everything aside, or the keys are no longer where they were. So what ends well key
//! by key is counted, and too much of it makes the day partial.

use catalog::Date;

use super::open_source::OpenSource;
use crate::identity::is_seldom;
use crate::task::{Key, distinct};

/// Keys that are named of those that count.
const NAMED: usize = 5;

/// Of fewer records it says little that none has what a rule speaks of.
const ENOUGH_RECORDS: u64 = 20;

/// What is told of rules for persons that none of a day's records has anything of, and whether the day is partial for it.
pub(super) fn unfit(open: &OpenSource, dt: Date) -> Option<(String, bool)> {
    let summary = open.ledger.summary(dt);
    // Who has said meanwhile that it is there seldom knows it.
    let rules: Vec<&str> =
        summary.unfit.iter().filter(|told| !is_seldom(told, &open.source)).map(String::as_str).collect();
    let (rows, records) = (summary.rows, if summary.rows == 1 { "record" } else { "records" });
    (!rules.is_empty()).then(|| {
        let told = format!(
            "none of {rows} {records} has what these rules for persons speak of, so that they keep nothing back: {}; is a path misspelt, or has the site renamed what it leads to? Once it is mended, `onggi run --refetch` fetches the day with it; what is seldom there is named in `seldom` under [identity]",
            rules.join(", ")
        );
        (told, rows >= ENOUGH_RECORDS)
    })
}

/// Whether more of a day was set aside, is newly gone or was refused than the source may have.
pub(super) fn excess(open: &OpenSource, dt: Date, keys: &[Key]) -> Option<String> {
    let ledger = &open.ledger;
    if ledger.are_all_gone(keys, dt) {
        let count = keys.len();
        return Some(format!(
            "the site does not have any of the {count} keys: the address is wrong, or they are late; the next run asks again"
        ));
    }
    let (summary, bound) = (ledger.summary(dt), open.source.tolerance());
    let over = |part: u64, of: u64| part > 0 && part as f64 > bound * of as f64;
    let percent = bound * 100.0;
    if over(summary.set_aside, summary.rows) {
        let (part, of) = (summary.set_aside, summary.rows);
        return Some(format!("{part} of {of} records are set aside, more than the {percent} % that `tolerate` allows"));
    }
    let (gone, refused) = (ledger.newly_gone(keys, dt), ledger.refused(keys, dt));
    let of = distinct(keys.to_vec()).len() as u64;
    over((gone.len() + refused.len()) as u64, of).then(|| {
        let what = match (gone.len(), refused.len()) {
            (0, refused) => format!("robots.txt refuses {refused} of {of} keys"),
            (gone, 0) => format!("{gone} of {of} keys are newly gone (404 or 410)"),
            (gone, refused) => {
                format!("{gone} of {of} keys are newly gone (404 or 410) and {refused} are refused by robots.txt")
            }
        };
        format!("{what}, more than the {percent} % that `tolerate` allows: {}", named(&gone, &refused))
    })
}

/// The first of these keys, and how many more there are.
fn named(gone: &[String], refused: &[String]) -> String {
    let count = gone.len() + refused.len();
    let names = gone.iter().chain(refused).take(NAMED);
    let mut text = names.map(|key| format!("`{}`", key.escape_debug())).collect::<Vec<_>>().join(", ");
    if count > NAMED {
        text += &format!(" and {} more", count - NAMED);
    }
    text
}
