//! What lies in the sinks, read by other means than theirs: the database with a reader of its own, the index by asking it.
//!
//! It is remembered what each state of a mart held, by the name that a cursor has for it, so that a sink which is behind is held
//! against what it says that it shows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context;
use catalog::{Lake, TableName};
use futures::TryStreamExt;
use load::{Cursor, Serving, SinkKind, SyncTarget};
use rusqlite::Connection;
use rusqlite::types::Value as Cell;
use serde_json::Value;

use super::damage::files;
use super::served::{GOODS, SERVED, Section, Served};
use super::tables::{Row, Tables, in_json, plain};
use crate::project::Project;
use crate::{steps, wire};

/// A sink and a table.
pub(super) type Place = (SinkKind, &'static str);

/// Rows in words, by their keys.
pub(super) type Lines = BTreeMap<String, String>;

/// What lies at a place.
#[derive(Debug, Clone)]
pub(super) enum There {
    /// Nothing that anybody follows.
    Nothing,
    /// Something that can't be read.
    Unreadable(String),
    /// Rows, and what they are said to be.
    Rows(Lying),
}

/// Rows of a sink.
#[derive(Debug, Clone)]
pub(super) struct Lying {
    /// What they are said to be.
    pub cursor: Cursor,
    /// The rows, where anybody can ask for them.
    pub lines: Option<Lines>,
    /// What they were made for: the column that is the key, and the words of an index.
    pub made_for: Option<Served>,
}

/// What somebody else did to a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Touched {
    /// Its rows are others; a sync goes by what stands beside them.
    Rows,
    /// A file of it is not what was written.
    File,
}

/// Of the serving folder: its files with their sizes and times.
type Signs = Vec<(PathBuf, u64, Option<SystemTime>)>;

/// The sinks, as they were seen last.
#[derive(Debug, Clone, Default)]
pub(super) struct Sinks {
    /// What lies where.
    pub there: BTreeMap<Place, There>,
    /// What lay there before the last run; none where somebody was at it since it was seen.
    pub before: Option<BTreeMap<Place, There>>,
    /// What somebody else did.
    pub touched: BTreeMap<Place, Touched>,
    /// The places that `onggi reconcile` would call equal, and why it can't say so of others.
    pub equal: BTreeMap<Place, Result<bool, String>>,
    /// Those that it would call orphans.
    pub orphans: BTreeSet<(SinkKind, String)>,
    /// The rows of each state of a mart.
    known: BTreeMap<(&'static str, String), Vec<Row>>,
    /// What an index of a shape was made for.
    shapes: BTreeMap<String, Served>,
    /// What was there when the copy was made.
    copied: BTreeMap<Place, Touched>,
    signs: Option<(Signs, Vec<Option<String>>, Served)>,
    is_stale: bool,
}

impl Sinks {
    /// Somebody was at the folder since it was seen.
    pub(super) fn touch(&mut self, places: impl IntoIterator<Item = Place>, how: Option<Touched>) {
        (self.is_stale, self.before) = (true, None);
        for place in places {
            match how {
                // A file that is not what was written is worse than rows.
                Some(Touched::Rows) => {
                    self.touched.entry(place).or_insert(Touched::Rows);
                }
                Some(Touched::File) => {
                    self.touched.insert(place, Touched::File);
                }
                None => {
                    self.touched.remove(&place);
                }
            }
        }
    }

    /// Remembers what befell the files that are copied.
    pub(super) fn copy(&mut self) {
        self.copied = self.touched.clone();
    }

    /// The files are those of the copy again.
    pub(super) fn restore(&mut self) {
        (self.touched, self.is_stale, self.before) = (self.copied.clone(), true, None);
    }

    /// Whether somebody was at the folder since it was seen.
    pub(super) fn is_stale(&self) -> bool {
        self.is_stale
    }

    /// A run begins, or something else that syncs.
    pub(super) fn begin(&mut self) {
        self.before = (!self.is_stale).then(|| self.there.clone());
    }

    /// The rows of a mart at the state that a cursor names, if anybody saw them.
    pub(super) fn known(&self, table: &'static str, cursor: &Cursor) -> Option<&[Row]> {
        self.known.get(&(table, cursor.content.clone())).map(Vec::as_slice)
    }

