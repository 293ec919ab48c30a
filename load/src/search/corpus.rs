//! What a question is asked of: the embedded indexes or the tables of a database. Above this seam nobody knows which.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use catalog::TableName;
use rusqlite::Connection;
use serde_json::{Map, Value};

use super::settings::{SearchSettings, SearchedTarget};
use crate::error::{Error, Result};
use crate::kind::SinkKind;
use crate::serving::Serving;
use crate::sink::keywords::document::Document;
use crate::sink::keywords::index::KeywordIndex;
use crate::sink::keywords::index::candidates::{self, Candidates, Mentions, Pattern};
use crate::sink::postgres::Postgres;
use crate::sink::postgres::read::{self, Table, mentions};
use crate::sink::sqlite::{self, Sqlite};
use crate::sink::vectors::index::VectorIndex;
use crate::sink::{keywords_dir, table_dir, vectors_dir};
use crate::target::{Cursor, SyncTarget};

/// Candidates of a phrase that are read before it is said that nobody wrote it.
const PHRASE_READ: usize = 1_000;
/// Entities that are asked for in one statement.
const AT_ONCE: usize = 500;

/// Where the texts of one table are.
enum TextStore {
    Folder(Arc<KeywordIndex>),
    Database(Box<Table>),
}

/// The texts of one table.
pub(super) struct Texts {
    store: TextStore,
    pub(super) searched: SearchedTarget,
}

/// Where the vectors of one table are.
enum VectorStore {
    Folder(Arc<VectorIndex>),
    Database(Box<Table>),
}

/// The vectors of one table.
pub(super) struct SearchedVectors {
    store: VectorStore,
    /// The texts of the same table, which know what a row is about.
    texts: Option<Arc<KeywordIndex>>,
}

/// What of one table may hold the terms of a question: found without reading a text.
#[derive(Default)]
pub(super) struct FoundMentions {
    pub(super) mentions: Vec<Mentions>,
    /// What the numbers in there mean.
    pub(super) patterns: Vec<Pattern>,
    /// Where they lie, in a folder.
    candidates: Candidates,
}

/// The parts of a folder as they stood when it was opened.
struct Folder {
    texts: Vec<(Arc<KeywordIndex>, SearchedTarget)>,
    vectors: Vec<Arc<VectorIndex>>,
    /// In one read transaction for as long as this lives.
    rows: Option<Mutex<Connection>>,
    notes: Vec<String>,
}

/// An opened serving side: a folder stays as it was opened, a database is asked in one snapshot for each question.
pub(super) struct OpenedServing {
    folder: Folder,
    settings: SearchSettings,
    postgres: Option<Arc<Postgres>>,
}

/// One state of everything that is searched, which stays as it is while a sync writes the next.
pub(super) struct Corpus<'a> {
    pub(super) texts: Vec<Texts>,
    pub(super) vectors: Vec<SearchedVectors>,
    pub(super) notes: Vec<String>,
    folder: &'a Folder,
    settings: &'a SearchSettings,
    database: Vec<Table>,
}

fn uses(target: &SyncTarget, kind: SinkKind) -> bool {
    target.sinks.contains(&kind)
}

/// Whether the database is asked for something of a target: what is in both is asked of the folder.
fn asks_database(target: &SyncTarget) -> bool {
    let texts = !target.texts.is_empty() && !uses(target, SinkKind::Keywords);
    let vectors = target.vector.is_some() && !uses(target, SinkKind::Vectors);
    uses(target, SinkKind::Postgres) && (texts || vectors || !uses(target, SinkKind::Sqlite))
}

impl OpenedServing {
    /// Opens the embedded indexes of the targets that have them. Nothing is connected.
    pub(super) fn open(serving: &Serving, settings: SearchSettings) -> Result<Self> {
        let folder = Folder::open(serving, &settings)?;
        let uses_database = settings.targets.iter().any(|it| asks_database(&it.target));
        let postgres = if uses_database { serving.sink(SinkKind::Postgres)?.database() } else { None };
        Ok(Self { folder, settings, postgres })
    }

