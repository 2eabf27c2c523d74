//! A stored directory with something of everything, made once, and what stands on which page of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;

use crate::budget::Spent;
use crate::clock::{Clock, Timestamp};
use crate::event::{Network, Stream, decode};
use crate::store::job::tests::run;
use crate::store::rebuild::pour::pour;
use crate::store::schema::PAGE_BYTES;
use crate::store::tests::{Fixture, settings};
use crate::store::{
    Attempt, Audited, Candidate, Change, End, EventChoice, GapChange, Held, Holding, LetterChoice, Observed, Order,
    Paused, PausedBy, Quarantined, Settlement, Store, Waiting, schema,
};

pub(super) const SINKS: [&str; 3] = ["a", "b", "c"];
const EVENTS: u64 = 176;
const LANES: u64 = 7;
/// What of its deliveries `a` has not confirmed yet.
const LEFT: u64 = 30;
/// Table and key.
pub(super) type Key = (String, Vec<i64>);
pub(super) type Rows = BTreeMap<Key, Vec<u8>>;

/// Events of a number that this divides are not meant for `c`.
const NOT_FOR_C: u64 = 5;

/// The directories of a relay that was stopped and of one that was killed.
pub(super) struct World {
    pub(super) home: tempfile::TempDir,
}

fn candidate(store: &Store, number: u64) -> Candidate {
    let token = number % LANES;
    // Some messages do not fit a page.
    let padding = "x".repeat(if number.is_multiple_of(9) { 9_000 } else { 700 });
    let body = format!(
        r#"{{"data":{{"contract_package_hash":"aa","token_id":"{token}"}},"action":"updated","extra":{{"deploy_hash":"{number}"}},"pad":"{padding}"}}"#
    );
    let decoded = decode(Network::Testnet, Stream::NftTokens, body.as_bytes()).unwrap();
    let routes: Arc<[Arc<str>]> = Arc::from([Arc::from("all")]);
    let target = |name: &str| (store.sink_id(&crate::config::SinkName(name.into())).unwrap(), Arc::clone(&routes));
    Candidate {
        stream: Stream::NftTokens,
        identity: decoded.identity,
        facts: decoded.facts,
        body: body.into(),
        targets: SINKS
            .into_iter()
            .filter(|name| *name != "c" || !number.is_multiple_of(NOT_FOR_C))
            .map(target)
            .collect(),
        quarantine: None,
        repaired: None,
    }
}

/// What becomes of an event at `b`, where everything goes wrong: the first of a lane waits, the others stand behind it,
/// and two lanes are dead.
fn at_b(seq: u64) -> Vec<Change> {
    let (token, lane) = (seq % LANES, seq % LANES + 1);
    let attempt = Attempt { seq, at: Timestamp(5), cause: "server", status: Some(503), detail: "no".to_owned() };
    if token < 2 {
        let end = End::Dead { cause: "refused", reason: "400".to_owned() };
        return vec![
            Change::Attempt(attempt),
            Change::Settle(Settlement { seq, has_waited: true, attempts: 1, body_bytes: 1, end }),
        ];
    }
    if seq > LANES {
        return vec![Change::Hold(Held { seq, lane, body_bytes: 1 })];
    }
    let waiting = Waiting {
        seq,
        lane,
        body_bytes: 1,
        attempts: 2,
        is_replay: false,
        delay: std::time::Duration::from_secs(1),
        due_at: Timestamp(9),
        blocking_since: Some(Timestamp(8)),
    };
    vec![Change::Attempt(attempt), Change::Wait(waiting)]
}

