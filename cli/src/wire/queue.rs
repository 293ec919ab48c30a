//! The queue, and what it takes to work on its tasks.

use std::sync::Arc;

use catalog::{Lake, RunId};
use extract::heartbeat::{Heartbeat, HeartbeatSettings, Role};
use extract::queue::{EmbeddedQueue, Queue, SqsQueue, SqsSettings};
use extract::{Cancel, Extractor, Tuning};

use super::{fetchers, identity, local_house};
use crate::clock;
use crate::project::Project;

/// The queue of a project's tasks.
///
/// # Errors
/// If its folder cannot be used, or its service does not know it.
pub(crate) async fn queue(project: &Project, lake: &Lake) -> anyhow::Result<Arc<dyn Queue>> {
    let section = &project.config.queue;
    let Some(uri) = &section.uri else {
        return Ok(Arc::new(EmbeddedQueue::open(local_house(project, lake).join("queue.sqlite")).await?));
    };
    let endpoint = section.endpoint.as_ref().map(ToString::to_string);
    let settings = SqsSettings { endpoint, ..SqsSettings::new(uri) };
    let sdk = project.config.aws.aws().sdk_config().await;
    Ok(Arc::new(SqsQueue::open(lake, &sdk, settings).await?))
}

/// Who is to work on tasks.
pub(crate) struct Hands {
    /// Stamped on each commit, and the name of the sign of life.
    pub id: RunId,
    /// Why it is here; nobody who only sends and waits gives signs of life.
    pub role: Option<Role>,
    /// Tasks at the same time.
    pub jobs: usize,
    /// Raised to stop.
    pub cancel: Cancel,
    /// Told how far it is.
    pub progress: Arc<dyn Fn(extract::Progress) + Send + Sync>,
}

/// All that working on tasks needs; it gives signs of life from now on.
///
/// # Errors
/// If the queue, the hosts or the identity key cannot be used.
pub(crate) async fn extractor(project: &Project, lake: &Lake, hands: Hands) -> anyhow::Result<Extractor> {
    let section = &project.config.queue;
    let queue = queue(project, lake).await?;
    let fetchers = Arc::new(fetchers(&project.config, hands.jobs)?);
    let identity = identity(project, lake).await?;
    let heartbeat = match hands.role {
        None => None,
        Some(role) => {
            let (interval, id) = (section.sign_interval(), hands.id.to_string());
            let settings = HeartbeatSettings { id, role, jobs: hands.jobs, interval, now: clock::now };
            let heartbeat = Heartbeat::start(lake, settings).await?;
            fetchers.share_pace(&heartbeat);
            Some(heartbeat)
        }
    };
    Ok(Extractor {
        lake: lake.clone(),
        queue,
        sources: project.sources.clone().into(),
        fetchers,
        identity,
        run: hands.id,
        now: clock::now,
        jobs: hands.jobs,
        seed: catalog::fresh_bits(),
        progress: hands.progress,
        cancel: hands.cancel,
        heartbeat,
        tuning: Tuning { visibility_timeout: section.visibility_timeout(), ..Tuning::default() },
    })
}