    /// What a question is asked of.
    pub(super) async fn corpus(&self) -> Result<Corpus<'_>> {
        let folder = &self.folder;
        let in_folder = |(index, searched): &(Arc<KeywordIndex>, SearchedTarget)| Texts {
            store: TextStore::Folder(Arc::clone(index)),
            searched: searched.clone(),
        };
        let mut texts: Vec<Texts> = folder.texts.iter().map(in_folder).collect();
        let beside = |index: &VectorIndex| {
            let same = folder.texts.iter().find(|(texts, _)| texts.target.table == index.target.table);
            same.map(|(texts, _)| Arc::clone(texts))
        };
        let in_folder = |index: &Arc<VectorIndex>| SearchedVectors {
            store: VectorStore::Folder(Arc::clone(index)),
            texts: beside(index),
        };
        let mut vectors: Vec<SearchedVectors> = folder.vectors.iter().map(in_folder).collect();
        let mut database = Vec::new();
        if let Some(postgres) = &self.postgres {
            database = read::tables(postgres).await?;
        }
        for searched in self.settings.targets.iter().filter(|it| uses(&it.target, SinkKind::Postgres)) {
            let Some(table) = database.iter().find(|it| it.target.table == searched.target.table) else { continue };
            // What is in both is asked once.
            if !table.target.texts.is_empty() && !uses(&searched.target, SinkKind::Keywords) {
                texts.push(Texts { store: TextStore::Database(Box::new(table.clone())), searched: searched.clone() });
            }
            if table.target.vector.is_some() && !uses(&searched.target, SinkKind::Vectors) {
                vectors.push(SearchedVectors { store: VectorStore::Database(Box::new(table.clone())), texts: None });
            }
        }
        texts.sort_by(|a, b| a.target().table.cmp(&b.target().table));
        Ok(Corpus { texts, vectors, notes: folder.notes.clone(), folder, settings: &self.settings, database })
    }
}

impl Folder {
    fn open(serving: &Serving, settings: &SearchSettings) -> Result<Self> {
        let dir = serving.dir();
        let mut opened = Self { texts: Vec::new(), vectors: Vec::new(), rows: None, notes: Vec::new() };
        // The rows first: they show what is found, and what is not found yet is not missed.
        if settings.targets.iter().any(|it| uses(&it.target, SinkKind::Sqlite)) {
            opened.rows = Sqlite::new(sqlite::path(dir)).read_state()?.map(Mutex::new);
        }
        for searched in &settings.targets {
            let target = &searched.target;
            let table = &target.table;
            let mut cursors: Vec<(SinkKind, Cursor)> = Vec::new();
            if let Some(rows) = &opened.rows
                && uses(target, SinkKind::Sqlite)
            {
                let connection = rows.lock().unwrap_or_else(PoisonError::into_inner);
                let cursor = sqlite::cursor(&connection, table)
                    .map_err(|e| Error::sink(SinkKind::Sqlite, "reading", sqlite::path(dir), e))?;
                cursors.extend(cursor.map(|cursor| (SinkKind::Sqlite, cursor)));
            }
            if uses(target, SinkKind::Keywords)
                && let Some(index) = KeywordIndex::open(&table_dir(&keywords_dir(dir), table))?
            {
                cursors.push((SinkKind::Keywords, index.cursor.clone()));
                opened.texts.push((Arc::new(index), searched.clone()));
            }
            if uses(target, SinkKind::Vectors)
                && let Some(index) = VectorIndex::open(&table_dir(&vectors_dir(dir), table))?
            {
                cursors.push((SinkKind::Vectors, index.cursor.clone()));
                opened.vectors.push(Arc::new(index));
            }
            opened.notes.extend(apart(table, &cursors));
            opened.notes.extend(about_unknown(target));
        }
        Ok(opened)
    }
}

/// What there is to say of sinks that are not at the same state of a table.
fn apart(table: &TableName, cursors: &[(SinkKind, Cursor)]) -> Option<String> {
    let (_, first) = cursors.first()?;
    if cursors.iter().all(|(_, cursor)| cursor.content == first.content) {
        return None;
    }
    let each: Vec<String> =
        cursors.iter().map(|(kind, cursor)| format!("{kind} at version {}", cursor.version)).collect();
    Some(format!(
        "the sinks of `{table}` are at different versions ({}): a sync is under way, or `onggi run` brings them together",
        each.join(", ")
    ))
}

/// What there is to say of vectors of texts, where no sink knows what the texts are about.
fn about_unknown(target: &SyncTarget) -> Option<String> {
    let knows = [SinkKind::Sqlite, SinkKind::Keywords, SinkKind::Postgres].iter().any(|kind| uses(target, *kind));
    let entity = target.entity.as_ref().filter(|_| uses(target, SinkKind::Vectors) && !knows)?;
    let (table, column) = (&target.table, &entity.column);
    Some(format!(
        "the vectors of `{table}` are left out, since no sink keeps its `{column}`: add `sqlite` to its sinks"
    ))
}

impl Texts {
    /// The target as its rows were written.
    pub(super) fn target(&self) -> &SyncTarget {
        match &self.store {
            TextStore::Folder(index) => &index.target,
            TextStore::Database(table) => &table.target,
        }
    }

