use super::*;

fn read(text: &str) -> (Head, Vec<String>) {
    let mut problems = Vec::new();
    let head = parse("m.sql", text, &mut problems);
    let problems = problems
        .iter()
        .map(|it| it.hint.as_ref().map_or_else(|| it.to_string(), |hint| format!("{it} ({hint})")))
        .collect();
    (head, problems)
}

#[test]
fn a_whole_head_is_read() {
    let (head, problems) = read(
        "-- One row per review.\n-- The newest fetch wins: always.\n-- materialize: latest by review_id, place_id order by fetched_at\n-- key: review_id\n\
         -- check: not_null(a, b), unique(a, b), between(rating, 0, 5.5)\n-- check: accepted(kind, 'a,b', 'it''s'), references(p, staging.places)[id], references(q, raw.x)\n\
\n         -- tag: daily, naver\nselect 1 -- checks nothing (here)\n",
    );
    assert_eq!(problems, Vec::<String>::new());
    assert_eq!(head.description, "One row per review.\nThe newest fetch wins: always.");
    assert_eq!(head.materialize.unwrap().0.to_string(), "latest by review_id, place_id order by fetched_at");
    assert_eq!(head.key[0].0, "review_id");
    let checks: Vec<_> = head.checks.iter().map(|(check, _)| check.to_string()).collect();
    assert_eq!(
        checks,
        [
            "not_null(a)",
            "not_null(b)",
            "unique(a, b)",
            "between(rating, 0, 5.5)",
            "accepted(kind, 'a,b', 'it''s')",
            "references(p, staging.places)[id]",
            "references(q, raw.x)"
        ]
    );
    assert_eq!(head.tags, ["daily", "naver"]);
}

#[test]
fn what_is_misspelt_is_said_with_its_place() {
    let cases = [
        ("-- materialise: table", "m.sql:1:4: unknown setting `materialise` (did you mean `materialize:`?)"),
        ("-- checks: unique(a)", "m.sql:1:4: unknown setting `checks` (did you mean `check:`?)"),
        ("-- materialize: tabel", "m.sql:1:17: expected a materialization, found `tabel` (did you mean `table`?)"),
        ("-- materialize: latest review_id", "m.sql:1:24: expected `by`, found `review_id`"),
        ("-- 설명\n-- check: unqiue(a)", "m.sql:2:11: unknown check `unqiue` (did you mean `unique`?)"),
        ("-- check: between(a, 0)", "m.sql:1:23: expected `,`, found `)`"),
        ("-- check: between(a, zero, 1)", "m.sql:1:22: expected a number or a text in single quotes, found `zero`"),
        ("-- check: references(a, places)", "m.sql:1:25: expected a table such as `staging.places`, found `places`"),
        (
            "-- set_aside: unique(a)",
            "m.sql:1:15: `unique(a)` looks at more than one row (only what a row says of itself can set it aside; write it as a `check:`)",
        ),
        ("-- check: unique(a) not_null(b)", "m.sql:1:21: expected the end of the line, found `not_null`"),
        ("-- check: accepted(a, 'x)", "m.sql:1:23: expected a text that ends with a quote, found `'x`"),
        ("-- key:", "m.sql:1:8: expected a column, found the end of the line"),
        ("-- check between(a, 5, 9)", "m.sql:1:4: expected `:` after `check` (write `-- check: between(a, 5, 9)`)"),
        ("-- materialize table", "m.sql:1:4: expected `:` after `materialize` (write `-- materialize: table`)"),
        ("-- check： not_null(a)", "m.sql:1:4: expected `:` after `check`, found `：` (write `-- check: not_null(a)`)"),
        ("-- * key: a", "m.sql:1:4: `key:` does not begin its line (write `-- key: a`)"),
        (
            "-- • set_aside: not_null(a)",
            "m.sql:1:4: `set_aside:` does not begin its line (write `-- set_aside: not_null(a)`)",
        ),
        ("-- check = not_null(a)", "m.sql:1:4: expected `:` after `check` (write `-- check: not_null(a)`)"),
        ("-- cheque: unique(a)", "m.sql:1:4: unknown setting `cheque` (write `-- check: unique(a)`)"),
        ("--- check: unqiue(a)", "m.sql:1:12: unknown check `unqiue` (did you mean `unique`?)"),
        ("-- text\n\n\n-- check: unqiue(a)", "m.sql:4:11: unknown check `unqiue` (did you mean `unique`?)"),
        (
            "select 1\n-- check: unique(a)",
            "m.sql:2:1: `check: unique(a)` stands where no setting is read (settings are lines of their own that begin with `--`, above the SQL)",
        ),
        (
            "select 1 -- check unique(a)",
            "m.sql:1:10: `check unique(a)` stands where no setting is read (settings are lines of their own that begin with `--`, above the SQL)",
        ),
        (
            "/* words\n * key: a\n */ select 1",
            "m.sql:2:1: `key: a` stands where no setting is read (settings are lines of their own that begin with `--`, above the SQL)",
        ),
        ("-- check; between(a, 5, 9)", "m.sql:1:4: expected `:` after `check` (write `-- check: between(a, 5, 9)`)"),
        ("-- set aside: between(a, 0, 9)", "m.sql:1:4: unknown setting `set aside` (did you mean `set_aside:`?)"),
        ("-- not_null(id)", "m.sql:1:4: `not_null(…)` stands without its setting (write `-- check: not_null(id)`)"),
        ("-- unique: genre", "m.sql:1:4: unknown setting `unique` (write `-- check: unique(…)`)"),
        ("-- materialize: view\n-- materialize: table", "m.sql:2:4: `materialize` is said twice (keep one of them)"),
    ];
    for (text, expected) in cases {
        assert_eq!(read(text).1, [expected], "{text}");
    }
}

#[test]
fn prose_with_a_colon_is_prose() {
    let (head, problems) = read(
        "-- Note: the page shows ten.\n-- Check days: those of 2020.\n-- length(body) counts characters.\n-- 참고: 없음\nselect '-- check: unique(a)' -- check that it is unique (by day)",
    );
    assert_eq!(problems, Vec::<String>::new());
    assert_eq!(
        head.description,
        "Note: the page shows ten.\nCheck days: those of 2020.\nlength(body) counts characters.\n참고: 없음"
    );
}
