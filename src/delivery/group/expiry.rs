//! Letting go of the oldest deliveries of a sink that is over its quota.

use tokio::time::Instant;

use super::{Group, PAGE};
use crate::config::OnFull;
use crate::store::{SinkStore, Stopped};

/// Deliveries expired in one transaction.
const EXPIRE_MAX: usize = 256;

impl Group {
    /// Gives up the oldest deliveries while the sink is over its quota.
    pub(super) async fn expire(&mut self) -> Result<(), Stopped> {
        while self.config.backlog.on_full == OnFull::Expire && self.excess() > 0 {
            // What is settled counts until that is durable, and must not cost others their place.
            self.store.record_durably(self.queue.take_changes()).await?;
            if !self.queue.has_fresh_read() && self.store.has_fresh(self.queue.cursor()) && self.state.fetch.is_none() {
                let page = self.store.fresh(self.queue.cursor(), PAGE).await?;
                self.fetched(page);
            }
            let expired = self.expire_some(self.excess());
            if expired.is_empty() {
                break;
            }
            self.tell_expired(expired.len() as u64, Instant::now());
            if self.notices.is_wanted() && has_others(&self.store, &expired).await? {
                self.notices.expired(&self.name, expired.len() as u64);
            }
        }
        Ok(())
    }

    /// The bytes by which the sink is over its quota.
    fn excess(&self) -> u64 {
        self.metrics.pending_bytes.value().saturating_sub(self.config.backlog.max_bytes)
    }

    /// Gives up deliveries of together about `excess` bytes, in one transaction's bounds, and says which.
    fn expire_some(&mut self, mut excess: u64) -> Vec<u64> {
        let now = self.now();
        let mut expired = Vec::new();
        while excess > 0 && expired.len() < EXPIRE_MAX {
            let Some((seq, bytes)) = self.queue.expire_oldest(now) else { break };
            excess = excess.saturating_sub(bytes.into());
            expired.push(seq);
        }
        expired
    }
}

/// Whether not all of these are operational events, whose expiry is not told.
async fn has_others(store: &SinkStore, expired: &[u64]) -> Result<bool, Stopped> {
    for seq in expired {
        let claimed = store.load(*seq).await?;
        if !claimed.content.is_ok_and(|(event, _)| event.stream.is_operational()) {
            return Ok(true);
        }
    }
    Ok(false)
}
