//! What `--json` prints, held to what docs/json.md says of it: every object of every verb has a shape that stands there, and every shape
//! that stands there is printed.

use std::collections::BTreeMap;
use std::process::Output;

use llm_replica::Switches;
use serde_json::{Map, Value};

use crate::films;
use crate::llm::Service;
use crate::support::{Project, text};

const PAGE: &str = include_str!("../../../docs/json.md");

/// The shapes of each part of the page, by its heading: JSON whose texts are the names of types. A key that ends in `?` may be missing,
/// and `*` stands for any key.
fn shapes() -> BTreeMap<String, Vec<Value>> {
    let parts = PAGE.split("\n## ").skip(1).filter_map(|part| part.split_once('\n'));
    let of = |text: &str| {
        let blocks = text.split("```json\n").skip(1).filter_map(|block| block.split_once("```"));
        blocks.map(|(block, _)| serde_json::from_str(block).unwrap_or_else(|why| panic!("{why}: {block}"))).collect()
    };
    parts.map(|(heading, text)| (heading.trim_matches('`').to_owned(), of(text))).collect()
}

/// Where a value is not of a shape.
fn misfit(shape: &Value, found: &Value, at: &str) -> Option<String> {
    match (shape, found) {
        (Value::String(types), _) => {
            (!types.split(" or ").any(|name| is_a(name, found))).then(|| format!("{at}: {types}, not {found}"))
        }
        (Value::Array(shape), Value::Array(found)) => {
            found.iter().enumerate().find_map(|(n, found)| misfit(&shape[0], found, &format!("{at}/{n}")))
        }
        (Value::Object(shape), Value::Object(found)) => object_misfit(shape, found, at),
        _ => Some(format!("{at}: another kind of value, {found}")),
    }
}

fn object_misfit(shape: &Map<String, Value>, found: &Map<String, Value>, at: &str) -> Option<String> {
    let any = shape.get("*");
    let missing = shape.keys().find(|key| *key != "*" && !key.ends_with('?') && !found.contains_key(*key));
    if let Some(key) = missing {
        return Some(format!("{at}: no `{key}`"));
    }
    found.iter().find_map(|(key, value)| {
        let at = format!("{at}/{key}");
        match shape.get(key).or_else(|| shape.get(&format!("{key}?"))).or(any) {
            Some(shape) => misfit(shape, value, &at),
            None => Some(format!("{at}: not in the documents")),
        }
    })
}

fn is_a(name: &str, found: &Value) -> bool {
    match name {
        "text" => found.is_string(),
        "whole" => found.is_i64() || found.is_u64(),
        "number" => found.is_number(),
        "yes" => found.is_boolean(),
        "null" => found.is_null(),
        "any" => true,
        "day" => found.as_str().is_some_and(|text| text.parse::<jiff::civil::Date>().is_ok()),
        "time" => found.as_str().is_some_and(|text| text.parse::<jiff::Timestamp>().is_ok()),
        other => panic!("docs/json.md knows no type `{other}`"),
    }
}

/// Holds the objects that verbs print to the page, and gathers which of its shapes were seen.
struct Page {
    shapes: BTreeMap<String, Vec<Value>>,
    seen: BTreeMap<String, Vec<bool>>,
}

impl Page {
    fn open() -> Self {
        let shapes = shapes();
        let seen = shapes.iter().map(|(part, shapes)| (part.clone(), vec![false; shapes.len()])).collect();
        Self { shapes, seen }
    }

    /// Every shape of the page was seen, but for those of the parts that are held elsewhere.
    fn shown(&self, elsewhere: &[&str]) {
        for (part, seen) in self.seen.iter().filter(|(part, _)| !elsewhere.contains(&part.as_str())) {
            let unseen: Vec<_> =
                seen.iter().zip(&self.shapes[part]).filter(|(seen, _)| !**seen).map(|(_, it)| it).collect();
            assert!(unseen.is_empty(), "{part}: nothing is printed of the shape {unseen:?}");
        }
    }

