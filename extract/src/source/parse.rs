//! TOML → [`Source`]: which keys a source file has, and what they must be.

use std::collections::HashSet;
use std::ops::Range;
use std::time::Duration;

use catalog::{Diagnostic, Layer, SourceName, TableName};
use jiff::tz::TimeZone;
use toml::de::{DeTable, DeValue};

use super::reader::{Reader, Section, either, nearest, wrong};
use super::{
    ENVELOPE, FetchKind, Field, FieldType, From, Items, Keys, Limits, Mask, NO_KEY_HINT, Order, Pointer, Rate, Robots,
    Scrub, Secrets, Source,
};

mod recipe;

use recipe::recipe;

pub(super) fn source(file: &str, text: &str) -> Result<Source, Vec<Diagnostic>> {
    let mut r = Reader::new(file, text);
    let (tree, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        for error in errors {
            r.problem(
                &error.span().unwrap_or(0..0),
                format!("not TOML: {}", error.message().replace('\n', ", ")),
                None,
            );
        }
        return r.finish().and_then(|()| Err(incomplete(file)));
    }
    let source = read(&mut r, tree.get_ref());
    r.finish()?;
    // A part is only missing when a problem was noted.
    source.ok_or_else(|| incomplete(file))
}

/// The share of a day that may be set aside without a word, unless a source says otherwise.
const DEFAULT_TOLERANCE: f64 = 0.05;

/// `5%` or `0.05`.
fn share(text: &str) -> Result<f64, String> {
    let expected = || format!("expected a share such as `5%` or `0.05`, found `{text}`");
    let (number, of) = text.trim().strip_suffix('%').map_or((text, 1.0), |number| (number, 100.0));
    let share = number.trim().parse::<f64>().map_err(|_| expected())? / of;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err(expected()) }
}

fn incomplete(file: &str) -> Vec<Diagnostic> {
    let message = "the source is incomplete".to_owned();
    vec![Diagnostic { file: file.to_owned(), line: 1, column: 1, message, hint: None }]
}

fn read(r: &mut Reader<'_>, tree: &DeTable<'_>) -> Option<Source> {
    let mut top = Section::root(tree);
    let name = top.need_parsed(r, "name", "\"naver_reviews\"", |text| {
        text.parse::<SourceName>().map_err(|error| error.to_string())
    });
    let table = name.as_ref().and_then(|name| TableName::new(Layer::Raw, &name.to_string()).ok());
    if !top.has("fetch") {
        top.missing(r, "fetch", "\"http\"");
    }
    let kind = top.word(r, "fetch", &FetchKind::ALL.map(|kind| (kind.name(), kind)));
    let every_days = top.need_parsed(r, "every", "\"1d\"", days);
    let rate = top.parsed(r, "rate", Rate::parse).unwrap_or(Rate::DEFAULT);
    let max_receives = top.integer(r, "max_receives", 1..=100).unwrap_or(5);
    let tolerance = top.parsed(r, "tolerate", share).unwrap_or(DEFAULT_TOLERANCE);
    let robots = robots(r, &mut top);

    let mut section = required(r, &mut top, "keys");
    let keys = keys(r, &mut section);
    let keys_per_task = section.integer(r, "per_task", 1..=10_000).unwrap_or(20);
    let keys_at = section.at().clone();
    section.finish(r);

    let fields = fields(r, &mut top);
    let items = items(r, &mut top, &fields);
    let scrub = scrub(r, &mut top, &fields);
    let limits = limits(r, &mut top);
    let secrets = secrets(r, &mut top);
    let egress = egress(r, &mut top);
    let recipe = recipe(r, &mut top, kind, &secrets);
    top.finish(r);
    if let (Some(Keys::List(keys)), Some(recipe)) = (&keys, &recipe)
        && let different @ 2.. = keys.iter().collect::<HashSet<_>>().len()
        && !recipe.has_key()
    {
        let message =
            format!("expected `{{key}}` in what is asked, since there are {different} keys, found it nowhere");
        r.problem(&keys_at, message, Some(NO_KEY_HINT.to_owned()));
    }

    Some(Source {
        name: name?,
        table: table?,
        every_days: every_days?,
        keys: keys?,
        keys_per_task: usize::try_from(keys_per_task).ok()?,
        max_receives: u32::try_from(max_receives).ok()?,
        tolerance,
        rate,
        robots,
        items: items?,
        fields,
        scrub,
        limits,
        secrets,
        egress,
        recipe: recipe?,
    })
}

