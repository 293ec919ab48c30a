//! What people gave a table that we made: rights, policies, comments, indexes. A table that takes its place gets them; what it can't get
//! – triggers, rules, constraints, publications and the like – refuses the swap before a row is read.
//!
//! The server writes the statements itself (`format` with `%I` and `%L`), so that every name and text is quoted by its own rules.

use sqlx::Row as _;
use sqlx::postgres::PgConnection;

use super::connect::within;
use super::layout::PostgresLayout;
use super::sql::{self, Name, Sql};
use super::state::SHORT;
use crate::fault::SinkFault;

/// The table by schema and name.
const OID: &str = "(select c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = $1 and c.relname = $2)";

/// What would be lost with the table, in words.
const BOUND: &str = "
    select 'the trigger ' || tgname from pg_trigger where tgrelid = it.oid and not tgisinternal
    union all select 'the rule ' || rulename from pg_rewrite where ev_class = it.oid
    union all select 'the constraint ' || conname from pg_constraint
        where conrelid = it.oid and contype not in ('p', 'n') or confrelid = it.oid
    union all select 'the publication ' || pubname from pg_publication_rel r join pg_publication p on p.oid = r.prpubid
        where r.prrelid = it.oid
    union all select 'the statistics ' || stxname from pg_statistic_ext where stxrelid = it.oid
    union all select 'an inheritance' from pg_inherits where inhrelid = it.oid or inhparent = it.oid
    union all select 'a security label' from pg_seclabels where objoid = it.oid and classoid = 'pg_class'::regclass
    union all select 'a replica identity of its own' from pg_class where oid = it.oid and relreplident <> 'd'
    union all select distinct 'the view ' || v.oid::regclass from pg_depend d join pg_rewrite r on r.oid = d.objid
        join pg_class v on v.oid = r.ev_class
        where d.classid = 'pg_rewrite'::regclass and d.refclassid = 'pg_class'::regclass and d.refobjid = it.oid
          and v.oid <> it.oid";

/// The statements that give the new table (`$3`) what the old one has.
const CARRIED: &str = "
    select 1, format('alter table %I.%I owner to %I', $1, $3, r.rolname)
        from pg_class c join pg_roles r on r.oid = c.relowner where c.oid = it.oid and r.rolname <> current_user
    union all select 2, format('alter table %I.%I set (%I = %L)', $1, $3, split_part(o, '=', 1), substr(o, strpos(o, '=') + 1))
        from pg_class c cross join unnest(c.reloptions) o where c.oid = it.oid
    union all select 2, format('alter table %I.%I set tablespace %I', $1, $3, t.spcname)
        from pg_class c join pg_tablespace t on t.oid = c.reltablespace
        where c.oid = it.oid and c.reltablespace <> (select n.reltablespace from pg_class n
            join pg_namespace s on s.oid = n.relnamespace where s.nspname = $1 and n.relname = $3)
    union all select 3, format('grant %s on %I.%I to %s%s', a.privilege_type, $1, $3,
            case when a.grantee = 0 then 'public' else format('%I', r.rolname) end,
            case when a.is_grantable then ' with grant option' else '' end)
        from pg_class c cross join lateral aclexplode(c.relacl) a left join pg_roles r on r.oid = a.grantee
        where c.oid = it.oid and a.grantee <> c.relowner and (a.grantee = 0 or r.rolname is not null)
    union all select 5, format('comment on table %I.%I is %L', $1, $3, d.description)
        from pg_description d where d.objoid = it.oid and d.classoid = 'pg_class'::regclass and d.objsubid = 0
    union all select 7, format('create policy %I on %I.%I as %s for %s to %s%s%s', p.polname, $1, $3,
            case when p.polpermissive then 'permissive' else 'restrictive' end,
            case p.polcmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' when 'd' then 'delete' else 'all' end,
            (select string_agg(case when r.oid is null then 'public' else format('%I', r.rolname) end, ', ')
             from unnest(p.polroles) role left join pg_roles r on r.oid = role),
            ' using (' || pg_get_expr(p.polqual, p.polrelid) || ')',
            ' with check (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')')
        from pg_policy p where p.polrelid = it.oid
    union all select 8, format('alter table %I.%I enable row level security', $1, $3)
        from pg_class where oid = it.oid and relrowsecurity
    union all select 9, format('alter table %I.%I force row level security', $1, $3)
        from pg_class where oid = it.oid and relforcerowsecurity";

/// The same for its columns (`$4`).
const CARRIED_COLUMNS: &str = "
    select 4, format('grant %s (%I) on %I.%I to %s%s', a.privilege_type, t.attname, $1, $3,
            case when a.grantee = 0 then 'public' else format('%I', r.rolname) end,
            case when a.is_grantable then ' with grant option' else '' end)
        from pg_attribute t cross join lateral aclexplode(t.attacl) a left join pg_roles r on r.oid = a.grantee
        where t.attrelid = it.oid and t.attnum > 0 and not t.attisdropped and t.attname = any ($4)
          and (a.grantee = 0 or r.rolname is not null)
    union all select 6, format('comment on column %I.%I.%I is %L', $1, $3, t.attname, d.description)
        from pg_description d join pg_attribute t on t.attrelid = d.objoid and t.attnum = d.objsubid
        where d.objoid = it.oid and d.classoid = 'pg_class'::regclass and d.objsubid > 0 and t.attname = any ($4)";

