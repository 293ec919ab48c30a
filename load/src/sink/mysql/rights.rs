//! What people gave a table that we made. Rights and views go by its name, so that a table in its place has them. Indexes are made again.
//! What it can't get – triggers, foreign keys, checks, partitions – refuses the swap before a row is read.

use mysql_async::Row;
use mysql_async::prelude::Queryable as _;

use super::connect::{LONG, MysqlSession, SHORT, within};
use super::sql;
use crate::fault::SinkFault;

/// What would be lost with the table, in words. To MariaDB a document is a text with a check, which has the name of its column.
const BOUND: [&str; 5] = [
    "select concat('the trigger ', trigger_name) from information_schema.triggers
        where event_object_schema = database() and event_object_table = ?",
    "select concat('the foreign key ', constraint_name) from information_schema.referential_constraints
        where constraint_schema = database() and table_name = ?",
    "select concat('the foreign key ', constraint_name, ' of ', table_name) from information_schema.referential_constraints
        where unique_constraint_schema = database() and referenced_table_name = ? and table_name <> referenced_table_name",
    "select concat('the check ', constraint_name) from information_schema.table_constraints
        where table_schema = database() and table_name = ? and constraint_type = 'CHECK'
          and constraint_name not in (select column_name from information_schema.columns
              where table_schema = database() and column_type = 'longtext')",
    "select 'its partitions' from information_schema.partitions
        where table_schema = database() and table_name = ? and partition_name is not null limit 1",
];

/// How the line of an index begins in what the server says of a table.
const INDEX: [&str; 4] = ["KEY ", "UNIQUE KEY ", "FULLTEXT KEY ", "SPATIAL KEY "];

/// Refuses to make a table anew that has what the new one can't get.
///
/// # Errors
/// A [`SinkFault`] that names all of it.
pub(super) async fn refuse_bound(session: &mut MysqlSession, table: &str) -> Result<(), SinkFault> {
    let mut bound: Vec<String> = Vec::new();
    for query in BOUND {
        let found: Vec<String> = within(SHORT, session.get()?.exec(query, (table,))).await?;
        bound.extend(found);
    }
    if bound.is_empty() {
        return Ok(());
    }
    Err(SinkFault::new(
        format!(
            "`{table}` must be made anew, since its columns or roles are other ones, and {} would be lost with it",
            bound.join(", ")
        ),
        "drop that, sync, and create it again; or sync into another database (`[mysql] url`) and let both stand",
    ))
}

/// Makes other people's indexes of `old` again for `new`.
pub(super) async fn carry(session: &mut MysqlSession, old: &str, new: &str) -> Result<(), SinkFault> {
    let shown: Option<Row> = within(SHORT, session.get()?.query_first(sql::show_create(old))).await?;
    let shown: String = shown.and_then(|mut row| row.take_opt(1)).and_then(Result::ok).unwrap_or_default();
    for index in others_indexes(&shown) {
        if let Err(fault) = session.run(LONG, &sql::add_described(new, index)).await {
            return Err(SinkFault::new(
                format!("`{old}` must be made anew, and its index {index} can't be made again: {fault}"),
                "drop that index, sync, and create it again",
            ));
        }
    }
    Ok(())
}

/// The indexes in what the server says of a table, but for the key and ours.
fn others_indexes(shown: &str) -> impl Iterator<Item = &str> {
    let lines = shown.lines().map(|line| line.trim_start().trim_end_matches(','));
    let ours = format!("KEY {} ", sql::quote(sql::ENTITY));
    lines.filter(move |line| INDEX.iter().any(|head| line.starts_with(head)) && !line.starts_with(&ours))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_other_peoples_indexes_are_made_again() {
        let shown = "CREATE TABLE `t` (\n  `KEY ` int NOT NULL,\n  `name` longtext,\n  PRIMARY KEY (`KEY `),\n  \
             KEY `_onggi_entity` (`name`),\n  UNIQUE KEY `u` (`name`(20) DESC),\n  FULLTEXT KEY `f` (`name`)\n) ENGINE=InnoDB";
        let found: Vec<&str> = others_indexes(shown).collect();
        assert_eq!(found, ["UNIQUE KEY `u` (`name`(20) DESC)", "FULLTEXT KEY `f` (`name`)"]);
    }
}
