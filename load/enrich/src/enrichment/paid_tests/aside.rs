//! Answers that are set aside: what is shown meanwhile, when they are asked for again, and what the run says.

use catalog::Timestamp;
use llm_replica::{Fault, Switches};

use super::*;
use crate::llm::{Mode, Script};

/// What a place shows: its summary, the first number of its vector, how many texts the summary rests on, and of how many.
type Row = (Option<String>, bool, Option<i64>, Option<i64>);

async fn place(world: &World, place: &str) -> Row {
    for batch in batches(world, "staging.place_summaries").await {
        for row in 0..batch.num_rows() {
            let value = |column: &str| Value::of(batch.column_by_name(column).unwrap(), row).unwrap();
            if value("place_id").as_key().as_deref() != Some(place) {
                continue;
            }
            let count = |column: &str| match value(column) {
                Value::Int(count) => i64::try_from(count).ok(),
                _ => None,
            };
            let summary = match value("summary") {
                Value::Text(text) => Some(text),
                _ => None,
            };
            let vector = matches!(value("embedding"), Value::Vector(_));
            return (summary, vector, count("texts_used"), count("texts_given"));
        }
    }
    panic!("no {place}")
}

/// The kinds that rows of `ops.llm_results` were set aside for, with how often each was tried.
async fn reasons(world: &World) -> Vec<(String, i64)> {
    let mut reasons = Vec::new();
    for batch in batches(world, "ops.llm_results").await {
        for row in 0..batch.num_rows() {
            let value = |column: &str| Value::of(batch.column_by_name(column).unwrap(), row).unwrap();
            if let (Value::Text(kind), Value::Int(tries)) = (value("refusal"), value("tries")) {
                reasons.push((kind, i64::try_from(tries).unwrap()));
            }
        }
    }
    reasons.sort();
    reasons
}

