//! The database as a search has it: one snapshot of every table, for as long as one question takes.

use std::collections::HashMap;
use std::sync::Arc;

use catalog::TableName;
use futures::TryStreamExt as _;
use serde_json::{Map, Value as Json};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Column as _, Row as _, TypeInfo as _, ValueRef as _};
use tokio::sync::Mutex;

use super::connect::{PostgresSession, within};
use super::sql::{self, HASH, Name, TEXT, Type};
use super::state::{self, SHORT};
use super::{Postgres, extension, layout};
use crate::error::Result;
use crate::fault::SinkFault;
use crate::sink::keywords::document::{Document, Passage};
use crate::target::SyncTarget;
use rows::RowHash;
use rows::text::nfc;

pub(crate) mod mentions;

/// How wide the graph is searched: the widest that the server takes. Measured in the bench of pgvector.
const EF_SEARCH: &str = "set local hnsw.ef_search = 400; set local hnsw.iterative_scan = strict_order";

/// A column of a table as it stands.
#[derive(Debug, Clone)]
pub(super) struct ReadColumn {
    pub(super) name: String,
    is: String,
    dimension: Option<usize>,
}

/// The columns of a table; none when there is no table.
pub(super) async fn columns(connection: &mut PgConnection, table: &Name) -> Result<Vec<ReadColumn>, SinkFault> {
    let query = sqlx::query(
        "select a.attname::text, format_type(a.atttypid, null), a.atttypmod
         from pg_class c join pg_namespace n on n.oid = c.relnamespace
         join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
         where n.nspname = $1 and c.relname = $2 and c.relkind = 'r' order by a.attnum",
    );
    let rows = within(SHORT, query.bind(&table.schema).bind(&table.name).fetch_all(connection)).await?;
    let column = |row: &PgRow| {
        let dimension: i32 = row.try_get(2)?;
        Ok(ReadColumn { name: row.try_get(0)?, is: row.try_get(1)?, dimension: usize::try_from(dimension).ok() })
    };
    Ok(rows.iter().map(column).collect::<Result<_, sqlx::Error>>()?)
}

/// One snapshot, and the connection that has it.
#[derive(Debug)]
struct Snapshot {
    session: Mutex<Option<PostgresSession>>,
    sink: Arc<Postgres>,
}

/// One synced table in the snapshot of a question.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    snapshot: Arc<Snapshot>,
    pub(crate) target: SyncTarget,
    name: Name,
    columns: Vec<ReadColumn>,
    rows: u64,
    /// The schema of pgvector, where the table has vectors.
    vectors: Option<String>,
}

/// Every table of the project, in one snapshot that lasts until [`end`].
pub(crate) async fn tables(sink: &Arc<Postgres>) -> Result<Vec<Table>> {
    open(sink).await.map_err(sink.error("searching"))
}

async fn open(sink: &Arc<Postgres>) -> Result<Vec<Table>, SinkFault> {
    let mut session = sink.door.borrow().await?;
    let connection = session.get()?;
    state::run(connection, "begin isolation level repeatable read, read only; set local statement_timeout = '60s'")
        .await?;
    let states = state::all(connection, &sink.schema).await?;
    let mut found = Vec::new();
    for state in states.into_iter().filter(|it| it.project == sink.project) {
        let (Some(target), Ok(rows)) = (state.target, u64::try_from(state.rows)) else { continue };
        let name = Name::new(&sink.schema, layout::relation(&target.table));
        let columns = columns(connection, &name).await?;
        if !columns.is_empty() {
            found.push((target, name, columns, rows));
        }
    }
    let mut vectors = None;
    if found.iter().any(|(target, ..)| target.vector.is_some()) {
        vectors = extension::look(connection, "vector").await?.installed.map(|(schema, _)| schema);
        // The module's settings are known to a session that has used the module.
        if let Some(schema) = &vectors {
            within(SHORT, sqlx::raw_sql(sql::touch_vectors(schema)).execute(&mut *connection)).await?;
            state::run(connection, EF_SEARCH).await?;
        }
    }
    let snapshot = Arc::new(Snapshot { session: Mutex::new(Some(session)), sink: Arc::clone(sink) });
    let table = |(target, name, columns, rows)| Table {
        snapshot: Arc::clone(&snapshot),
        target,
        name,
        columns,
        rows,
        vectors: vectors.clone(),
    };
    Ok(found.into_iter().map(table).collect())
}

