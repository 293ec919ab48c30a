//! What the parser reads and the engine passes over, or cannot do: refused where it stands, with what to write instead.
//!
//! The parser knows the words of a dozen databases. The engine looks at some of what it has read and never at the rest, so that a
//! `with rollup` or a `tablesample` would be answered as if it were not there. Each part of the syntax is taken apart whole here:
//! a clause that a later parser reads does not compile until somebody has said what becomes of it.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::LazyLock;

use datafusion::execution::SessionStateDefaults;
use datafusion::sql::sqlparser::ast::{
    Cte, DuplicateTreatment, Expr, Function, FunctionArgumentList, FunctionArguments, GroupByExpr, GroupByWithModifier,
    Join, LimitClause, ObjectName, OrderBy, OrderByKind, Query, Select, SelectFlavor, SetExpr, TableAlias, TableFactor,
    TableFunctionArgs, Visit, Visitor,
};

use super::reader::object_name;

/// What is read and not done.
pub(super) struct PassedOver {
    /// The words that were typed.
    pub(super) what: &'static str,
    /// The word to look for in the text.
    pub(super) word: String,
    /// What to write instead.
    pub(super) hint: &'static str,
}

/// Finds the first of them.
pub(super) struct Seeker;

type Found = ControlFlow<PassedOver>;

const GOES_ON: Found = ControlFlow::Continue(());

/// Stops at a part that is there.
fn absent(is_there: bool, what: &'static str, hint: &'static str) -> Found {
    let word = what.rsplit(' ').next().unwrap_or(what).to_owned();
    if is_there { ControlFlow::Break(PassedOver { what, word, hint }) } else { GOES_ON }
}

const LEAVE_OUT: &str = "leave it out";
const CASE_PIVOT: &str = "write each column: `sum(case when kind = 'a' then n end) as a`, and `group by` the rest";
const UNNEST: &str = "a list is unfolded in the list of columns: `select id, unnest(list) as item from …`, in a subquery if more is done with it";
const SAMPLE: &str =
    "no two builds would take the same rows; `where` takes a part by the key, as in `abs(hash_number) % 10 = 0`";

impl Visitor for Seeker {
    type Break = PassedOver;

    fn pre_visit_query(&mut self, query: &Query) -> Found {
        let Query {
            with,
            body,
            order_by,
            limit_clause,
            fetch,
            locks,
            for_clause,
            settings,
            format_clause,
            pipe_operators: _,
        } = query;
        for Cte { alias, query: _, from, materialized: _, closing_paren_token: _ } in
            with.iter().flat_map(|with| &with.cte_tables)
        {
            of_alias(Some(alias))?;
            absent(from.is_some(), "from", "a part of `with` is `name as (select …)`")?;
        }
        if let Some(OrderBy { kind, interpolate }) = order_by {
            let of_select = matches!(body.as_ref(), SetExpr::Select(_));
            let all = matches!(kind, OrderByKind::All(_)) && !of_select;
            absent(all, "order by all", "name the columns: `order by a, b`")?;
            absent(interpolate.is_some(), "interpolate", LEAVE_OUT)?;
        }
        let endless = matches!(limit_clause, Some(LimitClause::LimitOffset { limit: None, offset: Some(_), .. }));
        // An order that is asked for above it would take the place of its own.
        absent(endless, "offset", "say a `limit` too, as large as need be: `limit 1000000 offset 10`")?;
        absent(fetch.is_some(), "fetch", "write `limit 10`")?;
        absent(!locks.is_empty(), "for", "nobody changes what a query reads: leave it out")?;
        absent(for_clause.is_some(), "for", "an answer is rows: leave it out")?;
        absent(settings.is_some(), "settings", LEAVE_OUT)?;
        absent(format_clause.is_some(), "format", "`onggi sql --json` and `--csv` say how the answer is written")
    }

