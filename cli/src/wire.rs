//! From settings to components: everything that a verb holds is made here.

mod glue;
mod llm;
mod queue;
mod search;
mod servers;

use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use catalog::{Lake, Layer, TableName, without_user};
use extract::fetch::{FetchSettings, Fetchers, USER_AGENT};
use extract::identity::IdentityKey;
use extract::politeness::{HostSetting, Hosts};
use extract::source::Rate;
use load::{Entity, Rules, Serving, SyncTarget, VectorColumn};
use transform::{Engine, EngineOptions};

use crate::args::Global;
use crate::clock;
use crate::config::{self, Config, SecretRef, SyncSection};
use crate::exit::Failure;
use crate::project::Project;
use crate::template;

pub(crate) use glue::{athena, glue, publish_options};
pub(crate) use llm::{llm, llm_unasked};
pub(crate) use queue::{Hands, extractor, queue};
pub(crate) use search::{query_embedder, search};
pub(crate) use servers::server;

/// The lake of a project, or the one that the command line names.
///
/// # Errors
/// If it cannot be opened, or belongs to another project.
pub(crate) async fn lake(project: &Project, global: &Global) -> anyhow::Result<Lake> {
    let uri = project.lake_uri(global.lake.as_deref());
    Ok(Lake::open_with(&uri, &project.config.project.name, &project.lake_settings()).await?)
}

/// The lake of a project, for verbs that only look: nothing is made.
///
/// # Errors
/// As [`lake`], and if there is none.
pub(crate) async fn lake_to_read(project: &Project, global: &Global) -> anyhow::Result<Lake> {
    let found = find_lake(project, global).await?;
    found.ok_or_else(|| {
        let uri = lake_address(project, global);
        let hint = "`onggi run` makes the lake of a project; another one is named with `--lake`";
        Failure::failed(format!("expected a lake at `{uri}`, found none"), hint).into()
    })
}

/// Where the lake of a project is or will be, for people: a whole address, also of a folder.
pub(crate) fn lake_address(project: &Project, global: &Global) -> String {
    let uri = project.lake_uri(global.lake.as_deref());
    match std::path::absolute(&uri) {
        Ok(folder) if !uri.contains("://") => format!("file://{}/", folder.display().to_string().trim_end_matches('/')),
        _ => without_user(&uri),
    }
}

/// The lake of a project for verbs that say what would be: one in memory where there is none yet.
///
/// # Errors
/// As [`lake`].
pub(crate) async fn lake_to_come(project: &Project, global: &Global) -> anyhow::Result<Lake> {
    match find_lake(project, global).await? {
        Some(lake) => Ok(lake),
        None => Ok(Lake::open(&format!("{TO_COME}://to-come"), &project.config.project.name).await?),
    }
}

/// The scheme of [`lake_to_come`] where there is no lake yet.
pub(crate) const TO_COME: &str = "memory";

fn is_remote(project: &Project, global: &Global) -> bool {
    let uri = project.lake_uri(global.lake.as_deref());
    uri.strip_prefix("file://").unwrap_or(&uri).contains("://")
}

/// The lake of a project, if there is one. A bucket is opened as for a run: only so is it told what is wrong with it.
///
/// # Errors
/// As [`lake`].
pub(crate) async fn find_lake(project: &Project, global: &Global) -> anyhow::Result<Option<Lake>> {
    if is_remote(project, global) && !project.is_none() {
        return lake(project, global).await.map(Some);
    }
    let uri = project.lake_uri(global.lake.as_deref());
    let name = (!project.is_none()).then_some(project.config.project.name.as_str());
    Ok(Lake::find_with(&uri, name, &project.lake_settings()).await?)
}

/// The lake of a project if it is there, for a check that asks no network: a bucket is not asked.
///
/// # Errors
/// As [`lake`].
pub(crate) async fn lake_if_there(project: &Project, global: &Global) -> anyhow::Result<Option<Lake>> {
    if is_remote(project, global) { Ok(None) } else { find_lake(project, global).await }
}

/// The folder of the embedded parts: beside a local lake's tables; for any other lake in the project, one for each lake, so
/// that what follows one lake is never taken for what follows another.
pub(crate) fn local_house(project: &Project, lake: &Lake) -> PathBuf {
    lake.local_dir().unwrap_or_else(|| {
        let uri = lake.uri();
        let house = project.folder.join(".onggi").join(uri.scheme()).join(uri.host_str().unwrap_or_default());
        uri.path_segments().into_iter().flatten().filter(|part| !part.is_empty()).fold(house, |at, part| at.join(part))
    })
}

/// The SQL engine, within the project's limits.
///
/// # Errors
/// If it cannot start.
pub(crate) fn engine(project: &Project) -> anyhow::Result<Engine> {
    let mut options = EngineOptions::new(spill_folder(&std::env::temp_dir())?);
    options.memory_bytes = project.config.limits.memory_mib << 20;
    Ok(Engine::new(&options)?)
}

/// Where queries spill: a folder of this user below the temporary one. What spills is rows of the lake, so nobody else reads it, and no
/// folder is taken that somebody else has put there.
fn spill_folder(temporary: &Path) -> anyhow::Result<PathBuf> {
    let user = rustix::process::getuid().as_raw();
    let folder = temporary.join(format!("onggi-spill-{user}"));
    // Where nothing can be written, queries go without.
    let _ = std::fs::DirBuilder::new().mode(0o700).create(&folder);
    if let Ok(found) = std::fs::symlink_metadata(&folder)
        && (!found.is_dir() || found.uid() != user || found.mode() & 0o077 != 0)
    {
        let message = format!("expected `{}` to be a folder that only this user reads", folder.display());
        return Err(
            Failure::failed(message, "remove it, or name another folder for temporary files in `TMPDIR`").into()
        );
    }
    Ok(folder)
}

