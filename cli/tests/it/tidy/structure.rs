//! What the text of a crate shows: circles, names that stand twice, words of our own, and copies of what stands below.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::graph::CrateModules;
use super::items::ItemKind;
use super::tokens::tokens;

/// The crates whose floors are kept, by their roots.
const CRATES: [&str; 8] = [
    "catalog/src/lib.rs",
    "catalog/athena/src/lib.rs",
    "extract/src/lib.rs",
    "transform/src/lib.rs",
    "load/rows/src/lib.rs",
    "load/enrich/src/lib.rs",
    "load/src/lib.rs",
    "cli/src/main.rs",
];

/// Names that only this house would understand, and the field's words instead. A function, a field or a module has the first
/// form, where it ends with `()` only a function; a type or a variant has the second one.
const WORDS: &[(&str, &str, &str)] = &[
    ("crew", "Crew", "WorkerPool"),
    ("desk", "Desk", "OpenSource"),
    ("desks", "Desks", "OpenSources"),
    ("setback", "Setback", "TaskFailure"),
    ("set_back", "SetBack", "settle"),
    ("presence", "Presence", "heartbeat"),
    ("sign", "Sign", "WorkerRecord"),
    ("beat", "Beat", "heartbeat"),
    ("tally", "Tally", "ExtractStats"),
    ("share", "Share", "TaskProgress"),
    ("others", "Others", "external"),
    ("serve", "Serve", "work"),
    ("held", "Held", "ReceiptState"),
    ("basket", "Basket", "ItemCollector"),
    ("", "Harvest", "KeyOutput"),
    ("", "Of", "TaskFilter"),
    ("flow", "Flow", "FetchFlow"),
    ("kept_log", "KeptLog", "CachedLog"),
    ("pass_on", "PassOn", "forward"),
    ("note()", "", "put_volatile, or what is said to whom"),
    ("pending", "Pending", "UncommittedFiles"),
    ("look", "Look", "observe"),
    ("turn", "Turn", "EnrichLease"),
    ("till", "Till", "Budget"),
    ("door", "Door", "Pool"),
    ("standing", "Standing", "TableState"),
    ("wanted", "Wanted", "SinkProjection"),
    ("those", "Those", "SyncScope"),
    ("mend", "Mend", "repair"),
    ("wrong", "Wrong", "SqlProblem"),
    ("deads", "Deads", "dead_letters"),
    ("question", "Question", "analysis"),
];

/// What stands once, in `catalog`: how a copy of it looks, where the one is, and what to call instead.
const ONCE: &[(&str, &str, &str)] = &[
    (":02x", "", "the `hex` crate"),
    ("1970, 1, 1", "catalog/src/day.rs", "catalog::days_since_epoch, catalog::date_of"),
    ("len() as u64).to_le_bytes()", "catalog/src/digest.rs", "catalog::PartsHash, catalog::digest_of"),
    ("<< turn", "catalog/src/backoff.rs", "catalog::backoff"),
    ("<< round", "catalog/src/backoff.rs", "catalog::backoff"),
    ("<< attempt", "catalog/src/backoff.rs", "catalog::backoff"),
    ("2_u32.pow(", "catalog/src/backoff.rs", "catalog::backoff"),
    ("RandomState::new()", "", "catalog::fresh_fraction, catalog::fresh_bits"),
];

fn repository() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).to_owned()
}

fn crates() -> impl Iterator<Item = (&'static str, CrateModules)> {
    CRATES.into_iter().map(|root| (root, CrateModules::read(&repository(), root)))
}

/// Which type names a crate has more than once.
fn twice(all: &CrateModules) -> Vec<String> {
    let mut places: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (file, item) in all.items().filter(|(_, item)| item.kind == ItemKind::Type) {
        places.entry(&item.name).or_default().push(format!("{file}:{}", item.line));
    }
    let more = places.into_iter().filter(|(_, places)| places.len() > 1);
    more.map(|(name, places)| format!("`{name}` is {}", places.join(", "))).collect()
}

