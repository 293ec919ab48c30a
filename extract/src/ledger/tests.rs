//! Laws of what is due, over made-up outcomes.

use super::*;
use crate::outcome::tests::outcome;

fn state(outcomes: &[(i64, &str, &str, Outcome)]) -> LedgerState {
    let mut state = LedgerState::default();
    for (mark, key, dt, one) in outcomes {
        state.take(*mark, outcome(key, dt, *one));
    }
    state
}

async fn ledger(name: &str, outcomes: &[(i64, &str, &str, Outcome)]) -> Ledger {
    let lake = Lake::open(&format!("memory://ledger-{name}"), "test").await.unwrap();
    let source = crate::source::tests::any();
    let table = lake.create(&source.table_spec()).await.unwrap();
    let table_id = table.head().await.unwrap().table_id().to_owned();
    Ledger {
        lake,
        source: source.name().clone(),
        definition: "d".to_owned(),
        item: source.items().key.clone(),
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
        (&[(1, "2026-10-03", Gone)], 3, &[1, 2, 3, 4, 5, 6, 7, 8, 9]),
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
async fn a_key_that_is_gone_has_ended_unless_all_are_or_it_is_looked_for_elsewhere() {
    let mut ledger =
        ledger("gone", &[(1, "a", "2026-10-03", Outcome::Gone), (2, "b", "2026-10-03", Outcome::Landed)]).await;
    let due = |ledger: &Ledger, keys: &[&str], day| {
        let keys: Vec<Key> = keys.iter().copied().map(Key::new).collect();
        let due = ledger.due(&keys, Date::constant(2026, 10, day), 3);
        (due.due.iter().map(|key| (key.value.clone(), key.over)).collect::<Vec<_>>(), due.leftovers)
    };
    assert_eq!(due(&ledger, &["a", "b"], 4), (vec![], 0));
    assert_eq!(due(&ledger, &["a"], 4), (vec![("a".to_owned(), None)], 1), "late, or a wrong address");
    assert_eq!(due(&ledger, &["a"], 3), (vec![("a".to_owned(), Some(1))], 1), "on top of what was said");
    assert_eq!(due(&ledger, &["a", "new"], 3), (vec![("new".to_owned(), None)], 0), "nobody knows yet");
    ledger.definition = "another".to_owned();
    assert_eq!(due(&ledger, &["a", "b"], 3).0, [("a".to_owned(), Some(1))]);
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
    both.catch_up(&table.head().await.unwrap()).await.unwrap();
    both.copy(&info).await.unwrap();
    let copied = lake.table(&name().unwrap()).await.unwrap().snapshot().await.unwrap();
    assert_eq!(copied.row_count().unwrap(), 6, "each is copied once");
    assert_eq!(both.get(day("2026-10-03"), "c").unwrap().closed, None);
    assert_eq!(open().await.unwrap().outcomes(), both.outcomes());
}

#[tokio::test]
async fn of_two_that_commit_by_turns_each_copies_each_outcome_once() {
    let info = CommitInfo { run: "r1".parse().unwrap(), now: "2026-10-03T03:00:00Z".parse().unwrap(), lineage: vec![] };
    let lake = Lake::open("memory://ledger-turns", "test").await.unwrap();
    let source = crate::source::tests::any();
    let table = lake.create(&source.table_spec()).await.unwrap();
    let open = || Ledger::open(&lake, &source, table.clone(), day("2026-10-03"));
    let (one, two) = (open().await.unwrap(), open().await.unwrap());
    for (turn, ledger) in [&one, &one, &two, &one, &two, &two].into_iter().enumerate() {
        ledger.catch_up(&table.head().await.unwrap()).await.unwrap();
        ledger.say(&[outcome(&format!("k{turn}"), "2026-10-03", Outcome::Landed)], &info).await.unwrap();
    }
    for ledger in [&one, &two] {
        ledger.catch_up(&table.head().await.unwrap()).await.unwrap();
        assert_eq!(ledger.outcomes().len(), 6);
    }
    one.copy(&info).await.unwrap();
    two.copy(&info).await.unwrap();
    let copied = lake.table(&name().unwrap()).await.unwrap().snapshot().await.unwrap();
    assert_eq!(copied.row_count().unwrap(), 6);
}

#[tokio::test]
async fn what_is_unfinished_is_told_by_today_and_by_somebodys_word() {
    use Outcome::{Cut, Failed, Landed, Reopened};
    // Of one key: its outcomes, and the days on which it is unfinished, seen on the 5th.
    type Case = (&'static [(i64, &'static str, Outcome)], &'static [&'static str]);
    let table: [Case; 6] = [
        (&[(1, "2026-10-03", Failed)], &["2026-10-03"]),
        (&[(1, "2026-10-03", Failed), (2, "2026-10-05", Landed)], &[]),
        (&[(1, "2026-10-05", Failed), (2, "2028-01-01", Landed)], &["2026-10-05"]),
        (&[(1, "2026-10-05", Landed), (2, "2028-01-01", Failed)], &["2028-01-01"]),
        (&[(1, "2026-10-05", Landed), (2, "2026-10-03", Reopened)], &["2026-10-03"]),
        (&[(1, "2026-10-04", Cut)], &["2026-10-04"]),
    ];
    for (n, (outcomes, expected)) in table.into_iter().enumerate() {
        let outcomes: Vec<_> = outcomes.iter().map(|(mark, dt, one)| (*mark, "a", *dt, *one)).collect();
        let ledger = ledger(&format!("unfinished-{n}"), &outcomes).await;
        let days: Vec<String> = ledger.unfinished(day("2026-10-05")).iter().map(|last| last.dt.to_string()).collect();
        assert_eq!(days, expected, "{outcomes:?}");
    }
}

