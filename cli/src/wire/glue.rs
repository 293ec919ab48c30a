//! From settings to Glue and Athena.

use athena::{Athena, AthenaSettings, Glue, PublishOptions};
use catalog::aws::SdkConfig;
use url::Url;

use crate::project::Project;

/// One chain of credentials for every service.
async fn sdk(project: &Project) -> SdkConfig {
    project.config.aws.aws().sdk_config().await
}

/// A server's address as the clients take it.
fn server(url: Option<&Url>) -> Option<&str> {
    url.map(|url| url.as_str().trim_end_matches('/'))
}

/// Glue's catalog.
///
/// # Errors
/// If no region is known.
pub(crate) async fn glue(project: &Project) -> anyhow::Result<Glue> {
    Ok(Glue::new(&sdk(project).await, server(project.config.athena().glue_endpoint.as_ref()))?)
}

/// Athena.
///
/// # Errors
/// If no region is known.
pub(crate) async fn athena(project: &Project) -> anyhow::Result<Athena> {
    let section = project.config.athena();
    let settings = AthenaSettings {
        workgroup: section.workgroup,
        output: section.output,
        catalog: section.catalog,
        price_per_tb: section.price_per_tb,
    };
    Ok(Athena::new(&sdk(project).await, server(section.endpoint.as_ref()), settings)?)
}

/// How the project's lake is published.
pub(crate) fn publish_options(project: &Project) -> PublishOptions {
    let section = project.config.athena();
    PublishOptions {
        project: project.config.project.name.clone(),
        database_prefix: section.database_prefix,
        location: section.location,
        ..PublishOptions::default()
    }
}
