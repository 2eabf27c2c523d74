//! A webhook beside a sink that is in trouble: it gets the same events, and whatever happens to the other one, it has
//! them at the first attempt.

use std::collections::BTreeSet;

use crate::relay::listener::{Arrival, Listener};
use crate::relay::store::Database;
use crate::relay::{SECRET, Scene, until};

/// Of the sink in a configuration.
pub(crate) const NAME: &str = "neighbour";

pub(crate) struct Neighbour(Listener);

impl Neighbour {
    pub(crate) async fn start() -> Self {
        Self(Listener::start().await)
    }

    /// Lines of YAML for the section `sinks`.
    pub(crate) fn sink(&self) -> String {
        let url = self.0.url();
        format!("  {NAME}:\n    webhook: {{ url: \"{url}\", secrets: [\"{SECRET}\"], headers: {{ X-Life: \"1\" }} }}\n")
    }

    /// To be called while the sink of that name is in trouble, which lasts beyond this: what is accepted by now comes
    /// here all the same, and has not all come there.
    pub(crate) async fn keeps_up(&self, scene: &Scene, in_trouble: &str) {
        let database = Database::open(&scene.data());
        self.has_all(&database).await;
        let (delivered, newest) = (database.delivered(in_trouble).len() as u64, database.newest());
        assert!(delivered < newest, "{in_trouble} has {delivered} of {newest}: it is not in trouble");
    }

    /// To be called while the relay runs: everything comes, each event once and by its first attempt.
    pub(crate) async fn is_untouched(&self, scene: &Scene) {
        self.has_all(&Database::open(&scene.data())).await;
        let arrivals = self.0.arrivals();
        assert!(arrivals.iter().all(|arrival| arrival.attempt == 1), "an attempt failed");
        assert_eq!(arrivals.len(), numbers(&arrivals).len(), "an event came twice");
    }

    /// Waits for what is accepted by now.
    async fn has_all(&self, database: &Database) {
        let newest = database.newest();
        assert!(newest > 0, "events are accepted");
        let has_all = || numbers(&self.0.arrivals()).range(..=newest).count() as u64 == newest;
        until("the neighbour of the sink has everything", has_all).await;
    }
}

fn numbers(arrivals: &[Arrival]) -> BTreeSet<u64> {
    arrivals.iter().filter(|arrival| arrival.is_received()).map(|arrival| arrival.number).collect()
}
