//! What a look at CSPR.cloud means beside what was known, and when to look again: pure decisions.

use std::time::Duration;

use crate::store::{Due, Holding};

/// How long after an answer that brought nothing new CSPR.cloud is asked again.
const LOOK_AGAIN: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(60)];

/// What an owner has according to CSPR.cloud.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// 0 account, 1 contract.
    pub(super) owner_type: Option<u8>,
    pub(super) tokens: u64,
}

/// What has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) previous: u64,
    pub(super) seen: Seen,
}

impl Change {
    /// `None` if the number is the one that was known. What kind of owner it is does not change; who is no longer
    /// listed is of the kind that was known.
    pub(super) fn between(known: Option<&Holding>, seen: Seen) -> Option<Self> {
        let previous = known.map_or(0, |known| known.tokens);
        let owner_type = seen.owner_type.or_else(|| known.and_then(|known| known.owner_type));
        (previous != seen.tokens).then_some(Self { previous, seen: Seen { owner_type, ..seen } })
    }

    pub(super) fn action(&self) -> &'static str {
        match (self.previous, self.seen.tokens) {
            (0, _) => "created",
            (_, 0) => "deleted",
            _ => "updated",
        }
    }
}

/// What becomes of a due after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Settled,
    LookAfter(Duration),
}

/// A change that one action explains needs no second look. What several actions may have changed may be known only in
/// part yet, and what has not changed not at all: REST lags behind the streams.
pub(super) fn next(due: &Due, marks: u32, has_changed: bool) -> Next {
    let is_explained = has_changed && marks <= 1;
    let wait = LOOK_AGAIN.get(usize::from(due.looks)).filter(|_| !is_explained && due.cause.is_some());
    wait.map_or(Next::Settled, |wait| Next::LookAfter(*wait))
}

/// How long after its last look, or its mark, a due that is read from disk waits.
pub(super) fn wait_before(looks: u8, settle: Duration) -> Duration {
    usize::from(looks).checked_sub(1).and_then(|done| LOOK_AGAIN.get(done)).copied().unwrap_or(settle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventId;
    use crate::store::Cause;

    fn holding(tokens: u64) -> Holding {
        Holding { package: "p".into(), owner: "o".into(), owner_type: Some(1), tokens, revision: 1 }
    }

    #[test]
    fn a_change_is_told_by_its_numbers() {
        // (known, seen, action and previous number)
        let table = [
            (None, 0, None),
            (None, 3, Some(("created", 0))),
            (Some(3), 3, None),
            (Some(3), 4, Some(("updated", 3))),
            (Some(3), 0, Some(("deleted", 3))),
        ];
        for (known, tokens, expected) in table {
            let known: Option<Holding> = known.map(holding);
            let change = Change::between(known.as_ref(), Seen { owner_type: None, tokens });
            assert_eq!(change.map(|change| (change.action(), change.previous)), expected, "{known:?} {tokens}");
            if let (Some(_), Some(change)) = (known, change) {
                assert_eq!(change.seen.owner_type, Some(1), "the kind of owner is remembered");
            }
        }
    }

    #[test]
    fn what_an_answer_does_not_explain_is_looked_at_twice_more() {
        let cause = Cause { event: EventId([1; 16]), deploy_hash: None, token_id: None };
        let due = |looks, has_cause: bool| Due {
            package: "p".into(),
            owner: "o".into(),
            number: 1,
            looks,
            cause: has_cause.then(|| cause.clone().into()),
        };
        let after = |seconds| Next::LookAfter(Duration::from_secs(seconds));
        // (looks before, marks, changed, what follows)
        let table = [
            (0, 1, true, Next::Settled),
            (0, 1, false, after(10)),
            (0, 2, true, after(10)),
            (1, 1, true, Next::Settled),
            (1, 2, false, after(60)),
            (2, 2, true, Next::Settled),
            (2, 1, false, Next::Settled),
        ];
        for (looks, marks, has_changed, expected) in table {
            assert_eq!(next(&due(looks, true), marks, has_changed), expected, "{looks} {marks} {has_changed}");
        }
        assert_eq!(next(&due(0, false), 1, false), Next::Settled, "whom a walk missed, one look confirms");
        let settle = Duration::from_secs(2);
        assert_eq!([0, 1, 2].map(|looks| wait_before(looks, settle).as_secs()), [2, 10, 60]);
    }
}