    /// Looks at what lies there now.
    pub(super) async fn look(
        &mut self,
        folder: &Path,
        (project, lake): (&Project, &Lake),
        tables: &Tables,
        served: &Served,
    ) -> anyhow::Result<()> {
        let serving = wire::serving(project, lake)?;
        let contents: Vec<Option<String>> = SERVED.iter().map(|table| tables.content(table)).collect();
        for (table, content) in SERVED.into_iter().zip(&contents) {
            if let Some(content) = content {
                self.known.entry((table, content.clone())).or_insert_with(|| tables.rows(table).to_vec());
            }
        }
        let signs = (signs(serving.dir()), contents, served.clone());
        if !self.is_stale && self.signs.as_ref() == Some(&signs) {
            return Ok(());
        }
        self.name_shapes(lake).await?;
        let database = Database::open(serving.dir(), &folder.join("seen"))?;
        for table in SERVED {
            let there = database.look(table);
            self.there.insert((SinkKind::Sqlite, table), there);
        }
        let indexed = self.index(project, lake, &serving, served).await;
        self.there.insert((SinkKind::Keywords, GOODS), indexed);
        let graph = vectors_of(&serving.dir().join("vectors").join(GOODS));
        let graph =
            graph.map_or_else(|why| There::Unreadable(format!("{why:#}")), |it| it.map_or(There::Nothing, There::Rows));
        self.there.insert((SinkKind::Vectors, GOODS), graph);
        self.recall(lake).await;
        self.compare(project, lake, &serving, served).await?;
        (self.signs, self.is_stale) = (Some(signs), false);
        Ok(())
    }

    /// Learns by which shape an index says what it was made for.
    async fn name_shapes(&mut self, lake: &Lake) -> anyhow::Result<()> {
        if !self.shapes.is_empty() {
            return Ok(());
        }
        let Ok(Some(table)) = lake.find(&GOODS.parse()?).await else { return Ok(()) };
        for number in 0..8 {
            let [by_number, names, titled] = [1, 2, 4].map(|bit| number & bit > 0);
            let served = Served { by_number, names, titled, ..Served::default() };
            let texts = if names { vec!["words", "name"] } else { vec!["words"] };
            let target = SyncTarget {
                table: GOODS.parse()?,
                key: if by_number { "number" } else { "good" }.to_owned(),
                sinks: vec![SinkKind::Keywords],
                texts: texts.into_iter().map(str::to_owned).collect(),
                title: titled.then(|| "name".to_owned()),
                entity: None,
                vector: None,
            };
            let shape = target.projection(SinkKind::Keywords, &table.schema())?.shape;
            self.shapes.insert(shape, served);
        }
        Ok(())
    }

    /// What the index of the goods shows to who asks it.
    async fn index(&self, project: &Project, lake: &Lake, serving: &Serving, served: &Served) -> There {
        let cursor = async {
            let table: TableName = GOODS.parse()?;
            anyhow::Ok(serving.sink(SinkKind::Keywords)?.cursor(&table).await?)
        };
        let cursor = match cursor.await {
            Ok(Some(cursor)) => cursor,
            Ok(None) => return There::Nothing,
            Err(error) => return There::Unreadable(format!("{error:#}")),
        };
        let made_for = self.shapes.get(&cursor.shape).cloned();
        let is_asked = served.asks_for(SinkKind::Keywords, GOODS);
        // One that was made for other words is asked for those, and shows what it has of them.
        if !is_asked || !made_for.as_ref().is_some_and(|it| it.is_indexed_as(served)) {
            return There::Rows(Lying { cursor, lines: None, made_for });
        }
        match asked(project, lake).await {
            Ok(lines) => There::Rows(Lying { cursor, lines: Some(lines), made_for }),
            Err(error) => There::Unreadable(format!("{error:#}")),
        }
    }

