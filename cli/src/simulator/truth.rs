//! What each table must hold, reckoned from its parents by hand and not by the engine.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::how::Ran;
use super::laws::{Broken, Law, Seen, is_mapped};
use super::served::COPIES;
use super::tables::{Row, Tables, number, plain, text, time};
use super::world::World;

/// A table's rows in words, so that two of them compare as sets.
type Words = BTreeSet<String>;

/// A table, what it is made of, and its rows as they are and as they must be.
struct Table {
    name: &'static str,
    of: &'static str,
    is: Words,
    must: Words,
}

/// Every table that a model makes, but for the one that stands for a day.
fn every(world: &World, after: &Tables) -> Vec<Table> {
    let (files, items) = (&world.files, after.rows("staging.items"));
    vec![
        Table {
            name: "staging.shelves",
            of: "raw.shelves",
            is: words(after.rows("staging.shelves"), |row| line(row, &["shelf", "title", "area", "dt"])),
            must: newest(after.rows("raw.shelves"), |row| {
                [text(row, "id"), text(row, "title"), text(row, "_key"), text(row, "dt")].join(" ")
            }),
        },
        Table {
            name: "staging.items",
            of: "raw.items",
            is: words(items, |row| line(row, &["item", "shelf", "name", "price", "dt"])),
            must: newest(after.rows("raw.items"), |row| {
                let name = text(row, "name");
                let name = if files.names_upper { name.to_uppercase() } else { name.to_owned() };
                format!("{} {} {name} {} {}", text(row, "id"), text(row, "_key"), plain(row, "price"), text(row, "dt"))
            }),
        },
        Table {
            name: "marts.daily",
            of: "raw.items",
            is: words(after.rows("marts.daily"), |row| line(row, &["dt", "shelf", "items", "total"])),
            must: {
                let times = if files.daily_doubled { 2.0 } else { 1.0 };
                let rows = after.rows("raw.items").iter().filter(|row| is_mapped(row));
                let sums = sums(rows, |row| format!("{} {}", text(row, "dt"), text(row, "_key")));
                sums.iter().map(|(of, sum)| format!("{of} {} {}", sum.count, sum.total * times)).collect()
            },
        },
        Table {
            name: "marts.totals",
            of: "staging.items",
            is: words(after.rows("marts.totals"), |row| {
                line(
                    row,
                    if files.totals_wide {
                        &["shelf", "items", "total", "dearest"]
                    } else {
                        &["shelf", "items", "total"]
                    },
                )
            }),
            must: {
                let wide = |sum: &Sum| if files.totals_wide { format!(" {}", sum.most) } else { String::new() };
                let sums = sums(items.iter(), |row| text(row, "shelf").to_owned());
                sums.iter().map(|(of, sum)| format!("{of} {} {}{}", sum.count, sum.total, wide(sum))).collect()
            },
        },
        Table {
            name: "marts.cheap",
            of: "staging.items",
            is: words(after.rows("marts.cheap"), |row| line(row, &["shelf", "items"])),
            must: {
                let cheap = items.iter().filter(|row| number(row, "price") < files.cheap_below as f64);
                let sums = sums(cheap, |row| text(row, "shelf").to_owned());
                sums.iter().map(|(of, sum)| format!("{of} {}", sum.count)).collect()
            },
        },
        Table {
            name: "marts.top",
            of: "marts.cheap",
            is: words(after.rows("marts.top"), |row| line(row, &["most"])),
            must: {
                let most = after.rows("marts.cheap").iter().map(|row| number(row, "items")).reduce(f64::max);
                [most.map_or_else(|| "-".to_owned(), |most| most.to_string())].into()
            },
        },
        Table {
            name: "marts.goods",
            of: "staging.items",
            is: words(after.rows("marts.goods"), |row| line(row, &["good", "number", "name", "price", "words"])),
            must: goods(items, files.served.copies),
        },
    ]
}

/// So many goods of each item, numbered.
fn goods(items: &[Row], copies: i64) -> Words {
    let mut items: Vec<&Row> = items.iter().collect();
    items.sort_by_key(|row| text(row, "item"));
    let copies = 1..=copies.min(COPIES);
    let word = |(place, (row, copy)): (usize, (&Row, i64))| {
        let (item, price, shelf) = (text(row, "item"), number(row, "price"), text(row, "shelf"));
        let (name, cost) = (plain(row, "name"), plain(row, "price"));
        format!("{item}-{copy} {} {name} {cost} good {item} at {price} on {shelf}", place + 1)
    };
    items.into_iter().flat_map(|row| copies.clone().map(move |copy| (row, copy))).enumerate().map(word).collect()
}

/// Every table that a model makes is what its SQL says of its parents, unless somebody says that it is not.
pub(super) fn nothing_stale(world: &World, ran: &Ran, seen: &Seen<'_>) -> Result<(), Broken> {
    for Table { name, of, is, must } in every(world, seen.after) {
        // What can't be read shows nobody anything.
        if [name, of].iter().any(|table| seen.after.broken().contains_key(table)) {
            continue;
        }
        // It was lost, and nobody came to it yet: the run says that it did not end.
        if !seen.after.has(of) && !ran.is_done() {
            continue;
        }
        if !seen.after.has(name) {
            if ran.is_done() && ran.whole && ran.dt == world.today() {
                return Err(Broken::new(Law::NothingStale, format!("exit 0, and {name} is not there")));
            }
            continue;
        }
        if is != must && !is_said(world, ran, name, &days_of(name, &is, &must))? {
            let difference = difference(&is, &must);
            let how = format!("{name} on {}: {difference}; {:?}\n{}", ran.dt, ran.exit, ran.told.join("\n"));
            return Err(Broken::new(Law::NothingStale, how));
        }
    }
    if ["staging.items", "marts.asof"].iter().any(|table| seen.after.broken().contains_key(table)) {
        return Ok(());
    }
    asof(world, ran, seen)
}

