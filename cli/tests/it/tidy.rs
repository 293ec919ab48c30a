//! The rules of the house as sentences of absence: who may name whom, read from `cargo metadata`, and what the text of a crate may not
//! show ([`structure`]).

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand};

mod graph;
mod items;
mod structure;
mod tokens;

/// What each crate of ours may name of ours.
const OURS: &[(&str, &[&str])] = &[
    ("catalog", &[]),
    ("athena", &["catalog"]),
    ("replica", &[]),
    ("llm-replica", &[]),
    ("services", &[]),
    ("extract", &["catalog"]),
    ("transform", &["catalog"]),
    ("rows", &["catalog"]),
    ("enrich", &["catalog", "rows"]),
    ("load", &["catalog", "enrich", "rows"]),
    ("cli", &["athena", "catalog", "enrich", "extract", "load", "replica", "transform"]),
    ("benches", &["catalog", "enrich", "extract", "llm-replica", "load", "replica", "rows", "services", "transform"]),
];

/// Crates from outside that only these of ours may name: each is one room's business.
const OUTSIDE: &[(&str, &[&str])] = &[
    ("object_store", &["catalog"]),
    ("deltalake", &["catalog"]),
    ("parquet", &["catalog", "cli"]),
    ("aws-credential-types", &["catalog"]),
    ("chromiumoxide", &["extract"]),
    ("reqwest", &["enrich", "extract"]),
    ("aws-sdk-sqs", &["extract"]),
    ("aws-config", &["catalog"]),
    ("aws-sdk-glue", &["athena"]),
    ("aws-sdk-athena", &["athena"]),
    ("tantivy", &["load"]),
    ("sqlx", &["load"]),
    ("pgpq", &["load"]),
    ("usearch", &["load"]),
    // Its client is the peer that a bench measures against.
    ("async-openai", &["benches", "enrich"]),
    ("rusqlite", &["extract", "load"]),
    ("axum", &["llm-replica", "replica"]),
    ("clap", &["cli", "llm-replica", "replica"]),
    ("indicatif", &["cli"]),
    ("anyhow", &["benches", "cli"]),
    ("tracing-subscriber", &["cli"]),
];

/// The normal dependencies of each crate of ours.
fn named() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo metadata answers");
    metadata
        .packages
        .iter()
        .map(|package| {
            let normal = package.dependencies.iter().filter(|it| it.kind == DependencyKind::Normal);
            (package.name.to_string(), normal.map(|it| it.name.clone()).collect())
        })
        .collect()
}

#[test]
fn every_crate_names_only_what_it_may_of_ours() {
    let named = named();
    let ours: BTreeSet<&str> = OURS.iter().map(|(name, _)| *name).collect();
    let found: BTreeSet<&str> = named.keys().map(String::as_str).collect();
    assert_eq!(found, ours, "a new crate needs a line in this table");
    for (name, may) in OURS {
        let names: BTreeSet<&str> = named[*name].iter().map(String::as_str).filter(|it| ours.contains(it)).collect();
        let may: BTreeSet<&str> = may.iter().copied().collect();
        assert!(names.is_subset(&may), "{name} names {names:?}, it may name {may:?}");
    }
}

#[test]
fn each_outside_crate_is_one_rooms_business() {
    let named = named();
    for (outside, may) in OUTSIDE {
        for (name, dependencies) in &named {
            assert!(
                !dependencies.contains(*outside) || may.contains(&name.as_str()),
                "{name} names {outside}, which is the business of {may:?}"
            );
        }
    }
}

#[test]
fn the_tables_above_bite() {
    // The twin of the tests above: a misspelt name in a table would pass for the wrong reason.
    let named = named();
    assert!(named["cli"].contains("extract") && named["catalog"].contains("object_store"));
    assert!(named["extract"].contains("chromiumoxide") && named["load"].contains("tantivy"));
}