#[tokio::test]
async fn a_key_is_newly_gone_once() {
    use Outcome::{Blocked, Empty, Failed, Gone, Landed, Refused, Reopened, Short, Unlisted};
    // Of one key: its outcomes, and whether it is newly gone on the 5th.
    type Case = (&'static [(i64, &'static str, Outcome)], bool);
    let table: [Case; 11] = [
        (&[], false),
        (&[(1, "2026-10-05", Gone)], true),
        (&[(1, "2026-10-04", Gone)], false),
        (&[(1, "2026-10-04", Landed), (2, "2026-10-05", Gone)], true),
        (&[(1, "2026-10-04", Empty), (2, "2026-10-05", Gone)], true),
        (&[(1, "2026-10-02", Short), (2, "2026-10-05", Gone)], true),
        (&[(1, "2026-10-03", Gone), (2, "2026-10-05", Gone)], false),
        // What could not be asked, or may not be, says nothing of it.
        (
            &[(1, "2026-10-01", Gone), (2, "2026-10-02", Failed), (3, "2026-10-03", Refused), (4, "2026-10-05", Gone)],
            false,
        ),
        (
            &[
                (1, "2026-10-03", Gone),
                (2, "2026-10-04", Blocked),
                (3, "2026-10-04", Unlisted),
                (4, "2026-10-05", Gone),
            ],
            false,
        ),
        (&[(1, "2026-10-03", Gone), (2, "2026-10-04", Landed), (3, "2026-10-05", Gone)], true),
        (&[(1, "2026-10-05", Gone), (2, "2026-10-05", Reopened)], false),
    ];
    for (n, (outcomes, expected)) in table.into_iter().enumerate() {
        let outcomes: Vec<_> = outcomes.iter().map(|(mark, dt, one)| (*mark, "a", *dt, *one)).collect();
        let ledger = ledger(&format!("newly-gone-{n}"), &outcomes).await;
        let gone = ledger.newly_gone(&["a", "b", "a"].map(Key::new), day("2026-10-05"));
        assert_eq!(gone == ["a"], expected, "{outcomes:?}: {gone:?}");
    }
    // It was looked for elsewhere in between.
    let ledger = ledger("gone-elsewhere", &[(1, "a", "2026-10-04", Gone)]).await;
    let elsewhere = KeyOutcome { definition: "another".to_owned(), ..outcome("a", "2026-10-05", Gone) };
    ledger.state().take(2, elsewhere);
    assert_eq!(ledger.newly_gone(&[Key::new("a")], day("2026-10-05")), ["a"]);
}

#[tokio::test]
async fn a_key_that_left_the_list_is_unfinished_no_longer_and_keeps_its_record() {
    use Outcome::{Blocked, Cut, Empty, Failed, Landed, Lost, Refused, Reopened, Short, Unlisted, Unreadable};
    let info = CommitInfo { run: "r1".parse().unwrap(), now: "2026-10-05T03:00:00Z".parse().unwrap(), lineage: vec![] };
    for before in Outcome::ALL {
        let is_unfinished = matches!(before, Failed | Short | Unreadable | Blocked | Reopened | Cut);
        let lake = Lake::open(&format!("memory://ledger-unlisted-{before}"), "test").await.unwrap();
        let source = crate::source::tests::any();
        let table = lake.create(&source.table_spec()).await.unwrap();
        let open = || Ledger::open(&lake, &source, table.clone(), day("2026-10-05"));
        let ledger = open().await.unwrap();
        let was = KeyOutcome { missing: 3, why: Some("503".into()), ..outcome("a", "2026-10-03", before) };
        ledger.say(&[was.clone(), outcome("b", "2026-10-03", Failed)], &info).await.unwrap();
        let keys = [Key::new("b")];
        let said = ledger.say_unlisted(&keys, day("2026-10-05"), &info).await.unwrap();
        assert_eq!(said.len(), usize::from(is_unfinished), "{before}: {said:?}");
        assert!(ledger.say_unlisted(&keys, day("2026-10-05"), &info).await.unwrap().is_empty(), "it is said once");
        // Whoever looks next knows it, from the log and from the copy.
        ledger.copy(&info).await.unwrap();
        let ledger = open().await.unwrap();
        let last = ledger.get(day("2026-10-03"), "a").unwrap().last;
        if is_unfinished {
            let why = format!("the source no longer has this key; it was {before}: 503");
            assert_eq!((last.outcome, last.why, last.missing), (Unlisted, Some(why), 3), "{before}");
        } else {
            assert_eq!(last, was, "what ended stays as it was");
        }
        let unfinished: Vec<_> = ledger.unfinished(day("2026-10-05")).into_iter().map(|last| last.key).collect();
        let expected: &[&str] = if before == Lost { &["a", "b"] } else { &["b"] };
        assert_eq!(unfinished, expected, "{before}");
        // The source has it again.
        let is_due = !ledger.due(&[Key::new("a")], day("2026-10-03"), 1).due.is_empty();
        let has_ended = matches!(before, Landed | Empty | Refused);
        assert_eq!(is_due, !has_ended, "{before}");
    }
}
