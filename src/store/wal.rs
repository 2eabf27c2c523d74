//! A look at the write-ahead log before SQLite opens it.
//!
//! SQLite ends the log silently at the first frame whose checksum does not fit. After a power cut that is right: the
//! tail was never synced. But a frame damaged in the middle makes SQLite drop the good commits behind it just as
//! silently, so this looks behind the first bad frame and tells the two apart.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use super::schema::PAGE_BYTES;

const HEADER_BYTES: usize = 32;
pub(super) const FRAME_HEADER_BYTES: usize = 24;

/// What the log holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tail {
    /// Frames that SQLite will take.
    pub(super) valid: u64,
    /// Frames behind the first bad one that belong to this log and fit their predecessor.
    pub(super) cut_off: u64,
    /// Whether there is a bad frame of this log at all, or the beginning of one: a torn tail.
    pub(super) is_torn: bool,
}

/// One page as a commit wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) page: u32,
    /// Whether it is the last of its commit.
    pub(super) is_commit: bool,
    /// Whether its checksum follows from its predecessor's.
    pub(super) fits: bool,
    /// Where the page stands in the file.
    pub(super) offset: u64,
}

/// The frames of a log, those behind a bad one included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Log {
    pub(super) frames: Vec<Frame>,
    is_headless: bool,
    /// The file ends within a frame.
    has_stump: bool,
}

impl Log {
    /// Reads the log at `path`; an absent one is empty. Without its header, which SQLite takes for no log at all, the
    /// frames are read by what the first one says.
    pub(super) fn read(path: &Path) -> std::io::Result<Self> {
        let file = match File::open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            other => other?,
        };
        let mut input = BufReader::with_capacity(1 << 20, file);
        let mut header = [0; HEADER_BYTES];
        if fill(&mut input, &mut header)? < HEADER_BYTES {
            return Ok(Self::default());
        }
        let (mut log, mut chain) = (Self::default(), Chain::new(&header));
        log.is_headless = chain.is_none();
        let mut frame = vec![0; FRAME_HEADER_BYTES + chain.as_ref().map_or(PAGE_BYTES, |chain| chain.page_bytes)];
        let mut offset = HEADER_BYTES as u64;
        let mut own = 0;
        loop {
            let length = fill(&mut input, &mut frame)?;
            let chain = chain.get_or_insert_with(|| Chain::beheaded(&frame));
            let is_own = length >= FRAME_HEADER_BYTES && chain.is_of_this_log(&frame);
            if length < frame.len() {
                log.has_stump = is_own;
                // What is not of this log and not among its frames is of an earlier round of it.
                log.frames.truncate(own);
                return Ok(log);
            }
            let (page, is_commit) = (word(&frame, 0).unwrap_or(0), word(&frame, 4) != Some(0));
            // The chain goes on from each frame, whatever it is.
            let fits = chain.fits(&frame) && is_own;
            log.frames.push(Frame { page, is_commit, fits, offset: offset + FRAME_HEADER_BYTES as u64 });
            offset += frame.len() as u64;
            own = if is_own { log.frames.len() } else { own };
        }
    }

    pub(super) fn tail(&self) -> Tail {
        let valid = if self.is_headless { 0 } else { self.frames.iter().take_while(|frame| frame.fits).count() };
        let behind = self.frames.iter().skip(valid);
        let cut_off = behind.clone().filter(|frame| frame.fits).count() as u64;
        let is_torn = self.has_stump || behind.count() > 0;
        Tail { valid: valid as u64, cut_off, is_torn }
    }

    /// The frames up to the last one that ends a commit, whatever lies between.
    pub(super) fn committed(&self) -> &[Frame] {
        let end = self.frames.iter().rposition(|frame| frame.is_commit && frame.fits).map_or(0, |last| last + 1);
        self.frames.get(..end).unwrap_or_default()
    }
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
        let magic = word(header, 0)?;
        let page_bytes = usize::try_from(word(header, 8)?).ok()?;
        let salts = header.get(16..24)?.try_into().ok()?;
        let mut chain = Self { is_big_endian: magic & 1 == 1, page_bytes, salts, sums: (0, 0) };
        let is_log = magic & !1 == 0x377f_0682 && (512..=65_536).contains(&page_bytes);
        chain.add(header.get(..24)?);
        let stored = (word(header, 24)?, word(header, 28)?);
        (is_log && chain.sums == stored).then_some(chain)
    }

    /// A chain that begins with a frame, in the absence of a header. Its checksum cannot be checked.
    fn beheaded(frame: &[u8]) -> Self {
        let salts = frame.get(8..16).and_then(|salts| salts.try_into().ok()).unwrap_or_default();
        Self { is_big_endian: cfg!(target_endian = "big"), page_bytes: PAGE_BYTES, salts, sums: (0, 0) }
    }

    /// No page has the number 0, so zeros are no frame.
    fn is_of_this_log(&self, frame: &[u8]) -> bool {
        frame.get(8..16) == Some(self.salts.as_slice()) && word(frame, 0) != Some(0)
    }

    /// Whether the frame's checksum follows from its predecessor's; the chain goes on from the frame's own.
    fn fits(&mut self, frame: &[u8]) -> bool {
        self.add(frame.get(..8).unwrap_or_default());
        self.add(frame.get(FRAME_HEADER_BYTES..).unwrap_or_default());
        let stored = (word(frame, 16).unwrap_or(0), word(frame, 20).unwrap_or(0));
        let fits = self.sums == stored;
        self.sums = stored;
        fits
    }

    fn add(&mut self, bytes: &[u8]) {
        let (mut a, mut b) = self.sums;
        let number = if self.is_big_endian { u32::from_be_bytes } else { u32::from_le_bytes };
        for [c, d, e, f, g, h, i, j] in bytes.as_chunks::<8>().0 {
            a = a.wrapping_add(number([*c, *d, *e, *f])).wrapping_add(b);
            b = b.wrapping_add(number([*g, *h, *i, *j])).wrapping_add(a);
        }
        self.sums = (a, b);
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
}

