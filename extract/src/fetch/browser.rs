//! A page in a headless Chromium that asks by itself.
//!
//! The hard part is that it stays cheap and that nothing is missed. Nothing is read from the page: the answers that the
//! page fetches are taken on their way in (every one that is stopped there is counted, read and let go on), and the first
//! document is taken as it came, for it carries the first items. Between two clicks the page is kept small: what was taken
//! leaves its tree. So the ten-thousandth item costs what the tenth did.
//!
//! A page is a stranger's program. Each key's page has a context of its own, without anybody's cookies, and a proxy of its
//! own through which everything leaves that it asks for ([`crate::egress`]); it writes no file and registers no worker.
//!
//! - `browser/process.rs`: the process, which ends with ours however ours ends, `browser/profile.rs`: its folder, and
//!   `browser/memory.rs`: what it may hold;
//! - `browser/tab.rs`: one tab, and `browser/intercept.rs`: what is taken from it on its way in;
//! - `browser/visit.rs`: one key: open the page, read its document; `browser/visit/more.rs`: load more until there is none;
//!   `browser/judge.rs`: what its answers are worth;
//! - `browser/page.js`: the little that runs inside the page, and `browser/script.rs`: its call.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use tokio::sync::Semaphore;

use super::{Fetch, FetchError, FetchFlow, FetchRequest, Response};
use crate::politeness::Politeness;
use crate::source::Recipe;

mod intercept;
mod judge;
mod memory;
mod process;
mod profile;
mod script;
mod tab;
mod visit;

use judge::PageTrouble;
pub use process::find_chromium;
use process::{Crash, Running};
use tab::Tab;
use visit::Visit;

/// How the browser is run. Everything but the path may be left alone.
#[derive(Clone, Debug)]
pub struct BrowserSettings {
    /// Chromium, if it is not to be looked for under its usual names.
    pub chromium: Option<PathBuf>,
    /// Tabs open at the same time. A tab is 80 to 150 MB.
    pub tabs: usize,
    /// The browser is replaced after so many tabs.
    pub tabs_per_browser: u32,
    /// What all its processes together may hold. A page that makes it hold more is ended.
    pub most_bytes: u64,
}

impl BrowserSettings {
    /// What a browser with so many tabs may hold if nobody says otherwise: 1 GiB, and half of one for each.
    pub fn usual_bytes(tabs: usize) -> u64 {
        (1 << 30) + (tabs.max(1) as u64) * (1 << 29)
    }
}

impl Default for BrowserSettings {
    fn default() -> Self {
        Self { chromium: None, tabs: 2, tabs_per_browser: 500, most_bytes: Self::usual_bytes(2) }
    }
}

/// A headless Chromium, started when the first key needs it and shared by all that follow.
pub struct Browser {
    settings: BrowserSettings,
    politeness: Arc<Politeness>,
    permits: Semaphore,
    running: tokio::sync::Mutex<Option<Arc<Running>>>,
}

impl Browser {
    /// Starts nothing yet.
    pub fn new(settings: BrowserSettings, politeness: Arc<Politeness>) -> Self {
        let permits = Semaphore::new(settings.tabs.max(1));
        Self { settings, politeness, permits, running: tokio::sync::Mutex::default() }
    }

    /// The same with another bound of what it may hold. It starts nothing either.
    pub(super) fn with_memory(&self, most_bytes: u64) -> Self {
        Self::new(BrowserSettings { most_bytes, ..self.settings.clone() }, Arc::clone(&self.politeness))
    }

    /// The process group of the running browser, for who measures it.
    pub async fn process_group(&self) -> Option<u32> {
        self.running.lock().await.as_ref().filter(|running| running.is_alive()).map(|running| running.process_group())
    }

    /// Ends the browser and waits until its processes are gone.
    pub async fn close(&self) {
        let running = self.running.lock().await.take();
        if let Some(running) = running {
            running.close().await;
        }
    }

    async fn running(&self) -> Result<Arc<Running>, FetchError> {
        let mut slot = self.running.lock().await;
        if let Some(running) = slot.as_ref()
            && running.is_alive()
            && running.tabs_opened() < self.settings.tabs_per_browser
        {
            return Ok(Arc::clone(running));
        }
        // The old one ends when the last of its tabs is done.
        *slot = None;
        let running = Arc::new(Running::launch(self.settings.chromium.as_deref(), self.settings.most_bytes).await?);
        *slot = Some(Arc::clone(&running));
        Ok(running)
    }
}

impl std::fmt::Debug for Browser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Browser").field("settings", &self.settings).finish_non_exhaustive()
    }
}

#[async_trait]
impl Fetch for Browser {
    async fn fetch(
        &self,
        request: &FetchRequest<'_>,
        on: &mut (dyn FnMut(Response) -> FetchFlow + Send),
    ) -> Result<(), FetchError> {
        let source = request.source;
        let Recipe::Browser(recipe) = source.recipe() else {
            return Err(FetchError::Permanent {
                url: source.name().to_string(),
                reason: "it is no source for a browser".to_owned(),
            });
        };
        let visit = Visit::new(source, recipe, &request.key.value, &self.politeness)?;
        // Nobody starts a browser for a page that may not be read.
        visit.check_before().await?;
        let Ok(_permit) = self.permits.acquire().await else { return Err(FetchError::Cancelled) };
        let mut crashes = 0;
        let has_some = AtomicBool::new(false);
        let mut on = |response| {
            has_some.store(true, Ordering::Relaxed);
            on(response)
        };
        loop {
            let running = self.running().await?;
            let visited = match Tab::open(running, source, recipe, visit.own(), &self.politeness).await {
                Ok(mut tab) => match visit.perform(&mut tab, &mut on).await {
                    Err(PageTrouble::Tab(reason)) => Err(match tab.crash_soon().await {
                        Some(Crash::TooMuch(why)) => PageTrouble::TooMuch(why),
                        Some(Crash::Other(why)) => PageTrouble::Tab(why),
                        None => PageTrouble::Tab(reason),
                    }),
                    visited => visited,
                },
                Err(reason) => Err(PageTrouble::Tab(reason)),
            };
            match visited {
                Ok(()) => return Ok(()),
                Err(PageTrouble::Site(error)) => return Err(error),
                // It would hold as much the next time. What came of it lands.
                Err(PageTrouble::TooMuch(why)) if has_some.load(Ordering::Relaxed) => {
                    return Err(FetchError::Cut { why });
                }
                Err(PageTrouble::TooMuch(why)) => {
                    let reason = format!("the page can't be read: {why}");
                    let (url, body) = (visit.url().to_owned(), bytes::Bytes::new());
                    return Err(FetchError::Unreadable { url, reason, body });
                }
                Err(PageTrouble::Tab(reason)) => {
                    crashes += 1;
                    tracing::warn!(key = request.key.value, reason, crashes, "a tab or the browser was lost");
                    if crashes > 1 {
                        let reason = format!("the browser was lost: {reason}");
                        return Err(FetchError::Transient { url: visit.url().to_owned(), reason });
                    }
                }
            }
        }
    }
}
