//! What the server can do beyond plain tables: vectors by pgvector, keywords by `pg_bigm` or `pg_trgm`.

use sqlx::Row as _;
use sqlx::postgres::PgConnection;

use super::connect::within;
use super::sql::{self, Name};
use super::state::{SHORT, run};
use crate::fault::SinkFault;

/// Before it, pgvector could overflow a buffer in parallel builds, corrupt an index in a vacuum, and lose a race with one.
const OLDEST_VECTOR: [u32; 3] = [0, 8, 4];

/// An extension of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Extension {
    /// What is installed: where, and which version.
    pub(super) installed: Option<(String, String)>,
    /// What could be.
    pub(super) available: Option<String>,
}

/// Looks at one.
pub(super) async fn look(connection: &mut PgConnection, name: &str) -> Result<Extension, SinkFault> {
    let query = sqlx::query(
        "select n.nspname::text, e.extversion::text, a.default_version::text
         from (select $1::text as name) as asked
         left join pg_extension e on e.extname = asked.name
         left join pg_namespace n on n.oid = e.extnamespace
         left join pg_available_extensions a on a.name = asked.name",
    );
    let row = within(SHORT, query.bind(name).fetch_one(connection)).await?;
    let (schema, version): (Option<String>, Option<String>) = (row.try_get(0)?, row.try_get(1)?);
    Ok(Extension { installed: schema.zip(version), available: row.try_get(2)? })
}

fn is_old(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let found = [(); 3].map(|()| parts.next().unwrap_or(0));
    found < OLDEST_VECTOR
}

/// Why vectors cannot be kept, if they cannot.
pub(super) fn vector_problem(found: &Extension) -> Option<SinkFault> {
    let needed = "vectors need the extension pgvector 0.8.4 or newer";
    match (&found.installed, &found.available) {
        (Some((_, version)), available) if is_old(version) => Some(match available {
            Some(newer) if !is_old(newer) => SinkFault::new(
                format!("{needed}, found {version}"),
                "run as its owner in this database: `alter extension vector update`",
            ),
            _ => SinkFault::new(
                format!("{needed}, found {version}"),
                "upgrade pgvector on the server (on RDS: a newer minor version), then run `alter extension vector update`",
            ),
        }),
        (Some(_), _) => None,
        (None, Some(version)) if !is_old(version) => Some(SinkFault::new(
            format!("{needed}, found none in this database"),
            "run as a user with the right to it: `create extension vector`",
        )),
        (None, Some(version)) => Some(SinkFault::new(
            format!("{needed}, the server has {version}"),
            "upgrade pgvector on the server (on RDS: a newer minor version), then run `create extension vector`",
        )),
        (None, None) => Some(SinkFault::new(
            format!("{needed}, the server has none"),
            "install pgvector on the server and run `create extension vector`, or take `vector` off the target",
        )),
    }
}

/// The schema of pgvector; makes the extension where that is allowed.
///
/// # Errors
/// With the statement to run, where it is missing or too old.
pub(super) async fn vector(connection: &mut PgConnection) -> Result<String, SinkFault> {
    let mut found = look(connection, "vector").await?;
    if found.installed.is_none() && found.available.as_deref().is_some_and(|version| !is_old(version)) {
        // Refused for lack of rights: then the error below says what to run.
        let _ = within(SHORT, sqlx::raw_sql(sql::create_extension("vector")).execute(&mut *connection)).await;
        found = look(connection, "vector").await?;
    }
    match (vector_problem(&found), found.installed) {
        (None, Some((schema, _))) => Ok(schema),
        (problem, _) => {
            Err(problem.unwrap_or_else(|| SinkFault::new("pgvector is not there", "run `create extension vector`")))
        }
    }
}

/// How keywords are found in a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KeywordIndexKind {
    /// An index of 2-grams: fast from one character on.
    Bigm(Name),
    /// An index of 3-grams: shorter words read the whole table.
    Trgm(Name),
    /// No index: every question reads the whole table.
    Scan,
}

impl KeywordIndexKind {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Bigm(_) => "pg_bigm",
            Self::Trgm(_) => "pg_trgm",
            Self::Scan => "scan",
        }
    }

    /// For people.
    pub(super) fn describe(&self) -> &'static str {
        match self {
            Self::Bigm(_) => "keywords by pg_bigm",
            Self::Trgm(_) => "keywords by pg_trgm (words of one or two characters read the whole table)",
            Self::Scan => "keywords by reading the whole table (neither pg_bigm nor pg_trgm is there)",
        }
    }

    /// The operator class of its index.
    pub(super) fn class(&self) -> Option<&Name> {
        match self {
            Self::Bigm(class) | Self::Trgm(class) => Some(class),
            Self::Scan => None,
        }
    }
}

