//! Rows as bytes: checksums, and the records inside a batch row.
//!
//! Every row starts with a CRC-32 over its table, its key and its payload, so a flipped bit, a row under a wrong key
//! and a row in a wrong table are all found when they are read. Integers are LEB128 varints unless noted.

use bytes::Bytes;

use super::SinkId;
use crate::clock::Timestamp;
use crate::event::{EventId, Identity, Key, Origin, Stream};

/// The tables that hold sealed rows; the number goes into the checksum and never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Table {
    Batch = 1,
    Event = 2,
    Settled = 3,
    Waiting = 4,
    Held = 5,
    Attempt = 6,
    Dead = 7,
    DeadBody = 8,
    Quarantine = 9,
    Lookup = 10,
    Pause = 11,
    Job = 12,
    Name = 13,
    Spent = 20,
    Gap = 21,
    Heard = 22,
    Audited = 23,
    Holding = 30,
    Due = 31,
    Collection = 32,
}

/// The row is not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the row is damaged")]
pub(super) struct Damaged;

const CHECKSUM_BYTES: usize = 4;

fn checksum(table: Table, key: &[u64], payload: &[u8]) -> u32 {
    let mut hash = crc32fast::Hasher::new();
    hash.update(&[table as u8]);
    key.iter().for_each(|part| hash.update(&part.to_be_bytes()));
    hash.update(payload);
    hash.finalize()
}

/// The checksum that stands beside a name.
pub(super) fn name_sum(number: u32, kind: u8, text: &str) -> u32 {
    checksum(Table::Name, &[number.into(), kind.into()], text.as_bytes())
}

/// Puts the sealed form of `payload` into `row`, whose former content goes.
pub(super) fn seal_into(row: &mut Vec<u8>, table: Table, key: &[u64], payload: &[u8]) {
    row.clear();
    row.extend_from_slice(&checksum(table, key, payload).to_be_bytes());
    row.extend_from_slice(payload);
}

pub(super) fn seal(table: Table, key: &[u64], payload: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(CHECKSUM_BYTES + payload.len());
    seal_into(&mut row, table, key, payload);
    row
}

/// The payload of a sealed row.
pub(super) fn open<'a>(table: Table, key: &[u64], row: &'a [u8]) -> Result<&'a [u8], Damaged> {
    let (sum, payload) = row.split_first_chunk::<CHECKSUM_BYTES>().ok_or(Damaged)?;
    if u32::from_be_bytes(*sum) == checksum(table, key, payload) { Ok(payload) } else { Err(Damaged) }
}

/// Writes the parts of a payload one after the other.
#[derive(Debug, Default)]
pub(super) struct Encoder(pub(super) Vec<u8>);

impl Encoder {
    pub(super) fn number(&mut self, mut n: u64) -> &mut Self {
        while n >= 0x80 {
            self.0.push((n as u8) | 0x80);
            n >>= 7;
        }
        self.0.push(n as u8);
        self
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.number(bytes.len() as u64).raw(bytes)
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }
}

/// Reads what an [`Encoder`] wrote.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decoder<'a>(pub(super) &'a [u8]);

impl<'a> Decoder<'a> {
    pub(super) fn byte(&mut self) -> Result<u8, Damaged> {
        let (byte, rest) = self.0.split_first().ok_or(Damaged)?;
        self.0 = rest;
        Ok(*byte)
    }

    pub(super) fn number(&mut self) -> Result<u64, Damaged> {
        let mut n = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            n |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(n);
            }
        }
        Err(Damaged)
    }

    pub(super) fn small(&mut self) -> Result<u32, Damaged> {
        self.number()?.try_into().map_err(|_| Damaged)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Damaged> {
        let (array, rest) = self.0.split_first_chunk::<N>().ok_or(Damaged)?;
        self.0 = rest;
        Ok(*array)
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Damaged> {
        let length = usize::try_from(self.number()?).map_err(|_| Damaged)?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Damaged)?;
        self.0 = rest;
        Ok(bytes)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Damaged> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Damaged)
    }
}

/// What a batch row says of one event: all but its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) stream: Stream,
    pub(super) origin: Origin,
    pub(super) id: EventId,
    pub(super) base: Key,
    /// 0: unordered.
    pub(super) lane: u64,
    pub(super) has_deploy: bool,
    pub(super) body_bytes: u32,
    pub(super) targets: Vec<Target>,
}

