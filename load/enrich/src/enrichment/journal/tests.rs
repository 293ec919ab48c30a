//! What the journal holds in memory, and what it leaves where it was written.

use super::*;
use crate::testing::{World, name, now, run};

fn context() -> Context<'static> {
    crate::testing::context_of(&run(), now())
}

async fn open(world: &World) -> Journal {
    Journal::open(&world.lake, &name("staging.place_summaries"), &run(), context().dt).await.unwrap()
}

/// Every vector that the journal can give, by key.
async fn given(journal: &Journal, wanted: impl Fn(&str) -> bool) -> BTreeMap<String, Vec<f32>> {
    let mut given = BTreeMap::new();
    for at in journal.holding(wanted) {
        given.extend(journal.vectors(at).await.unwrap());
    }
    given
}

/// Vectors and other answers that the journal holds, and vectors of which it knows the place.
fn in_memory(journal: &Journal) -> (usize, usize, usize) {
    let state = journal.lock();
    let vectors = state.texts.values().filter(|it| matches!(it, Content::Vectors(_))).count();
    (vectors, state.texts.len() - vectors, state.vectors.len())
}

#[tokio::test]
async fn vectors_stay_in_their_objects_and_are_found_there() {
    let world = World::new().await;
    let journal = open(&world).await;
    let mut kept = BTreeMap::new();
    for object in 0_u8..3 {
        let mut answers = Vec::new();
        for item in 0_u8..4 {
            let (key, vector) = (format!("v{object}{item}"), vec![f32::from(object), f32::from(item), 0.5]);
            answers.extend(Kept::new(&key, Content::Vectors(vec![vector.clone()])));
            kept.insert(key, vector);
        }
        let usage = Usage { calls: 1, input_tokens: 4, output_tokens: 0 };
        journal.keep_all(AnswerKind::Embedding, "embed", Mode::Batch, answers, usage, None).await.unwrap();
    }
    let text = Kept::new("t", Content::Text("국물이 진해요".into()));
    journal.keep_all(AnswerKind::Summary, "small", Mode::Batch, text, Usage::default(), None).await.unwrap();

    for journal in [&journal, &open(&world).await] {
        assert_eq!(in_memory(journal), (0, 1, 12), "keys, no vectors");
        assert!(kept.keys().all(|key| journal.knows(key) && journal.find(key).is_none()));
        assert_eq!(journal.find("t"), Some(Content::Text("국물이 진해요".into())));
        assert_eq!(given(journal, |_| true).await, kept);
        assert_eq!(given(journal, |key| key == "v21").await.len(), 4, "one object is read, not all");
    }

    // What is used and counted is deleted, and is not given again.
    journal.count(&Costs::open(&world.lake).await.unwrap(), &context()).await.unwrap();
    journal.used(&["v00", "v01", "v02", "v03", "v10"].map(str::to_owned)).await.unwrap();
    let left: Vec<String> = given(&open(&world).await, |_| true).await.into_keys().collect();
    assert_eq!(left, ["v10", "v11", "v12", "v13", "v20", "v21", "v22", "v23"]);
    assert_eq!(journal.holding(|key| key == "v10").len(), 0, "it was used");
}
