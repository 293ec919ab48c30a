//! The documents say what is: every key, link, path, test and command that they name is there, and every key that is there is named.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::support::{Project, text};

mod keys;
mod page;
mod table;

use page::Page;

/// A page that is read in five minutes.
const README_LINES: usize = 150;

fn repository() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).to_owned()
}

/// The page of the repository at this path.
fn page(file: &str) -> Page {
    Page::read(&repository(), file)
}

fn has_ending(path: &str, ending: &str) -> bool {
    Path::new(path).extension().is_some_and(|it| it == ending)
}

/// All pages: those at the root and those in `docs`.
fn pages() -> Vec<Page> {
    let mut files = Vec::new();
    for folder in ["", "docs/"] {
        for entry in std::fs::read_dir(repository().join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            files.extend(has_ending(&name, "md").then(|| format!("{folder}{name}")));
        }
    }
    files.sort();
    files.iter().map(|file| page(file)).collect()
}

#[test]
fn every_document_that_is_expected_is_there_and_can_be_reached_from_the_readme() {
    let linked: BTreeSet<String> = page("README.md").links().map(|(_, target)| target.to_owned()).collect();
    let expected = [
        "docs/adding.md",
        "docs/architecture.md",
        "docs/aws.md",
        "docs/benchmarks.md",
        "docs/configuration.md",
        "docs/format.md",
        "docs/json.md",
        "docs/models.md",
        "docs/operating.md",
        "docs/sources.md",
        "CONTRIBUTING.md",
        "NEWS.md",
    ];
    for file in expected {
        assert!(repository().join(file).is_file(), "{file} is missing");
        assert!(linked.contains(file), "README.md has no link to {file}");
    }
    for page in pages() {
        let is_linked = page.file == "README.md" || linked.contains(&page.file);
        assert!(is_linked, "README.md has no link to {}", page.file);
    }
}

#[test]
fn the_readme_is_read_in_five_minutes() {
    let length = page("README.md").length();
    assert!(length <= README_LINES, "README.md has {length} lines: move what is looked up into docs/");
}

#[test]
fn every_link_between_the_documents_leads_somewhere() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for from in pages() {
        let folder = Path::new(&from.file).parent().unwrap().to_owned();
        for (line, target) in from.links().filter(|(_, target)| !target.contains("://")) {
            seen += 1;
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = if file.is_empty() { PathBuf::from(&from.file) } else { folder.join(file) };
            let is_there = repository().join(&path).exists();
            let named = |page: Page| page.anchors().iter().any(|there| there == anchor);
            if !is_there || !(anchor.is_empty() || named(Page::read(&repository(), path.to_str().unwrap()))) {
                wrong.push(format!("{}:{line}: `{target}` leads nowhere", from.file));
            }
        }
    }
    assert!(seen > 20, "the links were not found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A path of the repository, if this is one: it begins with an entry of its root.
fn path_of(span: &str) -> Option<&str> {
    let path = span.split([' ', ':']).next()?;
    let first = path.split('/').next()?;
    let is_plain = path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte));
    let is_rust = has_ending(path, "rs") && path.contains('/');
    let is_ours = path.contains('/') && repository().join(first).is_dir() && !first.is_empty();
    (is_plain && (is_rust || is_ours)).then_some(path)
}

#[test]
fn every_path_that_is_named_is_there() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for page in pages() {
        for (line, span) in page.spans() {
            let Some(path) = path_of(&span) else { continue };
            seen += 1;
            if !repository().join(path).exists() {
                wrong.push(format!("{}:{line}: `{path}` is not there", page.file));
            }
        }
    }
    assert!(seen > 50, "the paths were not found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The Rust files below a folder of the repository, by their paths.
fn rust_files(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(repository().join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let path = format!("{folder}/{}", entry.file_name().to_str().unwrap());
            if entry.path().is_dir() {
                folders.push(path);
            } else if has_ending(&path, "rs") {
                let text = std::fs::read_to_string(entry.path()).unwrap();
                found.push((path, text));
            }
        }
    }
    found
}