/// Lets go of the snapshot of these tables and keeps the connection.
pub(crate) async fn end(tables: &[Table]) {
    let Some(table) = tables.first() else { return };
    let Some(mut session) = table.snapshot.session.lock().await.take() else { return };
    if let Ok(connection) = session.get()
        && state::run(connection, "commit").await.is_ok()
    {
        session.park();
    }
}

impl Postgres {
    /// Keys of the rows of `table` whose vectors are nearest to `query`, with their cosine, the nearest first.
    ///
    /// # Errors
    /// If the table has no vectors, or vectors of another length.
    pub async fn nearest(
        self: &Arc<Self>,
        table: &TableName,
        query: &[f32],
        count: usize,
    ) -> Result<Vec<(String, f32)>> {
        let tables = tables(self).await?;
        let Some(found) = tables.iter().find(|it| it.target.table == *table && it.target.vector.is_some()) else {
            let fault =
                SinkFault::new(format!("`{table}` has no vectors here"), "sync it with a `vector` column first");
            return Err(self.error("searching")(fault));
        };
        let near = found.nearest(query, count).await?;
        end(&tables).await;
        Ok(near)
    }
}

impl Table {
    async fn ask<T>(&self, query: Query<'_>, read: impl Fn(&PgRow) -> Result<T, sqlx::Error>) -> Result<Vec<T>> {
        let find = async {
            let mut guard = self.snapshot.session.lock().await;
            let session = guard.as_mut().ok_or_else(|| SinkFault::passing("the question is over", "ask again"))?;
            // A statement that is kept would be planned for any parameter, and a pattern needs a plan of its own.
            let mut rows = query.persistent(false).fetch(session.get()?);
            let mut found = Vec::new();
            // Row by row: what is kept of a row is smaller than the row.
            while let Some(row) = within(SHORT, rows.try_next()).await? {
                found.push(read(&row)?);
            }
            Ok(found)
        };
        find.await.map_err(self.snapshot.sink.error("searching"))
    }

    fn is(&self, column: &str) -> Type {
        let found = self.columns.iter().find(|it| it.name == column);
        Type::Plain(found.map_or_else(|| "text".to_owned(), |it| it.is.clone()))
    }

    fn entity(&self) -> Option<&str> {
        self.target.entity.as_ref().map(|it| it.column.as_str())
    }

    /// How many rows it has.
    pub(crate) fn documents(&self) -> u64 {
        self.rows
    }

    /// How many rows are about each of these entities; those with none are left out.
    pub(crate) async fn documents_about(&self, keys: &[&str]) -> Result<HashMap<String, u64>> {
        let Some(entity) = self.entity() else { return Ok(HashMap::new()) };
        let query = sqlx::query(sql::about(&self.name, entity, &self.is(entity))).bind(keys);
        let counted = |row: &PgRow| Ok((row.try_get(0)?, row.try_get::<i64, _>(1)?.unsigned_abs()));
        Ok(self.ask(query, counted).await?.into_iter().collect())
    }

    /// The rows with these keys.
    pub(crate) async fn get(&self, keys: &[&str]) -> Result<Vec<Document>> {
        let target = &self.target;
        let key = (target.key.as_str(), &self.is(&target.key));
        let statement = sql::get(&self.name, key, self.entity(), target.title.as_deref(), &target.texts);
        self.ask(sqlx::query(statement).bind(keys), |row| self.document(row)).await
    }

