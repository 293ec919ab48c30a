use arrow::datatypes::TimeUnit;

use super::*;
use crate::ModelFile;

fn raw(table: &TableName) -> Option<SchemaRef> {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let list = |name: &str| Field::new_list(name, Field::new("element", DataType::Utf8, true), true);
    let at = |name: &str| Field::new(name, DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true);
    let fields = match table.to_string().as_str() {
        "raw.reviews" => vec![
            text("review_id"),
            text("place_id"),
            text("body"),
            Field::new("rating", DataType::Float64, true),
            list("keywords"),
            at("fetched_at"),
            Field::new("dt", DataType::Date32, true),
        ],
        "raw.places" => vec![text("place_id"), text("name")],
        _ => return None,
    };
    Some(Arc::new(Schema::new(fields)))
}

fn check(files: &[(&str, &str)]) -> String {
    let files =
        files.iter().map(|(path, text)| ModelFile { path: (*path).to_owned(), text: (*text).to_owned() }).collect();
    let models = Models::parse(files).unwrap();
    let found = models.check(&raw);
    found
        .iter()
        .map(|it| it.hint.as_ref().map_or_else(|| it.to_string(), |hint| format!("{it} ({hint})")))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn models_that_fit_are_silent() {
    let found = check(&[
        (
            "x/staging/reviews.sql",
            "-- materialize: latest by review_id order by fetched_at\n-- key: review_id\n-- check: references(place_id, raw.places)\nselect review_id, place_id, nfc(body) as body, rating, fetched_at from raw.reviews where dt = $dt",
        ),
        (
            "x/marts/days.sql",
            "-- materialize: partition\n-- key: dt, place_id\nselect place_id, count(*) as n from staging.reviews group by place_id",
        ),
        ("x/marts/late.sql", "-- materialize: table\nselect dt, n from marts.days where dt > $dt - interval '7 days'"),
    ]);
    assert_eq!(found, "");
}

#[test]
fn every_error_has_its_place_and_a_way_out() {
    let found = check(&[
        (
            "x/staging/a.sql",
            "-- materialize: latest by reviewid order by fetched_at\n-- check: between(ratng, 0, 5), references(place_id, raw.places)[placeid]\nselect review_id, place_id, rating, fetched_at\nfrom raw.reviews",
        ),
        (
            "x/staging/b.sql",
            "-- materialize: table\nselect\n    reviw_id,\n    ncf(body) as body,\n    r.plce_id,\n    q.rating\nfrom raw.reviews as r\nwhere ratng > 3\ngroup by bodi",
        ),
        ("x/staging/c.sql", "-- materialize: table\nselect * from raw.review"),
        ("x/staging/d.sql", "-- materialize: table\nselect korean_number(rating, 1) as n from raw.reviews"),
        ("x/staging/e.sql", "-- materialize: table\nselect place_id from raw.reviews join raw.places on true"),
        (
            "x/staging/f.sql",
            "-- materialize: table\nselect null as nothing, fetched_at - fetched_at as age from raw.reviews",
        ),
        ("x/staging/g.sql", "-- materialize: table\nselect rating + keywords as n from raw.reviews"),
        (
            "x/staging/h.sql",
            "-- materialize: table\nselect place_id from raw.reviews where rating > 1\ngroup by plce_id order by ratingg",
        ),
        ("x/marts/below.sql", "-- materialize: table\nselect what, ever from staging.b join staging.c using (x)"),
    ]);
    insta::assert_snapshot!(found, @r"
    x/staging/a.sql:1:27: no column `reviewid` in `staging.a` (did you mean `review_id`?)
    x/staging/a.sql:2:19: no column `ratng` in `staging.a` (did you mean `rating`?)
    x/staging/a.sql:2:66: no column `placeid` in `raw.places` (did you mean `place_id`?)
    x/staging/b.sql:3:5: no column `reviw_id` (did you mean `review_id`?)
    x/staging/b.sql:4:5: no function `ncf` (did you mean `nfc`?)
    x/staging/b.sql:5:5: no column `r.plce_id` (did you mean `place_id`?)
    x/staging/b.sql:6:5: no column `q.rating` (`q` is not in this `from`)
    x/staging/b.sql:8:7: no column `ratng` (did you mean `rating`?)
    x/staging/b.sql:9:10: no column `bodi` (did you mean `body`?)
    x/staging/c.sql:2:15: no table `raw.review` (did you mean `raw.reviews`?)
    x/staging/d.sql:2:8: `korean_number` takes 1 argument, and has 2 (korean_number(text utf8) -> float64)
    x/staging/e.sql:2:8: column `place_id` is in more than one table (say which: `table.place_id`)
    x/staging/f.sql:2:16: column `nothing`: expected a type that Delta keeps, found null (say which type it is: `cast(null as varchar)`)
    x/staging/f.sql:2:52: column `age`: expected a type that Delta keeps, found duration(µs) (keep a number: `extract(epoch from …)`)
    x/staging/g.sql:2:8: cannot coerce arithmetic expression double + List(text, field: 'element') to valid types
    x/staging/h.sql:3:10: no column `plce_id` (did you mean `place_id`?)
    x/staging/h.sql:3:27: no column `ratingg` (did you mean `rating`?)
    ");
}

#[test]
fn sixty_models_take_well_under_a_second() {
    let mut files = vec![ModelFile {
        path: "x/staging/m0.sql".to_owned(),
        text: "-- materialize: table\nselect place_id, rating from raw.reviews".to_owned(),
    }];
    for number in 1..60 {
        let before = number - 1;
        let text = format!(
            "-- materialize: table\nwith a as (select place_id, avg(rating) as rating from staging.m{before} group by place_id)\nselect a.place_id, a.rating from a join raw.places as p on p.place_id = a.place_id"
        );
        files.push(ModelFile { path: format!("x/staging/m{number}.sql"), text });
    }
    let models = Models::parse(files).unwrap();
    let started = std::time::Instant::now();
    assert_eq!(models.check(&raw), []);
    assert!(started.elapsed().as_secs_f64() < 3.0, "took {:?} in a build for tests", started.elapsed());
}