/// Fills `buffer` and says how far; less than whole at the end of the file.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match input.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    /// A log of some commits, copied away before SQLite folds it into the file.
    fn log(directory: &Path) -> Vec<u8> {
        let path = directory.join("t.db");
        let connection = Connection::open(&path).unwrap();
        connection.pragma_update(None, "page_size", PAGE_BYTES).unwrap();
        connection.pragma_update(None, "journal_mode", "WAL").unwrap();
        connection.execute_batch("CREATE TABLE t (x BLOB)").unwrap();
        for n in 0..20 {
            connection.execute("INSERT INTO t VALUES (?1)", [vec![n; 6000]]).unwrap();
        }
        std::fs::read(directory.join("t.db-wal")).unwrap()
    }

    fn inspected(directory: &Path, bytes: &[u8]) -> Tail {
        let path = directory.join("copy");
        std::fs::write(&path, bytes).unwrap();
        Log::read(&path).unwrap().tail()
    }

    #[test]
    fn a_torn_tail_is_told_from_a_hole() {
        let directory = tempfile::tempdir().unwrap();
        let whole = log(directory.path());
        let frames = ((whole.len() - HEADER_BYTES) / (FRAME_HEADER_BYTES + PAGE_BYTES)) as u64;
        assert_eq!(inspected(directory.path(), &whole), Tail { valid: frames, cut_off: 0, is_torn: false });

        let cut = &whole[..whole.len() - 100];
        assert_eq!(inspected(directory.path(), cut), Tail { valid: frames - 1, cut_off: 0, is_torn: true });
        let at_a_border = &whole[..whole.len() - (FRAME_HEADER_BYTES + PAGE_BYTES)];
        let shorter = Tail { valid: frames - 1, cut_off: 0, is_torn: false };
        assert_eq!(inspected(directory.path(), at_a_border), shorter);

        let mut torn = whole.clone();
        let last = torn.len() - 10;
        torn[last] ^= 1;
        assert_eq!(inspected(directory.path(), &torn), Tail { valid: frames - 1, cut_off: 0, is_torn: true });

        let mut hole = whole.clone();
        hole[HEADER_BYTES + 3 * (FRAME_HEADER_BYTES + PAGE_BYTES) + 500] ^= 1;
        assert_eq!(inspected(directory.path(), &hole), Tail { valid: 3, cut_off: frames - 4, is_torn: true });

        // The frame's own head, with the salts that say whose it is: it and the next do not fit.
        let mut headless = whole.clone();
        headless[HEADER_BYTES + 3 * (FRAME_HEADER_BYTES + PAGE_BYTES) + 9] ^= 1;
        assert_eq!(inspected(directory.path(), &headless), Tail { valid: 3, cut_off: frames - 4, is_torn: true });

        let mut beheaded = whole.clone();
        beheaded[20] ^= 1;
        assert_eq!(inspected(directory.path(), &beheaded), Tail { valid: 0, cut_off: frames - 1, is_torn: true });
    }

    #[test]
    fn what_is_no_log_is_empty() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(Log::read(&directory.path().join("absent")).unwrap(), Log::default());
        assert_eq!(inspected(directory.path(), b"short"), Tail::default());
        assert_eq!(inspected(directory.path(), &[0; 50_000]), Tail::default());
    }
}
