//! A host's pace across workers.
//!
//! Before a worker asks a host for the first time it *enters* it: it writes the host's name into its sign and only then reads
//! the signs of the others. Whoever writes first and reads second is seen by the other, so of two workers that begin at the
//! same moment at least one knows of both. A worker that finds the host with somebody else waits one *settle time*, one and
//! a half intervals, in which the others have looked again; one that finds it free goes on at once, so that a lone worker
//! never waits. Each then takes the host's rate divided by the number of the living workers that have entered it.
//!
//! So n workers together ask at most `rate × time + n` times in any window, as long as each can read and write the lake
//! once an interval. A worker that could not for [`MISSED`] intervals – frozen, or cut off – counts as dead, its share goes
//! to the others, and it enters the host anew before its next request.
//!
//! Whether another worker lives is told by whether its sign *changes* between two looks, measured by our own monotonic
//! clock: the clocks of two machines never meet. At the first look two times of the store's one clock are compared, when
//! their sign came in and when ours did; only `status`, which gives no sign, reads the times in them.

use catalog::simulation::{Instant, sleep};

use super::{Heartbeat, MISSED};
use crate::error::one_line;

/// A host that was not asked for so many intervals is left: its share is free for others.
pub(super) const LEFT_AFTER: u32 = 6;

impl Heartbeat {
    /// Enters a host unless it is entered, and gives the number of living workers that are in it, this one included.
    pub async fn enter(&self, host: &str) -> u32 {
        if self.is_in(host) {
            return self.share(host);
        }
        let _one = self.0.entering.lock().await;
        if self.is_in(host) {
            return self.share(host);
        }
        self.me().hosts.insert(host.to_owned(), Instant::now());
        let told = async {
            self.write(None).await?;
            self.refresh().await
        };
        let alone = match told.await {
            Ok(()) => self.share(host) == 1,
            Err(error) => {
                tracing::warn!(host, error = one_line(&error), "the other workers could not be asked");
                false
            }
        };
        if !alone {
            tracing::debug!(host, "somebody else is on it: waiting until it has noticed");
            sleep(self.0.settings.interval.mul_f64(1.5)).await;
            if let Err(error) = self.refresh().await {
                tracing::warn!(host, error = one_line(&error), "the other workers could not be asked");
            }
        }
        let mut me = self.me();
        me.hosts.insert(host.to_owned(), Instant::now());
        me.entered.insert(host.to_owned());
        drop(me);
        self.share(host)
    }

    /// A host is wanted at a time: until then, and for a while after it, it is not left.
    pub fn wants(&self, host: &str, at: Instant) {
        if let Some(wanted) = self.me().hosts.get_mut(host) {
            *wanted = at.max(*wanted);
        }
    }

    /// Entered, and not dead for the others since.
    fn is_in(&self, host: &str) -> bool {
        let longest = self.0.settings.interval * MISSED;
        let mut me = self.me();
        if me.written.is_some_and(|written| written.elapsed() > longest) {
            me.entered.clear();
        }
        me.entered.contains(host)
    }

    fn share(&self, host: &str) -> u32 {
        let now = Instant::now();
        let others = self.others();
        let there = others.values().filter(|other| other.lives(now) && other.record.hosts.iter().any(|it| it == host));
        u32::try_from(there.count()).unwrap_or(u32::MAX).saturating_add(1)
    }

    /// Drops hosts that nobody wants any more.
    pub(super) fn leave(&self) {
        let longest = self.0.settings.interval * LEFT_AFTER;
        let mut me = self.me();
        let left: Vec<String> =
            me.hosts.iter().filter(|(_, wanted)| wanted.elapsed() > longest).map(|(host, _)| host.clone()).collect();
        for host in left {
            me.hosts.remove(&host);
            me.entered.remove(&host);
        }
    }
}