    /// Reads what a mart held at a state that a sink shows and that was passed between two looks.
    async fn recall(&mut self, lake: &Lake) {
        let unknown = self.there.iter().filter_map(|((_, table), there)| match there {
            There::Rows(lying) if self.known(table, &lying.cursor).is_none() => Some((*table, lying.cursor.clone())),
            _ => None,
        });
        for (table, cursor) in unknown.collect::<Vec<_>>() {
            let rows = async {
                let found = lake.find(&table.parse()?).await?.context("it is gone")?;
                let snapshot = found.snapshot_at(cursor.version).await?;
                anyhow::ensure!(snapshot.content_id(None)? == cursor.content, "it is another one");
                let batches: Vec<_> = snapshot.scan(None).await?.try_collect().await?;
                in_json(&batches)
            };
            // What was removed or made anew since is known to nobody.
            if let Ok(rows) = rows.await {
                self.known.insert((table, cursor.content), rows);
            }
        }
    }

    /// What `onggi reconcile` would say.
    async fn compare(
        &mut self,
        project: &Project,
        lake: &Lake,
        serving: &Serving,
        served: &Served,
    ) -> anyhow::Result<()> {
        self.equal.clear();
        let targets = steps::targets(project);
        for Section { table, kinds, .. } in served.sections() {
            let target = targets.iter().find(|target| target.table.to_string() == table);
            let target = target.context("the project is not as it was written")?;
            match load::compare(lake, target, serving).await {
                Ok(compared) => {
                    self.equal.extend(compared.iter().map(|it| ((it.sink, table), Ok(it.is_equal()))));
                }
                Err(error) => {
                    let why = crate::exit::render(&error.into());
                    self.equal.extend(kinds.into_iter().map(|kind| ((kind, table), Err(why.clone()))));
                }
            }
        }
        // A folder that is damaged may not be asked what it holds.
        let orphans = load::orphans(lake, serving, &targets).await.unwrap_or_default();
        self.orphans = orphans.into_iter().map(|it| (it.sink, it.table.to_string())).collect();
        Ok(())
    }
}

/// Every document of the goods, by asking for words that all of them have.
async fn asked(project: &Project, lake: &Lake) -> anyhow::Result<Lines> {
    let search = wire::search(project, lake)?;
    let mut lines = Lines::new();
    for part in ["good", "thing"] {
        for hit in search.keyword(part, None).await?.hits {
            anyhow::ensure!(hit.table.to_string() == GOODS, "{} is searched", hit.table);
            let line = lines.entry(hit.key).or_insert_with(|| hit.title.clone());
            *line += &format!(" | {}", hit.sentence);
        }
    }
    Ok(lines)
}

/// What lines a sink is to have of the rows of a mart.
pub(super) fn lines(kind: SinkKind, rows: &[Row], key: &str, served: &Served) -> Lines {
    let line = |row: &Row| {
        let words = match kind {
            SinkKind::Keywords => {
                let title = if served.titled { plain(row, "name") } else { plain(row, key) };
                let name =
                    Some(plain(row, "name")).filter(|name| served.names && name.to_lowercase().contains("thing"));
                let name = name.map_or_else(String::new, |name| format!(" | {name}"));
                format!("{title} | {}{name}", plain(row, "words"))
            }
            // Which keys there are; the graph is read by nobody but its own.
            SinkKind::Vectors => String::new(),
            _ => in_words(row.keys().map(|column| (column, numbers(&plain(row, column))))),
        };
        (plain(row, key), words)
    };
    rows.iter().map(line).collect()
}

/// A list of numbers in one form; what is none as it is.
fn numbers(text: &str) -> String {
    let list = text.starts_with('[').then(|| serde_json::from_str::<Vec<f64>>(text).ok()).flatten();
    list.map_or_else(|| text.to_owned(), |list| format!("{list:?}"))
}

/// What the files of vectors say of their rows: their keys.
fn vectors_of(folder: &Path) -> anyhow::Result<Option<Lying>> {
    let Ok(manifest) = std::fs::read(folder.join("manifest.json")) else { return Ok(None) };
    let Ok(manifest) = serde_json::from_slice::<Value>(&manifest) else { return Ok(None) };
    let cursor: Cursor = serde_json::from_value(manifest["cursor"].clone())?;
    let mut lines = Lines::new();
    for segment in manifest["segments"].as_array().into_iter().flatten() {
        let number = &segment["generation"];
        let dead: Vec<usize> = match segment["dead"]["generation"].as_u64() {
            Some(newer) => serde_json::from_slice(&std::fs::read(folder.join(format!("dead-{number}-{newer}.json")))?)?,
            None => Vec::new(),
        };
        let keys = std::fs::read_to_string(folder.join(format!("keys-{number}.jsonl")))?;
        for (_, line) in keys.lines().enumerate().filter(|(row, _)| !dead.contains(row)) {
            let (key, _): (String, String) = serde_json::from_str(line)?;
            anyhow::ensure!(lines.insert(key, String::new()).is_none(), "a key is there twice");
        }
    }
    let made_for = Served { by_number: manifest["target"]["key"] == "number", ..Served::default() };
    Ok(Some(Lying { cursor, lines: Some(lines), made_for: Some(made_for) }))
}

/// A row, whatever the order of its columns.
fn in_words<'a>(cells: impl Iterator<Item = (&'a String, String)>) -> String {
    let mut words: Vec<String> = cells.map(|(column, text)| format!("{column}={text}")).collect();
    words.sort_unstable();
    words.join(" ")
}

