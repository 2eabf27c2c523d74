//! Which streams are heard: a pure decision, from one look at the connections to the next.

use std::collections::BTreeMap;

use crate::clock::Timestamp;
use crate::event::Stream;
use crate::store::GapCause;

/// Looks in a row at which intake waited, before what lies unread counts as missed.
const WAITS_MAX: u32 = 5;

/// What is seen of one connection.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) stream: Stream,
    pub(super) is_up: bool,
    pub(super) is_silent: bool,
    /// Handshakes that succeeded since it was made.
    pub(super) connects: u64,
    /// When something last came, or it came up.
    pub(super) heard_at: Timestamp,
    pub(super) trouble: Option<String>,
}

/// What is known of the streams that are subscribed to.
#[derive(Debug, Default)]
pub(super) struct Hearing {
    streams: BTreeMap<Stream, State>,
    waits: u32,
}

#[derive(Debug, Default)]
struct State {
    /// Everything up to here was read; `None` if the stream was never heard.
    heard: Option<Timestamp>,
    /// Heard by an earlier run only: whatever the first look shows, there was a time without a relay.
    is_left_over: bool,
    /// All its connections were up at once in this run. Before that all of them count; afterwards one that never was
    /// up is a new one, which misses nothing that anybody heard before.
    was_whole: bool,
    reconnects: u64,
    in_gap: bool,
}

/// What a look has shown of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Lost { stream: Stream, from: Timestamp, cause: GapCause, detail: Option<String> },
    Back { stream: Stream },
}

impl Hearing {
    /// As an earlier run left it: up to when each stream was heard, and which are in a gap that goes on.
    pub(super) fn resume(heard: Vec<(Stream, Timestamp)>, in_gap: &[Stream]) -> Self {
        let state = |(stream, until)| {
            let in_gap = in_gap.contains(&stream);
            (stream, State { heard: Some(until), is_left_over: true, in_gap, ..State::default() })
        };
        Self { streams: heard.into_iter().map(state).collect(), waits: 0 }
    }

    /// Takes account of a look; what has changed, in the order of the streams.
    pub(super) fn look(&mut self, seen: &[Seen], intake_waits: bool) -> Vec<Turn> {
        self.waits = if intake_waits { self.waits.saturating_add(1) } else { 0 };
        let is_stuck = self.waits >= WAITS_MAX;
        for row in seen {
            self.streams.entry(row.stream).or_default();
        }
        let mut turns = Vec::new();
        for (stream, state) in &mut self.streams {
            let own: Vec<&Seen> = seen.iter().filter(|row| row.stream == *stream).collect();
            turns.extend(state.look(*stream, &own, is_stuck));
        }
        turns
    }

    /// Up to when each stream was heard.
    pub(super) fn heard(&self) -> Vec<(Stream, Timestamp)> {
        self.streams.iter().filter_map(|(stream, state)| Some((*stream, state.heard?))).collect()
    }

    /// Streams that were subscribed to in this run and are no longer: nobody can miss them.
    pub(super) fn forget_absent(&mut self, seen: &[Seen]) -> Vec<Stream> {
        let is_absent = |stream: &Stream| !seen.iter().any(|row| row.stream == *stream);
        let absent: Vec<Stream> = self.streams.keys().copied().filter(is_absent).collect();
        self.streams.retain(|stream, _| !absent.contains(stream));
        absent
    }
}

