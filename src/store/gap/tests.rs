//! Gaps from their beginning to what became of them.

use super::*;

fn connection() -> Connection {
    let connection = Connection::open_in_memory().unwrap();
    let tables = "CREATE TABLE event (seq INTEGER PRIMARY KEY);
                  CREATE TABLE gap (number INTEGER PRIMARY KEY, row BLOB NOT NULL);
                  CREATE TABLE heard (stream INTEGER PRIMARY KEY, row BLOB NOT NULL);
                  CREATE TABLE audited (stream INTEGER PRIMARY KEY, row BLOB NOT NULL)";
    connection.execute_batch(tables).unwrap();
    connection
}

fn opened(at: u64) -> GapChange {
    let (stream, cause) = (Stream::NftTokens, GapCause::Disconnected);
    GapChange::Open { stream, from: Timestamp(at), cause, detail: Some("the server went away".to_owned()) }
}

#[test]
fn a_gap_is_open_until_somebody_has_seen_to_it_and_only_once_it_is_over() {
    let connection = connection();
    let gap = apply(&opened(1_000), &connection).unwrap().unwrap();
    assert_eq!((gap.number, gap.from_ms, gap.to_ms, gap.state), (1, 1_000, None, GapState::Open));
    let close = GapChange::Close { number: 1, note: "looked after".to_owned() };
    assert_eq!(apply(&close, &connection).unwrap(), None, "it goes on");
    for (to, expected) in [(5_000, 5_000), (10, 1_000)] {
        let ended = apply(&GapChange::End { number: 1, to: Timestamp(to) }, &connection).unwrap().unwrap();
        assert_eq!((ended.to_ms, ended.state), (Some(expected), GapState::Open));
    }
    assert_eq!(open_ones(&connection).unwrap(), (1, Some(Timestamp(1_000))));
    let closed = apply(&close, &connection).unwrap().unwrap();
    assert_eq!((closed.state, closed.note.as_deref()), (GapState::Closed, Some("looked after")));
    assert_eq!((open_ones(&connection).unwrap(), read_all(&connection).unwrap()), ((0, None), vec![closed]));
    assert_eq!(apply(&GapChange::End { number: 7, to: Timestamp(1) }, &connection).unwrap(), None);
}

#[test]
fn a_repair_settles_a_gap_for_a_second_look_unless_an_operator_was_faster() {
    let connection = connection();
    apply(&opened(1_000), &connection).unwrap();
    let failed = GapChange::Progress { number: 1, note: Some("no answer".to_owned()), returned: 2 };
    let waiting = apply(&failed, &connection).unwrap().unwrap();
    assert_eq!((waiting.state, waiting.note.as_deref(), waiting.returned), (GapState::Open, Some("no answer"), 2));
    apply(&GapChange::End { number: 1, to: Timestamp(5_000) }, &connection).unwrap();
    let settle = |recheck| {
        let change = GapChange::Settle { number: 1, state: GapState::Repaired, note: None, returned: 3, recheck };
        apply(&change, &connection).unwrap().unwrap()
    };
    let first = settle(Some(Timestamp(65_000)));
    assert_eq!(
        (first.state, first.note, first.returned, first.recheck_ms),
        (GapState::Repaired, None, 5, Some(65_000))
    );
    let second = settle(None);
    assert_eq!((second.state, second.returned, second.recheck_ms), (GapState::Repaired, 8, None));
    apply(&GapChange::Close { number: 1, note: "looked after".to_owned() }, &connection).unwrap();
    assert_eq!((settle(None).state, settle(None).note.as_deref()), (GapState::Closed, Some("looked after")));
    let again = apply(&GapChange::Reopen { number: 1 }, &connection).unwrap().unwrap();
    assert_eq!((again.state, again.note, again.recheck_ms), (GapState::Open, None, None));
}

#[test]
fn the_list_is_bounded_and_a_damaged_row_hides_no_other() {
    let connection = connection();
    for at in 0..GAPS_MAX + 5 {
        apply(&opened(at), &connection).unwrap();
    }
    connection.execute("UPDATE gap SET row = substr(row, 2) WHERE number = 500", []).unwrap();
    let numbers: Vec<u64> = read_all(&connection).unwrap().iter().map(|gap| gap.number).collect();
    assert_eq!(numbers, (6..=GAPS_MAX + 5).filter(|number| *number != 500).collect::<Vec<_>>());
}

#[test]
fn what_was_heard_is_known_until_it_is_forgotten() {
    let connection = connection();
    let heard = vec![(Stream::Blocks, Timestamp(5)), (Stream::NftTokens, Timestamp(7))];
    apply(&GapChange::Heard(heard.clone()), &connection).unwrap();
    assert_eq!(read_heard(&connection).unwrap(), heard);
    apply(&GapChange::Forget(vec![Stream::Blocks]), &connection).unwrap();
    connection.execute("UPDATE heard SET row = substr(row, 2)", []).unwrap();
    assert_eq!(read_heard(&connection).unwrap(), []);
}

#[test]
fn how_far_an_audit_came_is_kept_and_a_damaged_note_of_it_counts_as_none() {
    let connection = connection();
    let audited = |stream, until| Audited { stream, until: Timestamp(until), routes: u64::MAX - until };
    let (tokens, actions) = (audited(Stream::NftTokens, 9), audited(Stream::NftTokenActions, 5));
    for noted in [audited(Stream::NftTokens, 7), actions, tokens] {
        assert_eq!(apply(&GapChange::Audited(noted), &connection).unwrap(), None);
    }
    let mut read = audited::read_all(&connection).unwrap();
    read.sort_by_key(|audited| audited.until);
    assert_eq!(read, [actions, tokens]);
    let hurt = "UPDATE audited SET row = substr(row, 2) WHERE stream = ?1";
    connection.execute(hurt, [Stream::NftTokens.code()]).unwrap();
    assert_eq!(audited::read_all(&connection).unwrap(), [actions]);
}
