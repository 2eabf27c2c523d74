//! The cells of a database page, and the values of a record, as SQLite's file format has them
//! (<https://www.sqlite.org/fileformat.html>).
//!
//! Nothing is taken on trust: what does not fit the page is no cell, and whether a cell is a row of ours its checksum
//! says.

use std::ops::Range;

use super::pages::word;
use crate::store::schema::PAGE_BYTES;

/// Page 1 begins with the header of the database.
const DATABASE_HEADER_BYTES: usize = 100;
/// Beyond any row: a message is at most 4 MiB.
const PAYLOAD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The kinds of pages that hold rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Rows with numbers of their own.
    TableLeaf,
    /// Rows of tables without: their keys are in the record.
    IndexLeaf,
    IndexInner,
}

/// One row on a page.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    pub(super) rowid: Option<i64>,
    /// The whole length of the record.
    pub(super) bytes: usize,
    /// The part of it that is on this page; the number of the next page follows if there is more.
    pub(super) local: Range<usize>,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::TableLeaf, Self::IndexLeaf, Self::IndexInner];

    pub(super) fn of(page: &[u8], number: u32) -> Option<Self> {
        match page.get(start(number))? {
            0x0d => Some(Self::TableLeaf),
            0x0a => Some(Self::IndexLeaf),
            0x02 => Some(Self::IndexInner),
            _ => None,
        }
    }

    /// The cells of a page that is taken for one of this kind.
    pub(super) fn cells(self, page: &[u8], number: u32) -> Vec<Cell> {
        let header_bytes = if self == Self::IndexInner { 12 } else { 8 };
        pointers(page, number, header_bytes).filter_map(|at| self.cell(page, at)).collect()
    }

    fn cell(self, page: &[u8], at: usize) -> Option<Cell> {
        let at = if self == Self::IndexInner { at + 4 } else { at };
        let (bytes, at) = varint(page, at)?;
        let bytes = usize::try_from(bytes).ok().filter(|bytes| *bytes <= PAYLOAD_BYTES_MAX)?;
        let (rowid, at) = match self {
            Self::TableLeaf => {
                let (rowid, at) = varint(page, at)?;
                (Some(rowid.cast_signed()), at)
            }
            Self::IndexLeaf | Self::IndexInner => (None, at),
        };
        Some(Cell { rowid, bytes, local: at..at.checked_add(self.local_bytes(bytes))? })
    }

    /// How much of a record stays on its page.
    fn local_bytes(self, bytes: usize) -> usize {
        let min = (PAGE_BYTES - 12) * 32 / 255 - 23;
        let max = match self {
            Self::TableLeaf => PAGE_BYTES - 35,
            Self::IndexLeaf | Self::IndexInner => (PAGE_BYTES - 12) * 64 / 255 - 23,
        };
        if bytes <= max {
            return bytes;
        }
        let local = min + (bytes - min) % (PAGE_BYTES - 4);
        if local <= max { local } else { min }
    }
}

fn start(number: u32) -> usize {
    if number == 1 { DATABASE_HEADER_BYTES } else { 0 }
}

fn pointers(page: &[u8], number: u32, header_bytes: usize) -> impl Iterator<Item = usize> {
    let count = usize::from(half(page, start(number) + 3).unwrap_or(0));
    let first = start(number) + header_bytes;
    (0..count).map_while(move |place| half(page, first + 2 * place).map(usize::from))
}

/// The pages that an inner page leads to.
pub(super) fn children(page: &[u8], number: u32) -> Vec<u32> {
    if !matches!(page.get(start(number)), Some(0x05 | 0x02)) {
        return Vec::new();
    }
    let mut children: Vec<u32> = pointers(page, number, 12).map(|at| word(page, at)).collect();
    children.push(word(page, start(number) + 8));
    children
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_be_bytes)
}

/// The number at `at` and where what follows begins.
fn varint(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut number = 0_u64;
    for place in 0..8 {
        let byte = *bytes.get(at + place)?;
        number = number << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((number, at + place + 1));
        }
    }
    Some((number << 8 | u64::from(*bytes.get(at + 8)?), at + 9))
}

/// A value of a record, as far as our tables have such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Null,
    Integer(i64),
    Text(&'a [u8]),
    Blob(&'a [u8]),
}

/// The values of a record; `None` if it is none.
pub(super) fn values(record: &[u8]) -> Option<Vec<Value<'_>>> {
    let (header_bytes, mut at) = varint(record, 0)?;
    let header_bytes = usize::try_from(header_bytes).ok()?;
    let (mut values, mut body) = (Vec::new(), header_bytes);
    while at < header_bytes {
        let (code, next) = varint(record, at)?;
        let length = usize::try_from(match code {
            0 | 8 | 9 => 0,
            1..=4 => code,
            5 => 6,
            6 => 8,
            12.. => (code - 12) / 2,
            _ => return None,
        })
        .ok()?;
        let bytes = record.get(body..body.checked_add(length)?)?;
        values.push(match code {
            0 => Value::Null,
            8 => Value::Integer(0),
            9 => Value::Integer(1),
            1..=6 => Value::Integer(integer(bytes)),
            _ if code % 2 == 0 => Value::Blob(bytes),
            _ => Value::Text(bytes),
        });
        (at, body) = (next, body + length);
    }
    Some(values)
}

/// Big-endian, with a sign.
fn integer(bytes: &[u8]) -> i64 {
    let is_negative = bytes.first().is_some_and(|first| first & 0x80 != 0);
    bytes.iter().fold(if is_negative { -1 } else { 0 }, |sum, byte| sum << 8 | i64::from(*byte))
}