impl World {
    pub(super) async fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let (stopped, killed) = (home.path().join("stopped"), home.path().join("killed"));
        let fixture = Fixture::open(settings(&stopped), Clock::default());
        for first in (1..=EVENTS).step_by(16) {
            let events = (first..first + 16).map(|number| candidate(&fixture.store, number)).collect();
            fixture.store.accept(events).await.unwrap();
            fixture.sync().await;
            settle(&fixture, first..first + 16).await;
        }
        for number in 0..5 {
            let body = format!("not json {number}").into();
            let reason = "it is not".to_owned();
            fixture.store.quarantine(Quarantined { stream: Stream::NftTokens, reason, body }).await.unwrap();
        }
        order(&fixture).await;
        own(&fixture).await;
        fixture.store.keep_spent(Spent { at: Timestamp(3), hours: vec![41, 42] }).await.unwrap();
        for _ in 0..4 {
            fixture.store.tick().await.unwrap();
        }
        fixture.sync().await;
        // As kill -9 leaves it: a database that was never folded, and all in its log.
        copy(&stopped, &killed);
        fixture.close().await;
        // The next start folds the log into the file, as soon as the reading thread has let go of it.
        while stopped.join(schema::WAL_FILE).exists() {
            let connection = Connection::open(stopped.join(schema::FILE)).unwrap();
            connection.query_row("SELECT count(*) FROM event", [], |_| Ok(())).unwrap();
        }
        Self { home }
    }

    pub(super) fn directory(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }
}

/// What operators ask for: a pause, a replay of dead letters, and one, under way, of events to a sink that they were
/// not meant for.
async fn order(fixture: &Fixture) {
    let paused = Paused { since: Timestamp(7), by: PausedBy::Operator, reason: "they move house".to_owned() };
    fixture.queues[2].record_durably(vec![Change::Pause(paused)]).await.unwrap();
    let choice = LetterChoice { token_id: Some("1".to_owned()), ..LetterChoice::default() };
    let letters = Order::ReplayDeadLetters { choice, skip_superseded: false, rate: None };
    assert!(run(fixture, letters, 50, 9).await.counts.done > 0);
    let events = Order::ReplayEvents { sink: "c".to_owned(), choice: EventChoice::default(), again: false, rate: None };
    let job = run(fixture, events, 40, 2).await;
    assert!(job.is_running() && job.counts.done > 0, "{job:?}");
}

/// Who owns what, and who is to be asked for.
async fn own(fixture: &Fixture) {
    let package: Arc<str> = "a package".into();
    let holding = |n: u64| Holding {
        package: Arc::clone(&package),
        owner: format!("the holder {n} of tokens").into(),
        owner_type: Some(1),
        tokens: n + 1,
        revision: n,
    };
    let mut observed: Vec<Observed> = (0..300).map(|n| Observed::Holding(holding(n))).collect();
    observed.push(Observed::Walked { package: "the package of a walk".into(), dues_to: 0 });
    observed.push(Observed::Missed { package: Arc::clone(&package), owner: "the owner who is due".into() });
    fixture.store.observe(observed, Vec::new()).await.unwrap();
    let routes = u64::from_be_bytes(*b"a print!");
    let audited = Audited { stream: Stream::NftTokens, until: Timestamp(9), routes };
    fixture.store.change_gap(GapChange::Audited(audited)).await.unwrap();
}

async fn settle(fixture: &Fixture, numbers: std::ops::Range<u64>) {
    let low = numbers.end - 1;
    let mut at = [Vec::new(), Vec::new()];
    for seq in numbers {
        if seq <= EVENTS - LEFT {
            let end = End::Delivered { status: Some(204) };
            at[0].push(Change::Settle(Settlement { seq, has_waited: true, attempts: 1, body_bytes: 1, end }));
        }
        at[1].extend(at_b(seq));
    }
    let [mut a, mut b] = at;
    a.push(Change::Low(low.min(EVENTS - LEFT)));
    b.push(Change::Low(low));
    fixture.queues[0].record_durably(a).await.unwrap();
    fixture.queues[1].record_durably(b).await.unwrap();
}