    fn hold(&mut self, part: &str, output: &Output) {
        let printed = String::from_utf8(output.stdout.clone()).unwrap();
        assert!(!printed.trim().is_empty(), "{part}: {}", text(output));
        for line in printed.lines() {
            let found: Value = serde_json::from_str(line).unwrap_or_else(|why| panic!("{part}: {why}: {line}"));
            // What failed says so behind what it had to say.
            let mut misfits = Vec::new();
            let fits = [part, "Errors"].into_iter().find_map(|part| {
                let tried: Vec<_> = self.shapes[part].iter().map(|shape| misfit(shape, &found, "")).collect();
                let fits = tried.iter().position(Option::is_none);
                misfits.extend(tried);
                fits.map(|fits| (part, fits))
            });
            let (part, fits) = fits.unwrap_or_else(|| panic!("{part}: {line}\n{misfits:#?}"));
            self.seen.get_mut(part).unwrap()[fits] = true;
        }
    }
}

/// Holds what a verb printed elsewhere to the page.
pub(crate) fn hold(part: &str, output: &Output) {
    Page::open().hold(part, output);
}

#[test]
fn what_each_verb_prints_as_json_stands_in_the_documents() {
    let service = Service::new(Switches::default());
    let project = films::whole(&service);
    let mut page = Page::open();
    let mut says = |arguments: &[&str], part: &str| {
        page.hold(part, &project.onggi(&[arguments, &["--json"]].concat()));
    };
    let new = Project::at(project.folder.join("new"));
    says(&["check"], "check");
    says(&["plan"], "plan");
    says(&["run"], "run");
    says(&["plan"], "plan");
    says(&["status"], "status");
    says(&["doctor"], "doctor");
    says(&["reconcile"], "reconcile");
    says(&["upkeep"], "upkeep");
    says(&["worker", "--until-idle"], "worker");
    says(&["sql", "select 1 as one, 'x' as word, null as nothing, make_array(1.5) as list"], "sql");
    says(&["search", "rain"], "search");
    says(&["search", "--keyword", "rain"], "search");
    says(&["sql", "select nothing from nowhere"], "Errors");
    says(&["status", "--nonsense"], "Errors");

    // Answers that are set aside, a host that is away, a server that is, and a table that nobody asks for any more.
    project.replace("onggi.toml", "language = \"English\"", "language = \"Korean\"");
    project.append("onggi.toml", "[hosts.\"away.example\"]\nurl = \"http://127.0.0.1:9\"\nrate = 1000\n");
    let source = std::fs::read_to_string(project.folder.join("sources/films.toml")).unwrap();
    project.put("sources/away.toml", &source.replace("films.example", "away.example").replace("\"films\"", "\"away\""));
    let section = "[sync.\"marts.quotes\"]\nkey = \"quote\"\nsinks = [\"sqlite\"]\n";
    project.append("onggi.toml", section);
    says(&["run"], "run");
    says(&["retry"], "retry");
    says(&["status"], "status");
    says(&["retry", "--set-aside"], "retry");
    let elsewhere = section.replace("sqlite", "postgres");
    let server = "[postgres]\nurl = \"env:ONGGI_POSTGRES\"\n";
    project.replace("onggi.toml", section, &format!("{elsewhere}{server}"));
    for verb in ["plan", "status"] {
        let mut command = project.command(&[verb, "--json"]);
        let output = command.env("ONGGI_POSTGRES", "postgres://onggi:x@127.0.0.1:9/onggi").output().unwrap();
        page.hold(verb, &output);
    }
    project.replace("onggi.toml", &format!("{elsewhere}{server}"), "");
    let mut says = |arguments: &[&str], part: &str| {
        page.hold(part, &project.onggi(&[arguments, &["--json"]].concat()));
    };
    for verb in ["plan", "status"] {
        says(&[verb], verb);
    }
    says(&["reconcile"], "reconcile");

    drop(service);
    says(&["search", "a rainy evening"], "search");
    project.put("sql/marts/films.sql", "select nothing from raw.films\n");
    says(&["check"], "Errors");
    page.hold("init", &new.onggi(&["init", "--template", "empty", "--name", "new", "--json"]));
    page.shown(&["catalog"]);
}
