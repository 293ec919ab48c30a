//! A budget is of a day, whoever spends it.

use catalog::CommitInfo;
use llm_replica::Switches;

use super::*;
use crate::costs::{CostRow, Costs, Days};
use crate::llm::{Mode, Usage};

/// What the replica would bill.
fn billed(replica: &LlmReplica) -> f64 {
    let stats = replica.stats();
    stats.input_tokens as f64 * 10e-6 + stats.output_tokens as f64 * 100e-6
}

#[tokio::test]
async fn a_budget_holds_for_a_day_and_the_next_day_goes_on() {
    let (world, replica) = (world(30).await, replica(Switches::default()).await);
    // A call costs at most some 0.03: a few of the thirty fit.
    let budget = Settings { budget: Some(0.12), ..settings(&replica) };
    let (mut days, mut runs) = (0, 0);
    'days: loop {
        days += 1;
        let before = billed(&replica);
        // Whoever starts it again on the same day, and however often, spends what is left of the day and no more.
        for _ in 0..3 {
            runs += 1;
            let done = go_after(&world, budget.clone(), &format!("r{runs}"), 24 * days).await.unwrap();
            assert!(billed(&replica) - before <= 0.12, "day {days} spent {}", billed(&replica) - before);
            match done.wait {
                None => break 'days,
                Some(Wait::Budget { budget, answered, of, .. }) => {
                    assert!((budget - 0.12).abs() < 1e-9 && answered < of, "{done:?}");
                    assert!(shown(&world).await.1 > 0, "what is answered is published");
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(days < 60, "no end");
    }
    assert!(days > 2, "{days}");
    assert_eq!(shown(&world).await, (30, 30, 30));
    assert!(replica.stats().paid_too_often().is_empty());
    assert_eq!(results(&world).await, (60, true));
}

#[tokio::test]
async fn work_on_another_day_spends_the_money_of_today() {
    let (world, replica) = (world(30).await, replica(Switches::default()).await);
    let budget = Settings { budget: Some(0.12), ..settings(&replica) };
    for past in 1..=4 {
        let openai = OpenAi::new(budget.clone()).unwrap();
        let id = format!("r{past}").parse().unwrap();
        let context = Context { dt: jiff::civil::date(2026, 1, past), ..context(&id) };
        let done = enrich(&world.lake, &enrichment(), &openai, &context).await.unwrap();
        assert!(matches!(done.wait, Some(Wait::Budget { .. })), "{done:?}");
    }
    assert!(billed(&replica) <= 0.12, "four days that are over cost {}", billed(&replica));
}

#[tokio::test]
async fn what_another_run_spends_meanwhile_counts() {
    let (world, replica) = (world(1_300).await, replica(Switches::default()).await);
    let rich = Settings { budget: Some(10_000.0), ..settings(&replica) };
    let ours = go(&world, rich, "ours");
    // As soon as there is a commit of ours, another run has spent what the day has.
    let others = async {
        let stored = async || {
            let Some(table) = world.lake.find(&name("ops.llm_results")).await.unwrap() else { return 0 };
            table.snapshot().await.unwrap().row_count().unwrap()
        };
        while stored().await == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let row = CostRow {
            model: "m".into(),
            kind: AnswerKind::Summary,
            mode: Mode::Interactive,
            usage: Usage::default(),
            cost: Some(10_000.0),
        };
        let today = context(&"x".parse().unwrap()).today;
        let info = CommitInfo { run: "theirs".parse().unwrap(), now: now(), lineage: Vec::new() };
        let days = Days { dt: today, spent_on: today };
        let costs = Costs::open(&world.lake).await.unwrap();
        costs.add(&info.run, "other", days, 1, &[row], &info).await.unwrap();
    };
    let (done, ()) = Box::pin(futures::future::join(ours, others)).await;
    let done = done.unwrap();
    assert!(matches!(done.wait, Some(Wait::Budget { answered, of, .. }) if answered < of), "{done:?}");
    assert!(shown(&world).await.1 > 0, "what is answered is published");
}