    pub(super) fn documents(&self) -> u64 {
        match &self.store {
            TextStore::Folder(index) => index.documents(),
            TextStore::Database(table) => table.documents(),
        }
    }

    pub(super) fn documents_read(&self) -> u64 {
        match &self.store {
            TextStore::Folder(index) => index.documents_read(),
            TextStore::Database(_) => 0,
        }
    }

    /// The table that the entities are in.
    pub(super) fn entity_table(&self) -> &TableName {
        let target = self.target();
        target.entity.as_ref().map_or(&target.table, |entity| &entity.table)
    }

    /// Which entity a document is evidence for.
    pub(super) fn entity_of(&self, document: &Document) -> Option<String> {
        if self.target().entity.is_some() { document.entity.clone() } else { Some(document.key.clone()) }
    }

    /// How much a mention counts at most.
    pub(super) fn most_weight(&self) -> f64 {
        let columns = self.target().texts.iter().filter_map(|column| self.searched.columns.get(column));
        self.searched.weight * columns.copied().fold(0.0, f64::max)
    }

    /// Whether what is found needs no reading to be known: the store finds just what holds `needle`, and every column counts the same.
    pub(super) fn is_exact(&self, needle: &str) -> bool {
        let mut columns = self.target().texts.iter().map(|column| self.searched.columns.get(column));
        let first = columns.next().flatten();
        let is_even = first.is_some() && columns.all(|it| it == first);
        is_even
            && match &self.store {
                TextStore::Folder(_) => candidates::is_exact(needle),
                TextStore::Database(_) => mentions::is_exact(needle),
            }
    }

    /// How many documents are about each of these entities; those with none may be left out.
    pub(super) async fn documents_about(&self, keys: &[&str]) -> Result<HashMap<String, u64>> {
        match &self.store {
            TextStore::Folder(index) => index.documents_about(keys),
            TextStore::Database(table) => table.documents_about(keys).await,
        }
    }

    /// The documents with these keys, by key.
    pub(super) async fn get(&self, keys: &[&str]) -> Result<BTreeMap<String, Document>> {
        match &self.store {
            TextStore::Folder(index) => {
                let mut found = BTreeMap::new();
                for key in keys {
                    found.extend(index.get(key)?.map(|document| ((*key).to_owned(), document)));
                }
                Ok(found)
            }
            TextStore::Database(table) => {
                Ok(table.get(keys).await?.into_iter().map(|document| (document.key.clone(), document)).collect())
            }
        }
    }

    /// Whether a text holds one of these spellings.
    pub(super) async fn holds(&self, spellings: &[String]) -> Result<bool> {
        if self.most_weight() <= 0.0 {
            return Ok(false);
        }
        match &self.store {
            TextStore::Folder(index) => index.holds(spellings, PHRASE_READ),
            TextStore::Database(table) => table.holds(spellings).await,
        }
    }

    /// What may hold the terms of a question, without reading a text.
    pub(super) async fn mentions(&self, terms: &[Vec<String>]) -> Result<FoundMentions> {
        if self.most_weight() <= 0.0 {
            return Ok(FoundMentions::default());
        }
        match &self.store {
            TextStore::Folder(index) => {
                let candidates = index.candidates(terms)?;
                let mentions = index.mentions(&candidates)?;
                Ok(FoundMentions { mentions, patterns: candidates.patterns.clone(), candidates })
            }
            TextStore::Database(table) => {
                let (mentions, patterns) = table.mentions(terms).await?;
                Ok(FoundMentions { mentions, patterns, candidates: Candidates::default() })
            }
        }
    }

    /// The documents about these entities that may hold a term, at most `most` of each, by entity and in the order of their keys.
    pub(super) async fn read(
        &self,
        found: &FoundMentions,
        terms: &[Vec<String>],
        entities: &[&str],
        most: usize,
    ) -> Result<HashMap<String, Vec<Document>>> {
        let mut read: HashMap<String, Vec<Document>> = HashMap::new();
        match &self.store {
            TextStore::Folder(index) => {
                for entity in entities {
                    let mut documents = index.candidates_about(&found.candidates, entity, most)?;
                    documents.sort_by(|a, b| a.key.cmp(&b.key));
                    read.insert((*entity).to_owned(), documents);
                }
            }
            TextStore::Database(table) => {
                let spellings: Vec<String> = terms.iter().flatten().cloned().collect();
                for entities in entities.chunks(AT_ONCE) {
                    for document in table.rows_about(entities, &spellings, most).await? {
                        if let Some(entity) = self.entity_of(&document) {
                            read.entry(entity).or_default().push(document);
                        }
                    }
                }
            }
        }
        Ok(read)
    }
}