/// The switch that a case throws, and what it is set aside for.
type Case = (&'static str, fn(&mut Switches), RefusalKind, u64);

#[tokio::test]
async fn one_bad_answer_keeps_the_last_good_one_and_is_asked_for_again() {
    // A case says how many calls one bad answer costs: where the model can be told what is wrong, it is asked twice.
    let cases: [Case; 5] = [
        ("empty", |s| s.empty = Fault::next(2), RefusalKind::Unusable, 2),
        ("schema", |s| s.wrong_schema = Fault::next(2), RefusalKind::Unusable, 2),
        ("refusal", |s| s.refusal = Fault::next(2), RefusalKind::Declined, 2),
        ("length", |s| s.length = Fault::next(1), RefusalKind::Length, 1),
        ("filter", |s| s.too_long = Fault::next(1), RefusalKind::Filtered, 1),
    ];
    for (name, throw, kind, calls) in cases {
        let (world, replica) = (world(3).await, replica(Switches::default()).await);
        go(&world, settings(&replica), "r1").await.unwrap();
        let before = place(&world, "p0001").await;
        assert!(before.0.is_some() && before.1 && before.2 == Some(2) && before.3 == Some(2), "{before:?}");

        // A new text comes, and the model answers badly, once.
        put_some(&world, &[(0, ""), (1, " 새로"), (2, "")]).await;
        let mut switches = Switches::default();
        throw(&mut switches);
        replica.set_switches(switches);
        let asked = replica.stats().calls;
        let bad = go(&world, settings(&replica), "r2").await.unwrap();
        assert_eq!((kinds(&bad), bad.summarised, &bad.wait), (vec![(kind, 1)], 0, &None), "{name}");
        assert_eq!(replica.stats().calls - asked, calls, "{name}");
        assert_eq!(place(&world, "p0001").await, before, "{name}: what was there stays");
        assert_eq!(reasons(&world).await, [(kind.name().to_owned(), 1)], "{name}");

        // Healthy again: before its time nothing is asked, after it one call is enough.
        let soon = go(&world, settings(&replica), "r3").await.unwrap();
        assert_eq!((kinds(&soon), replica.stats().calls - asked), (vec![(kind, 1)], calls), "{name}");
        assert!(matches!(soon.outcome, Outcome::Unchanged(_)), "{name}: no news is no new version");
        let later = go_after(&world, settings(&replica), "r4", 1).await.unwrap();
        assert_eq!((later.aside(), later.summarised, &later.wait), (0, 1, &None), "{name}");
        let after = place(&world, "p0001").await;
        assert!(after.0.is_some() && after.0 != before.0 && after.1, "{name}: {after:?}");
        let calm = go_after(&world, settings(&replica), "r5", 2).await.unwrap();
        assert_eq!(calm, Enriched::new(calm.outcome), "{name}: nothing is left to do");
        assert!(matches!(calm.outcome, Outcome::Unchanged(_)), "{name}");
    }
}

#[tokio::test]
async fn the_pauses_grow_and_a_wish_ends_them() {
    let (world, replica) =
        (world(2).await, replica(Switches { refuses: Some("1번".into()), ..Switches::default() }).await);
    let first = go(&world, settings(&replica), "r0").await.unwrap();
    assert_eq!((kinds(&first), first.summarised), (vec![(RefusalKind::Filtered, 1)], 1), "it stops nobody else");
    let mut at = vec![0];
    for hour in 1..120 {
        let before = replica.stats().calls;
        go_after(&world, settings(&replica), &format!("r{hour}"), hour).await.unwrap();
        if replica.stats().calls > before {
            at.push(hour);
        }
    }
    let pauses: Vec<i64> = at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(pauses, [1, 6, 22, 22, 22, 22, 22], "an hour, six, and then a day less what a daily run may be early");

    let id: RunId = "retry".parse().unwrap();
    let openai = OpenAi::new(settings(&replica)).unwrap();
    let retry = context_of(&id, now() + jiff::SignedDuration::from_hours(120));
    let reasked = ask_again(&world.lake, &enrichment(), &openai, &retry).await.unwrap();
    assert_eq!(reasked.len(), 1);
    assert_eq!(
        (reasked[0].entity.as_str(), reasked[0].tries, reasked[0].refusal.kind),
        ("p0001", 8, RefusalKind::Filtered)
    );
    assert!(
        ask_again(&world.lake, &enrichment(), &openai, &retry).await.unwrap().is_empty(),
        "it is asked for already"
    );
    let expected = estimate(&world.lake, &enrichment(), &openai, &retry).await.unwrap().unwrap();
    assert_eq!(expected.summaries.answers, 1, "the plan knows");
    replica.set_switches(Switches::default());
    let done = go_after(&world, settings(&replica), "r120", 120).await.unwrap();
    assert_eq!((done.summarised, done.aside()), (1, 0));
    assert_eq!(shown(&world).await, (2, 2, 2));
}

#[tokio::test]
async fn an_answer_that_was_cut_is_asked_for_at_once_where_it_may_be_longer() {
    let (world, replica) =
        (world(4).await, replica(Switches { length: Fault::rate(1.0), ..Switches::default() }).await);
    let cut = go(&world, settings(&replica), "r1").await.unwrap();
    assert_eq!(kinds(&cut), [(RefusalKind::Length, 4)]);
    assert_eq!(replica.stats().calls, 4, "the same question with the same bound is not asked twice");
    assert_eq!(shown(&world).await, (4, 0, 0));
    replica.set_switches(Switches::default());
    let raised = Settings { output_tokens: 8_000, ..settings(&replica) };
    let done = go(&world, raised.clone(), "r2").await.unwrap();
    assert_eq!((done.summarised, done.aside()), (4, 0));
    assert_eq!(shown(&world).await, (4, 4, 4));
    // What ended by itself is what it is under any bound.
    put(&world, &[0, 1, 2, 3, 4], "").await;
    let calls = replica.stats().calls;
    let more = go(&world, Settings { output_tokens: 9_000, ..raised }, "r3").await.unwrap();
    assert_eq!((more.summarised, replica.stats().calls - calls), (1, 2));
}

#[tokio::test]
async fn a_lake_whose_answers_were_set_aside_for_good_asks_again_and_pays_for_no_other() {
    let (world, replica) = (world(3).await, replica(Switches::default()).await);
    go(&world, settings(&replica), "r1").await.unwrap();
    put(&world, &[0, 1, 2, 3], "").await;
    // As the release before wrote it: the answer's own key, with a reason and no text; the table says it is whole.
    let from = world.lake.table(&name("marts.place_reviews")).await.unwrap().snapshot().await.unwrap();
    let openai = OpenAi::new(settings(&replica)).unwrap();
    let rows = rows(&enrichment(), &from, &openai).await.unwrap();
    let cache = Cache::open(&world.lake).await.unwrap();
    let row = cache::AnswerRow {
        kind: AnswerKind::Summary,
        key: rows[3].summary_key.clone().unwrap(),
        entity: "p0003".into(),
        said: cache::RowContent::Answer(cache::Answer::default()),
    };
    cache.store(AnswerKind::Summary, "small@1", &[&row], &context(&"old".parse().unwrap())).await.unwrap();
    let calls = replica.stats().calls;
    let done = go(&world, settings(&replica), "r2").await.unwrap();
    assert_eq!((done.summarised, done.embedded, replica.stats().calls - calls), (1, 1, 2));
    assert_eq!(shown(&world).await, (4, 4, 4));
    assert!(replica.stats().paid_too_often().is_empty());
}

#[tokio::test]
async fn what_the_project_says_shapes_the_key_and_what_it_never_said_costs_nothing() {
    let (world, replica) = (world(2).await, replica(Switches::default()).await);
    let said = |text: &str| Some(text.to_owned());
    // The words of the release that had them in the program: they are the project's now, and say the same.
    let first_words = Prompt {
        subject: said("reviews of one place"),
        language: said("Korean, in the polite style"),
        instructions: said("Say what people praise, what they criticise, for whom and when the place suits."),
        script: Script::new("Hangul", 0.5).ok(),
        ..Prompt::default()
    };
    let films = Prompt { subject: said("reviews of one film"), ..Prompt::default() };
    let mut asked = Vec::new();
    for (run, prompt) in [Prompt::default(), first_words, films.clone(), films].into_iter().enumerate() {
        let before = replica.stats().calls;
        let openai = OpenAi::new(settings(&replica)).unwrap();
        let told = Enrichment { prompt, ..enrichment() };
        enrich(&world.lake, &told, &openai, &context(&format!("r{run}").parse().unwrap())).await.unwrap();
        asked.push(replica.stats().calls - before);
    }
    assert_eq!(asked, [3, 0, 3, 0]);
    // A model that is told nothing answers the same whatever the project says.
    let local = crate::llm::local::Local::default();
    let free = |prompt: Prompt| Enrichment { prompt, into: name("staging.free"), ..enrichment() };
    let id: RunId = "free".parse().unwrap();
    enrich(&world.lake, &free(Prompt::default()), &local, &context(&id)).await.unwrap();
    let told = free(Prompt { subject: said("anything"), ..Prompt::default() });
    let again = enrich(&world.lake, &told, &local, &context(&id)).await.unwrap();
    assert!(matches!(again.outcome, Outcome::Unchanged(_)));
}

#[tokio::test]
async fn a_text_that_no_service_embeds_is_set_aside_alone() {
    let (world, replica) = (world(9).await, replica(Switches::default()).await);
    go(&world, settings(&replica), "r1").await.unwrap();
    let word = place(&world, "p0004").await.0.unwrap();
    for mode in [Mode::Interactive, Mode::Batch] {
        // The same texts, and another embedder that has a filter against one of the summaries.
        let world = super::world(9).await;
        let switches = Switches { refuses: None, ..Switches::default() };
        replica.set_switches(switches.clone());
        go(&world, settings(&replica), "r1").await.unwrap();
        replica.set_switches(Switches { refuses: Some(word.clone()), ..switches });
        let batches = replica.stats().batches;
        let other = Settings { mode, embedding_model: "embed-2".into(), prices: BTreeMap::new(), ..settings(&replica) };
        let mut done = go(&world, other.clone(), "r2").await.unwrap();
        for run in 3..12 {
            if done.wait.is_none() {
                break;
            }
            done = go(&world, other.clone(), &format!("r{run}")).await.unwrap();
        }
        assert_eq!((done.aside(), &done.wait), (1, &None), "{mode:?}: {done:?}");
        assert_eq!(shown(&world).await, (9, 9, 8), "{mode:?}");
        let reasons = reasons(&world).await;
        let kind = if mode == Mode::Batch { "failed" } else { "filtered" };
        assert_eq!(reasons, [(kind.to_owned(), 1)], "{mode:?}");
        let sent = replica.stats().batches - batches;
        assert_eq!(sent, u64::from(mode == Mode::Batch), "what is refused once is refused in any batch");
        assert!(done.set_aside_for.as_ref().is_some_and(|why| why.contains("filter")), "{done:?}");
        let requests = replica.stats().requests;
        let calm = go(&world, other.clone(), "r20").await.unwrap();
        assert!(matches!(calm.outcome, Outcome::Unchanged(_)) && calm.aside() == 1, "{mode:?}: {calm:?}");
        assert_eq!(replica.stats().requests, requests, "{mode:?}: until its time nothing is asked");
        // The filter is gone, and its time comes.
        replica.set_switches(Switches::default());
        for run in 30..40 {
            if go_after(&world, other.clone(), &format!("r{run}"), 2).await.unwrap().wait.is_none() {
                break;
            }
        }
        assert_eq!(shown(&world).await, (9, 9, 9), "{mode:?}");
    }
}

#[tokio::test]
async fn a_vector_stays_until_its_successor_is_there() {
    let (world, replica) = (world(2).await, replica(Switches::default()).await);
    go(&world, settings(&replica), "r1").await.unwrap();
    put_some(&world, &[(0, ""), (1, " 새로")]).await;
    replica.set_switches(Switches { not_a_number: Fault::rate(1.0), ..Switches::default() });
    let done = go(&world, settings(&replica), "r2").await.unwrap();
    assert_eq!(kinds(&done), [(RefusalKind::Unreadable, 1)]);
    assert_eq!(done.summarised, 1, "the new summary is shown");
    assert_eq!(shown(&world).await, (2, 2, 2), "with the vector of the one before it");
}

#[tokio::test]
async fn one_reply_that_nobody_can_read_stops_nobody_else_and_a_service_in_trouble_stops_all() {
    let (world, replica) =
        (world(12).await, replica(Switches { broken_json: Fault::next(3), ..Switches::default() }).await);
    let done = go(&world, settings(&replica), "r1").await.unwrap();
    assert_eq!(done.summarised + done.aside(), 12, "{done:?}");
    assert!(done.wait.is_none() && replica.stats().broken == 3);

    let world = super::world(40).await;
    replica.set_switches(Switches { gateway_timeout: Fault::rate(1.0), ..Switches::default() });
    let before = replica.stats();
    let error = go(&world, settings(&replica), "r2").await.unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains("504"), "{error}");
    let sent = replica.stats().calls - before.calls;
    assert!(sent <= 40 * 3, "{sent}");
    let spent = costs(&world).await;
    assert_eq!(u64::try_from(spent.0).unwrap(), sent, "each of them counts as spent");
    let paid = replica.stats().output_tokens - before.output_tokens;
    assert!(spent.3 >= paid as f64 * 100e-6, "no less than what a service that bills would say");
    // When it is well again everybody is answered.
    replica.set_switches(Switches::default());
    let done = go_after(&world, settings(&replica), "r3", 2).await.unwrap();
    assert_eq!((done.aside(), &done.wait), (0, &None));
    assert_eq!(shown(&world).await, (40, 40, 40));
}

