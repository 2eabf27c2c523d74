//! Sections whose entries have names, such as `sinks`: every file of a configuration may have one, and a name stands
//! in one of them only.

use std::collections::BTreeMap;

use super::reader::Place;
use super::shape::{Mapping, Named, Node, Spot, Value};

/// What names look like, as a regular expression: they go into headers, metrics and tables.
pub(super) const NAME: &str = "^[A-Za-z0-9_.-]{1,64}$";

/// The section as each file has it, the main file first.
pub(super) type Section<'a, M> = Vec<(Place<'a>, Option<Node<Named<M>>>)>;

/// An entry of a section, before it is read.
pub(super) struct Entry<'a, M> {
    pub(super) name: String,
    /// Of the name.
    pub(super) place: Place<'a>,
    section: Place<'a>,
    node: Node<M>,
}

impl<'a, M: Mapping> Entry<'a, M> {
    /// What it holds, and the place of that.
    pub(super) fn read(self) -> (M, Place<'a>) {
        self.section.map(&self.name, Some(self.node))
    }
}

/// All entries of the section `key`, each name checked and once; if there are none, `absent` is a fault.
pub(super) fn entries<'a, M: Mapping>(key: &str, section: Section<'a, M>, absent: &str) -> Vec<Entry<'a, M>> {
    let mut places = Vec::new();
    let mut entries = Vec::new();
    for (parent, node) in section {
        let is_readable = node.as_ref().is_none_or(|node| matches!(node.value, Value::Map(_) | Value::Null));
        if !is_readable {
            parent.document.reading.lose_a_file();
        }
        let (named, place) = parent.map(key, node);
        let named = named.0.into_iter().map(|(key, node)| entry(&place, key.name, key.at, node));
        entries.extend(named);
        places.push(place);
    }
    if let ([], Some(place)) = (entries.as_slice(), places.first()) {
        place.fault_of_the_whole(absent, None);
    }
    refuse_second_places(&entries);
    entries
}

fn entry<'a, M>(section: &Place<'a>, name: String, at: Spot, node: Node<M>) -> Entry<'a, M> {
    let place = section.key(&name, at);
    place.check_name(&name);
    Entry { name, place, section: section.clone(), node }
}

/// The parser refuses a name that stands twice in one file; this is about several files.
fn refuse_second_places<M>(entries: &[Entry<'_, M>]) {
    let mut first = BTreeMap::new();
    for entry in entries {
        if let Some(place) = first.insert(entry.name.as_str(), &entry.place) {
            let message = format!("`{}` is defined twice, first in {}", entry.name, place.file_and_line());
            let hint = "names are unique over all files: rename one of the two, or remove it".to_owned();
            entry.place.fault_with(message, Some(hint));
        }
    }
}