fn limits(r: &mut Reader<'_>, top: &mut Section<'_>) -> Limits {
    let usual = Limits::default();
    let mut section = top.section(r, "limits", "limits");
    let mut number =
        |r: &mut Reader<'_>, key, most, usual: u64| section.integer(r, key, 1..=most).map_or(usual, i64::unsigned_abs);
    let records = number(r, "records", 10_000_000, usual.records);
    let answers = number(r, "answers", 10_000_000, usual.answers);
    let bytes = number(r, "bytes", 1 << 33, usual.bytes);
    let time = section.parsed(r, "time", duration).unwrap_or(usual.time);
    section.finish(r);
    Limits { records, answers, time, bytes }
}

fn secrets(r: &mut Reader<'_>, top: &mut Section<'_>) -> Secrets {
    let mut secrets = Secrets::default();
    for ((name, at), (value, value_at)) in top.section(r, "secrets", "secrets").entries() {
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            r.problem(&at, format!("expected a name of letters, digits and `_`, found `{name}`"), None);
        }
        let DeValue::String(reference) = value else {
            wrong(r, &value_at, name, "a string", value);
            continue;
        };
        let is_one =
            reference.split_once(':').is_some_and(|(kind, rest)| matches!(kind, "env" | "file") && !rest.is_empty());
        if is_one {
            secrets.declare(name, reference);
        } else {
            // The value itself is not repeated: it may be what should not be here.
            let hint =
                format!("write `{name} = \"env:NAME\"`, or `\"file:PATH\"`: a value does not belong in a source file");
            r.problem(
                &value_at,
                format!("expected `{name}` to say where its value is, found something else"),
                Some(hint),
            );
        }
    }
    secrets
}

fn egress(r: &mut Reader<'_>, top: &mut Section<'_>) -> Vec<String> {
    let mut section = top.section(r, "egress", "egress");
    let hosts = section.strings(r, "hosts");
    section.finish(r);
    host_names(r, hosts)
}

/// Names of hosts, each with `*.` before it for any name below it.
pub(super) fn host_names(r: &mut Reader<'_>, names: Vec<(String, Range<usize>)>) -> Vec<String> {
    let mut hosts = Vec::with_capacity(names.len());
    for (name, at) in names {
        let bare = name.strip_prefix("*.").unwrap_or(&name);
        let is_name =
            bare.contains('.') && bare.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.:".contains(&byte));
        if is_name {
            hosts.push(name.to_ascii_lowercase());
        } else {
            let hint = "a name without a path: `img.example.net`, or `*.example.net` for every name below it";
            r.problem(&at, format!("expected the name of a host, found `{name}`"), Some(hint.to_owned()));
        }
    }
    hosts
}

/// A section that must be there.
fn required<'t>(r: &mut Reader<'_>, top: &mut Section<'t>, key: &'static str) -> Section<'t> {
    if !top.has(key) {
        r.problem(top.at(), format!("expected a section `[{key}]`, found none"), Some(format!("add `[{key}]`")));
    }
    top.section(r, key, key)
}

fn robots(r: &mut Reader<'_>, top: &mut Section<'_>) -> Robots {
    let Some((value, at)) = top.value("robots") else { return Robots::Obey };
    match value {
        DeValue::String(text) if text == "obey" => Robots::Obey,
        DeValue::Table(table) => {
            let mut section = Section::of("robots".to_owned(), table, at);
            let reason = section.need_string(r, "ignore", "\"why\"").map(|(reason, _)| reason);
            section.finish(r);
            reason.map_or(Robots::Obey, |reason| Robots::Ignore { reason })
        }
        _ => {
            r.problem(
                &at,
                "expected `robots` to be \"obey\" or { ignore = \"why\" }",
                Some("ignoring robots.txt needs a reason, which is stored with each run".to_owned()),
            );
            Robots::Obey
        }
    }
}

fn keys(r: &mut Reader<'_>, section: &mut Section<'_>) -> Option<Keys> {
    let query = section.string(r, "query");
    let list: Vec<String> = section.strings(r, "list").into_iter().map(|(key, _)| key).collect();
    match (query, list.is_empty()) {
        (Some((query, _)), true) => Some(Keys::Query(query)),
        (None, false) => Some(Keys::List(list)),
        (Some((_, at)), false) => {
            r.problem(&at, "expected either `list` or `query` in [keys], found both", None);
            None
        }
        (None, true) => {
            if section.is_there() {
                r.problem(
                    section.at(),
                    "expected `list` or `query` in [keys], found neither",
                    Some("add `list = [\"…\"]` or `query = \"select … as key from …\"`".to_owned()),
                );
            }
            None
        }
    }
}

