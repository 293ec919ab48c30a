//! The statements. Names are quoted here and nowhere else; values are bound, and never part of a text.

use super::column::{CellForm, MysqlColumn};

/// The table of watermarks.
pub(super) const STATE: &str = "_onggi_sync";
/// The table where changed rows wait, which only its session sees.
pub(super) const STAGE: &str = "_onggi_stage";
/// The column that says what a row was made from.
pub(super) const HASH: &str = "_row_hash";
/// The index over the column that names the entity.
pub(super) const ENTITY: &str = "_onggi_entity";

/// Which server it is, and whether it takes files from a client.
pub(super) const SERVER: &str = "select version(), cast(@@global.local_infile as signed)";

/// A watermark is the one of its table if that table says so: the comment of a table that we made names the build that filled it.
const CURRENT: &str = "join information_schema.tables t on t.table_schema = database() and t.table_name = s.relation \
     and t.table_comment = concat('onggi ', s.build)";

const FIELDS: &str = "s.table_name, s.build, s.relation, s.project, s.format, s.change_id, s.lake, s.table_id, s.version, s.content, \
     s.row_count, s.shape, s.target";

/// A name, whatever is in it, as the server takes it for a name.
pub(super) fn quote(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(quote).collect::<Vec<_>>().join(", ")
}

/// What the comment of a table says that a build made.
pub(super) fn comment(build: &str) -> String {
    format!("onggi {build}")
}

pub(super) fn create_state(collation: &str) -> String {
    format!(
        "create table if not exists {STATE} (table_name varchar(255) not null, build char(32) not null, relation varchar(64) not null, \
         project varchar(255) not null, format int not null, change_id char(32) not null, lake varchar(255) not null, \
         table_id varchar(255) not null, version bigint unsigned not null, content varchar(255) not null, \
         row_count bigint unsigned not null, shape varchar(255) not null, target longtext not null, synced_at datetime(6) not null, \
         primary key (table_name, build)) engine = InnoDB default character set utf8mb4 collate {collation} \
         comment 'onggi: how far each table is'"
    )
}

/// The watermarks that speak of a table or of a relation, and whether each is the one of the table that is there.
pub(super) fn read_state() -> String {
    format!(
        "select {FIELDS}, t.table_name is not null from {STATE} s left {CURRENT} where s.table_name = ? or s.relation = ?"
    )
}

/// Every watermark whose table is there.
pub(super) fn all_states() -> String {
    format!("select {FIELDS}, 1 from {STATE} s {CURRENT} order by s.table_name")
}

pub(super) fn insert_state() -> String {
    format!(
        "insert into {STATE} (relation, project, format, change_id, lake, table_id, version, content, row_count, shape, target, \
         table_name, build, synced_at) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, utc_timestamp(6))"
    )
}

/// Writes a watermark if it is still the one of a change.
pub(super) fn update_state() -> String {
    format!(
        "update {STATE} set relation = ?, project = ?, format = ?, change_id = ?, lake = ?, table_id = ?, version = ?, content = ?, \
         row_count = ?, shape = ?, target = ?, synced_at = utc_timestamp(6) where table_name = ? and build = ? and change_id = ?"
    )
}

/// Removes the watermarks of a table but the one of a build.
pub(super) fn delete_states() -> String {
    format!("delete from {STATE} where table_name = ? and build <> ?")
}

fn columns(columns: &[MysqlColumn], key: &str) -> String {
    let mut parts: Vec<String> = columns
        .iter()
        .map(|column| {
            let null = if column.name == key { "not null" } else { "null" };
            format!("{} {} {null}", quote(&column.name), column.is)
        })
        .collect();
    parts.push(format!("{HASH} binary(16) not null"));
    parts.push(format!("primary key ({})", quote(key)));
    parts.join(", ")
}

pub(super) fn create_table(table: &str, layout: &[MysqlColumn], key: &str, collation: &str, build: &str) -> String {
    format!(
        "create table {} ({}) engine = InnoDB default character set utf8mb4 collate {collation} comment '{}'",
        quote(table),
        columns(layout, key),
        comment(build)
    )
}

pub(super) fn create_stage(layout: &[MysqlColumn], key: &str, collation: &str) -> String {
    format!(
        "create temporary table {STAGE} ({}) engine = InnoDB default character set utf8mb4 collate {collation}",
        columns(layout, key)
    )
}

/// Rows as lines of text, from the client. What is not text is sent in hexadecimal.
pub(super) fn load(table: &str, columns: &[MysqlColumn]) -> String {
    let (mut names, mut set) = (Vec::new(), Vec::new());
    for (at, column) in columns.iter().enumerate() {
        if column.form() == CellForm::Hex {
            names.push(format!("@c{at}"));
            set.push(format!("{} = unhex(@c{at})", quote(&column.name)));
        } else {
            names.push(quote(&column.name));
        }
    }
    let set = if set.is_empty() { String::new() } else { format!(" set {}", set.join(", ")) };
    format!(
        "load data local infile 'onggi' into table {} character set utf8mb4 fields terminated by '\\t' escaped by '\\\\' \
         lines terminated by '\\n' ({}){set}",
        quote(table),
        names.join(", ")
    )
}