    fn document(&self, row: &PgRow) -> Result<Document, sqlx::Error> {
        let hash: Vec<u8> = row.try_get(3)?;
        let title: Option<String> = row.try_get(2)?;
        let mut passages = Vec::new();
        for (at, column) in self.target.texts.iter().enumerate() {
            let at = at + 4;
            if row.try_get_raw(at)?.is_null() {
                continue;
            }
            let list = row.column(at).type_info().name().ends_with("[]");
            let texts: Vec<String> = if list {
                row.try_get::<Vec<Option<String>>, _>(at)?.into_iter().flatten().collect()
            } else {
                vec![row.try_get(at)?]
            };
            let texts = texts.iter().filter(|text| !text.trim().is_empty());
            passages.extend(texts.map(|text| Passage { column: column.clone(), list, text: nfc(text) }));
        }
        Ok(Document {
            key: row.try_get(0)?,
            entity: row.try_get(1)?,
            title: title.map(|title| nfc(&title)),
            hash: RowHash(hash.try_into().unwrap_or([0; 16])),
            passages,
        })
    }

    /// Keys of the nearest rows with their cosine, the nearest first; equal ones in the order of the keys.
    pub(crate) async fn nearest(&self, query: &[f32], count: usize) -> Result<Vec<(String, f32)>> {
        let (Some(vector), Some(schema)) = (&self.target.vector, &self.vectors) else { return Ok(Vec::new()) };
        let Some(column) = self.columns.iter().find(|it| it.name == vector.column) else { return Ok(Vec::new()) };
        let Some(dimension) = column.dimension else { return Ok(Vec::new()) };
        if query.len() != dimension {
            let message = format!("expected a query of {dimension} numbers, found {}", query.len());
            let fault = SinkFault::new(message, "ask with the embedder that made the vectors");
            return Err(self.snapshot.sink.error("searching")(fault));
        }
        let numbers: Vec<String> = query.iter().map(ToString::to_string).collect();
        let statement = sql::nearest(&self.name, &self.target.key, &vector.column, schema, dimension);
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let query = sqlx::query(statement).bind(format!("[{}]", numbers.join(","))).bind(count);
        #[expect(clippy::cast_possible_truncation, reason = "a cosine is shown and compared in 32 bits")]
        let near = |row: &PgRow| Ok((row.try_get(0)?, row.try_get::<f64, _>(1)? as f32));
        let mut found: Vec<(String, f32)> = self.ask(query, near).await?;
        found.retain(|(_, cosine)| cosine.is_finite());
        found.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        Ok(found)
    }

    /// The row with this key, as column → value, without the vector.
    pub(crate) async fn row(&self, key: &str) -> Result<Map<String, Json>> {
        let vector = self.target.vector.as_ref().map(|it| it.column.as_str());
        let shown = |name: &str| name != HASH && name != TEXT && Some(name) != vector;
        let names: Vec<String> = self.columns.iter().map(|it| it.name.clone()).filter(|it| shown(it)).collect();
        let statement = sql::row(&self.name, &names, (&self.target.key, &self.is(&self.target.key)));
        let found = self.ask(sqlx::query(statement).bind(key), |row| row.try_get::<String, _>(0)).await?;
        let Some(Ok(Json::Object(mut row))) = found.first().map(|text| serde_json::from_str(text)) else {
            return Ok(Map::new());
        };
        for column in self.columns.iter().filter(|it| it.is == "timestamp with time zone") {
            // As every other sink shows a time.
            if let Some(Json::String(time)) = row.get_mut(&column.name)
                && let Some(local) = time.strip_suffix("+00:00")
            {
                *time = format!("{local}Z");
            }
        }
        Ok(row)
    }
}

type Query<'a> = sqlx::query::Query<'a, sqlx::Postgres, sqlx::postgres::PgArguments>;
