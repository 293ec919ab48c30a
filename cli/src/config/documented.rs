//! The page about the configuration says the bounds and defaults that hold.

use toml::{Table, Value};

use super::Config;

#[path = "../../tests/it/docs/table.rs"]
mod table;

use table::{Row, rows};

/// The rows of the page about the configuration.
fn page() -> Vec<Row> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
    rows(file, std::fs::read_to_string(file).unwrap().lines(), "Key")
}

/// The smallest project, with what a section needs beside the keys that are tried.
const BASE: &str = "
project = { name = \"r\", timezone = \"UTC\", sources = \"s\", models = \"m\" }
identity = { key = \"env:K\" }
postgres = { url = \"env:K\" }
mysql = { url = \"env:K\" }
athena = {}
hosts.any = { url = \"http://127.0.0.1:1\" }
llm.prices.any = { input = 1.0 }
sync.\"marts.any\" = { key = \"k\", sinks = [\"sqlite\"], vector = \"v\" }
search.targets.\"marts.any\" = {}
enrich.\"staging.any\" = { from = \"marts.any\", key = \"k\", texts = \"t\", script = { name = \"Latin\" }, fields.any = { type = \"text\" } }
";

fn parsed(table: &Table) -> Result<Config, String> {
    let text = toml::to_string(table).unwrap();
    Config::parse("onggi.toml", &text).map_err(|error| crate::exit::render(&error))
}

/// The smallest project with one key more.
fn with(row: &Row, value: Value) -> Result<Config, String> {
    let mut table: Table = BASE.parse().unwrap();
    let path = row.path();
    let mut parts = path.split('.').peekable();
    let mut below = &mut table;
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            below.insert(part.to_owned(), value);
            break;
        }
        // Any name is the one that is there.
        let name = if part == "*" { below.keys().next().unwrap().clone() } else { part.to_owned() };
        let next = below.entry(name).or_insert_with(|| Value::Table(Table::new()));
        below = next.as_table_mut().unwrap();
    }
    parsed(&table)
}

#[test]
fn both_ends_of_a_bound_are_taken_and_what_is_beyond_is_not() {
    let mut seen = 0;
    for row in page() {
        let Some((low, high)) = row.bounds() else { continue };
        seen += 1;
        let kind = row.cell("Type").unwrap_or_default();
        let step = if kind == "number" { 0.01 } else { 1.0 };
        for (number, fits) in [(low, true), (high, true), (low - step, false), (high + step, false)] {
            #[expect(clippy::cast_possible_truncation, reason = "bounds of whole numbers are whole")]
            let whole = number as i64;
            let value = match kind {
                "number" => Value::Float(number),
                // So many characters.
                "text" => Value::String("가".repeat(usize::try_from(whole).unwrap_or_default())),
                _ => Value::Integer(whole),
            };
            let found = with(&row, value);
            assert_eq!(found.is_ok(), fits, "`{}` = {number}: {found:?}", row.path());
        }
    }
    assert!(seen > 10, "{seen} bounds were found");
}

#[test]
fn a_default_is_what_holds_where_nothing_is_said() {
    let (mut seen, shown) = (0, |config: Config| format!("{config:?}"));
    let plain = shown(parsed(&BASE.parse().unwrap()).unwrap());
    for row in page() {
        let Some(default) = row.default() else { continue };
        seen += 1;
        let said = with(&row, default.clone()).map(shown);
        assert_eq!(said.as_deref(), Ok(plain.as_str()), "`{}` = {default} is not its default", row.path());
    }
    assert!(seen > 15, "{seen} defaults were found");
}
