//! Laws of what is due, over made-up outcomes.

use super::*;
use crate::outcome::tests::outcome;

fn state(outcomes: &[(i64, &str, &str, Outcome)]) -> State {
    let mut state = State::default();
    for (mark, key, dt, one) in outcomes {
        state.take(*mark, outcome(key, dt, *one));
    }
    state
}

async fn ledger(name: &str, outcomes: &[(i64, &str, &str, Outcome)]) -> Ledger {
    let lake = Lake::open(&format!("memory://ledger-{name}"), "test").await.unwrap();
    let source = crate::source::tests::any();
    let table = lake.create(&source.table_spec()).await.unwrap();
    let table_id = table.snapshot().await.unwrap().table_id().unwrap();
    Ledger {
        lake,
        source: source.name().clone(),
        definition: "d".to_owned(),
        table,
        table_id,
        state: Mutex::new(state(outcomes)),
        reading: tokio::sync::Mutex::new(()),
    }
}

fn day(text: &str) -> Date {
    text.parse().unwrap()
}

#[tokio::test]
async fn each_outcome_is_due_when_it_should_be() {
    use Outcome::{Cut, Empty, Failed, Gone, Landed, Refused, Reopened, Short, Unreadable};
    // Of one key: its outcomes, the rhythm, and on which of the days 1 to 9 it is due.
    type Case = (&'static [(i64, &'static str, Outcome)], i64, &'static [i8]);
    let table: [Case; 9] = [
        (&[], 1, &[1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (&[(1, "2026-10-03", Landed)], 1, &[1, 2, 4, 5, 6, 7, 8, 9]),
        (&[(1, "2026-10-03", Empty)], 7, &[1, 2]),
        (&[(1, "2026-10-03", Gone)], 3, &[1, 2, 6, 7, 8, 9]),
        (&[(1, "2026-10-03", Refused), (2, "2026-10-06", Failed)], 3, &[1, 2, 6, 7, 8, 9]),
        (&[(1, "2026-10-03", Failed)], 7, &[1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (&[(1, "2026-10-03", Landed), (2, "2026-10-03", Reopened)], 7, &[1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (&[(1, "2026-10-03", Short), (2, "2026-10-04", Landed)], 7, &[1, 2, 3]),
        (&[(1, "2026-10-03", Unreadable), (3, "2026-10-03", Cut)], 7, &[1, 2]),
    ];
    for (n, (outcomes, every, expected)) in table.into_iter().enumerate() {
        let outcomes: Vec<_> = outcomes.iter().map(|(mark, dt, one)| (*mark, "a", *dt, *one)).collect();
        let ledger = ledger(&format!("due-{n}"), &outcomes).await;
        let is_due = |dt: &i8| !ledger.due(&[Key::new("a")], Date::constant(2026, 10, *dt), every).due.is_empty();
        let due: Vec<i8> = (1..=9).filter(is_due).collect();
        assert_eq!(due, expected, "{outcomes:?} every {every} days");
    }
}

#[tokio::test]
async fn a_cut_key_is_due_again_under_another_definition() {
    let mut ledger = ledger("cut", &[(1, "a", "2026-10-03", Outcome::Cut)]).await;
    assert!(ledger.due(&[Key::new("a")], day("2026-10-03"), 1).due.is_empty());
    ledger.definition = "another".to_owned();
    let due = ledger.due(&[Key::new("a")], day("2026-10-03"), 1);
    assert_eq!(due.due, [Key { over: Some(1), ..Key::new("a") }], "on top of what was cut");
}

#[tokio::test]
async fn what_was_left_open_comes_first() {
    let ledger =
        ledger("open", &[(1, "z", "2026-10-02", Outcome::Failed), (1, "m", "2026-10-03", Outcome::Landed)]).await;
    let due = ledger.due(&["a", "m", "z", "b"].map(Key::new), day("2026-10-03"), 1);
    let values: Vec<_> = due.due.iter().map(|key| key.value.as_str()).collect();
    assert_eq!((values, due.leftovers, due.ended), (vec!["z", "a", "b"], 1, 1));
}

#[tokio::test]
async fn outcomes_come_back_from_the_copy_and_from_the_log_alike() {
    let info = CommitInfo { run: "r1".parse().unwrap(), now: "2026-10-03T03:00:00Z".parse().unwrap(), lineage: vec![] };
    let lake = Lake::open("memory://ledger-copy", "test").await.unwrap();
    let source = crate::source::tests::any();
    let table = lake.create(&source.table_spec()).await.unwrap();
    let open = || Ledger::open(&lake, &source, table.clone(), day("2026-10-03"));
    let first = open().await.unwrap();
    let said = [outcome("a", "2026-10-03", Outcome::Landed), outcome("b", "2026-10-03", Outcome::Gone)];
    first.say(&said, &info).await.unwrap();
    let from_the_log = open().await.unwrap();
    assert_eq!(from_the_log.outcomes(), said);
    first.copy(&info).await.unwrap();
    from_the_log.copy(&info).await.unwrap();
    let later = [KeyOutcome { why: Some("503".into()), ..outcome("c", "2026-10-03", Outcome::Failed) }];
    first.say(&later, &info).await.unwrap();
    let both = open().await.unwrap();
    assert_eq!(both.outcomes(), [said.as_slice(), later.as_slice()].concat());
    both.copy(&info).await.unwrap();
    let copied = lake.table(&name().unwrap()).await.unwrap().snapshot().await.unwrap();
    assert_eq!(copied.row_count().unwrap(), 3, "each is copied once");
    // Also by who committed it and reads its own commit again later.
    for key in ["d", "e", "f"] {
        both.say(&[outcome(key, "2026-10-03", Outcome::Landed)], &info).await.unwrap();
    }
    both.catch_up(&table.snapshot().await.unwrap()).await.unwrap();
    both.copy(&info).await.unwrap();
    let copied = lake.table(&name().unwrap()).await.unwrap().snapshot().await.unwrap();
    assert_eq!(copied.row_count().unwrap(), 6, "each is copied once");
    assert_eq!(both.get(day("2026-10-03"), "c").unwrap().closed, None);
    assert_eq!(open().await.unwrap().outcomes(), both.outcomes());
}