/// The files of the program itself, without those that are tests as a whole.
fn product() -> Vec<(String, String)> {
    let crates = ["catalog/src", "extract/src", "transform/src", "load/src", "cli/src"];
    let files = crates.into_iter().flat_map(rust_files);
    let is_test = |file: &str| {
        ["tests.rs", "contract.rs", "documented.rs", "testing.rs", "relevance.rs"].iter().any(|end| file.ends_with(end))
            || ["/tests/", "_tests", "simulator"].iter().any(|part| file.contains(part))
    };
    files.filter(|(file, _)| !is_test(file)).collect()
}

#[test]
fn every_test_that_is_named_is_there() {
    let folders = ["catalog", "extract", "transform", "load", "cli", "benches"];
    let all: String = folders.into_iter().flat_map(rust_files).map(|(_, text)| text).collect();
    let is_name = |span: &str| {
        span.split('_').count() > 3
            && span.bytes().all(|byte| byte.is_ascii_lowercase() || b"_0123456789".contains(&byte))
    };
    let mut seen = 0;
    for page in pages() {
        for (line, span) in page.spans().filter(|(_, span)| is_name(span)) {
            seen += 1;
            assert!(all.contains(&format!("fn {span}(")), "{}:{line}: no test is called `{span}`", page.file);
        }
    }
    assert!(seen > 20, "the tests were not found");
}

/// The commands of a page: code that begins with `onggi`, within prose or as a line of its own.
fn commands(page: &Page) -> Vec<(usize, String)> {
    let fenced = page.fenced().map(|(line, text)| (line, text.trim().trim_start_matches("$ ").to_owned()));
    let all = page.spans().chain(fenced).filter(|(_, text)| text.starts_with("onggi "));
    // What stands behind a comment or in a pipe is no part of it.
    all.map(|(line, text)| (line, text.split(" # ").next().unwrap_or_default().to_owned())).collect()
}

