//! What there is to say about the server: who it is, whether it is asked in secret, how rows get there, and whether we may do what a sync
//! does. Rights are tried and not read: which of them suffice is the server's to say.

use mysql_async::prelude::Queryable as _;

use super::connect::{MysqlSession, SHORT, within};
use super::sql;
use crate::fault::SinkFault;

/// In one line.
///
/// # Errors
/// If a sync could not write.
pub(super) async fn report(session: &mut MysqlSession) -> Result<String, SinkFault> {
    let cipher: Option<(String, String)> =
        within(SHORT, session.get()?.query_first("show session status like 'Ssl_version'")).await?;
    let tls = cipher.map(|(_, version)| version).filter(|version| !version.is_empty());
    try_rights(session).await?;
    let server = session.server()?.clone();
    let (version, name) = (&server.version, server.name());
    let rows = if server.takes_files {
        "rows by `load data local infile`"
    } else {
        "rows one statement after another (`local_infile` is off; on, a first load is several times faster)"
    };
    // Nobody may see a trigger without that right, and a table that is made anew would lose it unseen.
    let grants: Vec<String> = within(SHORT, session.get()?.query("show grants")).await?;
    let triggers = if grants.iter().any(|grant| grant.contains("ALL PRIVILEGES") || grant.contains("TRIGGER")) {
        ""
    } else {
        ", triggers of others not seen (grant `trigger`)"
    };
    Ok(format!("{name} {version}, {}, {rows}{triggers}", tls.unwrap_or_else(|| "not encrypted".into())))
}

/// Makes, fills, changes, renames and drops a table that nobody else knows.
async fn try_rights(session: &mut MysqlSession) -> Result<(), SinkFault> {
    let id = format!("{:016x}", rand::random::<u64>());
    let (one, other) = (format!("_onggi_doctor_{id}"), format!("_onggi_doctor_{id}_b"));
    let (from, to) = (sql::quote(&one), sql::quote(&other));
    let tried = async {
        session
            .run(SHORT, &format!("create table {from} (id int not null, at int, primary key (id)) engine = InnoDB"))
            .await?;
        session.run(SHORT, "create temporary table _onggi_stage (id int)").await?;
        session.run(SHORT, &format!("insert into {from} (id) select 1 on duplicate key update at = 1")).await?;
        session.run(SHORT, &format!("delete from {from}")).await?;
        session.run(SHORT, &format!("alter table {from} add index i (at)")).await?;
        session.run(SHORT, &sql::rename(&[(&one, &other)])).await
    };
    let tried = tried.await;
    let dropped = session.run(SHORT, &format!("drop table if exists {from}, {to}")).await;
    tried.and(dropped)
}
