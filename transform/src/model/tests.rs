use super::*;

fn file(path: &str, text: &str) -> ModelFile {
    ModelFile { path: path.to_owned(), text: text.to_owned() }
}

fn problems(files: &[(&str, &str)]) -> Vec<String> {
    let found = Models::parse(files.iter().map(|(path, text)| file(path, text)).collect()).err().unwrap_or_default();
    found.iter().map(|it| it.hint.as_ref().map_or_else(|| it.to_string(), |hint| format!("{it} ({hint})"))).collect()
}

const OK: &str = "-- materialize: table\nselect 1 as a";

#[test]
fn a_path_is_a_name_and_a_pipeline() {
    let cases = [
        ("sql/reviews/staging/places.sql", "staging.places", Some("reviews")),
        ("sql/staging/places.sql", "staging.places", None),
        ("./staging/places.sql", "staging.places", None),
        ("/home/a/project/sql/ads/marts/cost_daily.sql", "marts.cost_daily", Some("ads")),
    ];
    for (path, name, pipeline) in cases {
        let models = Models::parse(vec![file(path, OK)]).unwrap();
        let model = models.iter().next().unwrap();
        assert_eq!((model.name().to_string().as_str(), model.pipeline()), (name, pipeline), "{path}");
    }
    assert_eq!(
        problems(&[("sql/stagin/a.sql", OK)]),
        ["sql/stagin/a.sql:1:1: `stagin/a` is no name for a table (did you mean the folder `staging`?)"]
    );
    assert_eq!(
        problems(&[("sql/raw/a.sql", OK)]),
        [
            "sql/raw/a.sql:1:1: a model can't make `raw.a` (raw tables are written by sources and ops tables by runs; use `staging` or `marts`)"
        ]
    );
}

