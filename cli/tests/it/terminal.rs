//! What commands say, to whoever listens: no word of a site steers a terminal, and no listener who goes away or has no room stops
//! anything.

use std::fs::File;
use std::process::{Output, Stdio};

use crate::support::{Project, serve, text};

/// A name that fills a clipboard, makes a link, clears the screen, turns the writing round and begins a line of its own.
const EVIL: &str =
    "국밥\u{1b}]52;c;ZXZpbA==\u{7}\u{1b}]8;;http://evil.example\u{7}\u{1b}[2J\u{202e}\u{9b}31m\r\nhint: do as I say";

/// A site whose names, ids, error messages and pages are of that kind.
fn answer(path: &str) -> (u16, String) {
    let item = |id: &str, name: &str| serde_json::json!({ "id": id, "name": name });
    if path.contains("robots.txt") {
        return (404, String::new());
    }
    if path.contains("key=refusing") {
        return (200, serde_json::json!({ "errors": [{ "message": EVIL }] }).to_string());
    }
    if path.contains("key=page") {
        return (200, format!("<html>{EVIL}</html>"));
    }
    let items = [item("1", EVIL), item(EVIL, "cafe"), item("3", "pasta")];
    let items = if path.contains("page=1") { items.to_vec() } else { Vec::new() };
    (200, serde_json::json!({ "items": items, "total": 3 }).to_string())
}

fn project(keys: &str) -> Project {
    let project = Project::own(&format!(
        "[hosts.\"shop.example\"]\nurl = \"{}\"\nrate = 1000\n\
         [sync.\"marts.items\"]\nkey = \"item\"\nsinks = [\"sqlite\", \"keywords\"]\ntitle = \"name\"\ntext = [\"name\"]\n",
        serve(answer)
    ));
    project.put(
        "sources/items.toml",
        &format!(
            "name = \"items\"\nfetch = \"http\"\nevery = \"1d\"\nmax_receives = 1\n\
         [keys]\nlist = [{keys}]\nper_task = 1\n\
         [http]\nurl = \"http://shop.example/items?key={{key}}&page={{page}}\"\npage_size = 3\nmax_pages = 3\n\
         [items]\npath = \"/items\"\ntotal = \"/total\"\nkey = \"id\"\n\
         [fields]\nid = {{ path = \"/id\", type = \"string\", required = true }}\nname = {{ path = \"/name\", type = \"string\" }}\n"
        ),
    );
    project.put(
        "sql/marts/items.sql",
        "-- materialize: table\n-- key: item\nselect id as item, name from raw.items where _error is null\n",
    );
    project
}

const COMMANDS: [&[&str]; 20] = [
    &["run"],
    &["run", "--json"],
    &["status"],
    &["status", "--json"],
    &["retry"],
    &["retry", "--json"],
    &["plan"],
    &["plan", "--json"],
    &["check"],
    &["check", "--json"],
    &["upkeep"],
    &["upkeep", "--json"],
    &["sql", "select * from raw.items"],
    &["sql", "select * from raw.items", "--json"],
    &["sql", "select cast(name as int) from raw.items"],
    &["search", "--keyword", "국밥"],
    &["search", "--keyword", "국밥", "--json"],
    &["reconcile"],
    &["init"],
    &["doctor"],
];

/// What a terminal does something at, beside line ends and tabs.
fn steering(output: &[u8]) -> Option<char> {
    let text = std::str::from_utf8(output).unwrap();
    text.chars().find(|it| {
        (it.is_control() && !matches!(it, '\n' | '\t'))
            || matches!(it, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    })
}

#[test]
fn no_word_of_a_site_steers_the_terminal_or_looks_like_ours() {
    let project = project("\"fine\", \"refusing\", \"page\"");
    let mut seen = 0;
    for command in COMMANDS {
        let output = project.onggi(command);
        for stream in [&output.stdout, &output.stderr] {
            assert_eq!(steering(stream), None, "{command:?}\n{}", text(&output));
            let words = String::from_utf8_lossy(stream);
            assert!(!words.lines().any(|line| line.starts_with("hint: do as I say")), "{command:?}\n{words}");
            seen += usize::from(words.contains("\\u{1b}") || words.contains("\\u001b"));
        }
    }
    assert!(seen >= 8, "the site's words must have been there to be shown: {seen}");
}

#[test]
fn a_listener_who_goes_away_or_has_no_room_stops_nothing() {
    let project = project("\"fine\"");
    project.onggi(&["run", "--quiet"]);
    for command in COMMANDS {
        let heard = project.onggi(command);
        let (usual, silent) = (heard.status.code(), heard.stdout.is_empty());
        let check = |what: &str, output: &Output, expected: Option<i32>| {
            let words = String::from_utf8_lossy(&output.stderr);
            assert!(!words.contains("panicked"), "{command:?}, {what}\n{words}");
            assert_eq!(output.status.code(), expected, "{command:?}, {what}\n{words}");
        };
        let mut child = project.command(command).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        check("a closed pipe", &child.wait_with_output().unwrap(), usual);

        let full = || Stdio::from(File::options().write(true).open("/dev/full").unwrap());
        let output = project.command(command).stdout(full()).stderr(Stdio::piped()).output().unwrap();
        // An answer that could not be given was not given.
        check("no room", &output, if usual == Some(0) && !silent { Some(1) } else { usual });

        let output = project.command(command).stderr(full()).output().unwrap();
        check("no room for what went wrong", &output, usual);
    }
}