fn fields(r: &mut Reader<'_>, top: &mut Section<'_>) -> Vec<Field> {
    let section = required(r, top, "fields");
    let mut fields: Vec<Field> = Vec::new();
    for ((column, at), (value, value_at)) in section.entries() {
        if ENVELOPE.contains(&column) || column.starts_with('_') || !is_identifier(column) {
            r.problem(&at, format!("expected a column name of a-z, 0-9 and `_` that starts with a letter and is not `dt`, found `{column}`"), None);
        }
        let DeValue::Table(table) = value else {
            wrong(r, &value_at, column, "a table such as { path = \"/id\", type = \"string\" }", value);
            continue;
        };
        let mut entry = Section::of(format!("field `{column}`"), table, value_at.clone());
        let from = entry.need_parsed(r, "path", "\"/id\"", |text| {
            if text == "$key" { Ok(From::Key) } else { Pointer::parse(text).map(From::Item) }
        });
        if !entry.has("type") {
            entry.missing(r, "type", "\"string\"");
        }
        let kind = entry.word(r, "type", &FieldType::NAMES);
        let required = entry.boolean(r, "required").unwrap_or(false);
        let zone = entry.parsed(r, "zone", zone);
        entry.finish(r);
        if zone.is_some() && kind.is_some_and(|kind| kind != FieldType::Timestamp) {
            let message = format!("expected `zone` beside the type `timestamp`, found it for `{column}`");
            r.problem(&value_at, message, None);
        }
        let (Some(from), Some(kind)) = (from, kind) else { continue };
        let through_lists = matches!(&from, From::Item(pointer) if pointer.is_list());
        if through_lists && kind != FieldType::ListString {
            r.problem(
                &value_at,
                format!("expected a path with `*` to have the type `list<string>`, found `{}`", kind.name()),
                None,
            );
        }
        fields.push(Field { column: column.to_owned(), from, kind, required, zone });
    }
    if fields.is_empty() && section.is_there() {
        r.problem(section.at(), "expected at least one field in [fields], found none", None);
    }
    fields
}

fn zone(text: &str) -> Result<TimeZone, String> {
    TimeZone::get(text).map_err(|_| format!("expected a time zone such as `Asia/Seoul` or `UTC`, found `{text}`"))
}

fn is_identifier(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

fn items(r: &mut Reader<'_>, top: &mut Section<'_>, fields: &[Field]) -> Option<Items> {
    let mut section = required(r, top, "items");
    // The answer itself may be the list: its path is empty.
    if !section.has("path") {
        section.missing(r, "path", "\"/data/items\"");
    }
    let path = section.parsed(r, "path", single);
    let total = section.parsed(r, "total", single);
    let key =
        column(r, &mut section, "key", "\"review_id\"", fields, &[FieldType::Id, FieldType::String, FieldType::Int64]);
    let mut order_section = section.section(r, "order", "items.order");
    let order = if order_section.is_there() {
        let column = column(r, &mut order_section, "column", "\"visited_at\"", fields, &[FieldType::Timestamp]);
        let overlap = order_section.need_parsed(r, "overlap", "\"30d\"", duration);
        column.zip(overlap).map(|(column, overlap)| Order { column, overlap })
    } else {
        None
    };
    order_section.finish(r);
    section.finish(r);
    Some(Items { path: path?, total, key: key?, order })
}

/// The name of a mapped column of one of these types.
fn column(
    r: &mut Reader<'_>,
    section: &mut Section<'_>,
    key: &'static str,
    example: &str,
    fields: &[Field],
    kinds: &[FieldType],
) -> Option<String> {
    let (name, at) = section.need_string(r, key, example)?;
    let Some(field) = fields.iter().find(|field| field.column == name) else {
        let known: Vec<&str> = fields.iter().map(|field| field.column.as_str()).collect();
        let hint = nearest(&name, &known)
            .map_or_else(|| format!("the fields are {}", either(&known)), |meant| format!("did you mean `{meant}`?"));
        r.problem(&at, format!("expected `{key}` to name a field, found `{name}`"), Some(hint));
        return None;
    };
    if !kinds.contains(&field.kind) {
        let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
        r.problem(
            &at,
            format!(
                "expected `{key}` to name a field of type {}, found `{name}` of type `{}`",
                either(&names),
                field.kind.name()
            ),
            None,
        );
        return None;
    }
    Some(name)
}

fn scrub(r: &mut Reader<'_>, top: &mut Section<'_>, fields: &[Field]) -> Scrub {
    let mut section = top.section(r, "identity", "identity");
    let pointers = |r: &mut Reader<'_>, texts: Vec<(String, Range<usize>)>| {
        texts
            .into_iter()
            .filter_map(|(text, at)| Pointer::parse(&text).map_err(|message| r.problem(&at, message, None)).ok())
            .collect::<Vec<_>>()
    };
    let drop = section.strings(r, "drop");
    let drop = pointers(r, drop);
    let unmasked = section.strings(r, "unmasked");
    let unmasked = pointers(r, unmasked);
    let names = section.strings(r, "names");
    let names = pointers(r, names);
    let allow = section.strings(r, "allow").into_iter().map(|(name, _)| name).collect();
    let masks = masks(r, &mut section);
    let keep_section = section.section(r, "keep", "identity.keep");
    let mut keep = Vec::new();
    for ((path, at), (value, value_at)) in keep_section.entries() {
        let path = Pointer::parse(path).map_err(|message| r.problem(&at, message, None)).ok();
        let DeValue::Array(names) = value else {
            wrong(r, &value_at, "keep", "a list of member names", value);
            continue;
        };
        let names = names.iter().filter_map(|name| name.get_ref().as_str().map(str::to_owned)).collect();
        keep.extend(path.map(|path| (path, names)));
    }
    let seldom = seldom(r, &mut section, fields, keep.iter().map(|(path, _)| path).chain(&drop).chain(&names));
    section.finish(r);
    Scrub { drop, keep, unmasked, names, allow, masks, seldom }
}

