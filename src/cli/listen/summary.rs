//! What was received, as a table or as a line of JSON.

use std::io::{self, Write};

use serde_json::{Value, json};

use crate::emulator::receiver::{Count, Tally};

pub(super) fn write(out: &mut impl Write, tally: &Tally, is_json: bool) -> io::Result<()> {
    if is_json { writeln!(out, "{}", as_json(tally)) } else { out.write_all(as_table(tally).as_bytes()) }
}

fn as_table(tally: &Tally) -> String {
    let mut table = format!("\n{:<22}{:>10}{:>10}{:>10}\n", "", "requests", "events", "repeats");
    for (name, count) in [("received", tally.received), ("answered 2xx", tally.delivered)] {
        table.push_str(&format!("{name:<22}{:>10}{:>10}{:>10}\n", count.total, count.distinct, count.repeated));
    }
    let by_status = tally.by_status.iter().map(|(status, count)| (format!("answered {status}"), *count));
    let others = [
        ("not answered", tally.unanswered),
        ("bad signature", tally.bad_signatures),
        ("unsigned", tally.unsigned),
        ("no webhook", tally.unusable),
        ("id not remembered", tally.forgotten),
    ];
    let others = others.into_iter().filter(|(_, count)| *count > 0).map(|(name, count)| (name.to_owned(), count));
    for (name, count) in by_status.chain(others) {
        table.push_str(&format!("{name:<22}{count:>10}\n"));
    }
    table
}

fn as_json(tally: &Tally) -> Value {
    let count = |count: Count| json!({"total": count.total, "distinct": count.distinct, "repeated": count.repeated});
    let by_status: Value = tally.by_status.iter().map(|(status, count)| (status.to_string(), json!(count))).collect();
    json!({
        "received": count(tally.received),
        "delivered": count(tally.delivered),
        "by_status": by_status,
        "unanswered": tally.unanswered,
        "bad_signatures": tally.bad_signatures,
        "unsigned": tally.unsigned,
        "unusable": tally.unusable,
        "forgotten": tally.forgotten,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_adds_up() {
        let tally = Tally {
            received: Count { total: 7, distinct: 3, repeated: 4 },
            delivered: Count { total: 4, distinct: 3, repeated: 1 },
            bad_signatures: 2,
            by_status: [(204, 4), (401, 2)].into(),
            unanswered: 1,
            ..Tally::default()
        };
        let expected = "
                        requests    events   repeats
received                       7         3         4
answered 2xx                   4         3         1
answered 204                   4
answered 401                   2
not answered                   1
bad signature                  2
";
        assert_eq!(as_table(&tally), expected);
        assert_eq!(as_json(&tally)["delivered"], json!({"total": 4, "distinct": 3, "repeated": 1}));
    }
}
