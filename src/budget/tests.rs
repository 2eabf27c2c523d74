//! The rule of the budget, sentence by sentence.

use super::*;

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Asks once, without waiting.
fn ask(budget: &mut Budget, purpose: Purpose, now: Instant) -> Turn {
    let ticket = budget.join(purpose);
    let turn = budget.turn(ticket, now);
    budget.leave(ticket);
    turn
}

/// How many requests go through at once.
fn burst(budget: &mut Budget, purpose: Purpose, now: Instant) -> usize {
    (0..).take_while(|_| ask(budget, purpose, now) == Turn::Now).count()
}

#[test]
fn no_minute_has_more_than_allowed() {
    let start = Instant::now();
    let mut budget = Budget::new(3, 1_000, start);
    for begin in [0, 60, 120] {
        for second in begin..begin + 3 {
            assert_eq!(ask(&mut budget, Purpose::Repair, start + seconds(second)), Turn::Now);
        }
        let next = ask(&mut budget, Purpose::Repair, start + seconds(begin + 59));
        assert_eq!(next, Turn::At(start + seconds(begin + 60)));
    }
}

#[test]
fn no_day_has_more_than_allowed_wherever_it_begins() {
    let start = Instant::now();
    let mut budget = Budget::new(1_000_000, 100, start);
    let mut given: Vec<u64> = Vec::new();
    for minute in 0..4 * 24 * 60 {
        let now = start + seconds(minute * 60);
        if ask(&mut budget, Purpose::Repair, now) == Turn::Now {
            given.push(minute);
        }
    }
    assert!(given.len() > 300, "{}", given.len());
    for from in &given {
        let in_day = given.iter().filter(|minute| (*from..from + 24 * 60).contains(minute)).count();
        assert!(in_day <= 100, "{in_day} from {from}");
    }
}

#[test]
fn a_spent_day_says_when_it_goes_on() {
    let start = Instant::now();
    let mut budget = Budget::new(1_000, 10, start);
    assert_eq!(burst(&mut budget, Purpose::Repair, start), 10);
    let free = start + HOUR * 25;
    assert_eq!(ask(&mut budget, Purpose::Repair, start + HOUR * 7), Turn::At(free));
    assert_eq!(ask(&mut budget, Purpose::Repair, free - seconds(1)), Turn::At(free));
    assert_eq!(ask(&mut budget, Purpose::Repair, free), Turn::Now);
}

#[test]
fn the_less_urgent_leave_the_last_to_the_more_urgent() {
    let start = Instant::now();
    // (limits of minute and day, what each purpose may still take after those before it in the table)
    for limits in [(100, 1_000_000), (1_000_000, 100)] {
        let mut budget = Budget::new(limits.0, limits.1, start);
        let taken = [Purpose::Backfill, Purpose::Reconcile, Purpose::Due, Purpose::Repair]
            .map(|purpose| burst(&mut budget, purpose, start));
        assert_eq!(taken, [50, 20, 20, 10], "{limits:?}");
    }
    for purpose in Purpose::ALL {
        assert_eq!(burst(&mut Budget::new(1, 1, start), purpose, start), 1, "a limit of one is for everybody");
    }
}

#[test]
fn who_is_more_urgent_goes_first_and_then_who_came_first() {
    let start = Instant::now();
    let mut budget = Budget::new(1_000, 1_000, start);
    let came = [Purpose::Backfill, Purpose::Due, Purpose::Repair, Purpose::Due];
    let tickets = came.map(|purpose| budget.join(purpose));
    for served in [2, 1, 3, 0] {
        for (place, ticket) in tickets.iter().enumerate().filter(|(place, _)| *place != served) {
            assert_eq!(budget.turn(*ticket, start), Turn::Behind, "{place} before {served}");
        }
        assert_eq!(budget.turn(tickets[served], start), Turn::Now);
        budget.leave(tickets[served]);
    }
    assert_eq!(budget.waiting(), 0);
}

#[test]
fn a_server_that_wants_to_be_left_alone_holds_everybody() {
    let start = Instant::now();
    let mut budget = Budget::new(1_000, 1_000, start);
    budget.hold(start + seconds(30));
    budget.hold(start + seconds(10));
    for purpose in Purpose::ALL {
        assert_eq!(ask(&mut budget, purpose, start), Turn::At(start + seconds(30)));
    }
    assert_eq!(ask(&mut budget, Purpose::Backfill, start + seconds(30)), Turn::Now);
}

#[test]
fn what_was_spent_survives_a_restart_and_a_clock_that_jumps() {
    let wall = Timestamp(1_700_000_000_000);
    let hours = |n: u64| n * 3_600_000;
    // (hours and minutes that the wall clock says, requests that are left of 10)
    let table = [(0, 0, 0), (23, 0, 0), (24, 29, 0), (24, 30, 10), (9_999, 0, 10)];
    for (later, minutes, left) in table {
        let start = Instant::now();
        let mut budget = Budget::new(1_000, 10, start);
        // Half an hour before the end: the hour under way began half an hour ago.
        let stop = start + HOUR / 2;
        assert_eq!(burst(&mut budget, Purpose::Repair, stop), 10);
        let spent = budget.spent(wall, stop);
        let mut next = Budget::new(1_000, 10, stop);
        next.resume(&spent, Timestamp(wall.0 + hours(later) + minutes * 60_000), stop + HOUR);
        assert_eq!(burst(&mut next, Purpose::Repair, stop + HOUR), left, "{later} h {minutes} min");
    }
    let start = Instant::now();
    let spent = Spent { at: wall, hours: vec![10] };
    let mut budget = Budget::new(1_000, 10, start);
    budget.resume(&spent, Timestamp(wall.0 - hours(5)), start);
    assert_eq!(ask(&mut budget, Purpose::Repair, start), Turn::At(start + HOUR * 25), "set back");
    let mut budget = Budget::new(1_000, 10, start);
    budget.resume(&Spent::default(), wall, start);
    assert_eq!(burst(&mut budget, Purpose::Repair, start), 10, "no row");
}
