//! Fields beside the summary: typed columns, asked for with it, kept with it, and followed by the table when they change.

use arrow::array::Array;
use arrow::datatypes::DataType;

use super::*;
use crate::llm::{FieldKind, Length, OutputField, Range, TextRule};

fn field(name: &str, required: bool, kind: FieldKind) -> OutputField {
    OutputField { name: name.to_owned(), description: Some(format!("its {name}")), required, kind }
}

fn mood() -> OutputField {
    let values = ["calm", "loud"].map(str::to_owned).to_vec();
    field("mood", true, FieldKind::Text(TextRule { values, longest: 200 }))
}

fn stars() -> OutputField {
    field("stars", false, FieldKind::Integer(Range { min: Some(1), max: Some(5) }))
}

fn with(fields: Vec<OutputField>) -> Enrichment {
    Enrichment { prompt: Prompt { fields, ..Prompt::default() }, ..enrichment() }
}

async fn ask(world: &World, enrichment: &Enrichment, replica: &LlmReplica, id: &str) -> Result<Enriched> {
    let openai = OpenAi::new(settings(replica))?;
    enrich(&world.lake, enrichment, &openai, &context(&id.parse().unwrap())).await
}

/// The columns of the result table by name and type, and how many values each has.
async fn columns(world: &World) -> Vec<(String, DataType, usize)> {
    let batches = batches(world, "staging.place_summaries").await;
    let schema = batches[0].schema();
    let count = |at: usize| batches.iter().map(|it| it.num_rows() - it.column(at).null_count()).sum();
    schema.fields().iter().enumerate().map(|(at, it)| (it.name().clone(), it.data_type().clone(), count(at))).collect()
}

async fn column(world: &World, name: &str) -> Option<(DataType, usize)> {
    columns(world).await.into_iter().find(|it| it.0 == name).map(|it| (it.1, it.2))
}

/// What a table says in `mood`, place by place.
async fn moods(world: &World, table: &str) -> Vec<(String, String)> {
    let mut moods = Vec::new();
    for batch in batches(world, table).await {
        for row in 0..batch.num_rows() {
            let text = |column: &str| Value::of(batch.column_by_name(column).unwrap(), row).unwrap().as_key();
            moods.extend(text("place_id").zip(text("mood")));
        }
    }
    moods.sort();
    assert!(!moods.is_empty() && moods.iter().all(|(_, mood)| ["calm", "loud"].contains(&mood.as_str())), "{moods:?}");
    moods
}

#[tokio::test]
async fn fields_are_columns_and_paid_for_with_the_summary() {
    let (world, replica) = (world(6).await, replica(Switches::default()).await);
    let any = || TextRule { values: Vec::new(), longest: 60 };
    let fields = vec![
        mood(),
        stars(),
        field("dishes", false, FieldKind::List(any())),
        field("open", false, FieldKind::Boolean),
        field("share", false, FieldKind::Number(Range { min: Some(0.0), max: Some(1.0) })),
    ];
    let enrichment = with(fields);
    let done = ask(&world, &enrichment, &replica, "r1").await.unwrap();
    assert_eq!((done.summarised, done.aside()), (6, 0), "{done:?}");
    for name in ["mood", "stars", "dishes", "open", "share", "summary"] {
        assert_eq!(column(&world, name).await.map(|it| it.1), Some(6), "{name}");
    }
    let calls = replica.stats().calls;
    let again = ask(&world, &enrichment, &replica, "r2").await.unwrap();
    assert!(matches!(again.outcome, Outcome::Unchanged(_)));
    // What was paid for is in ops.llm_results, fields and all: another table of the same texts costs nothing.
    let copy = Enrichment { into: name("staging.copy"), ..enrichment };
    ask(&world, &copy, &replica, "r3").await.unwrap();
    assert_eq!(replica.stats().calls, calls);
    assert_eq!(moods(&world, "staging.copy").await, moods(&world, "staging.place_summaries").await);
}

#[tokio::test]
async fn an_answer_whose_fields_do_not_fit_is_asked_for_again_and_set_aside() {
    let (world, replica) = (world(3).await, replica(Switches::default()).await);
    ask(&world, &with(vec![mood()]), &replica, "r1").await.unwrap();
    let calls = replica.stats().calls;
    // The service counts stars from 1 to 5.
    let few = field("stars", false, FieldKind::Integer(Range { min: Some(6), max: None }));
    let done = ask(&world, &with(vec![mood(), few]), &replica, "r2").await.unwrap();
    assert_eq!((done.summarised, kinds(&done)), (0, vec![(RefusalKind::Unusable, 3)]));
    assert_eq!(replica.stats().calls - calls, 6, "once, and once more with the reason");
    assert_eq!(
        (column(&world, "mood").await.unwrap().1, column(&world, "stars").await),
        (3, Some((DataType::Int64, 0)))
    );
    assert_eq!(shown(&world).await, (3, 3, 3), "what was there stays");
}