impl Record {
    /// Whether the event was meant for a sink when it was accepted.
    pub(super) fn names(&self, sink: SinkId) -> bool {
        self.targets.iter().any(|target| target.sink == sink)
    }
}

/// A sink that gets an event, and the routes that say so, by their numbers in the table of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) sink: SinkId,
    pub(super) routes: Vec<u32>,
}

/// One commit's events: their sequence numbers are `first`, `first + 1`, …
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) first: u64,
    pub(super) accepted_at: Timestamp,
    pub(super) records: Vec<Record>,
}

const HAS_DEPLOY: u8 = 1;
/// The base key differs from the id and follows it.
const HAS_BASE: u8 = 2;

impl Record {
    pub(super) fn identity(&self) -> Identity {
        let lane = (self.lane != 0).then_some(self.lane);
        Identity { id: self.id, base: self.base, lane, has_deploy: self.has_deploy }
    }

    fn encode(&self, out: &mut Encoder) {
        let has_base = self.base != self.id.0;
        let flags = u8::from(self.has_deploy) * HAS_DEPLOY + u8::from(has_base) * HAS_BASE;
        out.raw(&[self.stream.code(), flags, self.origin.code()]).raw(&self.id.0);
        if has_base {
            out.raw(&self.base);
        }
        out.raw(&self.lane.to_be_bytes()).number(self.body_bytes.into());
        out.number(self.targets.len() as u64);
        for target in &self.targets {
            out.number(target.sink.0.into()).number(target.routes.len() as u64);
            target.routes.iter().for_each(|route| {
                out.number((*route).into());
            });
        }
    }

    fn decode(input: &mut Decoder<'_>) -> Result<Self, Damaged> {
        Self::decode_head(input)?.with_targets(input)
    }

    fn with_targets(self, input: &mut Decoder<'_>) -> Result<Self, Damaged> {
        let targets = (0..input.number()?).map(|_| Target::decode(input)).collect::<Result<_, _>>()?;
        Ok(Self { targets, ..self })
    }

    /// All but the targets.
    fn decode_head(input: &mut Decoder<'_>) -> Result<Self, Damaged> {
        let [stream, flags, origin] = input.array()?;
        let id: Key = input.array()?;
        let base = if flags & HAS_BASE == 0 { id } else { input.array()? };
        Ok(Self {
            stream: Stream::from_code(stream).ok_or(Damaged)?,
            origin: Origin::from_code(origin).ok_or(Damaged)?,
            id: EventId(id),
            base,
            lane: u64::from_be_bytes(input.array()?),
            has_deploy: flags & HAS_DEPLOY != 0,
            body_bytes: input.small()?,
            targets: Vec::new(),
        })
    }
}

/// What look-ups need to know of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Keys {
    pub(super) seq: u64,
    pub(super) id: EventId,
    /// 0: unordered.
    pub(super) lane: u64,
}

impl Keys {
    fn decode(seq: u64, input: &mut Decoder<'_>) -> Result<Self, Damaged> {
        let Record { id, lane, .. } = Record::decode_head(input)?;
        Target::skip_all(input)?;
        Ok(Self { seq, id, lane })
    }
}

impl Target {
    fn decode(input: &mut Decoder<'_>) -> Result<Self, Damaged> {
        let sink = SinkId(input.small()?);
        let routes = (0..input.number()?).map(|_| input.small()).collect::<Result<_, _>>()?;
        Ok(Self { sink, routes })
    }

    fn skip_all(input: &mut Decoder<'_>) -> Result<(), Damaged> {
        for _ in 0..input.number()? {
            input.number()?;
            for _ in 0..input.number()? {
                input.number()?;
            }
        }
        Ok(())
    }
}