/// Other people's indexes: name, and the statement that makes the same one of the new table under another name.
const INDEXES: &str = "
    select i.relname::text,
        case when starts_with(d.def, h.head) then format('create %sindex %%s on %I.%I%s',
            case when x.indisunique then 'unique ' else '' end, $1, $3, substr(d.def, length(h.head) + 1)) end
    from pg_index x join pg_class i on i.oid = x.indexrelid
    cross join lateral (select pg_get_indexdef(i.oid) as def) d
    cross join lateral (select format('CREATE %sINDEX %I ON %I.%I', case when x.indisunique then 'UNIQUE ' else '' end,
        i.relname, $1, $2) as head) h
    where x.indrelid = it.oid and not x.indisprimary and i.relname <> all ($4)
      and not exists (select from pg_constraint where conindid = i.oid)
    order by 1";

fn about(query: &str) -> String {
    format!("with it as materialized (select oid from (select {OID} as oid) as found where oid is not null) {}", {
        let query = query.trim();
        query.replace("it.oid", "(select oid from it)")
    })
}

/// Refuses to make a table anew that has what the new one can't get.
///
/// # Errors
/// A [`SinkFault`] that names all of it.
pub(super) async fn refuse_bound(connection: &mut PgConnection, table: &Name) -> Result<(), SinkFault> {
    let query = sqlx::query_scalar(sql::by_server(about(BOUND))).bind(&table.schema).bind(&table.name);
    let bound: Vec<String> = within(SHORT, query.fetch_all(connection)).await?;
    if bound.is_empty() {
        return Ok(());
    }
    Err(SinkFault::new(
        format!(
            "{table} must be made anew, since its columns or roles are other ones, and {} would be lost with it",
            bound.join(", ")
        ),
        "drop that, sync, and create it again; or sync into another schema (`[postgres] schema`) and let both stand",
    ))
}

/// Gives `new` what people gave `old`, where its columns are there.
pub(super) async fn carry(
    connection: &mut PgConnection,
    layout: &PostgresLayout,
    new: &Name,
) -> Result<Vec<(Name, String)>, SinkFault> {
    let old = &layout.table;
    let asked = format!("{CARRIED} union all {CARRIED_COLUMNS} order by 1");
    for statement in statements(connection, &asked, old, new, &layout.sent()).await? {
        within(SHORT, sqlx::raw_sql(statement).execute(&mut *connection)).await?;
    }
    let ours: Vec<String> = ["key", "entity", "text", "vector"].map(|of| layout.index_name(of)).to_vec();
    let query = sqlx::query(sql::by_server(about(INDEXES)));
    let query = query.bind(&old.schema).bind(&old.name).bind(&new.name).bind(&ours);
    let mut renamed = Vec::new();
    for (at, row) in within(SHORT, query.fetch_all(&mut *connection)).await?.iter().enumerate() {
        let (name, statement): (String, Option<String>) = (row.try_get(0)?, row.try_get(1)?);
        let Some(statement) = statement else {
            return Err(SinkFault::new(
                format!("{old} must be made anew, and its index `{name}` can't be made again"),
                "drop that index, sync, and create it again",
            ));
        };
        let fresh = layout.index_name(&format!("carried_{at}"));
        let statement = statement.replacen("%s", &sql::quote(&fresh), 1);
        within(super::layout::LONG, sqlx::raw_sql(sql::by_server(statement)).execute(&mut *connection)).await?;
        renamed.push((new.beside(fresh), name));
    }
    Ok(renamed)
}

/// What gives a column, when it has been made again, the rights and the comment that it has.
pub(super) async fn of_column(
    connection: &mut PgConnection,
    table: &Name,
    column: &str,
) -> Result<Vec<Sql>, SinkFault> {
    statements(connection, CARRIED_COLUMNS, table, table, &[column.to_owned()]).await
}

/// The statements that such a query finds, about one table and another.
async fn statements(
    connection: &mut PgConnection,
    asked: &str,
    old: &Name,
    new: &Name,
    columns: &[String],
) -> Result<Vec<Sql>, SinkFault> {
    let query = sqlx::query(sql::by_server(about(asked)));
    let query = query.bind(&old.schema).bind(&old.name).bind(&new.name).bind(columns);
    let rows = within(SHORT, query.fetch_all(connection)).await?;
    // A part of a statement that is null (`using` of a policy without one) is empty in `format`.
    rows.iter().map(|row| Ok(sql::by_server(row.try_get(1)?))).collect()
}
