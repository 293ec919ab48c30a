//! A search of a project about films, in English: what it says is the project's, and not ours.

use std::process::Output;

use serde_json::Value;

use crate::films;
use crate::support::{Project, text};

const SYNC: &str = "
[sync.\"marts.films\"]
key = \"film\"
sinks = [\"sqlite\", \"keywords\", \"vectors\"]
title = \"name\"
text = [\"name\", \"plot\"]
vector = \"embedding\"
";

const QUOTES: &str = "
[sync.\"marts.quotes\"]
key = \"quote\"
entity = { column = \"film\", table = \"marts.films\" }
sinks = [\"keywords\"]
text = [\"said\"]
";

const SEARCH: &str = "
[search]
reasons = 2

[search.labels]
keyword = \"says\"

[search.words]
frame = [\"film\", \"a\", \"with\"]

[search.words.related]
\"wet\" = [\"rain\"]

[search.targets.\"marts.films\"]
line = [\"year\", \"country\"]
labels = { year = \"from\" }
noun = [\"film\", \"films\"]

[search.targets.\"marts.quotes\"]
noun = [\"quote\", \"quotes\"]
";

fn project(llm: &str) -> Project {
    let project = films::project(&format!("{llm}{SYNC}{QUOTES}"));
    project.put(
        "sql/marts/films.sql",
        "-- materialize: table\n-- key: film\nselect id as film, name, said as plot, cast(year as bigint) as year, 'fr' as country, \
         arrow_cast(make_array(1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0), 'List(Float32)') as embedding \
         from raw.films where _error is null and about = ''\n",
    );
    project
}

const AWAY: &str = "[llm]\nprovider = \"openai\"\nurl = \"http://127.0.0.1:9/v1\"\nkey = \"env:ONGGI_TEST_FILMS_KEY\"\n\
    summary_model = \"small\"\nembedding_model = \"embed\"\ndimensions = 8\n";

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn objects(output: &Output) -> Vec<Value> {
    said(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn what_a_search_says_is_the_projects() {
    let project = project("");
    project.run(0);
    // These vectors are too short for the embedder: that is said, and words answer.
    let output = project.onggi(&["search", "storm"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("have 8 numbers, that of a question has 256"), "{}", text(&output));
    for (question, more) in [("", None), (" ", Some("--keyword")), ("?!", None)] {
        let asked: Vec<&str> = ["search", question].into_iter().chain(more).collect();
        let output = project.onggi(&asked);
        assert_eq!(output.status.code(), Some(2), "nothing is asked by `{question}`: {}", text(&output));
    }
    // With no section: every table that can be searched, the rows by their titles, and no word of anybody's trade.
    let plain = said(&project.onggi(&["search", "--keyword", "rain"]));
    assert!(plain.starts_with("3 rows have `rain`\n"), "{plain}");
    assert!(plain.contains("The Lighthouse Keeper  in 1 row: “Slow and beautiful"), "{plain}");
    assert!(plain.contains("Two Sisters  in its own texts: “Sisters inherit"), "{plain}");
    let plain = said(&project.onggi(&["search", "storm"]));
    assert!(plain.starts_with("1. The Lighthouse Keeper    (score"), "{plain}");
    assert!(plain.contains("   keyword `storm`"), "{plain}");

    project.append("onggi.toml", SEARCH);
    let output = said(&project.onggi(&["search", "--keyword", "rain", "--limit", "1"]));
    assert!(output.contains(" films have `rain`\n") && output.lines().count() == 2, "{output}");
    let output = said(&project.onggi(&["search", "--keyword", "lighthouse"]));
    assert!(output.starts_with("1 film has `lighthouse`\n"), "{output}");
    let output = said(&project.onggi(&["search", "--keyword", "quiet"]));
    assert!(output.contains("Night Train  in 1 quote: “Rather loud"), "{output}");
    let output = said(&project.onggi(&["search", "a film with wet"]));
    let first = output.lines().next().unwrap();
    assert!(first.contains("  from 1,9") && first.contains(" · fr  (score"), "{output}");
    assert!(output.contains("   says `rain`"), "a related word is looked for: {output}");
    assert!(!output.contains("keyword"), "{output}");
    // Texts are reasons, and no answers.
    let lines = objects(&project.onggi(&["search", "--json", "loud quiet evening"]));
    let (notes, hits) = lines.split_last().unwrap();
    assert!(notes["notes"].is_array() && !hits.is_empty(), "{lines:?}");
    assert!(hits.iter().all(|hit| hit["table"] == "marts.films"), "{hits:?}");
    assert_eq!((&hits[0]["key"], &hits[0]["reasons"][0]["from"]), (&"f3".into(), &"marts.quotes".into()));
}

#[test]
fn an_embedder_that_is_away_is_said_and_words_answer() {
    let mut project = project(AWAY);
    project.append("onggi.toml", SEARCH);
    project.run(0);
    for key in [None, Some("sk-canary-of-films")] {
        project.env = key.map(|key| ("ONGGI_TEST_FILMS_KEY", key.to_owned())).into_iter().collect();
        let output = project.onggi(&["search", "storm"]);
        assert!(said(&output).starts_with("1. The Lighthouse Keeper"), "{}", text(&output));
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(told.lines().count(), 1, "{told}");
        assert!(told.starts_with("note: answered by words alone, the embedder is away: "), "{told}");
        assert!(!told.contains("canary") && told.contains("ONGGI_TEST_FILMS_KEY") == key.is_none(), "{told}");
        let lines = objects(&project.onggi(&["search", "--json", "storm"]));
        let (notes, hits) = lines.split_last().unwrap();
        assert!(notes["notes"][0].as_str().unwrap().starts_with("answered by words alone"), "{notes}");
        assert_eq!(hits[0]["key"], "f1");
        assert!(hits.iter().flat_map(|hit| hit["reasons"].as_array().unwrap()).all(|it| it["kind"] != "vector"));
        // A search for a part of a word asks nobody.
        let output = project.onggi(&["search", "--keyword", "storm"]);
        assert!(said(&output).contains("1 film has") && output.stderr.is_empty(), "{}", text(&output));
    }
}

#[test]
fn what_is_taken_off_the_configuration_is_not_searched() {
    let project = project("");
    project.run(0);
    let found = |word: &str| said(&project.onggi(&["search", "--keyword", word]));
    assert!(found("loud").starts_with("1 row has"));
    project.replace("onggi.toml", QUOTES, "");
    assert!(found("loud").starts_with("0 rows have"), "{}", found("loud"));
    assert!(found("storm").starts_with("1 row has"));
    project.replace("onggi.toml", SYNC, "");
    let output = project.onggi(&["search", "--keyword", "storm"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(
        text(&output).contains("expected a table of `[sync]` with texts or a vector, found none"),
        "{}",
        text(&output)
    );
}

#[test]
fn columns_that_are_not_there_are_refused_where_they_stand() {
    let cases = [
        (
            "line = [\"year\", \"country\"]",
            "line = [\"year\", \"contry\"]",
            "line",
            "expected a column of `marts.films`, found `contry`",
        ),
        (
            "noun = [\"film\", \"films\"]",
            "title = \"heading\"",
            "title",
            "expected a column of `marts.films`, found `heading`",
        ),
        ("noun = [\"film\", \"films\"]", "columns = [\"year\"]", "columns", "expected one of the `text` columns"),
        (
            "targets.\"marts.quotes\"",
            "targets.\"marts.quote\"",
            "[search.targets.\"marts.quote\"",
            "expected a table of `[sync]`",
        ),
    ];
    for (from, to, begins, message) in cases {
        let project = project("");
        project.append("onggi.toml", SEARCH);
        assert!(project.onggi(&["check"]).status.success(), "{}", text(&project.onggi(&["check"])));
        project.replace("onggi.toml", from, to);
        let file = std::fs::read_to_string(project.folder.join("onggi.toml")).unwrap();
        let line = file
            .lines()
            .position(|line| line.starts_with(begins) && (to.contains(line) || line.contains(to)))
            .unwrap_or(0)
            + 1;
        let output = project.onggi(&["check", "--json"]);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        let problem = &told["problems"][0];
        assert!(problem["message"].as_str().unwrap().contains(message), "{told}");
        assert_eq!(
            (problem["line"].as_u64(), problem["column"].as_u64() > Some(0)),
            (Some(line as u64), true),
            "{told}\n{file}"
        );
        assert!(problem["file"].as_str().unwrap().ends_with("onggi.toml") && problem["hint"].is_string(), "{told}");
    }
}
