//! The laws of the generator.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::date;
use serde_json::Value;

use super::*;
use crate::options::Sizes;
use crate::words::Mood;

fn world(seed: u64, sizes: Vec<u64>) -> World {
    World::build(&ReplicaOptions { seed, sizes: Sizes::Explicit(sizes), ..Default::default() }).unwrap()
}

fn json(world: &World, index: usize, number: u64) -> Value {
    world.review(index, number).to_json(&world.places[index], world.today, false)
}

#[test]
fn the_same_seed_gives_the_same_bytes_in_any_order() {
    let (a, b, other) = (world(5, vec![50, 80]), world(5, vec![50, 80]), world(6, vec![50, 80]));
    let there: Vec<String> = (0..80).map(|number| json(&a, 1, number).to_string()).collect();
    let back: Vec<String> = (0..80).rev().map(|number| json(&b, 1, number).to_string()).collect();
    assert!(there.iter().eq(back.iter().rev()));
    assert_ne!(there[0], json(&other, 1, 0).to_string());
}

#[test]
fn ids_are_unique_hold_their_time_and_rise_with_the_number() {
    let world = world(1, vec![2_000, 2_000, 500]);
    let mut ids = BTreeSet::new();
    for (index, place) in world.places.iter().enumerate() {
        let mut last = i64::MIN;
        for number in 0..place.reviews + 20 {
            let review = world.review(index, number);
            assert!(review.id.len() == 24 && review.id.bytes().all(|byte| byte.is_ascii_hexdigit()));
            assert_eq!(i64::from_str_radix(&review.id[..8], 16).unwrap(), review.created.as_second());
            assert!(review.created.as_second() >= last, "place {index} number {number}");
            assert!(review.visited <= review.created);
            last = review.created.as_second();
            assert!(ids.insert(review.id), "place {index} number {number}");
        }
    }
}

#[test]
fn dates_drop_the_year_only_in_the_current_one() {
    let world = world(2, vec![600]);
    let shapes: BTreeMap<usize, u64> = (0..600).fold(BTreeMap::new(), |mut shapes, number| {
        let visited = json(&world, 0, number)["visited"].as_str().unwrap().to_owned();
        *shapes.entry(visited.split('.').count()).or_default() += 1;
        shapes
    });
    assert_eq!(shapes.keys().copied().collect::<Vec<_>>(), [3, 4]);
    assert!(shapes.values().all(|count| *count > 50), "{shapes:?}");
}

#[test]
fn texts_are_varied_and_carry_what_real_ones_carry() {
    let world = world(3, vec![4_000; 3]);
    let reviews: Vec<_> = (0..3)
        .flat_map(|index| (0..4_000).map(move |number| (index, number)))
        .map(|(index, number)| world.review(index, number))
        .collect();
    let bodies: Vec<&str> = reviews.iter().map(|review| review.text.body.as_str()).collect();
    let distinct: BTreeSet<&str> = bodies.iter().copied().collect();
    assert!(distinct.len() > 9_500, "{} distinct of {}", distinct.len(), bodies.len());
    let share = |wanted: &dyn Fn(&&str) -> bool| bodies.iter().copied().filter(|body| wanted(body)).count();
    assert!((300..1_000).contains(&share(&|body| body.is_empty())));
    assert!(share(&|body| body.contains('\n')) > 500);
    assert!(share(&|body| body.contains("<b>") || body.contains("&amp;")) > 50);
    assert!(share(&|body| body.contains('😋')) > 100);
    assert!(share(&|body| body.contains('\u{1161}')) > 50, "decomposed syllables");
    assert!(reviews.iter().filter(|review| !review.contacts().is_empty()).count() > 50);
    assert!(
        reviews.iter().all(|review| review
            .text
            .contacts
            .iter()
            .all(|contact| crate::hangul::decompose(contact) == *contact))
    );
    assert!(
        bodies.iter().all(|body| !body.contains("{m")
            && !body.contains("{n")
            && !body.contains("{a")
            && !body.contains("{phone"))
    );
    assert!(
        reviews.iter().any(|review| review.reply.is_some()) && reviews.iter().any(|review| review.rating.is_some())
    );
    assert!(reviews.iter().filter(|review| review.rating.is_none()).count() > 8_000);
}

#[test]
fn a_rainy_evening_alone_has_an_answer() {
    let world = World::build(&ReplicaOptions::default()).unwrap();
    let answers: Vec<usize> = (0..world.places.len())
        .filter(|index| {
            let place = &world.places[*index];
            place.category.label == "국밥"
                && place.moods.contains(&Mood::Rain)
                && place.moods.contains(&Mood::Solo)
                && place.reviews >= 20
        })
        .collect();
    assert!(!answers.is_empty());
    let said = |index: usize| {
        (0..world.places[index].reviews.min(300))
            .filter(|number| {
                let body = world.review(index, *number).text.body;
                body.contains("비 ") && body.contains("혼자")
            })
            .count()
    };
    assert!(answers.iter().any(|index| said(*index) > 0));
}

#[test]
fn visits_shown_after_midnight_differ_from_utc() {
    let world = world(4, vec![800]);
    let differ = (0..800).filter(|number| {
        let review = world.review(0, *number);
        dates::utc(review.visited)[..10] != dates::day(review.visited).to_string()
    });
    assert!(differ.count() > 20);
}

#[test]
fn a_pinned_history_keeps_its_ids_on_another_day() {
    let on = |today| {
        let options = ReplicaOptions {
            sizes: Sizes::Explicit(vec![40]),
            today,
            until: Some(date(2026, 9, 1)),
            ..Default::default()
        };
        let world = World::build(&options).unwrap();
        (0..40).map(|number| world.review(0, number).id).collect::<Vec<_>>()
    };
    assert_eq!(on(date(2026, 10, 1)), on(date(2027, 1, 5)));
}

#[test]
fn search_words_reach_every_place_under_the_cap() {
    let world = World::build(&ReplicaOptions { places: 2_000, reviews: 2_000, ..Default::default() }).unwrap();
    assert_eq!(world.search_words(None), ["맛집"]);
    for cap in [300, 60, 25] {
        let words = world.search_words(Some(cap));
        let reached: BTreeSet<usize> = words
            .iter()
            .flat_map(|word| {
                let found: Vec<usize> = (0..2_000).filter(|index| world.places[*index].matches(word)).collect();
                assert!(found.len() as u64 <= cap, "{word}: {}", found.len());
                found
            })
            .collect();
        assert_eq!(reached.len(), 2_000, "cap {cap}");
    }
}

#[test]
fn texts_from_files_become_the_bodies() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.json"), r#"[{"review":"하나"},{"review":"둘"},{"review":"셋"}]"#).unwrap();
    let options = ReplicaOptions {
        sizes: Sizes::Explicit(vec![2, 2]),
        texts: Some(folder.path().to_owned()),
        ..Default::default()
    };
    let world = World::build(&options).unwrap();
    let bodies: Vec<String> =
        [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(index, number)| world.review(index, number).text.body).into();
    assert_eq!(bodies, ["하나", "둘", "셋", "하나"]);
}
