//! What differs between two configurations, and what of it a running relay can take up.

use std::collections::BTreeMap;
use std::fmt;

use crate::config::{Config, RouteConfig, SinkConfig, SinkName};

/// Names listed in a message; beyond that their number is told.
const NAMES_MAX: usize = 10;

/// The difference of two configurations.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(super) sinks: Difference,
    pub(super) routes: Difference,
    /// Connections to the source that were made and ended for it.
    pub(super) opened: usize,
    pub(super) closed: usize,
    /// Whether more was written than sinks and routes.
    has_others: bool,
}

/// Names that came, went, or stand for something else now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) added: Vec<String>,
    pub(super) removed: Vec<String>,
    pub(super) changed: Vec<String>,
}

impl Changes {
    /// Fails with the keys that need a restart, if one of them differs.
    pub(super) fn between(old: &Config, new: &Config) -> anyhow::Result<Self> {
        let keys = fixed_keys(old, new);
        if !keys.is_empty() {
            anyhow::bail!("what changed at {} needs a restart; nothing was changed", keys.join(", "));
        }
        let is_rebuilt = old.egress != new.egress;
        let same_sink = |old: &SinkConfig, new: &SinkConfig| !is_rebuilt && old == new;
        let routes = |config: &Config| -> BTreeMap<String, RouteConfig> {
            config.routes.iter().map(|route| (route.name.to_string(), route.clone())).collect()
        };
        let sinks = |config: &Config| -> BTreeMap<String, SinkConfig> {
            config.sinks.iter().map(|(SinkName(name), sink)| (name.to_string(), sink.clone())).collect()
        };
        Ok(Self {
            sinks: Difference::of(&sinks(old), &sinks(new), same_sink),
            routes: Difference::of(&routes(old), &routes(new), RouteConfig::eq),
            has_others: is_rebuilt
                || old.source.push_down != new.source.push_down
                || (old.ownership, old.repair) != (new.ownership, new.repair),
            ..Self::default()
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The keys that differ and cannot change at run time.
fn fixed_keys(old: &Config, new: &Config) -> Vec<&'static str> {
    // Named one by one, so that a new key has to be thought about.
    let Config {
        source,
        store,
        dedup,
        dead_letters,
        shutdown_timeout,
        admin,
        ownership: _,
        repair: _,
        egress: _,
        sinks: _,
        routes: _,
        tests: _,
    } = new;
    let (old_source, source) = (&old.source, source);
    let keys = [
        ("source.network", old_source.network == source.network),
        ("source.url", old_source.url == source.url),
        ("source.api_key", old_source.api_key == source.api_key),
        ("source.persistent_session", old_source.persistent_session == source.persistent_session),
        ("source.silence_timeout", old_source.silence_timeout == source.silence_timeout),
        ("source.ca_file", old_source.ca_file == source.ca_file),
        ("source.rest", old_source.rest == source.rest),
        ("store", old.store == *store),
        ("dedup", old.dedup == *dedup),
        ("dead_letters", old.dead_letters == *dead_letters),
        ("admin", old.admin == *admin),
        ("shutdown_timeout", old.shutdown_timeout == *shutdown_timeout),
    ];
    keys.into_iter().filter(|(_, is_same)| !is_same).map(|(key, _)| key).collect()
}

impl Difference {
    fn of<T>(old: &BTreeMap<String, T>, new: &BTreeMap<String, T>, is_same: impl Fn(&T, &T) -> bool) -> Self {
        let missing_in = |map: &BTreeMap<String, T>, name: &String| !map.contains_key(name);
        let changed = |(name, now): &(&String, &T)| old.get(*name).is_some_and(|before| !is_same(before, now));
        Self {
            added: new.keys().filter(|name| missing_in(old, name)).cloned().collect(),
            removed: old.keys().filter(|name| missing_in(new, name)).cloned().collect(),
            changed: new.iter().filter(changed).map(|(name, _)| name.clone()).collect(),
        }
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return write!(f, "nothing in it is new");
        }
        write!(f, "sinks: {}; routes: {}", self.sinks, self.routes)?;
        if self.opened + self.closed > 0 {
            write!(f, "; connections to the source: {} opened, {} closed", self.opened, self.closed)?;
        }
        Ok(())
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [("added", &self.added), ("changed", &self.changed), ("removed", &self.removed)];
        let mut told = kinds.into_iter().filter(|(_, names)| !names.is_empty()).peekable();
        if told.peek().is_none() {
            return write!(f, "as before");
        }
        while let Some((what, names)) = told.next() {
            write!(f, "{what} {}", listed(names))?;
            if told.peek().is_some() {
                write!(f, ", ")?;
            }
        }
        Ok(())
    }
}

fn listed(names: &[String]) -> String {
    let mut text = names.iter().take(NAMES_MAX).map(String::as_str).collect::<Vec<_>>().join(" ");
    if names.len() > NAMES_MAX {
        text += &format!(" and {} more", names.len() - NAMES_MAX);
    }
    text
}