/// Copies the files of a data directory; the reserve, which nobody changes, by a second name.
pub(super) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (name, path) = (entry.as_ref().unwrap().file_name(), entry.unwrap().path());
        // What SQLite makes of the log; a killed process leaves one that nobody believes.
        if name == "relay.db-shm" {
            continue;
        }
        if name == "reserve" {
            std::fs::hard_link(path, to.join(name)).unwrap();
        } else {
            std::fs::copy(path, to.join(name)).unwrap();
        }
    }
}

/// All rows, as SQLite reads them; an error where it cannot. Works on a copy, which it changes.
pub(super) fn dump(directory: &Path) -> rusqlite::Result<Rows> {
    let scratch = tempfile::tempdir().unwrap();
    copy(directory, scratch.path());
    rows(&Connection::open(scratch.path().join(schema::FILE))?)
}

fn rows(connection: &Connection) -> rusqlite::Result<Rows> {
    let mut rows = Rows::new();
    for sealed in crate::store::catalog::SEALED {
        let mut statement = connection.prepare(&sealed.select())?;
        let parts = sealed.key.len();
        let mut found = statement.query([])?;
        while let Some(row) = found.next()? {
            let key = (0..parts).map(|part| row.get(part)).collect::<Result<Vec<i64>, _>>()?;
            rows.insert((sealed.name.to_owned(), key), row.get(parts)?);
        }
    }
    for (table, sql) in [
        ("name", "SELECT number, kind, text FROM name"),
        ("cursor", "SELECT sink, low, '' FROM cursor"),
        ("epoch", "SELECT first, value, '' FROM epoch"),
        ("meta", "SELECT 0, value, key FROM meta"),
        ("letter_count", "SELECT sink, letters, '' FROM letter_count"),
        ("letter_size", "SELECT number, bytes, '' FROM letter_size"),
    ] {
        let mut statement = connection.prepare(sql)?;
        let mut found = statement.query([])?;
        while let Some(row) = found.next()? {
            let (key, value) = (row.get::<_, i64>(0)?, row.get::<_, i64>(1)?);
            let text: String = row.get(2)?;
            rows.insert((table.to_owned(), vec![key]), format!("{value} {text}").into_bytes());
        }
    }
    Ok(rows)
}

/// The rows that are lost with each page: those that stand on it, or reach onto it.
pub(super) fn places(directory: &Path) -> BTreeMap<u32, BTreeSet<Key>> {
    let scratch = tempfile::tempdir().unwrap();
    copy(directory, scratch.path());
    let path = scratch.path().join(schema::FILE);
    // Closing the last connection folds the log into the file.
    drop(Connection::open(&path).unwrap().query_row("SELECT count(*) FROM event", [], |_| Ok(())));
    let whole = std::fs::read(&path).unwrap();
    let all = poured(scratch.path());
    let mut places = BTreeMap::new();
    for page in 0..whole.len() / PAGE_BYTES {
        let mut holed = whole.clone();
        holed[page * PAGE_BYTES..(page + 1) * PAGE_BYTES].fill(0);
        std::fs::write(&path, &holed).unwrap();
        let lost = all.difference(&poured(scratch.path())).cloned().collect();
        places.insert(u32::try_from(page).unwrap() + 1, lost);
    }
    places
}

/// The keys of all rows that are found on the pages.
pub(super) fn poured(directory: &Path) -> BTreeSet<Key> {
    let to = Connection::open_in_memory().unwrap();
    to.execute_batch(&schema::tables()).unwrap();
    let poured = pour(directory, &to).unwrap();
    let mut keys: BTreeSet<Key> = rows(&to).unwrap().into_keys().filter(|(table, _)| *table != "meta").collect();
    keys.extend(poured.cursors.keys().map(|sink| ("cursor".to_owned(), vec![i64::from(*sink)])));
    keys.extend(poured.epochs.keys().map(|first| ("epoch".to_owned(), vec![first.cast_signed()])));
    keys.extend(poured.keys_from.map(|_| ("meta".to_owned(), vec![0])));
    keys
}