fn signs(folder: &Path) -> Signs {
    let sign = |file: PathBuf| {
        let meta = std::fs::metadata(&file).ok();
        let modified = meta.as_ref().and_then(|meta| meta.modified().ok());
        (file, meta.map_or(0, |meta| meta.len()), modified)
    };
    let mut signs: Signs = files(folder).into_iter().map(sign).collect();
    signs.sort();
    signs
}

/// A copy of the serving database, so that looking at it leaves no trace; none if there is no file.
struct Database(Option<Connection>);

impl Database {
    fn open(serving: &Path, aside: &Path) -> anyhow::Result<Self> {
        let _ = std::fs::remove_dir_all(aside);
        std::fs::create_dir_all(aside)?;
        let mut is_there = false;
        for name in ["serving.sqlite", "serving.sqlite-wal"] {
            is_there |= std::fs::copy(serving.join(name), aside.join(name)).is_ok() && !name.ends_with("-wal");
        }
        let connection = is_there.then(|| Connection::open(aside.join("serving.sqlite"))).transpose()?;
        Ok(Self(connection))
    }

    fn look(&self, table: &'static str) -> There {
        let Some(connection) = &self.0 else { return There::Nothing };
        match rows_of(connection, table) {
            Ok(Some(lying)) => There::Rows(lying),
            Ok(None) => There::Nothing,
            Err(error) => There::Unreadable(error.to_string()),
        }
    }
}

fn rows_of(connection: &Connection, table: &str) -> rusqlite::Result<Option<Lying>> {
    let name = table.replace('.', "_");
    let count = "select count(*) from sqlite_master where type = 'table' and name in ('_onggi_sync', ?1)";
    if connection.query_row(count, [&name], |row| row.get::<_, i64>(0))? < 2 {
        return Ok(None);
    }
    let cursors = "select cursor from _onggi_sync where table_name = ?1";
    let cursor = match connection.query_row(cursors, [table], |row| row.get::<_, String>(0)) {
        Err(rusqlite::Error::QueryReturnedNoRows) => return Ok(None),
        cursor => cursor?,
    };
    let Ok(cursor) = serde_json::from_str::<Cursor>(&cursor) else { return Ok(None) };
    let key = "select name from pragma_table_info(?1) where pk > 0";
    let key: String = connection.query_row(key, [&name], |row| row.get(0))?;
    let mut statement = connection.prepare(&format!("select * from \"{name}\""))?;
    let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let mut rows = statement.query([])?;
    let mut lines = Lines::new();
    while let Some(row) = rows.next()? {
        let mut cells = BTreeMap::new();
        for (place, column) in columns.iter().enumerate().filter(|(_, column)| *column != "_row_hash") {
            let text = match row.get::<_, Cell>(place)? {
                Cell::Null => continue,
                Cell::Integer(number) => (number as f64).to_string(),
                Cell::Real(number) => number.to_string(),
                Cell::Text(text) => numbers(&text),
                Cell::Blob(bytes) => format!("{bytes:?}"),
            };
            cells.insert(column, text);
        }
        lines.insert(
            cells.get(&key).cloned().unwrap_or_default(),
            in_words(cells.iter().map(|(name, it)| (*name, it.clone()))),
        );
    }
    let made_for = Served { by_number: key == "number", ..Served::default() };
    Ok(Some(Lying { cursor, lines: Some(lines), made_for: Some(made_for) }))
}