/// The best way there is; makes an extension where `make` asks for it and that is allowed. The connection must be outside of a transaction.
pub(super) async fn keywords(connection: &mut PgConnection, make: bool) -> Result<KeywordIndexKind, SinkFault> {
    for (name, class) in [("pg_bigm", "gin_bigm_ops"), ("pg_trgm", "gin_trgm_ops")] {
        let mut found = look(connection, name).await?;
        if make && found.installed.is_none() && found.available.is_some() {
            // Refused for lack of rights: the next best is taken.
            let _ = within(SHORT, sqlx::raw_sql(sql::create_extension(name)).execute(&mut *connection)).await;
            found = look(connection, name).await?;
        }
        if let Some((schema, _)) = found.installed {
            let class = Name::new(&schema, class);
            return Ok(if name == "pg_bigm" { KeywordIndexKind::Bigm(class) } else { KeywordIndexKind::Trgm(class) });
        }
    }
    Ok(KeywordIndexKind::Scan)
}

/// Version, encryption, extensions and rights, in one line.
///
/// # Errors
/// If a right that a sync needs is missing.
pub(super) async fn report(connection: &mut PgConnection, schema: &str) -> Result<String, SinkFault> {
    let query = sqlx::query(
        "select current_setting('server_version'), coalesce((select version from pg_stat_ssl where pid = pg_backend_pid() and ssl), ''),
            has_database_privilege(current_database(), 'create'), has_database_privilege(current_database(), 'temporary'),
            (select has_schema_privilege(oid, 'create') from pg_namespace where nspname = $1), current_setting('transaction_read_only') = 'on'",
    );
    let row = within(SHORT, query.bind(schema).fetch_one(&mut *connection)).await?;
    let (version, tls): (String, String) = (row.try_get(0)?, row.try_get(1)?);
    let (create, temporary): (bool, bool) = (row.try_get(2)?, row.try_get(3)?);
    let (in_schema, read_only): (Option<bool>, bool) = (row.try_get(4)?, row.try_get(5)?);
    if read_only {
        return Err(SinkFault::new("the server takes no writes", "name the primary in `[postgres] url`"));
    }
    let quoted = sql::quote(schema);
    match in_schema {
        Some(false) => {
            return Err(SinkFault::new(
                format!("the user may not create tables in the schema {quoted}"),
                format!("run as its owner: `grant usage, create on schema {quoted} to` the user of `[postgres] url`"),
            ));
        }
        None if !create => {
            return Err(SinkFault::new(
                format!("there is no schema {quoted} and the user may not create one"),
                format!("run as a superuser: `create schema {quoted} authorization` the user of `[postgres] url`"),
            ));
        }
        _ => {}
    }
    if !temporary {
        return Err(SinkFault::new(
            "the user may not create temporary tables",
            "run as the database's owner: `grant temporary on database` … `to` the user of `[postgres] url`",
        ));
    }
    let vector = look(connection, "vector").await?;
    let vectors = match (vector_problem(&vector), &vector.installed) {
        (None, Some((_, version))) => format!("pgvector {version}"),
        (Some(problem), _) => {
            format!("no vectors: {problem} ({})", problem.hint().unwrap_or_default())
        }
        (None, None) => "no vectors".to_owned(),
    };
    let keywords = keywords(connection, false).await?;
    let tls = if tls.is_empty() { "not encrypted".to_owned() } else { tls };
    Ok(format!("PostgreSQL {version}, {tls}, {vectors}, {}", keywords.describe()))
}

/// Runs `work`'s statement; where the server has too little shared memory for parallel work, once more without.
pub(super) async fn build(
    connection: &mut PgConnection,
    statement: sql::Sql,
    limit: std::time::Duration,
) -> Result<(), SinkFault> {
    run(connection, "savepoint build").await?;
    match within(limit, sqlx::raw_sql(statement.clone()).execute(&mut *connection)).await {
        Err(fault) if fault.code() == Some("53100") => {
            run(connection, "rollback to savepoint build; set local max_parallel_maintenance_workers = 0").await?;
            within(limit, sqlx::raw_sql(statement).execute(&mut *connection)).await?;
        }
        done => {
            done?;
        }
    }
    run(connection, "release savepoint build").await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_or_missing_pgvector_is_told_with_the_statement_to_run() {
        let found = |installed: Option<&str>, available: Option<&str>| Extension {
            installed: installed.map(|v| ("public".to_owned(), v.to_owned())),
            available: available.map(str::to_owned),
        };
        assert!(vector_problem(&found(Some("0.8.4"), Some("0.8.4"))).is_none());
        assert!(vector_problem(&found(Some("0.10.0"), None)).is_none());
        for (it, message, hint) in [
            (found(Some("0.8.3"), Some("0.8.5")), "found 0.8.3", "alter extension vector update"),
            (found(Some("0.6.2"), Some("0.6.2")), "found 0.6.2", "upgrade pgvector"),
            (found(None, Some("0.8.5")), "found none", "create extension vector"),
            (found(None, Some("0.7.0")), "has 0.7.0", "upgrade pgvector"),
            (found(None, None), "has none", "install pgvector"),
        ] {
            let fault = vector_problem(&it).unwrap();
            assert!(fault.to_string().contains(message), "{fault}");
            assert!(fault.hint().unwrap().contains(hint), "{fault:?}");
        }
    }
}