    fn pre_visit_select(&mut self, select: &Select) -> Found {
        let Select {
            select_token: _,
            // Hints that change no row.
            optimizer_hints: _,
            select_modifiers: _,
            distinct: _,
            top,
            top_before_distinct: _,
            projection: _,
            exclude,
            into,
            from,
            lateral_views,
            prewhere,
            selection: _,
            connect_by,
            group_by,
            cluster_by,
            distribute_by,
            sort_by,
            having: _,
            named_window: _,
            qualify: _,
            window_before_qualify: _,
            value_table_mode,
            flavor,
        } = select;
        absent(top.is_some(), "top", "write `limit 10` at the end")?;
        absent(exclude.is_some(), "exclude", "write it behind the star: `select * exclude (a)`")?;
        absent(into.is_some(), "into", "a query writes nothing: a model makes a table")?;
        absent(!lateral_views.is_empty(), "lateral view", UNNEST)?;
        absent(prewhere.is_some(), "prewhere", "write `where`")?;
        absent(!connect_by.is_empty(), "connect", "write `with recursive`")?;
        absent(!cluster_by.is_empty(), "cluster", LEAVE_OUT)?;
        absent(!distribute_by.is_empty(), "distribute", LEAVE_OUT)?;
        absent(!sort_by.is_empty(), "sort", "write `order by`")?;
        absent(value_table_mode.is_some(), "as", "name the columns")?;
        let no_select = matches!(flavor, SelectFlavor::FromFirstNoSelect);
        absent(no_select, "from", "say which columns: `select * from …`")?;
        let (GroupByExpr::All(modifiers) | GroupByExpr::Expressions(_, modifiers)) = group_by;
        for modifier in modifiers {
            match modifier {
                GroupByWithModifier::Rollup => absent(true, "with rollup", "write `group by rollup (a, b)`")?,
                GroupByWithModifier::Cube => absent(true, "with cube", "write `group by cube (a, b)`")?,
                GroupByWithModifier::Totals => absent(true, "with totals", "write `group by rollup (a, b)`")?,
                GroupByWithModifier::GroupingSets(_) => {
                    absent(true, "grouping sets", "write `group by grouping sets ((a), (b))` alone")?;
                }
            }
        }
        for Join { relation: _, global, join_operator: _ } in from.iter().flat_map(|tables| &tables.joins) {
            absent(*global, "global", LEAVE_OUT)?;
        }
        GOES_ON
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> Found {
        use TableFactor as F;
        match factor {
            F::Table {
                name: _,
                alias,
                args,
                with_hints,
                version,
                with_ordinality,
                partitions,
                json_path,
                sample,
                index_hints,
            } => {
                of_alias(alias.as_ref())?;
                let settings = args.as_ref().is_some_and(|TableFunctionArgs { args: _, settings }| settings.is_some());
                absent(settings, "settings", LEAVE_OUT)?;
                absent(!with_hints.is_empty(), "with", LEAVE_OUT)?;
                absent(version.is_some(), "for", "a query reads the newest version of a table")?;
                absent(*with_ordinality, "with ordinality", "number the rows: `row_number() over (order by …)`")?;
                absent(!partitions.is_empty(), "partition", "take the days by `where dt = …`")?;
                absent(json_path.is_some(), "from", "name the table alone, and its members in the list of columns")?;
                absent(sample.is_some(), "tablesample", SAMPLE)?;
                absent(!index_hints.is_empty(), "index", LEAVE_OUT)
            }
            F::Derived { lateral: _, subquery: _, alias, sample } => {
                of_alias(alias.as_ref())?;
                absent(sample.is_some(), "tablesample", SAMPLE)
            }
            F::Function { lateral: _, name: _, args: _, with_ordinality, alias } => {
                of_alias(alias.as_ref())?;
                absent(*with_ordinality, "with ordinality", "number the rows: `row_number() over (order by …)`")
            }
            F::UNNEST { alias, array_exprs, with_offset, with_offset_alias, with_ordinality } => {
                of_alias(alias.as_ref())?;
                absent(*with_offset || with_offset_alias.is_some(), "with offset", UNNEST)?;
                absent(*with_ordinality, "with ordinality", UNNEST)?;
                let mut columns = SpeaksOfColumns(false);
                let _ = array_exprs.visit(&mut columns);
                absent(columns.0, "unnest", UNNEST)
            }
            F::NestedJoin { table_with_joins: _, alias } => of_alias(alias.as_ref()),
            F::TableFunction { .. } => absent(true, "table", "name the function alone: `from generate_series(1, 3)`"),
            F::Pivot { .. } => absent(true, "pivot", CASE_PIVOT),
            F::Unpivot { .. } => absent(true, "unpivot", "write one `select` for each column, with `union all`"),
            F::MatchRecognize { .. } => {
                absent(true, "match_recognize", "window functions look at rows before and after")
            }
            F::JsonTable { .. } => absent(true, "json_table", "take members by `json_get(column, '…')` and the like"),
            F::OpenJsonTable { .. } => absent(true, "openjson", "take members by `json_get(column, '…')` and the like"),
            F::XmlTable { .. } => absent(true, "xmltable", LEAVE_OUT),
            F::SemanticView { .. } => absent(true, "semantic_view", LEAVE_OUT),
        }
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> Found {
        match expr {
            Expr::Function(function) => of_call(function),
            Expr::RLike { .. } => absent(true, "rlike", "write `regexp_like(text, 'pattern')`"),
            Expr::Collate { .. } => absent(true, "collate", "texts are compared letter by letter: leave it out"),
            Expr::InUnnest { .. } => absent(true, "in unnest", "write `array_has(list, value)`"),
            Expr::Like { any: true, .. } | Expr::ILike { any: true, .. } => {
                absent(true, "any", "write `like 'a%' or like 'b%'`, each with its column")
            }
            Expr::Convert { .. } => absent(true, "convert", "write `cast(… as …)`"),
            Expr::InSubquery { expr, .. } if matches!(inner(expr), Expr::Tuple(_)) => {
                absent(true, "in", "a row is looked for by `exists (select 1 from t where t.a = a and t.b = b)`")
            }
            Expr::Case { operand: Some(operand), .. } if matches!(inner(operand), Expr::Tuple(_)) => {
                absent(true, "case", "write the conditions: `case when a = 1 and b = 2 then … end`")
            }
            _ => GOES_ON,
        }
    }
}

/// What stands in any number of parentheses.
pub(super) fn inner(expr: &Expr) -> &Expr {
    match expr {
        Expr::Nested(within) => inner(within),
        other => other,
    }
}

/// Whether something speaks of a column.
struct SpeaksOfColumns(bool);

impl Visitor for SpeaksOfColumns {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        self.0 |= matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
        ControlFlow::Continue(())
    }
}

fn of_alias(alias: Option<&TableAlias>) -> Found {
    let Some(TableAlias { explicit: _, name: _, columns, at }) = alias else { return GOES_ON };
    let typed = columns.iter().any(|column| column.data_type.is_some());
    absent(typed, "as", "columns are renamed by `t(a, b)`, and cast in the list of columns")?;
    absent(at.is_some(), "at", LEAVE_OUT)
}

/// Which of three kinds a function is of.
#[derive(PartialEq, Eq)]
enum Kind {
    /// One value of each row's.
    Scalar,
    /// One of a window alone.
    Window,
    /// One that takes many rows together, or that nobody knows.
    Aggregate,
}

fn kind_of(name: &ObjectName) -> Kind {
    static SCALARS: LazyLock<HashSet<String>> = LazyLock::new(|| {
        let engines = SessionStateDefaults::default_scalar_functions();
        let names = engines.iter().flat_map(|it| it.aliases().iter().cloned().chain([it.name().to_owned()]));
        names.chain(crate::functions().iter().map(|function| function.name.to_owned())).collect()
    });
    static WINDOWS: LazyLock<HashSet<String>> = LazyLock::new(|| {
        let engines = SessionStateDefaults::default_window_functions();
        engines.iter().flat_map(|it| it.aliases().iter().cloned().chain([it.name().to_owned()])).collect()
    });
    let (name, _) = object_name(name);
    match (SCALARS.contains(&name), WINDOWS.contains(&name)) {
        (true, _) => Kind::Scalar,
        (_, true) => Kind::Window,
        _ => Kind::Aggregate,
    }
}

fn of_call(function: &Function) -> Found {
    let Function { name, uses_odbc_syntax: _, parameters, args, filter, null_treatment, over, within_group } = function;
    let word = || object_name(name).0;
    let absent = |is_there: bool, what, hint| {
        if is_there { ControlFlow::Break(PassedOver { what, word: word(), hint }) } else { GOES_ON }
    };
    let parameters = !matches!(parameters, FunctionArguments::None);
    absent(parameters, "two pairs of parentheses", "give all arguments in one: `approx_percentile_cont(column, 0.5)`")?;
    absent(
        matches!(args, FunctionArguments::Subquery(_)),
        "a query as the argument",
        "a subquery has parentheses of its own: `f((select …))`",
    )?;
    let kind = kind_of(name);
    if kind == Kind::Aggregate {
        return GOES_ON;
    }
    let no_list = FunctionArgumentList { duplicate_treatment: None, args: Vec::new(), clauses: Vec::new() };
    let FunctionArgumentList { duplicate_treatment, args: _, clauses } = match args {
        FunctionArguments::List(list) => list,
        _ => &no_list,
    };
    let not_many = "the function takes one row at a time, and only one of many rows can do that";
    let scalar = kind == Kind::Scalar;
    absent(filter.is_some(), "filter", "only a function that takes many rows together has a `filter`: write `case`")?;
    absent(*duplicate_treatment == Some(DuplicateTreatment::Distinct), "distinct", not_many)?;
    absent(!within_group.is_empty(), "within group", not_many)?;
    absent(scalar && over.is_some(), "over", not_many)?;
    absent(scalar && null_treatment.is_some(), "nulls", not_many)?;
    absent(scalar && !clauses.is_empty(), "order by", not_many)
}
