//! What can be used, but may not be what was meant.

use std::collections::{BTreeMap, BTreeSet};

use super::reader::Place;
use super::{Format, RouteConfig, SinkConfig, SinkKind, SinkName};
use crate::event::Stream;

/// A webhook that gets messages of several streams as they are has to tell them apart by a header.
pub(super) fn on_mixed_streams(sinks: &BTreeMap<SinkName, (Place<'_>, Option<SinkConfig>)>, routes: &[RouteConfig]) {
    let mut streams: BTreeMap<&SinkName, BTreeSet<Stream>> = BTreeMap::new();
    for route in routes {
        for sink in &route.sinks {
            streams.entry(sink).or_default().insert(route.stream);
        }
    }
    for (name, (place, sink)) in sinks {
        let streams = streams.get(name).filter(|streams| streams.len() > 1);
        let form = sink.as_ref().map(|sink| (&sink.kind, sink.format));
        if let (Some(streams), Some((SinkKind::Webhook(_), Format::Raw))) = (streams, form) {
            let names: Vec<&str> = streams.iter().map(|stream| stream.as_str()).collect();
            let message = format!("gets messages of {}, which do not say what they are", names.join(" and "));
            let hint = "take `format: cloudevents`, whose `type` says it, give each stream a sink of its own, or let the \
                        receiver go by the header cspr-relay-stream";
            place.warn(message, Some(hint.to_owned()));
        }
    }
}