/// So many rows at once, each cell bound.
pub(super) fn insert(table: &str, columns: &[MysqlColumn], rows: usize) -> String {
    let marks = columns.iter().map(|column| if column.form() == CellForm::Hex { "unhex(?)" } else { "?" });
    let row = format!("({})", marks.collect::<Vec<_>>().join(", "));
    let names = list(columns.iter().map(|column| column.name.as_str()));
    format!("insert into {} ({names}) values {}", quote(table), vec![row; rows].join(", "))
}

/// Writes the staged rows over those with their keys, in the order of the keys. A row that is there stays where it is: `replace` would
/// remove it first, and with it what a foreign key of somebody else hangs on it.
pub(super) fn merge(table: &str, columns: &[MysqlColumn], key: &str) -> String {
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    let set: Vec<String> =
        names.iter().filter(|name| **name != key).map(|name| format!("{0} = {STAGE}.{0}", quote(name))).collect();
    let names = list(names);
    format!(
        "insert into {} ({names}) select {names} from {STAGE} order by {} on duplicate key update {}",
        quote(table),
        quote(key),
        set.join(", ")
    )
}

pub(super) fn delete(table: &str, key: &str, keys: usize) -> String {
    format!("delete from {} where {} in ({})", quote(table), quote(key), vec!["?"; keys].join(", "))
}

pub(super) fn count(table: &str) -> String {
    format!("select count(*) from {}", quote(table))
}

pub(super) fn hashes(table: &str, key: &str) -> String {
    format!("select {}, {HASH} from {}", quote(key), quote(table))
}

/// The next rows after a key, in the order of the keys; from the first one where no key is bound.
pub(super) fn contents(table: &str, key: &str, columns: &[MysqlColumn], after: bool, rows: usize) -> String {
    let cells: Vec<String> = columns
        .iter()
        .map(|column| {
            let name = quote(&column.name);
            match column.form() {
                CellForm::Hex => format!("hex({name})"),
                // As it is: printed, it may lose digits.
                CellForm::Float => name,
                CellForm::Plain | CellForm::Json => format!("cast({name} as char character set utf8mb4)"),
            }
        })
        .collect();
    let (table, key) = (quote(table), quote(key));
    let after = if after { format!("where {key} > ? ") } else { String::new() };
    format!(
        "select cast({key} as char character set utf8mb4), {} from {table} {after}order by {table}.{key} limit {rows}",
        cells.join(", ")
    )
}

pub(super) fn rename(pairs: &[(&str, &str)]) -> String {
    let pairs: Vec<String> = pairs.iter().map(|(from, to)| format!("{} to {}", quote(from), quote(to))).collect();
    format!("rename table {}", pairs.join(", "))
}

pub(super) fn add_columns(table: &str, add: &[MysqlColumn], instant: bool) -> String {
    let parts: Vec<String> =
        add.iter().map(|column| format!("add column {} {} null", quote(&column.name), column.is)).collect();
    let how = if instant { ", algorithm = instant" } else { "" };
    format!("alter table {} {}{how}", quote(table), parts.join(", "))
}

pub(super) fn add_index(table: &str, column: &str) -> String {
    format!("alter table {} add index {ENTITY} ({})", quote(table), quote(column))
}

/// An index that the server described itself, with its own quoting.
pub(super) fn add_described(table: &str, index: &str) -> String {
    format!("alter table {} add {index}", quote(table))
}

pub(super) fn show_create(table: &str) -> String {
    format!("show create table {}", quote(table))
}

pub(super) fn drop_table(table: &str) -> String {
    format!("drop table if exists {}", quote(table))
}

pub(super) fn analyze(table: &str) -> String {
    format!("analyze table {}", quote(table))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, is: &str) -> MysqlColumn {
        MysqlColumn { name: name.into(), is: is.into() }
    }

    #[test]
    fn a_name_stays_a_name() {
        let odd = "a`; drop table x; --";
        assert_eq!(quote(odd), "`a``; drop table x; --`");
        assert_eq!(
            create_table("t`", &[column(odd, "longtext")], odd, "c", "b"),
            "create table `t``` (`a``; drop table x; --` longtext not null, _row_hash binary(16) not null, \
             primary key (`a``; drop table x; --`)) engine = InnoDB default character set utf8mb4 collate c comment 'onggi b'"
        );
        assert!(
            merge("t", &[column("k", "int"), column(odd, "int")], "k")
                .ends_with("on duplicate key update `a``; drop table x; --` = _onggi_stage.`a``; drop table x; --`")
        );
    }

    #[test]
    fn what_is_not_text_travels_in_hexadecimal() {
        let columns = [column("a", "int"), column("b", "longblob")];
        assert!(load("t", &columns).ends_with("(`a`, @c1) set `b` = unhex(@c1)"));
        assert_eq!(insert("t", &columns, 2), "insert into `t` (`a`, `b`) values (?, unhex(?)), (?, unhex(?))");
        assert!(
            contents("t", "a", &columns, true, 5).contains("hex(`b`) from `t` where `a` > ? order by `t`.`a` limit 5")
        );
    }
}
