//! `onggi retry --dead`: sends what was given up back into the queue.

use extract::queue::Of;
use serde_json::json;

use crate::args::{Global, Retry};
use crate::clock;
use crate::exit::Exit;
use crate::run::extraction::given_up;
use crate::verb::check;
use crate::wire;

/// Sends dead letters back and says which.
///
/// # Errors
/// If the lake or the queue cannot be used.
pub(crate) async fn retry(global: &Global, args: &Retry) -> anyhow::Result<Exit> {
    let project = check::checked(global)?;
    let lake = wire::lake(&project, global).await?;
    let queue = wire::queue(&project, &lake).await?;
    let of = Of { source: args.source.clone(), dt: args.dt };
    let letters = queue.dead_letters(&of, clock::now()).await?;
    let sent = queue.redrive(&letters, clock::now()).await?;
    if global.json {
        for letter in &letters {
            println!(
                "{}",
                json!({ "source": letter.task.source, "dt": letter.task.dt, "task": letter.task.id, "keys": letter.task.keys, "receives": letter.receive_count, "error": letter.error })
            );
        }
        return Ok(Exit::Done);
    }
    if global.quiet {
        return Ok(Exit::Done);
    }
    if letters.is_empty() {
        println!("no task was given up: there is nothing to send back");
        return Ok(Exit::Done);
    }
    println!("sent back {sent} {}:", if sent == 1 { "task" } else { "tasks" });
    for letter in &letters {
        println!("  {} {} {}  {}", letter.task.source, letter.task.dt, letter.task.id, given_up(letter));
    }
    println!("`onggi run` of the day, or a worker, does them");
    Ok(Exit::Done)
}
