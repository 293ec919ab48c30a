//! The keys of `onggi.toml` and of source files, as the program itself knows them: each part is given a key that nobody knows, and
//! what is said against it lists those that are known.

use std::collections::BTreeSet;

use extract::Source;
use toml::{Table, Value};

use super::page;
use super::table::Row;
use crate::support::{Project, last_object};

/// A key that nobody knows.
const UNKNOWN: &str = "zzz";

/// What stands for any name, where a part is called as people like.
const ANY: &str = "marts.any";

/// Says this in a table; a part `*` of the path is a name that is there, or any.
fn put(into: &mut Table, path: &[&str], value: Value) {
    let [first, rest @ ..] = path else { return };
    let name = match *first {
        "*" => into.keys().next().map_or_else(|| ANY.to_owned(), String::clone),
        name => name.to_owned(),
    };
    if rest.is_empty() {
        into.insert(name, value);
        return;
    }
    if !into.get(&name).is_some_and(Value::is_table) {
        into.insert(name.clone(), Value::Table(Table::new()));
    }
    if let Some(Value::Table(below)) = into.get_mut(&name) {
        put(below, rest, value);
    }
}

fn parts(path: &str) -> Vec<&str> {
    path.split('.').filter(|part| !part.is_empty()).collect()
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// Who can be asked which keys a part has.
trait Known {
    /// The keys of the part at `path`, if it is one that has keys.
    fn keys(&self, path: &str) -> Option<Vec<String>>;

    /// Every key that holds a value and no keys.
    fn leaves(&self, path: &str, into: &mut BTreeSet<String>) {
        let any = below(path, "*");
        if let Some(keys) = self.keys(path) {
            for key in keys {
                self.leaves(&below(path, &key), into);
            }
        } else if self.keys(&any).is_some() {
            self.leaves(&any, into);
        } else {
            into.insert(path.to_owned());
        }
    }
}

/// Every key is named in the page, and every key that the page names is known; a page may also name what keys stand in.
fn compare(known: &dyn Known, rows: &[Row], file: &str) {
    let mut leaves = BTreeSet::new();
    known.leaves("", &mut leaves);
    let told: BTreeSet<String> = rows.iter().map(Row::path).collect();
    let missing: Vec<&String> = leaves.difference(&told).collect();
    assert!(missing.is_empty(), "{file} does not name {missing:?}");
    let holds = |path: &&String| !leaves.iter().any(|leaf| leaf.starts_with(&format!("{path}.")));
    let unknown: Vec<&String> = told.difference(&leaves).filter(holds).collect();
    assert!(unknown.is_empty(), "{file} names {unknown:?}, which nobody knows");
    assert!(leaves.len() > 30, "the keys were not found: {leaves:?}");
}

/// `onggi.toml`, by what `onggi check` says of one.
struct Configuration {
    project: Project,
    base: Table,
}

impl Configuration {
    fn new(temp: &tempfile::TempDir) -> Self {
        let project = Project::at(temp.path().join("project"));
        assert!(project.onggi(&["init", "--template", "empty"]).status.success());
        let text = std::fs::read_to_string(project.folder.join("onggi.toml")).unwrap();
        Self { project, base: text.parse().unwrap() }
    }

    /// What is said against the file; nothing if it is right.
    fn said(&self, table: &Table) -> Option<String> {
        std::fs::write(self.project.folder.join("onggi.toml"), toml::to_string(table).unwrap()).unwrap();
        let output = self.project.onggi(&["check", "--json"]);
        (!output.status.success()).then(|| {
            let told = last_object(&output);
            told["problems"][0]["message"].as_str().unwrap_or_default().to_owned()
        })
    }

    /// The words that are expected in the place of one that nobody knows.
    fn expected(&self, path: &str, value: Value) -> Option<Vec<String>> {
        let mut table = self.base.clone();
        put(&mut table, &parts(path), value);
        let said = self.said(&table)?;
        let list = said.strip_suffix(&format!(", found `{UNKNOWN}`"))?;
        let list = list.strip_prefix("expected one of `").or_else(|| list.strip_prefix("expected `"))?;
        Some(list.trim_end_matches('`').split("`, `").map(str::to_owned).collect())
    }
}

impl Known for Configuration {
    fn keys(&self, path: &str) -> Option<Vec<String>> {
        // One word of a few is a value, and is told in the same way.
        if !path.is_empty() && self.expected(path, UNKNOWN.into()).is_some() {
            return None;
        }
        self.expected(&below(path, UNKNOWN), 1.into())
    }
}

#[test]
fn every_key_of_the_configuration_is_in_its_page_and_no_other() {
    let temp = tempfile::tempdir().unwrap();
    let rows = page("docs/configuration.md").rows("Key");
    compare(&Configuration::new(&temp), &rows, "docs/configuration.md");
}

/// Both ends are taken, and what is beyond them is not.
fn hold(row: &Row, (low, high): (f64, f64), said: &dyn Fn(Value) -> Option<String>) {
    let is_whole = row.cell("Type").is_none_or(|kind| kind != "number");
    #[expect(clippy::cast_possible_truncation, reason = "bounds of whole numbers are whole")]
    let value = |number: f64| if is_whole { Value::Integer(number as i64) } else { Value::Float(number) };
    let step = if is_whole { 1.0 } else { 0.01 };
    for (number, fits) in [(low, true), (high, true), (low - step, false), (high + step, false)] {
        let told = said(value(number));
        assert_eq!(told.is_none(), fits, "`{}` = {number}: {told:?}", row.path());
    }
}

/// Source files in which every way of fetching is chosen once.
fn files() -> Vec<Table> {
    const REST: &str = "name = \"s\"\nevery = \"1d\"\nkeys = { list = [\"a\"] }\nitems = { path = \"\", key = \"id\" }\n\
        fields = { id = { path = \"/id\", type = \"id\" } }\n";
    const HTTP: &str = "fetch = \"http\"\nhttp = { url = \"https://a.example/{key}\" }\n";
    let browser = |more: &str| {
        format!(
            "fetch = \"browser\"\nbrowser = {{ url = \"https://a.example/{{key}}\", ready = \"#a\", response = \"*\", {more} }}\n"
        )
    };
    let document = |document: &str| browser(&format!("document = {{ {document} }}"));
    let ways = [
        HTTP.to_owned(),
        browser("more = { list = \"#a\", button = \"a\" }"),
        browser("more = { next = \"a\" }"),
        browser("more = { scroll = true }"),
        document("state = \"A\", field = \"a\", path = \"/a\", typename = \"T\""),
        document("state = \"A\", path = \"/a\""),
        document("script = \"A\", path = \"/a\""),
        document("linked_data = \"A\""),
    ];
    let files = ways.map(|way| format!("{way}{REST}"));
    let checked = |file: &String| Source::parse("s.toml", file).map(|_| file.parse().unwrap());
    files.iter().map(|file| checked(file).unwrap()).collect()
}

/// What is wrong with a source file, as sentences.
fn problems(table: &Table) -> Result<Source, Vec<String>> {
    let said =
        |problem: &catalog::Diagnostic| format!("{} {}", problem.message, problem.hint.clone().unwrap_or_default());
    Source::parse("s.toml", &toml::to_string(table).unwrap()).map_err(|problems| problems.iter().map(said).collect())
}

struct Sources(Vec<Table>);

impl Known for Sources {
    fn keys(&self, path: &str) -> Option<Vec<String>> {
        let mut keys: Option<BTreeSet<String>> = None;
        for file in &self.0 {
            let mut table = file.clone();
            put(&mut table, &parts(&below(path, UNKNOWN)), 1.into());
            let problems = problems(&table).err().unwrap_or_default();
            let told = problems.iter().find(|said| said.starts_with(&format!("unknown key `{UNKNOWN}`")));
            let Some((_, list)) = told.and_then(|said| said.split_once(" knows ")) else { continue };
            let list = list.split('`').skip(1).step_by(2).map(str::to_owned);
            keys.get_or_insert_default().extend(list);
        }
        Some(keys?.into_iter().collect())
    }
}

#[test]
fn every_key_of_a_source_is_in_its_page_and_no_other() {
    compare(&Sources(files()), &page("docs/sources.md").rows("Key"), "docs/sources.md");
}

#[test]
fn the_bounds_and_defaults_of_a_source_are_those_of_its_page() {
    let (files, mut bounded, mut defaulted) = (files(), 0, 0);
    for row in page("docs/sources.md").rows("Key") {
        let path = row.path();
        let with = |file: &Table, value: Value| {
            let mut table = file.clone();
            put(&mut table, &parts(&path), value);
            problems(&table)
        };
        let is_refused = |said: &String| said.contains("unknown key") || said.contains("is of no use");
        let is_known = |file: &&Table| !with(file, 0.5.into()).is_err_and(|said| said.iter().any(is_refused));
        if let Some(bounds) = row.bounds() {
            bounded += 1;
            let file = files.iter().find(is_known).unwrap();
            hold(&row, bounds, &|value| with(file, value).err().map(|said| said.join("\n")));
        }
        if let Some(default) = row.default() {
            defaulted += 1;
            let shown = |source: Source| format!("{source:?}");
            let is_default =
                |file: &Table| with(file, default.clone()).map(shown).ok() == Some(shown(problems(file).unwrap()));
            assert!(files.iter().filter(is_known).any(is_default), "`{path}` = {default} is not its default");
        }
    }
    assert!(bounded > 8 && defaulted > 15, "{bounded} bounds and {defaulted} defaults were found");
}