/// Which public names are words of our own.
fn private_words(all: &CrateModules) -> Vec<String> {
    let mut found = Vec::new();
    for (file, item) in all.items().filter(|(_, item)| item.public) {
        for (snake, camel, instead) in WORDS {
            let is_function = item.kind == ItemKind::Value && snake.strip_suffix("()") == Some(&item.name);
            if is_function || item.name == *snake || item.name == *camel {
                found.push(format!("{file}:{}: `{}`: say {instead}", item.line, item.name));
            }
        }
    }
    found
}

#[test]
fn modules_beside_each_other_lean_on_each_other_in_no_circle() {
    for (root, all) in crates() {
        let circles = all.circles();
        assert!(circles.is_empty(), "{root}: move what ties them into a module below\n{}", circles.join("\n"));
    }
}

#[test]
fn no_type_name_stands_twice_in_a_crate() {
    for (root, all) in crates() {
        let twice = twice(&all);
        assert!(twice.is_empty(), "{root}: give each a name of its own\n{}", twice.join("\n"));
    }
}

#[test]
fn public_names_are_the_fields_words() {
    for (root, all) in crates() {
        let found = private_words(&all);
        assert!(found.is_empty(), "{root}:\n{}", found.join("\n"));
    }
}

#[test]
fn what_the_crates_share_stands_once() {
    for (_, all) in crates() {
        for module in &all.modules {
            let text = fs::read_to_string(repository().join(&module.file)).unwrap();
            let product = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            for (looks, home, instead) in ONCE {
                let found =
                    product.lines().position(|line| line.contains(looks) && !line.trim_start().starts_with("//"));
                assert!(
                    found.is_none() || module.file == *home,
                    "{}:{}: `{looks}` has a copy of what {instead} is for",
                    module.file,
                    found.unwrap_or_default() + 1
                );
            }
        }
    }
}

/// A small crate in a folder of its own.
fn made(files: &[(&str, &str)]) -> (tempfile::TempDir, CrateModules) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let all = CrateModules::read(folder.path(), "lib.rs");
    (folder, all)
}

#[test]
fn a_circle_is_seen_however_it_is_tied() {
    let face = "mod a;\nmod b;\npub use a::{One, one};\npub use b::{Two, two};\n";
    let ties: [(&str, &str); 7] = [
        ("use super::b::Two;\npub struct One(Two);", "use super::a::One;\npub struct Two(Box<One>);"),
        // Through the face, which hands names on.
        ("use crate::Two;\npub fn one() -> Two { Two }", "pub struct Two;\nfn two() { crate::one() }"),
        ("pub struct One;\nfn one() { super::b::two() }", "pub struct Two;\npub fn two() { super::a::one() }"),
        (
            "use super::b;\npub struct One;\nfn one() { b::two() }",
            "use super::a;\npub fn two(_: a::One) {}\npub struct Two;",
        ),
        (
            "use super::{b::{Two as Other}};\npub fn one(_: Other) {}",
            "use super::*;\npub struct Two;\nfn two() { let _ = super::a::one; }",
        ),
        // A method that stands with its caller's caller.
        (
            "use super::b::Two;\nimpl Two { fn far(&self) {} }",
            "pub struct Two;\nimpl Two { fn near(&self) { self.far() } }",
        ),
        (
            "/* mod c; */ use super::b::Two; fn one<'a>(_: &'a str) { let _ = '\"'; }",
            "fn two() { r#\"\"\"#; super::a::one() } pub struct Two;",
        ),
    ];
    for (a, b) in ties {
        let (_folder, all) = made(&[("lib.rs", face), ("a.rs", a), ("b.rs", b)]);
        let circles = all.circles();
        assert_eq!(circles.len(), 1, "{a}\n{b}");
        assert!(circles[0].contains("a.rs:") && circles[0].contains("b.rs:"), "{}", circles[0]);
    }
}

