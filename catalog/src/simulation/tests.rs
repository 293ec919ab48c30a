//! How time and death are played.

use jiff::Timestamp;

use super::*;

fn start() -> Timestamp {
    Timestamp::from_second(1_790_000_000).unwrap()
}

#[test]
fn waits_move_the_clock_and_setting_it_moves_no_wait() {
    enter(start());
    let begun = Instant::now();
    runtime().unwrap().block_on(sleep(Duration::from_mins(10)));
    assert!(now().unwrap().duration_since(start()) >= jiff::SignedDuration::from_mins(10));
    set_now(start());
    assert!(now().unwrap().duration_since(start()) < jiff::SignedDuration::from_secs(1));
    assert!(begun.elapsed() >= Duration::from_mins(10));
    leave();
    assert!(now().is_none());
}

#[test]
fn the_last_write_of_a_process_never_returns() {
    enter(start());
    for done in [false, true] {
        live(Life { death: Some(Death { write: 2, done }), patience: None });
        let mut written = Vec::new();
        let work = async {
            for number in 1..=3 {
                write(async { written.push(number) }).await;
            }
        };
        runtime().unwrap().block_on(async {
            tokio::select! {
                () = work => panic!("it lives"),
                () = died() => {}
            }
        });
        assert_eq!(written, if done { vec![1, 2] } else { vec![1] });
    }
    leave();
}

#[test]
fn who_waits_for_too_long_is_ended() {
    enter(start());
    live(Life { death: None, patience: Some(Duration::from_mins(5)) });
    runtime().unwrap().block_on(async {
        tokio::select! {
            () = sleep(Duration::from_mins(6)) => panic!("it lives"),
            () = died() => {}
        }
    });
    leave();
}

#[test]
fn who_waits_wakes_in_the_order_of_the_clock_and_nobody_while_something_comes_from_outside() {
    let play = || {
        enter(start());
        seed(7);
        let woken = std::sync::Mutex::new(Vec::new());
        let waits = |minutes| {
            let woken = &woken;
            async move {
                sleep(Duration::from_mins(minutes)).await;
                of_disk(std::future::ready(())).await;
                woken.lock().unwrap().push((minutes, fresh().unwrap()));
            }
        };
        let answered = from_outside(async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            elapsed()
        });
        let all = async { tokio::join!(answered, waits(3), waits(1), waits(2), blocking(|| 5)) };
        let (answered, .., blocked) = runtime().unwrap().block_on(all);
        assert_eq!((answered, blocked.unwrap()), (Duration::ZERO, 5));
        leave();
        woken.into_inner().unwrap()
    };
    let woken = play();
    assert_eq!(woken.iter().map(|(minutes, _)| *minutes).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(woken, play());
}