/// The identity key. One that a file reference points at is made if it is missing *and* the lake has no records yet: a key
/// that was lost must not be replaced in silence, since the same reviewer would then count as another.
///
/// # Errors
/// If the key is missing, can be guessed, or is another one than the lake's ids were hashed with.
pub(crate) async fn identity(project: &Project, lake: &Lake) -> anyhow::Result<IdentityKey> {
    let reference = &project.config.identity.key;
    if let SecretRef::File(path) = reference {
        let path = project.folder.join(path);
        if !path.exists() && !has_records(lake).await? {
            template::identity_key(&path)?;
        }
    }
    let key = identity_key(project)?;
    extract::identity::check(lake, &project.sources, &key).await?;
    Ok(key)
}

/// As [`identity`] would, without making anything: whether a run could use the key. Of a lake that has no records yet the run makes
/// the file; a secret of the environment may be elsewhere than where a project is checked and planned.
///
/// # Errors
/// What a run would say.
pub(crate) async fn identity_fits(project: &Project, lake: &Lake) -> anyhow::Result<IdentityState> {
    let reference = &project.config.identity.key;
    match reference {
        SecretRef::Env(_) if reference.read(&project.folder).is_err() => return Ok(IdentityState::Elsewhere),
        SecretRef::File(path) if !project.folder.join(path).exists() && !has_records(lake).await? => {
            return Ok(IdentityState::ToBeMade);
        }
        SecretRef::Env(_) | SecretRef::File(_) => {}
    }
    extract::identity::check(lake, &project.sources, &identity_key(project)?).await?;
    Ok(IdentityState::There)
}

/// Whether anything ever came from a source: tables alone, of runs that fetched nothing, hold no ids.
async fn has_records(lake: &Lake) -> anyhow::Result<bool> {
    for name in lake.tables().await?.into_iter().filter(|name| name.layer() == Layer::Raw) {
        if lake.snapshot(&name).await?.row_count()? > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// How the identity key stands, where nothing is wrong with it.
pub(crate) enum IdentityState {
    /// It is there, and the one that the lake knows.
    There,
    /// The first run makes it.
    ToBeMade,
    /// The environment here has none.
    Elsewhere,
}

fn identity_key(project: &Project) -> anyhow::Result<IdentityKey> {
    let bytes = project.config.identity.key.read(&project.folder)?;
    IdentityKey::from_bytes(&bytes).map_err(|weak| {
        let hint = weak.hint().unwrap_or_default();
        Failure::usage(format!("the identity key of the project cannot be used: {weak}"), hint).into()
    })
}

/// The ways of fetching; no browser is started before one is needed.
///
/// # Errors
/// If a host of the configuration is none.
pub(crate) fn fetchers(config: &Config, jobs: usize) -> anyhow::Result<Fetchers> {
    let mut hosts = Hosts::new();
    for (host, section) in &config.hosts {
        let rate = section.rate.and_then(Rate::per_second);
        hosts
            .insert(host, HostSetting { url: Some(section.url.clone()), rate })
            .map_err(|message| Failure::usage(message, format!("correct `[hosts.\"{host}\"]` in {}", config::FILE)))?;
    }
    let fetchers = Fetchers::new(FetchSettings {
        hosts,
        user_agent: config.crawl.user_agent.clone().unwrap_or_else(|| USER_AGENT.to_owned()),
        chromium: config.crawl.chromium.clone(),
        tabs: jobs,
        now: clock::now,
    });
    Ok(match config.crawl.browser_mib {
        Some(mib) => fetchers.with_browser_memory(mib << 20),
        None => fetchers,
    })
}

/// The sinks: those of the serving folder, and the servers that are configured.
///
/// # Errors
/// If a server's URL cannot be read, or is none.
pub(crate) fn serving(project: &Project, lake: &Lake) -> anyhow::Result<Serving> {
    let mut serving = Serving::new(local_house(project, lake).join("serving"));
    for section in project.config.servers() {
        serving = serving.with_sink(server(project, section)?);
    }
    Ok(serving)
}

/// A `[sync]` section as the serving side takes it.
pub(crate) fn target(config: &Config, table: &TableName, section: &SyncSection) -> SyncTarget {
    SyncTarget {
        table: table.clone(),
        key: section.key.clone(),
        sinks: section.sinks.clone(),
        texts: section.text.clone(),
        title: section.title.clone(),
        entity: section.entity.as_ref().map(|it| Entity { column: it.column.clone(), table: it.table.clone() }),
        vector: section
            .vector
            .as_ref()
            .map(|column| VectorColumn { column: column.clone(), model: llm::embedder(config) }),
    }
}

/// What a sync of this target may do.
pub(crate) fn sync_rules(config: &Config, target: &SyncTarget, allow_deletes: bool) -> Rules {
    let max_deleted = config.sync.get(&target.table).map_or(Rules::MAX_DELETED, |section| section.max_deleted);
    Rules { max_deleted, allow_deletes, adopt: false }
}
