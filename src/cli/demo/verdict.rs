//! The reckoning at the end: what was sent against what became of it, and what does not hold.

use super::snapshot::{Row, Snapshot};

/// The counts as text for people.
pub(super) fn table(end: &Snapshot) -> String {
    let mut text = format!(
        "  {:>6} messages were sent by the source, {} of them a second time\n  \
         {:>6} accepted + {} duplicates + {} unmatched + {} quarantined = {}\n\n",
        end.sent,
        end.sent_again,
        end.accepted,
        end.duplicates,
        end.unmatched,
        end.quarantined,
        end.handled(),
    );
    text.push_str(&format!("  {:<45}   {}\n", "as the relay counts", "as the receivers count"));
    let heading = ["wanted", "delivered", "pending", "dead", "expired", "took", "again", "requests", "bad sig."];
    text.push_str(&line("", &heading));
    for row in &end.sinks {
        let tally = &row.receiver;
        let relay = [row.obligations, row.delivered, row.pending, row.dead, row.expired];
        let receiver = [tally.delivered.distinct, tally.delivered.repeated, tally.received.total, tally.bad_signatures];
        let counts: Vec<String> = relay.iter().chain(&receiver).map(ToString::to_string).collect();
        text.push_str(&line(row.name, &counts));
    }
    text
}

fn line(name: &str, cells: &[impl AsRef<str>]) -> String {
    const WIDTHS: [usize; 9] = [7, 10, 8, 5, 8, 7, 6, 9, 9];
    let cells = cells.iter().zip(WIDTHS).map(|(cell, width)| format!("{:>width$}", cell.as_ref()));
    format!("  {name:<8}{}\n", cells.collect::<String>())
}

/// Everything that does not hold; nothing, if the demonstration kept its promise.
pub(super) fn faults(end: &Snapshot) -> Vec<String> {
    let mut faults = Vec::new();
    if end.handled() != end.sent {
        faults.push(format!(
            "the source wrote {} messages and the relay knows of {}: what a connection takes with it when it breaks \
             is lost, since the source has no acknowledgement",
            end.sent,
            end.handled()
        ));
    }
    if end.duplicates > end.sent_again {
        faults.push(format!(
            "{} events were dropped as duplicates, but only {} were sent again",
            end.duplicates, end.sent_again
        ));
    }
    if end.sinks.iter().all(|row| row.delivered == 0) {
        faults.push("nothing was delivered".to_owned());
    }
    faults.extend(end.sinks.iter().flat_map(sink_faults));
    faults
}

fn sink_faults(row: &Row) -> Vec<String> {
    let tally = &row.receiver;
    let accounted = row.delivered + row.pending + row.dead + row.expired;
    let unauthentic = tally.bad_signatures + tally.unsigned + tally.unusable;
    let checks = [
        (
            accounted == row.obligations,
            format!("delivered, pending, dead and expired are {accounted}, but {} are due", row.obligations),
        ),
        (
            tally.delivered.distinct >= row.delivered,
            format!("{} count as delivered, its receiver took {}", row.delivered, tally.delivered.distinct),
        ),
        (
            tally.received.distinct <= row.obligations,
            format!("its receiver saw {} events, only {} were meant for it", tally.received.distinct, row.obligations),
        ),
        (unauthentic == 0, format!("{unauthentic} requests were not signed as they should be")),
    ];
    let broken = checks.into_iter().filter(|(holds, _)| !holds);
    broken.map(|(_, what)| format!("{}: {what}", row.name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::receiver::{Count, Tally};

    fn end() -> Snapshot {
        let receiver = Tally {
            received: Count { total: 95, distinct: 82, repeated: 13 },
            delivered: Count { total: 81, distinct: 80, repeated: 1 },
            ..Tally::default()
        };
        let flaky = Row {
            name: "flaky",
            obligations: 86,
            delivered: 80,
            pending: 3,
            dead: 2,
            expired: 1,
            receiver,
            ..Row::default()
        };
        let sinks = vec![flaky];
        let (sent, sent_again) = (100, 5);
        Snapshot {
            sent,
            sent_again,
            accepted: 86,
            duplicates: 4,
            unmatched: 9,
            quarantined: 1,
            sinks,
            ..Snapshot::default()
        }
    }

    #[test]
    fn what_adds_up_has_no_faults() {
        assert_eq!(faults(&end()), Vec::<String>::new());
    }

    #[test]
    fn each_thing_that_does_not_hold_is_named() {
        type Break = fn(&mut Snapshot);
        let cases: [(Break, &str); 8] = [
            (|end| end.sent += 1, "the source wrote 101 messages and the relay knows of 100"),
            (|end| end.sent_again = 3, "4 events were dropped as duplicates, but only 3"),
            (|end| end.sinks[0].dead = 1, "flaky: delivered, pending, dead and expired are 85, but 86 are due"),
            (|end| end.sinks[0].receiver.delivered.distinct = 79, "flaky: 80 count as delivered, its receiver took 79"),
            (|end| end.sinks[0].receiver.received.distinct = 87, "flaky: its receiver saw 87 events"),
            (|end| end.sinks[0].receiver.bad_signatures = 1, "flaky: 1 requests were not signed"),
            (|end| end.sinks[0].receiver.unsigned = 2, "flaky: 2 requests were not signed"),
            (|end| end.sinks.clear(), "nothing was delivered"),
        ];
        for (damage, expected) in cases {
            let mut end = end();
            damage(&mut end);
            let faults = faults(&end);
            assert!(faults.len() == 1 && faults[0].starts_with(expected), "{expected}: {faults:?}");
        }
    }

    #[test]
    fn the_table_shows_both_sides() {
        let table = table(&end());
        assert!(table.contains("86 accepted + 4 duplicates + 9 unmatched + 1 quarantined = 100"), "{table}");
        let row = "  flaky        86        80       3    2       1     80     1       95        0\n";
        assert!(table.ends_with(row), "{table}");
        assert!(table.lines().all(|line| line.len() < 80), "{table}");
    }
}
