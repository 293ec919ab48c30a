//! `onggi catalog publish`: the lake's tables in Glue, where Athena and others find them.

use std::time::Instant;

use athena::Published;

use crate::args::{Global, Publish};
use crate::exit::Exit;
use crate::out;
use crate::project::Project;
use crate::wire;

/// Registers every table of the lake and says what that changed.
///
/// # Errors
/// If the lake is none that Athena reads, or a request fails; what was done by then stands.
pub(crate) async fn publish(global: &Global, args: &Publish) -> anyhow::Result<Exit> {
    let started = Instant::now();
    let project = Project::open(global)?;
    let lake = wire::lake(&project, global).await?;
    let glue = wire::glue(&project).await?;
    let options =
        athena::PublishOptions { prune: args.prune, dry_run: args.dry_run, ..wire::publish_options(&project) };
    let published = athena::publish(&lake, &glue, &options).await?;
    let views = views(&project);
    if global.json {
        out::object(&json(&published, &views, args.dry_run))?;
    } else if !global.quiet {
        out::text(&text(&published, &views, args.dry_run));
        out::line(format_args!("{} ({:.1}s)", summary(&published, args.dry_run), started.elapsed().as_secs_f64()));
    }
    for refused in &published.refused {
        out::note(format_args!("error: {refused}\nhint: write `{}` in the model that makes it", refused.instead));
    }
    for foreign in &published.foreign {
        out::note(format_args!(
            "error: {foreign}\nhint: remove it from Glue if it is not needed, or set `database_prefix` under `[athena]` in onggi.toml"
        ));
    }
    // The others were published: done, but not all of it.
    Ok(if published.is_complete() { Exit::Done } else { Exit::Partial })
}

/// The models that are no tables of the lake: their SQL is this program's, so Athena can't have them.
fn views(project: &Project) -> Vec<String> {
    let views = project.models.iter().filter(|model| !model.materialization().is_stored());
    views.map(|model| model.name().to_string()).collect()
}

fn text(published: &Published, views: &[String], dry_run: bool) -> String {
    let word = |done: &'static str, would: &'static str| if dry_run { would } else { done };
    let mut lines = Vec::new();
    for database in &published.databases {
        lines.push(format!("{:<13} database {database}", word("created", "would create")));
    }
    lines.extend(published.created.iter().map(|name| format!("{:<13} {name}", word("created", "would create"))));
    for changed in &published.updated {
        lines.push(format!("{:<13} {}: {}", word("updated", "would update"), changed.name, changed.changes.join(", ")));
    }
    lines.extend(published.removed.iter().map(|name| format!("{:<13} {name}", word("removed", "would remove"))));
    let gone = |name| format!("{:<13} {name} is no longer in the lake: `--prune` removes it from Glue", "gone");
    lines.extend(published.gone.iter().map(gone));
    let view = |name| {
        format!("{:<13} {name} is a view, which `onggi sql` alone knows: `materialize: table` makes it one", "left out")
    };
    lines.extend(views.iter().map(view));
    lines.into_iter().map(|line| line + "\n").collect()
}

fn summary(published: &Published, dry_run: bool) -> String {
    let mut text = format!(
        "glue: created {} · updated {} · unchanged {} · removed {}",
        published.created.len(),
        published.updated.len(),
        published.unchanged.len(),
        published.removed.len()
    );
    for (count, word) in [
        (published.gone.len(), "gone"),
        (published.refused.len(), "columns refused"),
        (published.foreign.len(), "names taken"),
    ] {
        if count > 0 {
            text += &format!(" · {word} {count}");
        }
    }
    if dry_run { text + " (nothing was changed)" } else { text }
}

fn json(published: &Published, views: &[String], dry_run: bool) -> serde_json::Value {
    let updated: Vec<_> =
        published.updated.iter().map(|it| serde_json::json!({ "table": it.name, "changes": it.changes })).collect();
    let refused: Vec<_> = published
        .refused
        .iter()
        .map(|it| {
            serde_json::json!({ "table": it.table.to_string(), "column": it.column, "type": it.kind, "instead": it.instead })
        })
        .collect();
    let foreign: Vec<_> = published
        .foreign
        .iter()
        .map(|it| serde_json::json!({ "table": it.table.to_string(), "name": it.name, "project": it.project }))
        .collect();
    serde_json::json!({
        "dry_run": dry_run,
        "databases": published.databases,
        "created": published.created,
        "updated": updated,
        "unchanged": published.unchanged,
        "removed": published.removed,
        "gone": published.gone,
        "views": views,
        "refused": refused,
        "foreign": foreign,
    })
}
