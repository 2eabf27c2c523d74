//! The pages of a damaged database, read without SQLite: it gives up a whole table where one page of it is bad.
//!
//! The pages of the log are laid over those of the file, also behind a break of the log, where SQLite stops.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::cells::{Kind, children};
use crate::store::schema::PAGE_BYTES;
use crate::store::{schema, wal};

pub(super) type Page = Vec<u8>;

/// Where the header of the database has the first page of the list of free ones, and their number.
const FREE_LIST: usize = 32;
const FREE_COUNT: usize = 36;

pub(super) struct Pages {
    database: File,
    log: Option<File>,
    /// Where the log has the newest version of a page.
    newer: HashMap<u32, u64>,
    /// Pages of the log whose frames are damaged: they may be anything.
    doubtful: Vec<u64>,
    pub(super) count: u32,
}

impl Pages {
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        let database = File::open(directory.join(schema::FILE))?;
        let path = directory.join(schema::WAL_FILE);
        let log = wal::Log::read(&path)?;
        let (mut newer, mut doubtful) = (HashMap::new(), Vec::new());
        for frame in log.committed() {
            if frame.fits {
                newer.insert(frame.page, frame.offset);
            } else {
                doubtful.push(frame.offset);
            }
        }
        let in_file = u32::try_from(database.metadata()?.len().div_ceil(PAGE_BYTES as u64)).unwrap_or(u32::MAX);
        let count = newer.keys().copied().max().unwrap_or(0).max(in_file);
        let log = if log.committed().is_empty() { None } else { Some(File::open(path)?) };
        Ok(Self { database, log, newer, doubtful, count })
    }

    /// A page by its number, from 1. What the file lacks reads as zeros.
    pub(super) fn read(&self, number: u32) -> io::Result<Page> {
        if let (Some(offset), Some(log)) = (self.newer.get(&number), &self.log) {
            return read_at(log, *offset);
        }
        read_at(&self.database, u64::from(number.saturating_sub(1)) * PAGE_BYTES as u64)
    }

    pub(super) fn doubtful(&self) -> impl Iterator<Item = io::Result<Page>> {
        let log = self.log.as_ref();
        self.doubtful.iter().filter_map(move |offset| Some(read_at(log?, *offset)))
    }

    /// The pages that hold nothing current. Empty if the list of them is damaged, and without those that a page in use
    /// leads to: rather an old row too many than a new one too few.
    pub(super) fn free(&self) -> io::Result<HashSet<u32>> {
        let mut free = self.listed_free()?.unwrap_or_default();
        if free.is_empty() {
            return Ok(free);
        }
        for number in (1..=self.count).filter(|number| !free.contains(number)).collect::<Vec<_>>() {
            let page = self.read(number)?;
            children(&page, number).iter().for_each(|child| {
                free.remove(child);
            });
        }
        Ok(free)
    }

    /// What the list says, if it is consistent in itself.
    fn listed_free(&self) -> io::Result<Option<HashSet<u32>>> {
        let header = self.read(1)?;
        let (mut trunk, count) = (word(&header, FREE_LIST), word(&header, FREE_COUNT));
        let mut free = HashSet::new();
        while trunk != 0 {
            if trunk > self.count || !free.insert(trunk) {
                return Ok(None);
            }
            let page = self.read(trunk)?;
            let leaves = word(&page, 4) as usize;
            if leaves > PAGE_BYTES / 4 - 2 {
                return Ok(None);
            }
            let leaves = (0..leaves).map(|place| word(&page, 8 + 4 * place));
            if !leaves.into_iter().all(|leaf| leaf <= self.count && free.insert(leaf)) {
                return Ok(None);
            }
            trunk = word(&page, 0);
        }
        Ok((free.len() == count as usize).then_some(free))
    }

    /// Every row of every page in use: its number, in tables that have one, and its record. `show` says whether it is
    /// one of ours.
    pub(super) fn each_row(&self, mut show: impl FnMut(Option<i64>, &[u8]) -> bool) -> io::Result<()> {
        let free = self.free()?;
        for number in (1..=self.count).filter(|number| !free.contains(number)) {
            self.rows_of(number, &self.read(number)?, &mut show)?;
        }
        // After the others: what a damaged frame has may be older than what was found.
        self.doubtful().try_for_each(|page| self.rows_of(0, &page?, &mut show))
    }

    /// The rows of a page, by what it says it is; if nothing comes of that, by what else it can be.
    fn rows_of(&self, number: u32, page: &Page, show: &mut impl FnMut(Option<i64>, &[u8]) -> bool) -> io::Result<()> {
        let own = Kind::of(page, number);
        let others = Kind::ALL.into_iter().filter(|kind| Some(*kind) != own);
        for kind in own.into_iter().chain(others) {
            let mut has_any = false;
            for cell in kind.cells(page, number) {
                let payload = self.payload(page, &cell)?;
                has_any |= payload.is_some_and(|payload| show(cell.rowid, &payload));
            }
            if has_any {
                break;
            }
        }
        Ok(())
    }

    /// The whole payload of a cell, with what stands on further pages.
    fn payload(&self, page: &Page, cell: &super::cells::Cell) -> io::Result<Option<Vec<u8>>> {
        let Some(local) = page.get(cell.local.clone()) else { return Ok(None) };
        let mut payload = local.to_vec();
        let mut next = if payload.len() < cell.bytes { word(page, cell.local.end) } else { 0 };
        while payload.len() < cell.bytes {
            if next == 0 || next > self.count {
                return Ok(None);
            }
            let page = self.read(next)?;
            let rest = (cell.bytes - payload.len()).min(PAGE_BYTES - 4);
            payload.extend_from_slice(page.get(4..4 + rest).unwrap_or_default());
            next = word(&page, 0);
        }
        Ok(Some(payload))
    }
}

fn read_at(file: &File, offset: u64) -> io::Result<Page> {
    let mut page = vec![0; PAGE_BYTES];
    let mut filled = 0;
    while let Some(rest) = page.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + filled as u64)? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(page)
}

pub(super) fn word(bytes: &[u8], at: usize) -> u32 {
    let four = bytes.get(at..at.saturating_add(4)).and_then(|four| <[u8; 4]>::try_from(four).ok());
    four.map_or(0, u32::from_be_bytes)
}
