//! How the sinks stand against the project, in the words that `plan`, `status` and `reconcile` share.

use catalog::{Lake, without_user};
use load::{Orphan, Serving};
use serde_json::{Value, json};

use crate::exit;
use crate::project::Project;
use crate::steps;
use crate::wire;

/// What lies in the sinks and that no `[sync]` section asks for.
pub(crate) struct SinkState {
    orphans: Vec<Orphan>,
    /// Why a server could not be asked.
    unasked: Option<String>,
}

impl SinkState {
    /// Looks at what lies there. A server that does not answer hides no folder.
    ///
    /// # Errors
    /// If the folder of the sinks can't be read.
    pub(crate) async fn look(project: &Project, lake: &Lake) -> anyhow::Result<Self> {
        let targets = steps::targets(project);
        let folder = Serving::new(wire::local_house(project, lake).join("serving"));
        let asked = match wire::serving(project, lake) {
            Ok(serving) => load::orphans(lake, &serving, &targets).await.map_err(anyhow::Error::from),
            Err(error) => Err(error),
        };
        Ok(match asked {
            Ok(orphans) => Self { orphans, unasked: None },
            Err(error) => {
                let unasked = Some(without_user(&exit::causes(&error).join(": ")));
                Self { orphans: load::orphans(lake, &folder, &targets).await?, unasked }
            }
        })
    }

    /// A line for each table that nobody asks for.
    pub(crate) fn lines(&self) -> Vec<String> {
        let unasked = self.unasked.iter().map(|why| format!("not every sink could be asked what it holds: {why}"));
        self.orphans.iter().map(line).chain(unasked).collect()
    }

    /// An object for each table that nobody asks for, and one where not every sink could say what it holds.
    pub(crate) fn objects(&self) -> impl Iterator<Item = Value> {
        self.orphans.iter().map(object).chain(self.unasked.iter().map(|why| json!({ "unasked": why })))
    }
}

/// What `--json` says of an orphan.
pub(crate) fn object(orphan: &Orphan) -> Value {
    json!({ "table": orphan.table, "sink": orphan.sink.to_string(), "orphan": true })
}

fn line(orphan: &Orphan) -> String {
    let Orphan { sink, table } = orphan;
    format!(
        "orphaned: {table} in {sink}, which no [sync] section asks for: it is neither synced nor searched; \
         `onggi reconcile --drop-orphans` removes it"
    )
}