impl Batch {
    /// The sealed row.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::default();
        out.number(self.accepted_at.0).number(self.records.len() as u64);
        self.records.iter().for_each(|record| record.encode(&mut out));
        seal(Table::Batch, &[self.first], &out.0)
    }

    pub(super) fn decode(first: u64, row: &[u8]) -> Result<Self, Damaged> {
        let mut input = Decoder(open(Table::Batch, &[first], row)?);
        let accepted_at = Timestamp(input.number()?);
        let records = (0..input.number()?).map(|_| Record::decode(&mut input)).collect::<Result<_, _>>()?;
        Ok(Self { first, accepted_at, records })
    }

    /// When the events of a row were accepted, and the number of the last of them; without looking at each.
    pub(super) fn span(first: u64, row: &[u8]) -> Result<(Timestamp, u64), Damaged> {
        let mut input = Decoder(open(Table::Batch, &[first], row)?);
        let accepted_at = Timestamp(input.number()?);
        Ok((accepted_at, (first + input.number()?).saturating_sub(1)))
    }

    /// The keys of the events in a row; several times faster than all of it, for reading many.
    pub(super) fn keys(first: u64, row: &[u8]) -> Result<Vec<Keys>, Damaged> {
        let mut input = Decoder(open(Table::Batch, &[first], row)?);
        let (_accepted_at, count) = (input.number()?, input.number()?);
        (first..).zip(0..count).map(|(seq, _)| Keys::decode(seq, &mut input)).collect()
    }

    /// The events of a row whose lane is wanted, and the number of its last event; fast if few are.
    pub(super) fn of_lanes(
        first: u64,
        row: &[u8],
        wants: impl Fn(u64) -> bool,
    ) -> Result<(Vec<(u64, Record)>, u64), Damaged> {
        let mut input = Decoder(open(Table::Batch, &[first], row)?);
        let (_accepted_at, count) = (input.number()?, input.number()?);
        let mut found = Vec::new();
        for (seq, _) in (first..).zip(0..count) {
            let record = Record::decode_head(&mut input)?;
            match wants(record.lane) {
                true => found.push((seq, record.with_targets(&mut input)?)),
                false => Target::skip_all(&mut input)?,
            }
        }
        Ok((found, (first + count).saturating_sub(1)))
    }

    /// The events with their sequence numbers.
    pub(super) fn numbered(&self) -> impl Iterator<Item = (u64, &Record)> {
        (self.first..).zip(&self.records)
    }

    /// What it says of one event, if it holds it.
    pub(super) fn record(&self, seq: u64) -> Option<&Record> {
        let offset = seq.checked_sub(self.first).and_then(|offset| usize::try_from(offset).ok());
        self.records.get(offset?)
    }

    pub(super) fn last(&self) -> u64 {
        (self.first + self.records.len() as u64).saturating_sub(1)
    }
}

/// The sealed row of an event's bytes.
pub(super) fn open_body(seq: u64, row: &[u8]) -> Result<Bytes, Damaged> {
    open(Table::Event, &[seq], row).map(Bytes::copy_from_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> Batch {
        let record = |lane, has_deploy, base| Record {
            stream: Stream::NftTokens,
            origin: Origin::Stream,
            id: EventId([3; 16]),
            base,
            lane,
            has_deploy,
            body_bytes: 1500,
            targets: vec![
                Target { sink: SinkId(300), routes: vec![1, 70_000] },
                Target { sink: SinkId(1), routes: vec![] },
            ],
        };
        let records = vec![record(u64::MAX, true, [4; 16]), record(0, false, [3; 16])];
        Batch { first: 77, accepted_at: Timestamp(1_700_000_000_000), records }
    }

    #[test]
    fn a_batch_round_trips() {
        let row = batch().encode();
        assert_eq!(Batch::decode(77, &row), Ok(batch()));
        assert_eq!(batch().last(), 78);
        assert_eq!(Batch::span(77, &row), Ok((batch().accepted_at, 78)));
        let keys = |(seq, record): (u64, &Record)| Keys { seq, id: record.id, lane: record.lane };
        assert_eq!(Batch::keys(77, &row), Ok(batch().numbered().map(keys).collect()));
        let [first, second] = batch().records.try_into().unwrap();
        assert_eq!(Batch::of_lanes(77, &row, |lane| lane == u64::MAX), Ok((vec![(77, first)], 78)));
        assert_eq!(Batch::of_lanes(77, &row, |lane| lane == 0), Ok((vec![(78, second)], 78)));
    }

    #[test]
    fn any_flipped_bit_cut_or_moved_row_is_found() {
        let row = batch().encode();
        for bit in 0..row.len() * 8 {
            let mut flipped = row.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Batch::decode(77, &flipped), Err(Damaged), "bit {bit}");
        }
        for length in 0..row.len() {
            assert_eq!(Batch::decode(77, &row[..length]), Err(Damaged), "cut to {length}");
        }
        assert_eq!(Batch::decode(78, &row), Err(Damaged));
        assert_eq!(open(Table::Event, &[77], &row), Err(Damaged));
    }

    #[test]
    fn numbers_of_every_length_round_trip() {
        for n in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut out = Encoder::default();
            out.number(n);
            assert_eq!(Decoder(&out.0).number(), Ok(n));
        }
    }
}