impl SearchedVectors {
    pub(super) fn target(&self) -> &SyncTarget {
        match &self.store {
            VectorStore::Folder(index) => &index.target,
            VectorStore::Database(table) => &table.target,
        }
    }

    /// Whether they can be compared with a vector of so many numbers; if not, how many they have.
    pub(super) fn compares(&self, length: usize) -> Result<(), usize> {
        let dimension = match &self.store {
            VectorStore::Folder(index) => index.dimension(),
            VectorStore::Database(table) => table.dimension(),
        };
        dimension.map_or(Ok(()), |found| if found == length { Ok(()) } else { Err(found) })
    }

    /// Keys of the nearest rows with their cosine, the nearest first; equal ones in the order of the keys.
    pub(super) async fn nearest(&self, query: &[f32], count: usize) -> Result<Vec<(String, f32)>> {
        match &self.store {
            VectorStore::Folder(index) => index.nearest(query, count),
            VectorStore::Database(table) => table.nearest(query, count).await,
        }
    }
}

impl Corpus<'_> {
    /// The question is answered: a connection goes back.
    pub(super) async fn close(&self) {
        read::end(&self.database).await;
    }

    /// The entities that most rows mention, where a database can say it by itself: all tables are there, and each is exact.
    pub(super) async fn most_mentioned(
        &self,
        needle: &str,
        limit: usize,
    ) -> Result<Option<Vec<(TableName, Vec<mentions::MostMentioned>, u64)>>> {
        let mut groups: BTreeMap<&TableName, Vec<&Table>> = BTreeMap::new();
        for texts in &self.texts {
            match &texts.store {
                TextStore::Database(table) if texts.is_exact(needle) => {
                    groups.entry(texts.entity_table()).or_default().push(table);
                }
                _ => return Ok(None),
            }
        }
        let mut found = Vec::new();
        for (entities, tables) in groups {
            let (most, all) = mentions::most_mentioned(&tables, needle, limit).await?;
            found.push((entities.clone(), most, all));
        }
        Ok(Some(found))
    }

    /// What each of these rows with vectors is about: itself, where rows are about nothing else. One that nobody knows it of is left out.
    pub(super) async fn entities(&self, vectors: &SearchedVectors, keys: &[&str]) -> Result<HashMap<String, String>> {
        let target = vectors.target();
        let Some(entity) = &target.entity else {
            return Ok(keys.iter().map(|key| ((*key).to_owned(), (*key).to_owned())).collect());
        };
        if let VectorStore::Database(table) = &vectors.store {
            return table.entities(keys).await;
        }
        if let Some(table) =
            self.database.iter().find(|it| it.target.table == target.table && it.target.entity.is_some())
        {
            return table.entities(keys).await;
        }
        let mut found = HashMap::new();
        for key in keys {
            if let Some(about) = self.column(target, key, &entity.column)? {
                found.insert((*key).to_owned(), about);
            } else if let Some(texts) = &vectors.texts
                && let Some(about) = texts.get(key)?.and_then(|document| document.entity)
            {
                found.insert((*key).to_owned(), about);
            }
        }
        Ok(found)
    }

    /// A column of a row of the serving tables, as a key.
    fn column(&self, target: &SyncTarget, key: &str, column: &str) -> Result<Option<String>> {
        let Some(connection) = &self.folder.rows else { return Ok(None) };
        let connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
        let row = sqlite::layout::row(&connection, &target.table, &target.key, key)
            .map_err(|e| Error::sink(SinkKind::Sqlite, "reading", target.table.to_string(), e))?;
        Ok(row.and_then(|row| match row.get(column) {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => None,
        }))
    }

    /// The columns of a row, without the vector; empty where rows are not kept.
    pub(super) async fn fields(&self, table: &TableName, key: &str) -> Result<Map<String, Value>> {
        let Some(searched) = self.settings.targets.iter().find(|it| it.target.table == *table) else {
            return Ok(Map::new());
        };
        let target = &searched.target;
        if let Some(connection) = self.folder.rows.as_ref().filter(|_| uses(target, SinkKind::Sqlite)) {
            let connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            let row = sqlite::layout::row(&connection, table, &target.key, key)
                .map_err(|e| Error::sink(SinkKind::Sqlite, "reading", table.to_string(), e))?;
            let mut row = row.unwrap_or_default();
            if let Some(vector) = &target.vector {
                row.shift_remove(&vector.column);
            }
            return Ok(row);
        }
        match self.database.iter().find(|it| it.target.table == *table && uses(target, SinkKind::Postgres)) {
            Some(found) => found.row(key).await,
            None => Ok(Map::new()),
        }
    }
}
