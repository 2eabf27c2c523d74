//! Bytes flipped, overwritten, cut off and removed in every file of a stored directory: what is altered is found, what
//! is not is kept, and a relay that starts with it neither loses in silence nor hangs.

mod oracle;
mod world;

use std::path::{Path, PathBuf};

use super::*;
use crate::store::vouch;
use oracle::{Original, check_rebuilt, check_run};
use world::{World, copy, dump};

/// Per file of a directory; four files and two directories make 520.
const CASES: usize = 130;
const SEED: u64 = 20_261_121;

/// One change of one file.
#[derive(Clone, Copy, Debug)]
enum Harm {
    Flip { at: usize, bit: u8 },
    Overwrite { at: usize, length: usize },
    Cut { to: usize },
    Remove { at: usize, length: usize },
}

impl Harm {
    fn any(length: usize, random: &mut fastrand::Rng) -> Self {
        let at = random.usize(..length);
        match random.u8(..10) {
            0..5 => Self::Flip { at, bit: random.u8(..8) },
            5..7 => Self::Overwrite { at, length: random.usize(1..600) },
            7 => Self::Cut { to: at },
            // Where a copy of a file ends.
            8 => Self::Cut { to: at / schema::PAGE_BYTES * schema::PAGE_BYTES },
            _ => Self::Remove { at, length: random.usize(1..200) },
        }
    }

    fn apply(self, bytes: &mut Vec<u8>) {
        match self {
            Self::Flip { at, bit } => bytes[at] ^= 1 << bit,
            Self::Overwrite { at, length } => {
                let end = bytes.len().min(at + length);
                bytes[at..end].fill(0xa5);
            }
            Self::Cut { to } => bytes.truncate(to),
            Self::Remove { at, length } => {
                let end = bytes.len().min(at + length);
                bytes.drain(at..end);
            }
        }
    }

    /// Which bytes of the file are not what they were.
    pub(super) fn extent(self, length: usize) -> std::ops::Range<usize> {
        match self {
            Self::Flip { at, .. } => at..at + 1,
            Self::Overwrite { at, length } => at..at + length,
            Self::Cut { to } => to..length,
            Self::Remove { at, .. } => at..length,
        }
    }
}

fn bytes_of(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.map(|path| (path.clone(), std::fs::read(path).unwrap_or_default())).collect();
    files.sort();
    files.retain(|(path, _)| !path.ends_with("reserve"));
    files
}

#[tokio::test]
async fn a_whole_store_is_found_whole_and_rebuilt_as_it_is() {
    let world = World::new().await;
    for name in ["stopped", "killed"] {
        let directory = world.directory(name);
        let before = bytes_of(&directory);
        let report = verify(&directory).unwrap();
        assert_eq!((report.damage.as_slice(), report.unvouched.as_slice()), (&[][..], &[][..]), "{name}");
        assert_eq!(before, bytes_of(&directory), "{name}: looking changes nothing");
        let to = world.directory(&format!("{name}-rebuilt"));
        let rebuilt = rebuild(&directory, &to, &Clock::default()).unwrap();
        assert_eq!((rebuilt.losses.as_slice(), rebuilt.has_new_epoch), (&[][..], false), "{name}");
        assert!(rebuilt.after.is_whole(), "{name}: {:?}", rebuilt.after);
        assert_eq!(dump(&directory).unwrap(), dump(&to).unwrap(), "{name}");
        assert_eq!(before, bytes_of(&directory), "{name}: rebuilding changes nothing");
        assert!(matches!(rebuild(&directory, &to, &Clock::default()), Err(OpenError::Occupied { .. })));
    }
}