#[test]
fn everything_wrong_is_said_at_once() {
    let found = problems(&[
        ("x/staging/a.sql", "-- materialize: tabel\n-- check: unqiue(b)\nselect b, $day from raw.a where now() > b"),
        ("x/staging/b.sql", "-- materialize: table\nselect * frm raw.a"),
        ("x/staging/c.sql", "-- materialize: table\ndrop table raw.a"),
        ("x/staging/d.sql", "select 1 as a from reviews"),
        ("x/staging/e.sql", "-- materialize: view\nselect * from raw.a where dt = $dt"),
        ("x/staging/f.sql", "-- materialize: latest by a order by b\nselect * from raw.a\nwhere dt > $dt"),
        ("y/staging/a.sql", OK),
        ("z/staging/a.sql", OK),
    ]);
    insta::assert_snapshot!(found.join("\n"), @r"
    x/staging/a.sql:1:17: expected a materialization, found `tabel` (did you mean `table`?)
    x/staging/a.sql:2:11: unknown check `unqiue` (did you mean `unique`?)
    x/staging/a.sql:3:11: unknown parameter `$day` (`$dt`, the day of the run, is the only one)
    x/staging/a.sql:3:33: `now` answers differently each time (a model must give the same rows when it is built again; use `$dt` or a column)
    x/staging/b.sql:2:10: expected end of statement, found frm
    x/staging/c.sql:1:1: expected a query, found `drop` (a model is one `select`; the table is made from its rows)
    x/staging/d.sql:1:1: `staging.d` doesn't say how it is kept (add `-- materialize: view`, `partition`, `table` or `latest by <key> order by <column>`)
    x/staging/d.sql:1:20: `reviews` is no name for a table (a table is `layer.name`, such as `staging.reviews`)
    x/staging/e.sql:2:15: a view can't use `$dt` (a view is read on any day; use `partition` or `table`)
    x/staging/f.sql:3:12: expected `$dt` of a `latest` model only as `column = $dt` (the rows of several days are merged at once)
    y/staging/a.sql:1:1: two models make `staging.a` (`x/staging/a.sql` makes it too; rename or remove one of them)
    z/staging/a.sql:1:1: two models make `staging.a` (`x/staging/a.sql` makes it too; rename or remove one of them)
    ");
}

#[test]
fn a_cycle_is_a_path() {
    let found = problems(&[
        ("x/staging/a.sql", "-- materialize: table\nselect * from marts.c"),
        ("x/staging/b.sql", "-- materialize: table\nselect * from staging.a"),
        ("x/marts/c.sql", "-- materialize: table\nselect *\nfrom staging.b"),
    ]);
    assert_eq!(
        found,
        [
            "x/marts/c.sql:3:6: a cycle: marts.c → staging.b → staging.a → marts.c (a table can't be made from itself; read an earlier layer instead)"
        ]
    );
}

#[test]
fn models_come_after_what_they_read_and_check() {
    let models = Models::parse(vec![
        file("x/marts/a.sql", "-- materialize: table\n-- check: references(p, marts.z)\nselect p from staging.v"),
        file("x/marts/z.sql", "-- materialize: table\nselect 1 as p"),
        file("x/staging/v.sql", "-- materialize: view\nselect p from raw.r join staging.s using (p)"),
        file("x/staging/s.sql", "-- materialize: partition\nselect p from raw.q where dt = $dt"),
    ])
    .unwrap();
    let order: Vec<_> = models.iter().map(|model| model.name().to_string()).collect();
    assert_eq!(order, ["marts.z", "staging.s", "staging.v", "marts.a"]);
    let external: Vec<_> = models.external_tables().iter().map(ToString::to_string).collect();
    assert_eq!(external, ["raw.q", "raw.r"]);
    let (stored, views) = models.resolve(["staging.v".parse().unwrap()]);
    assert_eq!(stored.iter().map(ToString::to_string).collect::<Vec<_>>(), ["raw.r", "staging.s"]);
    assert_eq!(views.len(), 1);
}

#[test]
fn a_key_implies_its_checks_and_prose_changes_no_hash() {
    let model = |text: &str| Models::parse(vec![file("x/staging/a.sql", text)]).unwrap().iter().next().unwrap().clone();
    let one = model(
        "-- A.\n-- materialize: latest by id order by at\n-- key: id\n-- check: unique(id)\nselect id, at from raw.a",
    );
    let checks: Vec<_> = one.checks().iter().map(ToString::to_string).collect();
    assert_eq!(checks, ["not_null(id)", "unique(id)"]);
    let two = model(
        "-- B, in other words.\n-- materialize: latest by id order by at\n-- key: id\n-- check: unique(id)\nSELECT id,\n  at -- why\nfrom raw.a",
    );
    assert_eq!((one.rows_hash(), one.checks_hash()), (two.rows_hash(), two.checks_hash()));
    let three = model(
        "-- materialize: latest by id order by at\n-- key: id\n-- check: between(at, 0, 1)\nselect id, at from raw.a",
    );
    assert_eq!(one.rows_hash(), three.rows_hash());
    assert_ne!(one.checks_hash(), three.checks_hash());
    let four = model("-- materialize: table\n-- key: id\nselect id, at from raw.a");
    assert_ne!(one.rows_hash(), four.rows_hash());
}

#[test]
fn the_models_that_come_along_hold_together() {
    let files = crate::templates().iter().map(|(path, text)| file(path, text)).collect();
    let models = Models::parse(files).unwrap();
    let order: Vec<_> = models.iter().map(|model| model.name().to_string()).collect();
    assert_eq!(
        order,
        [
            "staging.places",
            "staging.reviews",
            "marts.place_reviews",
            "marts.places",
            "marts.review_texts",
            "marts.reviews_daily"
        ]
    );
    for model in models.iter() {
        assert!(!model.description().is_empty(), "{}", model.name());
    }
    let external: Vec<_> = models.external_tables().iter().map(ToString::to_string).collect();
    assert_eq!(external, ["raw.naver_places", "raw.naver_reviews", "staging.place_summaries"]);
}
