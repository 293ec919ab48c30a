//! `onggi init`: a new project in a folder.

use crate::args::{Global, Init};
use crate::exit::{Exit, Failure};
use crate::out;
use crate::template::{self, Template};

/// Writes the template into the project's folder and says what to do next.
///
/// # Errors
/// If there is a project already, or the folder cannot be written.
pub(crate) fn init(global: &Global, args: &Init) -> anyhow::Result<Exit> {
    let folder = &global.project;
    let name = match &args.name {
        Some(name) => name.clone(),
        None => folder_name(folder)?,
    };
    let written = template::write(folder, args.template, &name)?;
    if global.json {
        out::object(&serde_json::json!({ "project": name, "written": written }))?;
    } else if !global.quiet {
        out::line(format_args!("made the project `{name}` in {}:", folder.display()));
        for file in &written {
            out::line(format_args!("  {file}"));
        }
        out::line("");
        out::line(format_args!("next: `onggi --project {0} check`, then `onggi --project {0} run`", folder.display()));
        out::line(match args.template {
            Template::Reviews => "a run visits the hosts that the sources name, at their pace and by their robots.txt",
            Template::Empty => {
                "first a source in `sources/` and a model in `sql/`: docs/sources.md and docs/models.md of Onggi say how they are written"
            }
        });
    }
    Ok(Exit::Done)
}

fn folder_name(folder: &std::path::Path) -> anyhow::Result<String> {
    let whole = std::path::absolute(folder)?;
    let name = whole.file_name().map(|name| name.to_string_lossy().into_owned());
    name.ok_or_else(|| Failure::usage("expected a name for the project", "give one with `--name`").into())
}