#[test]
fn what_is_no_circle_is_not_called_one() {
    let face = "mod a;\nmod b;\npub use a::One;\npub use b::Two;\n";
    let straight: [(&str, &str); 6] = [
        ("use super::b::Two;\npub struct One(Two);", "pub struct Two;"),
        // Tests may lean on anything.
        ("use super::b::Two;\npub struct One(Two);", "pub struct Two;\n#[cfg(test)]\nmod tests { use crate::a::One; }"),
        (
            "use super::b::Two;\npub struct One(Two);",
            "pub struct Two;\n#[cfg(test)]\nuse super::a::{One};\nfn two() {}",
        ),
        // Texts and comments name nothing.
        (
            "use super::b::Two;\npub struct One(Two);",
            "// super::a::One\npub struct Two;\nfn two() { \"super::a::One\"; }",
        ),
        // A member takes its words from its face.
        ("pub struct One;", "pub struct Two;\nfn two(_: crate::Three) {}"),
        ("use super::b::Two;\npub struct One(Two);", "pub struct Two { a: u8 }\nfn two(a: Two) { a.a; }"),
    ];
    for (a, b) in straight {
        let (_folder, all) = made(&[("lib.rs", face), ("a.rs", a), ("b.rs", b)]);
        assert_eq!(all.circles(), [] as [String; 0], "{a}\n{b}");
    }
}

#[test]
fn names_are_seen_wherever_they_stand() {
    let (_folder, all) = made(&[
        ("lib.rs", "pub mod presence;\nmod b;\npub struct Once;\ntrait Shape { type Once; }\nfn f() { struct Twice; }"),
        (
            "presence.rs",
            "pub(crate) enum Twice { Sign }\npub enum Kind { Sign, Other { desk: u8 } }\nimpl Kind { pub fn note(&self) {} fn look() {} }",
        ),
        (
            "b.rs",
            "pub trait Wait { fn till(&self); }\npub struct Kept { pub flow: u8, share: u8 }\n#[cfg(test)]\nstruct Once;\nimpl Iterator for Kept { type Once = u8; }",
        ),
    ]);
    let twice = twice(&all);
    assert_eq!(twice.len(), 1, "{twice:?}");
    assert!(twice[0].contains("lib.rs:5") && twice[0].contains("presence.rs:1"), "{twice:?}");
    let words: Vec<String> =
        private_words(&all).iter().map(|line| line.split('`').nth(1).unwrap().to_owned()).collect();
    assert_eq!(words, ["presence", "Sign", "note", "till", "flow"]);
}

#[test]
fn comments_texts_and_tests_leave_nothing_behind() {
    let words = |text: &str| tokens(text).into_iter().map(|it| it.text).collect::<Vec<_>>().join(" ");
    for (text, left) in [
        ("a // b\nc", "a c"),
        ("a /* b /* c */ d */ e", "a e"),
        (r#"a "b \" c" d"#, "a d"),
        ("r\"b\" br#\"a \" b\"# b\"c\" e", "e"),
        (r"'a' '\'' '\u{1F600}' b'x' e", "e"),
        ("fn f<'a>(x: &'a u8) {}", "fn f < > ( x : & u8 ) { }"),
        ("#[cfg(test)]\nmod tests { fn f() {} }\nb", "b"),
        ("#[cfg(test)]\nmod tests;\nb", "b"),
        ("#[cfg(test)]\n#[expect(x)]\nuse a::{b, c};\nd", "d"),
        ("#[cfg(test)]\npub(crate) use a::{b, c};\nd", "d"),
        ("#[cfg(feature = \"x\")]\nfn f() {}", "# [ cfg ( feature = ) ] fn f ( ) { }"),
    ] {
        assert_eq!(words(text), left, "{text}");
    }
}
