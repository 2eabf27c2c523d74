//! Sinks that join and leave a running relay.
//!
//! Both happen on the writer's thread, between two commits, so that what is found of a queue is all there is. A sink
//! that has left is *parked*: its deliveries stay, those still under way to the store included, and are found again
//! when its name returns.

use std::sync::Arc;

use rusqlite::params;
use tokio::sync::oneshot;

use super::bell::Bell;
use super::queue::Queue;
use super::space::is_full;
use super::transaction::{NameKind, number_of};
use super::writer::Writer;
use super::{Found, SinkId};
use crate::config::{BacklogConfig, SinkName};
use crate::metrics::SinkMetrics;

/// To be done once every change handed over before is durable.
pub(super) enum RosterChange {
    Join {
        name: SinkName,
        backlog: BacklogConfig,
        metrics: Arc<SinkMetrics>,
        done: oneshot::Sender<Joined>,
    },
    /// Answered with the number of deliveries that stay.
    Leave {
        sink: SinkId,
        done: oneshot::Sender<u64>,
    },
}

/// A sink that the writer serves from now on.
pub(super) struct Joined {
    pub(super) id: SinkId,
    pub(super) found: Found,
    pub(super) bell: Arc<Bell>,
    /// The newest event; only up to here can a fresh delivery be settled already.
    pub(super) tail: u64,
}

impl Writer {
    /// The answer is dropped if the disk is full; whoever asked and no longer waits was aborted.
    pub(super) fn change_roster(&mut self, change: RosterChange) -> rusqlite::Result<()> {
        let changed = match change {
            RosterChange::Join { name, backlog, metrics, done } => {
                self.join(&name, &backlog, metrics).map(|joined| done.send(joined).is_ok())
            }
            RosterChange::Leave { sink, done } => self.leave(sink).map(|pending| done.send(pending).is_ok()),
        };
        match changed {
            Err(error) if is_full(&error) => {
                self.space.disk_is_full(&error);
                Ok(())
            }
            other => other.map(drop),
        }
    }

    fn join(
        &mut self,
        name: &SinkName,
        backlog: &BacklogConfig,
        metrics: Arc<SinkMetrics>,
    ) -> rusqlite::Result<Joined> {
        let tail = self.accepting.next_seq - 1;
        let id = SinkId(number_of(&self.connection, NameKind::Sink, &name.0)?);
        self.connection.execute("INSERT OR IGNORE INTO cursor VALUES (?1, ?2)", params![id.0, tail])?;
        let queue = self.queue(id)?;
        let state = queue.state(name, backlog, metrics);
        let bell = Arc::clone(&state.bell);
        self.sinks.retain(|sink| sink.id != id);
        self.sinks.push(state);
        Ok(Joined { id, found: queue.found, bell, tail })
    }

    /// A sink that is owed nothing must not hold back what is behind it.
    fn leave(&mut self, sink: SinkId) -> rusqlite::Result<u64> {
        self.sinks.retain(|state| state.id != sink);
        let queue = self.queue(sink)?;
        if queue.pending() == 0 {
            let tail = self.accepting.next_seq - 1;
            self.connection.execute("UPDATE cursor SET low = ?1 WHERE sink = ?2", params![tail, sink.0])?;
        }
        Ok(queue.pending())
    }

    fn queue(&self, sink: SinkId) -> rusqlite::Result<Queue> {
        let sql = "SELECT low FROM cursor WHERE sink = ?1";
        let low = self.connection.query_row(sql, [sink.0], |row| row.get(0))?;
        Queue::find_whole(&self.connection, sink, low, self.clock.now(), &self.metrics)
    }
}
