//! Steps of different kinds go side by side.

use std::time::Duration;

use serde_json::json;

use crate::support::{Project, serve};

/// A site whose second list takes its time.
#[expect(clippy::disallowed_methods, reason = "a site takes its time in earnest")]
fn answer(path: &str) -> (u16, String) {
    if path.contains("robots.txt") {
        return (404, String::new());
    }
    if path.contains("/slow") {
        std::thread::sleep(Duration::from_secs(4));
    }
    let items = if path.contains("page=1") { json!([{ "id": "1" }]) } else { json!([]) };
    (200, json!({ "items": items, "total": 1 }).to_string())
}

#[test]
fn what_one_source_brought_is_built_and_synced_while_another_is_still_fetched() {
    let project = Project::own(&format!(
        "[hosts.\"shop.example\"]\nurl = \"{}\"\nrate = 1000\n\
         [sync.\"marts.fast\"]\nkey = \"id\"\nsinks = [\"sqlite\"]\n",
        serve(answer)
    ));
    for source in ["fast", "slow"] {
        project.put(
            &format!("sources/{source}.toml"),
            &format!(
                "name = \"{source}\"\nfetch = \"http\"\nevery = \"1d\"\n[keys]\nlist = [\"all\"]\n\
                 [http]\nurl = \"http://shop.example/{source}?page={{page}}&key={{key}}\"\npage_size = 1\nmax_pages = 2\n\
                 [items]\npath = \"/items\"\ntotal = \"/total\"\nkey = \"id\"\n\
                 [fields]\nid = {{ path = \"/id\", type = \"string\", required = true }}\n"
            ),
        );
        project.put(
            &format!("sql/marts/{source}.sql"),
            &format!("-- materialize: table\n-- key: id\nselect id from raw.{source} where _error is null\n"),
        );
    }
    project.run(0);
    let ended = |step: &str| {
        let rows = project.sql(&format!("select ended_at from ops.steps where step = '{step}'"));
        rows[0]["ended_at"].as_str().unwrap().to_owned()
    };
    let slow = ended("extract:slow");
    assert!(ended("build:marts.fast") < slow, "it waited for a source that it does not read");
    assert!(ended("sync:marts.fast") < slow, "it waited for a source that it does not read");
    assert!(ended("build:marts.slow") > slow, "it did not wait for what it reads");
    assert_eq!(project.number("select count(*) as n from marts.slow"), 1);
}
