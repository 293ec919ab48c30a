//! A project about films, in English, with a site, fields, models and words of its own: from an API to summaries and to search with
//! nothing said in the program.

use llm_replica::Switches;
use serde_json::{Value, json};

use crate::llm::{KEY, Service};
use crate::support::{Project, serve, text};

/// Films and what people said about them.
fn answer(path: &str) -> (u16, String) {
    let film = |id: &str, name: &str, plot: &str, year: &str| json!({ "id": id, "about": "", "name": name, "said": plot, "year": year });
    let quote =
        |id: &str, about: &str, said: &str| json!({ "id": id, "about": about, "name": "", "said": said, "year": "" });
    let items = [
        film("f1", "The Lighthouse Keeper", "A keeper waits for a storm.", "1931"),
        film("f2", "Two Sisters", "Sisters inherit a bakery in the rain.", "1958"),
        film("f3", "Night Train", "A train, a diary and a thief.", "1947"),
        quote("q1", "f1", "Slow and beautiful, with rain in every scene."),
        quote("q2", "f1", "I liked the lighthouse most."),
        quote("q3", "f3", "Rather loud for a quiet evening."),
    ];
    match path {
        path if path.contains("robots.txt") => (404, String::new()),
        path if path.contains("page=1") => (200, json!({ "items": items, "total": 6 }).to_string()),
        _ => (200, json!({ "items": [], "total": 6 }).to_string()),
    }
}

/// The project, up to the table of quotes.
pub(crate) fn project(configuration: &str) -> Project {
    let project =
        Project::own(&format!("[hosts.\"films.example\"]\nurl = \"{}\"\nrate = 1000\n{configuration}", serve(answer)));
    project.put(
        "sources/films.toml",
        "name = \"films\"\nfetch = \"http\"\nevery = \"1d\"\n[keys]\nlist = [\"all\"]\n\
         [http]\nurl = \"http://films.example/films?key={key}&page={page}\"\npage_size = 6\nmax_pages = 3\n\
         [items]\npath = \"/items\"\ntotal = \"/total\"\nkey = \"id\"\n\
         [fields]\nid = { path = \"/id\", type = \"string\", required = true }\nabout = { path = \"/about\", type = \"string\" }\n\
         name = { path = \"/name\", type = \"string\" }\nsaid = { path = \"/said\", type = \"string\" }\n\
         year = { path = \"/year\", type = \"string\" }\n",
    );
    project.put(
        "sql/marts/quotes.sql",
        "-- materialize: table\n-- key: quote\nselect id as quote, about as film, said from raw.films where _error is null and about <> ''\n",
    );
    project
}

const ENRICH: &str = "
[enrich.\"staging.film_summaries\"]
from = \"marts.film_texts\"
key = \"film\"
texts = \"texts\"
subject = \"quotes about one film\"
language = \"English\"
instructions = \"Say what people felt.\"
script = { name = \"Latin\", share = 0.9 }

[enrich.\"staging.film_summaries\".fields.mood]
type = \"text\"
description = \"how the film feels\"
values = [\"calm\", \"loud\", \"sad\"]
required = true

[enrich.\"staging.film_summaries\".fields.stars]
type = \"integer\"
min = 1
max = 5

[sync.\"marts.films\"]
key = \"film\"
sinks = [\"sqlite\", \"keywords\", \"vectors\"]
title = \"name\"
text = [\"name\", \"plot\", \"summary\"]
vector = \"embedding\"

[search.targets.\"marts.films\"]
noun = [\"film\", \"films\"]
";

/// The whole project, with summaries that the service writes.
pub(crate) fn whole(service: &Service) -> Project {
    let project = project(&format!("{}{ENRICH}", service.section("")));
    project.put("llm.key", KEY);
    project.put(
        "sql/marts/film_texts.sql",
        "-- materialize: table\n-- key: film\nselect film, array_agg(said order by quote) as texts from marts.quotes group by film\n",
    );
    project.put(
        "sql/marts/films.sql",
        "-- materialize: table\n-- key: film\nselect id as film, name, said as plot, summary, mood, stars, embedding from raw.films \
         left join staging.film_summaries on id = film where _error is null and about = ''\n",
    );
    project
}

#[test]
fn films_go_from_their_site_to_summaries_and_search() {
    let service = Service::new(Switches::default());
    let project = whole(&service);
    let report = project.run(0);
    assert_eq!((&report["summarised"], &report["embedded"]), (&Value::from(2), &Value::from(2)), "{report}");
    let told = || {
        project
            .sql("select film, name, summary, mood, stars, embedding is null as blank from marts.films order by film")
    };
    let first = told();
    assert_eq!((&first[0]["name"], &first[1]["summary"]), (&"The Lighthouse Keeper".into(), &Value::Null));
    let summary = first[0]["summary"].as_str().unwrap();
    assert!(summary.is_ascii() && !first[0]["blank"].as_bool().unwrap(), "{summary}");
    assert!(["calm", "loud", "sad"].contains(&first[0]["mood"].as_str().unwrap()), "{first:?}");
    assert!((1..=5).contains(&first[0]["stars"].as_i64().unwrap()) && first[1]["stars"].is_null(), "{first:?}");
    let word = summary.split(' ').find(|it| it.len() > 6).unwrap();
    for command in
        [&["search", word][..], &["search", "--keyword", word], &["status"], &["plan"], &["reconcile"], &["doctor"]]
    {
        let output = text(&project.onggi(command));
        assert!(output.is_ascii() || !output.chars().any(|it| ('가'..='힣').contains(&it)), "{command:?}: {output}");
    }
    let found = text(&project.onggi(&["search", word]));
    assert!(found.contains("The Lighthouse Keeper") && found.contains("vector"), "{found}");

    // Who asks for another language and still checks for this one gets answers that are set aside, and keeps those that were good.
    project.replace("onggi.toml", "language = \"English\"", "language = \"Korean\"");
    let report = project.run(3);
    assert_eq!((&report["status"], &report["summarised"]), (&"partial".into(), &Value::from(0)), "{report}");
    assert_eq!(told(), first);
    let reasons = project.sql("select reason from ops.llm_results where reason is not null");
    assert!(
        reasons.iter().all(|it| it["reason"].as_str().unwrap().contains("Latin")) && reasons.len() == 2,
        "{reasons:?}"
    );
    // Back to what was asked for first: its answers are in the lake.
    let asked = service.stats().calls;
    project.replace("onggi.toml", "language = \"Korean\"", "language = \"English\"");
    let report = project.run(0);
    assert_eq!((&report["summarised"], service.stats().calls), (&Value::from(0), asked), "{report}");
    assert_eq!(told(), first);
    // A field of another type: the check says that a run changes the table, and the run does.
    project.replace("onggi.toml", "type = \"integer\"\nmin = 1\nmax = 5\n", "type = \"number\"\n");
    let check = project.onggi(&["check"]);
    assert!(check.status.success() && text(&check).contains("`stars` was int64 and is float64"), "{}", text(&check));
    project.run(0);
    assert!(told()[0]["stars"].is_f64(), "{:?}", told());
    let check = text(&project.onggi(&["check"]));
    assert!(!check.contains("not as the project says"), "{check}");
}