impl State {
    fn look(&mut self, stream: Stream, own: &[&Seen], is_stuck: bool) -> Option<Turn> {
        let counts = |row: &&&Seen| !self.was_whole || row.connects > 0;
        let is_up = own.iter().any(|row| row.is_up) && own.iter().filter(counts).all(|row| row.is_up);
        let reconnects = own.iter().map(|row| row.connects.saturating_sub(1)).sum();
        // Down and up again between two looks.
        let has_flapped = self.was_whole && reconnects > self.reconnects;
        self.reconnects = reconnects;
        let is_left_over = std::mem::take(&mut self.is_left_over) && !self.in_gap;
        let is_heard = is_up && !is_stuck && !has_flapped && !is_left_over;
        let was_whole = self.was_whole;
        self.was_whole |= is_up;
        match (self.heard, is_heard) {
            (_, true) => {
                self.heard = own.iter().filter(|row| row.is_up).map(|row| row.heard_at).min();
                std::mem::take(&mut self.in_gap).then_some(Turn::Back { stream })
            }
            (Some(from), false) if !self.in_gap => {
                self.in_gap = true;
                let cause = match was_whole {
                    false => GapCause::Stopped,
                    true if is_up && is_stuck => GapCause::IntakeWaited,
                    true if !is_up && own.iter().any(|row| row.is_silent) => GapCause::Silent,
                    true => GapCause::Disconnected,
                };
                let detail = own.iter().find_map(|row| row.trouble.clone());
                Some(Turn::Lost { stream, from, cause, detail })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: Stream = Stream::NftTokens;

    fn row(is_up: bool, connects: u64, heard_at: u64) -> Seen {
        let trouble = (!is_up).then(|| "it went away".to_owned());
        Seen { stream: STREAM, is_up, is_silent: false, connects, heard_at: Timestamp(heard_at), trouble }
    }

    fn lost(from: u64, cause: GapCause) -> Vec<Turn> {
        let detail = (cause == GapCause::Disconnected).then(|| "it went away".to_owned());
        vec![Turn::Lost { stream: STREAM, from: Timestamp(from), cause, detail }]
    }

    fn back() -> Vec<Turn> {
        vec![Turn::Back { stream: STREAM }]
    }

    #[test]
    fn a_lost_connection_is_a_gap_from_the_last_frame_on() {
        let mut hearing = Hearing::default();
        assert_eq!(hearing.look(&[row(false, 0, 5)], false), [], "never heard: nothing is missed");
        assert_eq!(hearing.look(&[row(true, 1, 10)], false), []);
        assert_eq!(hearing.look(&[row(true, 1, 17)], false), []);
        assert_eq!(hearing.look(&[row(false, 1, 20)], false), lost(17, GapCause::Disconnected));
        assert_eq!(hearing.look(&[row(false, 1, 20)], false), [], "one gap for one span");
        assert_eq!(hearing.look(&[row(true, 2, 30)], false), [], "seen as a reconnect first");
        assert_eq!(hearing.look(&[row(true, 2, 31)], false), back());
        assert_eq!(hearing.heard(), [(STREAM, Timestamp(31))]);
    }

    #[test]
    fn a_connection_that_came_back_between_two_looks_is_noticed() {
        let mut hearing = Hearing::default();
        hearing.look(&[row(true, 1, 10)], false);
        let flapped =
            vec![Turn::Lost { stream: STREAM, from: Timestamp(10), cause: GapCause::Disconnected, detail: None }];
        assert_eq!(hearing.look(&[row(true, 2, 11)], false), flapped);
        assert_eq!(hearing.look(&[row(true, 2, 12)], false), back());
    }

    #[test]
    fn silence_begins_where_the_last_frame_came() {
        let mut hearing = Hearing::default();
        hearing.look(&[row(true, 1, 10)], false);
        // Still up, and nothing comes.
        for _ in 0..60 {
            assert_eq!(hearing.look(&[row(true, 1, 10)], false), []);
        }
        let silent = Seen { is_silent: true, trouble: None, ..row(false, 1, 70) };
        assert_eq!(hearing.look(&[silent], false), lost(10, GapCause::Silent));
    }

    #[test]
    fn the_time_between_two_runs_is_a_gap_until_all_connections_are_up() {
        let mut hearing = Hearing::resume(vec![(STREAM, Timestamp(7))], &[]);
        assert_eq!(
            hearing.look(&[row(false, 0, 100), row(false, 0, 100)].map(no_trouble), false),
            lost(7, GapCause::Stopped)
        );
        assert_eq!(hearing.look(&[row(true, 1, 110), row(false, 0, 100)], false), []);
        assert_eq!(hearing.look(&[row(true, 1, 120), row(true, 1, 115)], false), back());
        assert_eq!(hearing.heard(), [(STREAM, Timestamp(115))], "the one that was heard longest ago counts");
        let mut hearing = Hearing::resume(vec![(STREAM, Timestamp(7))], &[STREAM]);
        assert_eq!(hearing.look(&[row(false, 0, 100)], false), [], "it goes on");
        assert_eq!(hearing.look(&[row(true, 1, 110)], false), back());
    }

    #[test]
    fn a_start_that_is_faster_than_the_first_look_hides_no_gap() {
        let mut hearing = Hearing::resume(vec![(STREAM, Timestamp(7))], &[]);
        assert_eq!(hearing.look(&[row(true, 1, 100)], false), lost(7, GapCause::Stopped));
        assert_eq!(hearing.look(&[row(true, 1, 101)], false), back());
    }

    fn no_trouble(row: Seen) -> Seen {
        Seen { trouble: None, ..row }
    }

    #[test]
    fn a_connection_added_by_a_reload_misses_nothing() {
        let mut hearing = Hearing::default();
        hearing.look(&[row(true, 1, 10)], false);
        assert_eq!(hearing.look(&[row(true, 1, 20), row(false, 0, 15)], false), []);
        assert_eq!(hearing.look(&[row(true, 1, 30), row(true, 1, 31)], false), []);
        assert_eq!(hearing.look(&[row(true, 1, 40), row(false, 1, 41)], false), lost(30, GapCause::Disconnected));
    }

    #[test]
    fn what_lies_unread_for_long_counts_as_missed() {
        let mut hearing = Hearing::default();
        hearing.look(&[row(true, 1, 10)], false);
        for _ in 1..WAITS_MAX {
            assert_eq!(hearing.look(&[row(true, 1, 10)], true), []);
        }
        assert_eq!(hearing.look(&[row(true, 1, 10)], true), lost(10, GapCause::IntakeWaited));
        assert_eq!(hearing.look(&[row(true, 1, 20)], false), back());
    }

    #[test]
    fn a_stream_that_nobody_wants_any_more_has_no_gaps() {
        let mut hearing = Hearing::default();
        hearing.look(&[row(true, 1, 10)], false);
        assert_eq!(hearing.forget_absent(&[row(true, 1, 10)]), []);
        assert_eq!(hearing.forget_absent(&[]), [STREAM]);
        assert_eq!((hearing.look(&[], false), hearing.heard()), (vec![], vec![]));
    }
}