/// The days of a table that differ from what they should be; none of a table that has no days.
fn days_of(name: &str, is: &Words, must: &Words) -> BTreeSet<String> {
    let day = |row: &String| match name {
        "marts.daily" => row.split(' ').next().map(str::to_owned),
        "staging.shelves" | "staging.items" => row.rsplit(' ').next().map(str::to_owned),
        _ => None,
    };
    // Of a table of the newest, a day that lacks a row is the reason why another one has it.
    let all = if name == "marts.daily" {
        is.symmetric_difference(must).collect()
    } else {
        must.difference(is).collect::<Vec<_>>()
    };
    all.into_iter().filter_map(day).collect()
}

/// A table that stands for a day never goes back to an older one, and at the newest it is right.
fn asof(world: &World, ran: &Ran, seen: &Seen<'_>) -> Result<(), Broken> {
    let Some(row) = seen.after.rows("marts.asof").first() else { return Ok(()) };
    let (day, items) = (text(row, "day"), number(row, "items"));
    let newest = world.asof_now().map(|day| day.to_string()).unwrap_or_default();
    if day < newest.as_str() {
        let how = format!("marts.asof stands for {day}, and stood for {newest}; {:?}", ran.exit);
        return Err(Broken::new(Law::NothingStale, how));
    }
    let there = seen.after.rows("staging.items").len();
    let wrong = (items - there as f64).abs() > 0.5 || day < ran.dt.to_string().as_str();
    if ran.dt == world.today()
        && ran.dt.to_string() >= newest
        && wrong
        && !is_said(world, ran, "marts.asof", &BTreeSet::new())?
    {
        let how = format!("marts.asof is {day} with {items} items on {}, and there are {there}", ran.dt);
        return Err(Broken::new(Law::NothingStale, how));
    }
    Ok(())
}

/// Whether the run says that a table is not what it should be, or the plan that a run would change it.
fn is_said(world: &World, ran: &Ran, table: &str, days: &BTreeSet<String>) -> Result<bool, Broken> {
    if ran.gave_up(&format!("build:{table}")) || (ran.dt != world.today() && !ran.is_done()) {
        return Ok(true);
    }
    let plan = world.plan().map_err(|error| Broken::new(Law::Readable, format!("plan: {error:#}")))?;
    let word = |line: &Value, name: &str| line.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let acts = plan.steps.iter().any(|line| word(line, "name") == table && word(line, "action") != "keep");
    // One that is kept by day has days that the plan of today says nothing of.
    let by_day = table == "marts.daily" && !world.files.daily_whole;
    let Some((anew, stale)) = plan.tables.get(table) else { return Ok(acts && !by_day) };
    // Of a table that is kept by day, each day that differs is named, but for the day that the plan is about.
    let today = world.today().to_string();
    Ok(*anew
        || (acts && !by_day)
        || (!days.is_empty() && days.iter().all(|day| stale.contains(day) || (acts && by_day && *day == today))))
}

/// After everything that could be mended was: no table may differ, said or not.
pub(super) fn reached(world: &World, tables: &Tables) -> Result<(), Broken> {
    for Table { name, is, must, .. } in every(world, tables) {
        if is != must {
            return Err(Broken::new(Law::ReachesTruth, format!("{name}: {}", difference(&is, &must))));
        }
    }
    Ok(())
}

fn difference(is: &Words, must: &Words) -> String {
    let only = |one: &Words, other: &Words| one.difference(other).take(4).cloned().collect::<Vec<_>>().join(", ");
    format!("it has [{}] and should have [{}]", only(is, must), only(must, is))
}

fn words(rows: &[Row], word: impl Fn(&Row) -> String) -> Words {
    rows.iter().map(word).collect()
}

fn line(row: &Row, columns: &[&str]) -> String {
    columns.iter().map(|column| plain(row, column)).collect::<Vec<_>>().join(" ")
}

/// The newest mapped record of each id, in words.
fn newest(raw: &[Row], word: impl Fn(&Row) -> String) -> Words {
    let mut newest: BTreeMap<&str, &Row> = BTreeMap::new();
    for row in raw.iter().filter(|row| is_mapped(row)) {
        let kept = newest.entry(text(row, "id")).or_insert(row);
        if time(row, "_fetched_at") > time(kept, "_fetched_at") {
            *kept = row;
        }
    }
    newest.into_values().map(word).collect()
}

#[derive(Default)]
struct Sum {
    count: u64,
    total: f64,
    most: f64,
}

fn sums<'r>(rows: impl Iterator<Item = &'r Row>, of: impl Fn(&Row) -> String) -> BTreeMap<String, Sum> {
    let mut sums: BTreeMap<String, Sum> = BTreeMap::new();
    for row in rows {
        let sum = sums.entry(of(row)).or_default();
        sum.count += 1;
        sum.total += number(row, "price");
        sum.most = sum.most.max(number(row, "price"));
    }
    sums
}

/// The day that `marts.asof` stands for.
pub(super) fn asof_day(tables: &Tables) -> Option<catalog::Date> {
    text(tables.rows("marts.asof").first()?, "day").parse().ok()
}
