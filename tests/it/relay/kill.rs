//! The relay is killed, again and again, at random moments and at named points around its commits: nothing that it
//! accepted may be lost. `KILLS` in the environment says how often; `make kill-test` makes it a thousand.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::listener::{Arrival, Listener};
use super::oracle::{Findings, Sent, check_sink, owed};
use super::store::Database;
use super::{DEADLINE, Process, Scene, Setup, leave_out, until, within};

const KILLS: u64 = 50;
const RATE: &str = "2000";
const SEED: u64 = 20_260_101;
/// A relay that its kill point spares is killed after this.
const LIFE_MAX: Duration = Duration::from_millis(1_500);
const LIFE_MIN: Duration = Duration::from_millis(20);
const KILL_POINTS: [&str; 3] = ["store-before-commit", "store-in-commit", "store-after-commit"];
/// Commits that a relay makes before its kill point may end it.
const COMMITS_MAX: u64 = 150;
/// How long the last relay may take for what its forerunners left.
const DRAIN_MAX: Duration = Duration::from_secs(600);
/// The share of its requests that the sick sink takes.
const SICK_TAKES: f64 = 0.1;

/// How a life of the relay ends.
enum Death {
    At(Duration),
    Point(String),
}

fn death(random: &mut fastrand::Rng) -> Death {
    if cfg!(feature = "failpoints") && random.bool() {
        let point = KILL_POINTS[random.usize(..KILL_POINTS.len())];
        return Death::Point(format!("{point}={}*off->return", random.u64(..COMMITS_MAX)));
    }
    let span = u64::try_from((LIFE_MAX - LIFE_MIN).as_millis()).unwrap();
    Death::At(LIFE_MIN + Duration::from_millis(random.u64(..span)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_loses_nothing_that_was_accepted() {
    if !cfg!(feature = "failpoints") {
        leave_out("kills around commits: build with --features failpoints, as scripts/test does");
    }
    let kills = std::env::var_os("KILLS").map_or(KILLS, |text| text.to_str().unwrap().parse().unwrap());
    let mut random = fastrand::Rng::with_seed(SEED);
    let scene = Scene::new();
    let (well, fine, sick) = (Listener::start().await, Listener::start().await, Listener::start().await);
    let mut moods = random.fork();
    sick.answer(move |_| if moods.f64() < SICK_TAKES { 204 } else { 500 });
    let (mut emulator, url) = scene.emulator_of_all(&["--rate", RATE, "--unattended", "--history", "200000"]).await;
    let impatient = format!("    retry: {{ schedule: [{}] }}\n", ["200ms"; 40].join(", "));
    let config = scene.configure(&Setup {
        source: &format!("url: \"{url}\", persistent_session: kill-test"),
        streams: &["nft-tokens", "nft-token-actions"],
        more: "",
        sinks: &[("well", well.url(), ""), ("fine", fine.url(), ""), ("sick", sick.url(), &impatient)],
    });

    let began = Instant::now();
    let mut lives = Vec::new();
    let mut points = 0;
    for life in 1..=kills {
        lives.push(Instant::now());
        points += live_and_die(&scene, &config, life, death(&mut random)).await;
    }
    lives.push(Instant::now());
    let mut relay = scene.relay_in_life(&config, kills + 1, "");
    relay.logs("connected to the source").await;
    let recovered_ms = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap() + 1_000;
    sick.answer(|_| 204);
    let killed = began.elapsed();
    let newest = well.arrivals().iter().map(|arrival| arrival.number).max().unwrap_or(0);
    until("new events arrive", || well.count(|arrival| arrival.number > newest + 4_000) > 0).await;
    emulator.stop().await;
    let sent = Sent::read(&scene.path("sent.jsonl"));
    let database = Database::open(&scene.data());
    drain(&database, &[("well", &well), ("fine", &fine), ("sick", &sick)]).await;
    relay.stop().await;

    let mut report = format!("{kills} kills ({points} at kill points) in {killed:?}: {} events sent", sent.len());
    let accepted = database.newest();
    for (name, sink) in [("well", &well), ("fine", &fine), ("sick", &sick)] {
        let arrivals = sink.arrivals();
        let findings = check_sink(name, &sent, &arrivals, &owed(&database, name));
        check_recovery(name, &sent, &arrivals, recovered_ms);
        report += &summary(name, &findings, &arrivals, &lives);
    }
    assert_eq!(database.waiting(), 0, "nothing waits any more");
    assert!(accepted > kills * 50, "the test was one: {accepted}");
    println!(
        "{report}; {accepted} accepted, {} of a sick sink dead; all in {:?}",
        database.dead("sick").len(),
        began.elapsed()
    );
}

/// One life of the relay; 1 if it ended at its kill point.
async fn live_and_die(scene: &Scene, config: &std::path::Path, life: u64, death: Death) -> u64 {
    let (point, most) = match &death {
        Death::Point(point) => (point.as_str(), LIFE_MAX),
        Death::At(moment) => ("", *moment),
    };
    let mut relay: Process = scene.relay_in_life(config, life, point);
    match timeout(most, relay.child.wait()).await {
        Ok(ended) => {
            let code = ended.unwrap().code();
            assert!(!point.is_empty() && code.is_none(), "the relay ended by itself with {code:?}: {}", relay.log());
            1
        }
        Err(_) => {
            relay.kill().await;
            0
        }
    }
}

/// Waits until the store owes nothing to anybody.
pub(super) async fn drain(database: &Database, sinks: &[(&str, &Listener)]) {
    for (name, sink) in sinks {
        let what = format!("{name} gets what is left");
        let mut last = (0, Instant::now());
        within(DRAIN_MAX, &what, || {
            let count = sink.received();
            if count > last.0 {
                last = (count, Instant::now());
            }
            assert!(last.1.elapsed() < DEADLINE, "{name} gets nothing any more at {count}");
            // Cheap first: the numbers are looked at only when they may be complete.
            count as u64 + database.dead(name).len() as u64 >= database.newest() && has_all(database, name, sink)
        })
        .await;
    }
    until("the last settlements are durable", || database.waiting() == 0).await;
    sleep(Duration::from_millis(100)).await;
}

fn has_all(database: &Database, name: &str, sink: &Listener) -> bool {
    let arrivals = sink.arrivals();
    let received = arrivals.iter().filter(|arrival| arrival.is_received()).map(|arrival| arrival.number);
    let received: std::collections::BTreeSet<u64> = received.collect();
    owed(database, name).is_subset(&received)
}

/// I4: what was sent when the faults were over has arrived.
fn check_recovery(name: &str, sent: &Sent, arrivals: &[Arrival], recovered_ms: u64) {
    let received = arrivals.iter().map(|arrival| arrival.digest).collect();
    let missing = sent.since(recovered_ms).difference(&received).count();
    assert_eq!(missing, 0, "I4: {name} did not get everything that was sent after the last kill");
}

/// A line of figures; the first request of a life shows how long its start took.
fn summary(name: &str, findings: &Findings, arrivals: &[Arrival], lives: &[Instant]) -> String {
    let mut first: BTreeMap<u64, Instant> = BTreeMap::new();
    for arrival in arrivals {
        first.entry(arrival.life).or_insert(arrival.at);
    }
    let starts = first.iter().map(|(life, at)| at.duration_since(lives[usize::try_from(*life).unwrap() - 1]));
    let slowest = starts.max().unwrap_or_default();
    let Findings { received, repeats, repeats_per_kill_max } = findings;
    format!(
        "; {name}: {received} received, {repeats} repeats, at most {repeats_per_kill_max} a kill, first request at most {slowest:?} after a start"
    )
}
