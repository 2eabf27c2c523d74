//! A look at the write-ahead log before SQLite opens it.
//!
//! SQLite ends the log silently at the first frame whose checksum does not fit. After a power cut that is right: the
//! tail was never synced. But a frame damaged in the middle makes SQLite drop the good commits behind it just as
//! silently, so this looks behind the first bad frame and tells the two apart.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;

/// What the log holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tail {
    /// Frames that SQLite will take.
    pub(super) valid: u64,
    /// Frames behind the first bad one that belong to this log and fit their predecessor.
    pub(super) cut_off: u64,
    /// Whether there is a bad frame of this log at all: a torn tail.
    pub(super) is_torn: bool,
}

/// Reads the log at `path`; an absent or foreign one is empty.
pub(super) fn inspect(path: &Path) -> std::io::Result<Tail> {
    let Ok(file) = File::open(path) else { return Ok(Tail::default()) };
    let mut input = BufReader::with_capacity(1 << 20, file);
    let mut header = [0; HEADER_BYTES];
    if !fill(&mut input, &mut header)? {
        return Ok(Tail::default());
    }
    let Some(mut chain) = Chain::new(&header) else { return Ok(Tail::default()) };
    let mut frame = vec![0; FRAME_HEADER_BYTES + chain.page_bytes];
    let mut tail = Tail::default();
    while fill(&mut input, &mut frame)? {
        if !chain.is_of_this_log(&frame) {
            // A frame of an earlier round of the log: everything behind it is older still.
            break;
        }
        match (chain.fits(&frame), tail.is_torn) {
            (true, false) => tail.valid += 1,
            (true, true) => tail.cut_off += 1,
            (false, _) => tail.is_torn = true,
        }
    }
    Ok(tail)
}

/// The running checksum of a log.
struct Chain {
    is_big_endian: bool,
    page_bytes: usize,
    salts: [u8; 8],
    sums: (u32, u32),
}

impl Chain {
    fn new(header: &[u8; HEADER_BYTES]) -> Option<Self> {
        let magic = word(header, 0, true)?;
        let page_bytes = usize::try_from(word(header, 8, true)?).ok()?;
        let salts = header.get(16..24)?.try_into().ok()?;
        let mut chain = Self { is_big_endian: magic & 1 == 1, page_bytes, salts, sums: (0, 0) };
        let is_log = magic & !1 == 0x377f_0682 && (512..=65_536).contains(&page_bytes);
        chain.add(header.get(..24)?);
        let stored = (word(header, 24, true)?, word(header, 28, true)?);
        (is_log && chain.sums == stored).then_some(chain)
    }

    fn is_of_this_log(&self, frame: &[u8]) -> bool {
        frame.get(8..16) == Some(self.salts.as_slice())
    }

    /// Whether the frame's checksum follows from its predecessor's; the chain goes on from the frame's own.
    fn fits(&mut self, frame: &[u8]) -> bool {
        self.add(frame.get(..8).unwrap_or_default());
        self.add(frame.get(FRAME_HEADER_BYTES..).unwrap_or_default());
        let stored = (word(frame, 16, true).unwrap_or(0), word(frame, 20, true).unwrap_or(0));
        let fits = self.sums == stored;
        self.sums = stored;
        fits
    }

    fn add(&mut self, bytes: &[u8]) {
        let (mut a, mut b) = self.sums;
        for pair in bytes.chunks_exact(8) {
            a = a.wrapping_add(word(pair, 0, self.is_big_endian).unwrap_or(0)).wrapping_add(b);
            b = b.wrapping_add(word(pair, 4, self.is_big_endian).unwrap_or(0)).wrapping_add(a);
        }
        self.sums = (a, b);
    }
}

fn word(bytes: &[u8], at: usize, is_big_endian: bool) -> Option<u32> {
    let four: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(if is_big_endian { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) })
}

/// Fills `buffer`; false at the end of the file, a partial frame included.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<bool> {
    match input.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    /// A log of some commits, copied away before SQLite folds it into the file.
    fn log(directory: &Path) -> Vec<u8> {
        let path = directory.join("t.db");
        let connection = Connection::open(&path).unwrap();
        connection.pragma_update(None, "journal_mode", "WAL").unwrap();
        connection.execute_batch("CREATE TABLE t (x BLOB)").unwrap();
        for n in 0..20 {
            connection.execute("INSERT INTO t VALUES (?1)", [vec![n; 3000]]).unwrap();
        }
        std::fs::read(directory.join("t.db-wal")).unwrap()
    }

    fn inspected(directory: &Path, bytes: &[u8]) -> Tail {
        let path = directory.join("copy");
        std::fs::write(&path, bytes).unwrap();
        inspect(&path).unwrap()
    }

    #[test]
    fn a_torn_tail_is_told_from_a_hole() {
        let directory = tempfile::tempdir().unwrap();
        let whole = log(directory.path());
        let frames = ((whole.len() - HEADER_BYTES) / (FRAME_HEADER_BYTES + 4096)) as u64;
        assert_eq!(inspected(directory.path(), &whole), Tail { valid: frames, cut_off: 0, is_torn: false });

        let cut = &whole[..whole.len() - 100];
        assert_eq!(inspected(directory.path(), cut), Tail { valid: frames - 1, cut_off: 0, is_torn: false });

        let mut torn = whole.clone();
        let last = torn.len() - 10;
        torn[last] ^= 1;
        assert_eq!(inspected(directory.path(), &torn), Tail { valid: frames - 1, cut_off: 0, is_torn: true });

        let mut hole = whole.clone();
        hole[HEADER_BYTES + 3 * (FRAME_HEADER_BYTES + 4096) + 500] ^= 1;
        assert_eq!(inspected(directory.path(), &hole), Tail { valid: 3, cut_off: frames - 4, is_torn: true });
    }

    #[test]
    fn what_is_no_log_is_empty() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(inspect(&directory.path().join("absent")).unwrap(), Tail::default());
        assert_eq!(inspected(directory.path(), b"short"), Tail::default());
        assert_eq!(inspected(directory.path(), &[0; 5000]), Tail::default());
    }
}