/// Places of which some rule for persons speaks.
fn seldom<'p>(
    r: &mut Reader<'_>,
    section: &mut Section<'_>,
    fields: &'p [Field],
    rules: impl Iterator<Item = &'p Pointer>,
) -> Vec<Pointer> {
    let hashed = fields.iter().filter(|field| field.kind == FieldType::Hash).filter_map(Field::pointer);
    let rules: Vec<&Pointer> = rules.chain(hashed).collect();
    let mut seldom = Vec::new();
    for (text, at) in section.strings(r, "seldom") {
        match Pointer::parse(&text) {
            Ok(path) if rules.iter().any(|rule| rule.lies_below(&path)) => seldom.push(path),
            Ok(_) => {
                let known: Vec<&str> = rules.iter().map(|rule| rule.as_str()).collect();
                let hint = nearest(&text, &known).map(|meant| format!("did you mean `{meant}`?"));
                let message = format!(
                    "expected `seldom` to name a path of `keep`, `drop`, `names` or of a field of type `hash`, found `{text}`"
                );
                r.problem(&at, message, hint);
            }
            Err(message) => r.problem(&at, message, None),
        }
    }
    seldom
}

/// `plate = '\d{2,3}[가-힣]\d{4}'`
fn masks(r: &mut Reader<'_>, section: &mut Section<'_>) -> Vec<Mask> {
    /// A pattern that takes more is a mistake: it is run over every text.
    const MOST_BYTES: usize = 1 << 20;
    let mut masks = Vec::new();
    for ((label, at), (value, value_at)) in section.section(r, "masks", "identity.masks").entries() {
        let DeValue::String(pattern) = value else {
            wrong(r, &value_at, label, "a pattern", value);
            continue;
        };
        match regex::RegexBuilder::new(pattern).size_limit(MOST_BYTES).build() {
            Ok(pattern) if pattern.is_match("") => {
                r.problem(
                    &value_at,
                    format!("expected `{label}` to be a pattern of something, found one of nothing"),
                    None,
                );
            }
            Ok(pattern) if is_identifier(label) => masks.push(Mask { label: format!("[{label}]"), pattern }),
            Ok(_) => r.problem(&at, format!("expected a name of a-z, 0-9 and `_`, found `{label}`"), None),
            Err(error) => {
                let why = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
                r.problem(&value_at, format!("expected `{label}` to be a regular expression: {why}"), None);
            }
        }
    }
    masks
}

fn single(text: &str) -> Result<Pointer, String> {
    let pointer = Pointer::parse(text)?;
    if pointer.is_list() { Err(format!("expected a JSON pointer without `*`, found `{text}`")) } else { Ok(pointer) }
}

/// `7d` → 7.
fn days(text: &str) -> Result<i64, String> {
    text.strip_suffix('d')
        .and_then(|number| number.trim().parse::<i64>().ok())
        .filter(|days| (1..=3650).contains(days))
        .ok_or_else(|| format!("expected whole days such as `1d` or `7d`, found `{text}`"))
}

/// `500ms`, `20s`, `5min`, `2h`, `30d`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let expected = || format!("expected a time such as `500ms`, `20s`, `5min`, `2h` or `30d`, found `{text}`");
    let split = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(expected)?;
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| expected())?;
    let millis = match unit.trim() {
        "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(expected()),
    };
    // Ten years: more is a slip of the hand.
    number
        .checked_mul(millis)
        .filter(|millis| (1..=315_360_000_000).contains(millis))
        .map(Duration::from_millis)
        .ok_or_else(expected)
}
