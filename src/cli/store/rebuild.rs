//! What was made of a damaged store, and what could not be.

use std::io::{self, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::verify;
use crate::store::Rebuilt;

pub(super) fn write(rebuilt: &Rebuilt, to: &Path, is_json: bool, out: &mut impl Write) -> io::Result<()> {
    if is_json {
        return writeln!(out, "{}", as_json(rebuilt));
    }
    writeln!(out, "Found in the old store:")?;
    verify::write_findings(&rebuilt.before, out)?;
    if rebuilt.before.is_whole() {
        writeln!(out, "nothing damaged")?;
    }
    let kept: Vec<String> = rebuilt.kept.iter().map(|(table, count)| format!("{table} {count}")).collect();
    writeln!(out, "\nRows taken over: {}", kept.join(", "))?;
    for (what, events) in &rebuilt.losses {
        let events = if events.is_empty() { String::new() } else { format!("{} events ({events}): ", events.count()) };
        writeln!(out, "{events}{what}")?;
    }
    if rebuilt.has_new_epoch {
        writeln!(out, "Sequences of events to come are in a new epoch, above all that sinks have seen.")?;
    }
    verify::write_findings(&rebuilt.after, out)?;
    match rebuilt.after.is_whole() {
        true => {
            writeln!(out, "\n{} is whole: point store.path there, or put it in the place of the old one.", to.display())
        }
        false => writeln!(out, "\n{} is NOT whole: keep both directories and report this.", to.display()),
    }
}

fn as_json(rebuilt: &Rebuilt) -> Value {
    let kept = rebuilt.kept.iter().map(|(table, count)| ((*table).to_owned(), (*count).into()));
    let losses = rebuilt.losses.iter().map(|(what, events)| {
        let ranges: Vec<_> = events.parts().map(|(first, last)| [first, last]).collect();
        json!({ "what": what, "count": events.count(), "events": ranges })
    });
    json!({
        "before": verify::as_json(&rebuilt.before),
        "kept": kept.collect::<serde_json::Map<_, _>>(),
        "losses": losses.collect::<Vec<_>>(),
        "has_new_epoch": rebuilt.has_new_epoch,
        "after": verify::as_json(&rebuilt.after),
    })
}