#[tokio::test]
async fn the_table_follows_what_is_declared() {
    let (world, replica) = (world(3).await, replica(Switches::default()).await);
    ask(&world, &enrichment(), &replica, "r1").await.unwrap();
    let names = |columns: Vec<(String, DataType, usize)>| columns.into_iter().map(|it| it.0).collect::<BTreeSet<_>>();
    let plain = names(columns(&world).await);
    ask(&world, &with(vec![mood(), stars()]), &replica, "r2").await.unwrap();
    assert_eq!(column(&world, "stars").await, Some((DataType::Int64, 3)));
    // Of another type, and one less.
    let stars_in_words = field("stars", false, FieldKind::Text(TextRule { values: Vec::new(), longest: 60 }));
    ask(&world, &with(vec![stars_in_words]), &replica, "r3").await.unwrap();
    assert!(matches!(column(&world, "stars").await, Some((DataType::Utf8 | DataType::Utf8View, 3))));
    assert_eq!(column(&world, "mood").await, None);
    // As it was at first: nothing is paid for.
    let calls = replica.stats().calls;
    ask(&world, &enrichment(), &replica, "r4").await.unwrap();
    assert_eq!((names(columns(&world).await), replica.stats().calls), (plain, calls));
    assert_eq!(shown(&world).await, (3, 3, 3));
    // One who writes no fields leaves their columns empty, and follows as well.
    let local = crate::llm::local::Local::default();
    for (run, fields) in [("l1", vec![stars()]), ("l2", vec![mood()])] {
        enrich(&world.lake, &with(fields.clone()), &local, &context(&run.parse().unwrap())).await.unwrap();
        assert_eq!(column(&world, &fields[0].name).await.map(|it| it.1), Some(0), "{run}");
    }
    assert_eq!(column(&world, "stars").await, None);
}

#[tokio::test]
async fn while_nobody_answers_a_table_of_other_fields_shows_what_it_had() {
    let (world, replica) = (world(3).await, replica(Switches::default()).await);
    ask(&world, &with(vec![mood(), stars()]), &replica, "r1").await.unwrap();
    replica.set_switches(Switches { wrong_schema: Fault::rate(1.0), ..Switches::default() });
    let done = ask(&world, &with(vec![mood()]), &replica, "r2").await.unwrap();
    assert_eq!((done.aside(), shown(&world).await), (3, (3, 3, 3)));
    assert_eq!((column(&world, "mood").await.unwrap().1, column(&world, "stars").await), (3, None));
}

#[tokio::test]
async fn many_texts_are_read_in_parts_and_their_fields_with_them() {
    let replica = replica(Switches::default()).await;
    let settings = Settings { prompt_tokens: crate::llm::openai::SMALLEST_PROMPT, ..settings(&replica) };
    let openai = OpenAi::new(settings).unwrap();
    let world = World::new().await;
    let texts =
        |more: usize| (0..300 + more).map(|i| format!("{i}번째 방문도 국물이 진하고 좋았어요")).collect::<Vec<_>>();
    let put_texts = async |count: usize| {
        let keys: ArrayRef = Arc::new(StringArray::from(vec!["p0000"]));
        let texts = lists(&[texts(count)]);
        let batch =
            RecordBatch::try_from_iter_with_nullable([("place_id", keys, true), ("summary_texts", texts, true)]);
        world.put("marts.place_reviews", batch.unwrap()).await;
    };
    let prompt = Prompt { length: Length { shortest: 15, longest: 300 }, fields: vec![mood()], ..Prompt::default() };
    let enrichment = Enrichment { prompt, ..enrichment() };
    put_texts(0).await;
    enrich(&world.lake, &enrichment, &openai, &context(&"r1".parse().unwrap())).await.unwrap();
    assert_eq!(column(&world, "mood").await.unwrap().1, 1);
    let first = replica.stats().calls;
    assert!(first > 5, "{first}");
    put_texts(1).await;
    enrich(&world.lake, &enrichment, &openai, &context(&"r2".parse().unwrap())).await.unwrap();
    let more = replica.stats().calls - first;
    assert!(more < first / 2, "one text more asks for its own part and what is made of it: {more} of {first}");
    assert_eq!(column(&world, "mood").await.unwrap().1, 1);
}