#[test]
fn every_verb_and_flag_that_is_named_is_known() {
    let project = Project::at(repository());
    let help = |verb: &str| text(&project.onggi(&[&["help"], &verb.split(' ').collect::<Vec<_>>()[..]].concat()));
    let mut wrong = Vec::new();
    let mut verbs = BTreeSet::new();
    for page in pages() {
        for (line, command) in commands(&page) {
            // What stands in quotes is a statement, or a question.
            let plain: String = command.split('"').step_by(2).collect();
            let mut words = plain.split_whitespace().skip(1).peekable();
            while words.next_if(|word| word.starts_with("--")).is_some() {
                words.next();
            }
            let Some(verb) = words.next().filter(|verb| verb.bytes().all(|byte| byte.is_ascii_lowercase())) else {
                continue;
            };
            let verb = if verb == "catalog" { "catalog publish" } else { verb };
            let help = help(verb);
            verbs.insert(verb.to_owned());
            if verb != "help" && !help.contains(&format!("Usage: onggi {verb}")) {
                wrong.push(format!("{}:{line}: no verb is called `{verb}`", page.file));
            }
            for flag in plain.split_whitespace().filter(|word| word.starts_with("--") && word.len() > 2) {
                let flag = flag.split('=').next().unwrap_or_default().trim_end_matches([',', '.', ')']);
                let is_there = help.split_whitespace().any(|word| word.trim_end_matches(',') == flag);
                if verb != "help" && !is_there {
                    wrong.push(format!("{}:{line}: `onggi {verb}` has no {flag}", page.file));
                }
            }
        }
    }
    assert!(verbs.len() > 10, "the commands were not found: {verbs:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_function_and_setting_of_a_model_is_in_its_page_and_no_other() {
    let models = page("docs/models.md");
    let rows = |head: &str| models.rows(head).into_iter().map(|row| row.key).collect::<BTreeSet<String>>();
    let set = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<BTreeSet<String>>();
    assert_eq!(rows("Setting"), set(&transform::SETTINGS));
    assert_eq!(rows("Materialization"), set(&transform::MATERIALIZATIONS));
    assert_eq!(rows("Check"), set(&transform::CHECKS));
    let functions: Vec<&str> = transform::functions().iter().map(|function| function.name).collect();
    assert_eq!(rows("Function"), set(&functions));
}

#[test]
fn every_outcome_of_a_key_is_in_its_page_and_no_other() {
    let told: BTreeSet<String> = page("docs/operating.md").rows("Outcome").into_iter().map(|row| row.key).collect();
    let known: BTreeSet<String> = extract::outcome::Outcome::ALL.iter().map(ToString::to_string).collect();
    assert_eq!(told, known);
}

/// What a test says of a product file stands behind this.
const TESTS: &str = "#[cfg(test)]\nmod tests {";

#[test]
fn every_file_that_names_the_members_of_a_set_is_in_the_list_of_that_set() {
    let adding = page("docs/adding.md");
    for (head, members, own, most) in [
        (
            "File of a sink",
            &["SinkKind::"][..],
            &["load/src/sink/", "load/src/search/", "cli/src/config/"][..],
            Some(4),
        ),
        ("File of a materialization", &["Materialization::"], &["transform/src/materialization/"], Some(4)),
        (
            "File of a source kind",
            &["FetchKind::", " Recipe::", "(Recipe::"],
            &["extract/src/fetch/", "extract/src/source/parse/recipe/"],
            Some(4),
        ),
        ("File of a verb", &["Verb::"], &["cli/src/verb/"], None),
    ] {
        let lines = adding.prose().skip_while(|(_, line)| !line.starts_with(&format!("| {head} |"))).skip(2);
        let cells = lines.take_while(|(_, line)| line.starts_with('|')).filter_map(|(_, line)| line.split('|').nth(1));
        let told: BTreeSet<String> = cells.flat_map(page::code).collect();
        assert!(told.len() > 3, "the list `{head}` was not found");
        assert!(most.is_none_or(|most| told.len() <= most), "`{head}` is longer than it may be: {told:?}");
        // Who goes over all of a set names none of it.
        let names = |text: &str, member: &str| {
            let text = text.split(TESTS).next().unwrap_or_default();
            ["ALL", "EMBEDDED"]
                .into_iter()
                .fold(text.to_owned(), |it, all| it.replace(&[member, all].concat(), ""))
                .contains(member)
        };
        for (file, text) in product() {
            let is_listed = told.contains(&file) || own.iter().any(|own| file.starts_with(own));
            let named = members.iter().find(|member| names(&text, member));
            assert!(is_listed || named.is_none(), "{file} names `{named:?}`: docs/adding.md, `{head}`");
        }
    }
}

#[test]
fn the_columns_of_the_houses_own_tables_are_those_of_their_page() {
    let told = page("docs/format.md").rows("Column");
    let of = |table: &str| -> Vec<String> {
        told.iter().filter(|row| row.section == table).map(|row| row.key.clone()).collect()
    };
    let mut specs = catalog::run::record_specs().unwrap();
    specs.push(extract::ledger::outcomes_table().unwrap());
    specs.push(extract::unreadable::unreadable_table().unwrap());
    for spec in specs {
        let known: Vec<&str> = spec.schema.fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(of(&spec.name.to_string()), known, "{}", spec.name);
    }
    // Without a name in their heading: what every raw table has, then what every table of summaries has.
    assert_eq!(of("")[..7], extract::source::ENVELOPE);
    assert_eq!(
        of("")[7..],
        ["summary_key", "embedding_key", "model", "texts_used", "texts_given", "summary", "embedding"]
    );
}

#[test]
fn a_page_is_read_as_it_is_written() {
    let page = Page::parse(
        "x.md",
        "# A\n## `[a.\"N\"]`\n\n| Key | Default | Bounds |\n|---|---|---|\n| `b.c` | `2` | 1 to 64, whole |\n| `NAME` | – | – |\n\n```\nonggi run # all\n```\n[l](y.md#a-b)\n",
    );
    let rows = page.rows("Key");
    assert_eq!((rows[0].path().as_str(), rows[0].bounds()), ("a.*.b.c", Some((1.0, 64.0))));
    assert_eq!(rows[0].default(), Some(toml::Value::Integer(2)));
    assert_eq!((rows[1].path().as_str(), rows[1].default()), ("a.*", None));
    assert_eq!(page.anchors(), ["a", "an"]);
    assert_eq!(page.links().collect::<Vec<_>>(), [(12, "y.md#a-b")]);
    assert_eq!(commands(&page), [(10, "onggi run".to_owned())]);
}