#[tokio::test]
async fn what_operators_asked_for_and_what_was_seen_is_checked_like_events() {
    let world = World::new().await;
    let directory = world.directory("stopped");
    let path = directory.join(schema::FILE);
    let whole = std::fs::read(&path).unwrap();
    for (table, text, said) in [
        ("pause", &b"they move house"[..], "pauses"),
        ("job", b"replay_events", "jobs"),
        ("holding", b"the holder 7 of tokens", "numbers of tokens"),
        ("due", b"the owner who is due", "owners to be asked for"),
        ("audited", b"a print!", "how far streams were audited"),
        ("collection", b"the package of a walk", "seen in whole"),
    ] {
        let mut hurt = whole.clone();
        // What a page that was split has left of it is read by nobody.
        for at in (0..whole.len() - text.len()).filter(|at| whole[*at..].starts_with(text)) {
            hurt[at] ^= 1;
        }
        std::fs::write(&path, hurt).unwrap();
        let report = verify(&directory).unwrap();
        let tables: Vec<_> = report.damage.iter().map(|finding| finding.table).collect();
        assert_eq!(tables, [table]);
        let to = world.directory(&format!("without-{table}"));
        let rebuilt = rebuild(&directory, &to, &Clock::default()).unwrap();
        let [(loss, _)] = rebuilt.losses.as_slice() else { panic!("{:?}", rebuilt.losses) };
        assert!(loss.contains(said) && rebuilt.after.is_whole(), "{loss}");
    }
}

#[tokio::test]
async fn damaged_counts_of_dead_letters_are_found_and_made_again() {
    let world = World::new().await;
    let directory = world.directory("stopped");
    let behind_its_back = |sql: &str| {
        let connection = rusqlite::Connection::open(directory.join(schema::FILE)).unwrap();
        connection.execute_batch(sql).unwrap();
    };
    let before = dump(&directory).unwrap();
    behind_its_back("DROP TRIGGER letter_added; DROP TRIGGER letter_removed; UPDATE letter_count SET letters = 1");
    let tables: Vec<_> = verify(&directory).unwrap().damage.iter().map(|finding| finding.table).collect();
    assert_eq!(tables, ["(header)", "(header)", "letter_count"]);
    let to = world.directory("counted");
    let rebuilt = rebuild(&directory, &to, &Clock::default()).unwrap();
    assert!(rebuilt.after.is_whole() && rebuilt.losses.is_empty(), "{rebuilt:?}");
    let counts = |rows: &world::Rows| rows.iter().filter(|((table, _), _)| table == "letter_count").count();
    assert_eq!(counts(&before), 1);
    assert_eq!(
        dump(&to).unwrap().iter().find(|((table, _), _)| table == "letter_count"),
        before.iter().find(|((table, _), _)| table == "letter_count")
    );
}

#[tokio::test]
async fn whatever_is_done_to_a_file_is_found_and_the_rest_is_kept() {
    let world = World::new().await;
    let mut random = fastrand::Rng::with_seed(SEED);
    let (mut cases, mut altered, mut undone) = (0, 0, 0);
    for (name, file) in
        [("stopped", schema::FILE), ("killed", schema::FILE), ("killed", schema::WAL_FILE), ("stopped", vouch::FILE)]
    {
        let original = Original::new(&world.directory(name));
        let whole = std::fs::read(world.directory(name).join(file)).unwrap();
        for _ in 0..CASES {
            let harm = Harm::any(whole.len(), &mut random);
            let case = format!("{name}/{file}: {harm:?}");
            let scratch = tempfile::tempdir().unwrap();
            let (hurt, to) = (scratch.path().join("hurt"), scratch.path().join("rebuilt"));
            copy(&world.directory(name), &hurt);
            let mut bytes = whole.clone();
            harm.apply(&mut bytes);
            std::fs::write(hurt.join(file), &bytes).unwrap();
            let before = bytes_of(&hurt);
            let is_altered = dump(&hurt).as_ref().ok() != Some(&original.rows);
            let report = verify(&hurt).unwrap();
            let is_found = !report.is_whole() || !report.unvouched.is_empty();
            assert!(is_found || !is_altered, "{case}: altered, and not found");
            let rebuilt = rebuild(&hurt, &to, &Clock::default()).unwrap();
            assert_eq!(before, bytes_of(&hurt), "{case}: looking and rebuilding change nothing");
            // Twenty megabytes less to write.
            std::fs::hard_link(hurt.join("reserve"), to.join("reserve")).unwrap();
            check_rebuilt(&case, &original, &original.touched(file, harm.extent(whole.len())), &rebuilt, &to).await;
            check_run(&case, &original, file, &hurt).await;
            cases += 1;
            altered += usize::from(is_altered);
            undone += usize::from(is_altered && rebuilt.losses.is_empty());
        }
    }
    println!("{cases} cases, {altered} altered data, {undone} of these without any loss after a rebuild");
    assert!(cases >= 500 && altered > cases / 5, "{cases} cases, {altered} altered");
}
