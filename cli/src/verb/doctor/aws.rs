//! Glue and Athena, where they are configured. Nothing is made, and no query is started: one would cost.

use athena::Output;
use catalog::Lake;

use crate::project::Project;
use crate::wire;

use super::{Finding, causes, hint};

/// Whether Athena can be asked, and whether the lake can be published; nothing without a section `[athena]`.
pub(super) async fn findings(project: &Project, lake: Option<&Lake>) -> Vec<Finding> {
    let Some(section) = &project.config.athena else { return Vec::new() };
    let (athena, glue) = futures::join!(workgroup(project), databases(project, lake));
    let athena = athena.map(|output| {
        let place = match &output {
            Output::Folder(folder) => folder,
            Output::Managed => "Athena's own storage",
        };
        format!("the answers of the workgroup `{}` go to {place}", section.workgroup)
    });
    vec![finding("athena", athena), finding("glue", glue)]
}

async fn workgroup(project: &Project) -> anyhow::Result<Output> {
    Ok(wire::athena(project).await?.observe().await?)
}

async fn databases(project: &Project, lake: Option<&Lake>) -> anyhow::Result<String> {
    let options = wire::publish_options(project);
    if let Some(lake) = lake {
        athena::location(lake, &options)?;
    }
    let found = wire::glue(project).await?.observe(&options).await?;
    let mut parts = Vec::new();
    if !found.there.is_empty() {
        parts.push(format!("databases {} are there", found.there.join(", ")));
    }
    if !found.missing.is_empty() {
        parts.push(format!("`onggi catalog publish` makes {} when there is a table for it", found.missing.join(", ")));
    }
    Ok(parts.join("; "))
}

fn finding(what: &'static str, found: anyhow::Result<String>) -> Finding {
    match found {
        Ok(text) => Finding::fine(what, text),
        Err(error) => Finding::missing(what, causes(&error), hint(&error)),
    }
}
