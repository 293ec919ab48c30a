//! A project about films, in English, with a site of its own: what a search says is the project's, and not ours.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Output;

use serde_json::Value;

use crate::support::{Project, text};

/// A site of films and of what people said about them.
fn site() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = answer(stream);
        }
    });
    url
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut part = [0; 1024];
    while !request.windows(4).any(|it| it == b"\r\n\r\n") {
        match stream.read(&mut part)? {
            0 => return Ok(()),
            count => request.extend(&part[..count]),
        }
    }
    let request = String::from_utf8_lossy(&request);
    let asks = |what: &str| request.lines().next().is_some_and(|line| line.contains(what));
    let film = |id: &str, about: &str, name: &str, said: &str, year: &str| serde_json::json!({ "id": id, "about": about, "name": name, "said": said, "year": year });
    let (status, body) = if asks("robots.txt") {
        ("404 Not Found", String::new())
    } else if asks("page=1") {
        let items = [
            film("f1", "", "The Lighthouse Keeper", "A keeper waits for a storm.", "1931"),
            film("f2", "", "Two Sisters", "Sisters inherit a bakery in the rain.", "1958"),
            film("f3", "", "Night Train", "A train, a diary and a thief.", "1947"),
            film("q1", "f1", "", "Slow and beautiful, with rain in every scene.", ""),
            film("q2", "f1", "", "I liked the lighthouse most.", ""),
            film("q3", "f3", "", "Rather loud for a quiet evening.", ""),
        ];
        ("200 OK", serde_json::json!({ "items": items, "total": 6 }).to_string())
    } else {
        ("200 OK", serde_json::json!({ "items": [], "total": 6 }).to_string())
    };
    let length = body.len();
    write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
}

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
    let project = Project::unpointed();
    let put = |name: &str, text: &str| {
        let path = project.folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    for folder in ["sources", "sql"] {
        std::fs::remove_dir_all(project.folder.join(folder)).unwrap();
    }
    let head = format!(
        "[project]\nname = \"test\"\ntimezone = \"UTC\"\nsources = \"sources\"\nmodels = \"sql\"\n\
         [identity]\nkey = \"file:.onggi/identity.key\"\n[hosts.\"films.example\"]\nurl = \"{}\"\nrate = 1000\n",
        site()
    );
    put("onggi.toml", &format!("{head}{llm}{SYNC}{QUOTES}"));
    put(
        "sources/films.toml",
        "name = \"films\"\nfetch = \"http\"\nevery = \"1d\"\n[keys]\nlist = [\"all\"]\n\
         [http]\nurl = \"http://films.example/films?key={key}&page={page}\"\npage_size = 6\nmax_pages = 3\n\
         [items]\npath = \"/items\"\ntotal = \"/total\"\nkey = \"id\"\n\
         [fields]\nid = { path = \"/id\", type = \"string\", required = true }\nabout = { path = \"/about\", type = \"string\" }\n\
         name = { path = \"/name\", type = \"string\" }\nsaid = { path = \"/said\", type = \"string\" }\n\
         year = { path = \"/year\", type = \"string\" }\n",
    );
    put(
        "sql/marts/films.sql",
        "-- materialize: table\n-- key: film\nselect id as film, name, said as plot, cast(year as bigint) as year, 'fr' as country, \
         arrow_cast(make_array(1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0), 'List(Float32)') as embedding \
         from raw.films where _error is null and about = ''\n",
    );
    put(
        "sql/marts/quotes.sql",
        "-- materialize: table\n-- key: quote\nselect id as quote, about as film, said from raw.films where _error is null and about <> ''\n",
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