#[test]
fn nothing_is_due_before_it_was_tried() {
    let at: Timestamp = now();
    let aside = super::super::aside::Aside { refusal: crate::llm::Refusal::new(RefusalKind::Empty, ""), tries: 1, at };
    assert!(!aside.is_due(at));
}

#[tokio::test]
async fn another_key_shows_the_same_answers_under_other_entities() {
    let (world, replica) = (world(3).await, replica(Switches::default()).await);
    go(&world, settings(&replica), "r1").await.unwrap();
    let asked = replica.stats().calls;
    let from = world.lake.table(&name("marts.place_reviews")).await.unwrap().snapshot().await.unwrap();
    let rows: Vec<RecordBatch> = from.scan(None).await.unwrap().try_collect().await.unwrap();
    let renamed = rows.iter().map(|batch| {
        let columns = batch.schema();
        let names = columns.fields().iter().map(|field| if field.name() == "place_id" { "shop" } else { field.name() });
        RecordBatch::try_from_iter_with_nullable(names.zip(batch.columns()).map(|(n, c)| (n, Arc::clone(c), true)))
    });
    world.put("marts.shop_reviews", renamed.map(std::result::Result::unwrap).next().unwrap()).await;
    let other = Enrichment { from: name("marts.shop_reviews"), key: "shop".into(), ..enrichment() };
    let openai = OpenAi::new(settings(&replica)).unwrap();
    let id: RunId = "r2".parse().unwrap();
    let done = enrich(&world.lake, &other, &openai, &context(&id)).await.unwrap();
    assert_eq!((done.summarised, done.wait, replica.stats().calls), (0, None, asked), "all answers are there");
    assert_eq!(shown(&world).await.1, 3);
}
