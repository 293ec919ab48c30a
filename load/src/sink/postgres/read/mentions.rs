//! Who is mentioned in the texts of the database: counted there, so that only what is shown is sent.

use std::collections::HashMap;

use sqlx::Row as _;
use sqlx::postgres::PgRow;

use super::{Query, Table};
use crate::error::Result;
use crate::sink::keywords::document::Document;
use crate::sink::keywords::index::candidates::{Mentions, Pattern};
use crate::sink::postgres::sql;
use crate::target::SyncTarget;

/// An entity, and how many rows speak of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MostMentioned {
    pub(crate) entity: String,
    pub(crate) rows: u64,
    /// Whether its own row is one of them.
    pub(crate) own: bool,
}

/// What stands between two texts of a row: a match across it is none.
const BETWEEN: char = '\n';

/// Whether `like` alone proves that a text of a row holds `needle`.
pub(crate) fn is_exact(needle: &str) -> bool {
    !needle.contains(BETWEEN)
}

/// The column that names the entity of a row: its key where rows are about nothing else.
fn entity_column(target: &SyncTarget) -> &str {
    target.entity.as_ref().map_or(target.key.as_str(), |it| it.column.as_str())
}

/// The entities that the rows of these tables mention most, at most `limit`, and how many there are in all. The tables are of one
/// snapshot, and their rows are about the same entities.
pub(crate) async fn most_mentioned(tables: &[&Table], needle: &str, limit: usize) -> Result<(Vec<MostMentioned>, u64)> {
    let Some(first) = tables.first() else { return Ok((Vec::new(), 0)) };
    let asked: Vec<_> =
        tables.iter().map(|it| (&it.name, entity_column(&it.target), it.target.entity.is_none())).collect();
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let query = sqlx::query(sql::most_mentioned(&asked)).bind(sql::like(needle)).bind(limit);
    let read = |row: &PgRow| {
        let found = MostMentioned { entity: row.try_get(0)?, rows: count(row, 1)?, own: row.try_get(2)? };
        Ok((found, count(row, 3)?))
    };
    let found = first.ask(query, read).await?;
    let all = found.first().map_or(0, |(_, all)| *all);
    Ok((found.into_iter().map(|(found, _)| found).collect(), all))
}

fn count(row: &PgRow, at: usize) -> Result<u64, sqlx::Error> {
    Ok(row.try_get::<i64, _>(at)?.unsigned_abs())
}

fn with_patterns<'a>(query: Query<'a>, needles: impl Iterator<Item = &'a String>) -> Query<'a> {
    needles.fold(query, |query, needle| query.bind(sql::like(needle)))
}

impl Table {
    /// How often each entity is mentioned, in the order of their keys, and the patterns that the numbers mean.
    pub(crate) async fn mentions(&self, terms: &[Vec<String>]) -> Result<(Vec<Mentions>, Vec<Pattern>)> {
        let spellings: Vec<usize> = terms.iter().map(Vec::len).collect();
        let statement = sql::mentions(&self.name, entity_column(&self.target), &spellings);
        let query = with_patterns(sqlx::query(statement), terms.iter().flatten());
        let mut patterns: Vec<Pattern> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        let mut found: Vec<Mentions> = Vec::new();
        let read = |row: &PgRow| {
            let pattern = (0..terms.len()).map(|term| Ok(u8::try_from(row.try_get::<i32, _>(term + 2)?).unwrap_or(0)));
            Ok((row.try_get::<String, _>(0)?, count(row, 1)?, pattern.collect::<Result<Pattern, sqlx::Error>>()?))
        };
        for (entity, rows, pattern) in self.ask(query, read).await? {
            let number = patterns.iter().position(|known| *known == pattern).unwrap_or_else(|| {
                patterns.push(pattern);
                patterns.len() - 1
            });
            let place = *places.entry(entity.clone()).or_insert_with(|| {
                found.push(Mentions { entity, patterns: Vec::new() });
                found.len() - 1
            });
            found[place].patterns.push((u32::try_from(number).unwrap_or(u32::MAX), rows));
        }
        found.sort_by(|a, b| a.entity.cmp(&b.entity));
        Ok((found, patterns))
    }

    /// Whether a row holds one of these spellings.
    pub(crate) async fn holds(&self, spellings: &[String]) -> Result<bool> {
        let query = with_patterns(sqlx::query(sql::holds(&self.name, spellings.len())), spellings.iter());
        Ok(self.ask(query, |row| row.try_get(0)).await?.into_iter().any(|it: bool| it))
    }

    /// The rows about these entities that hold one of these spellings: of each the first ones, in the order of their keys.
    pub(crate) async fn rows_about(
        &self,
        entities: &[&str],
        spellings: &[String],
        most: usize,
    ) -> Result<Vec<Document>> {
        let target = &self.target;
        let entity = entity_column(target);
        let shown = (self.entity(), target.title.as_deref(), target.texts.as_slice());
        let statement = sql::rows_about(&self.name, &target.key, (entity, &self.is(entity)), shown, spellings.len());
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let query = with_patterns(sqlx::query(statement).bind(entities).bind(most), spellings.iter());
        self.ask(query, |row| self.document(row)).await
    }

    /// How many numbers a vector has; nothing where there is none.
    pub(crate) fn dimension(&self) -> Option<usize> {
        let vector = self.target.vector.as_ref()?;
        self.columns.iter().find(|it| it.name == vector.column)?.dimension
    }

    /// The entities that rows with these keys are about.
    pub(crate) async fn entities(&self, keys: &[&str]) -> Result<HashMap<String, String>> {
        let Some(entity) = self.entity() else { return Ok(HashMap::new()) };
        let key = (self.target.key.as_str(), &self.is(&self.target.key));
        let query = sqlx::query(sql::entities(&self.name, key, entity)).bind(keys);
        Ok(self.ask(query, |row| Ok((row.try_get(0)?, row.try_get(1)?))).await?.into_iter().collect())
    }
}
