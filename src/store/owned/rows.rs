//! The tables `holding`, `due` and `collection`, row by row.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, params};
use sha2::{Digest, Sha256};

use super::{Cause, Due, Holding};
use crate::event::EventId;
use crate::store::format::{Damaged, Decoder, Encoder, Table, open, seal};

/// Where a text stands in a table: 63 bits of its hash, which SQLite takes as an integer; never 0.
fn place(text: &str) -> u64 {
    let digest = Sha256::digest(text.as_bytes());
    let head = digest.first_chunk::<8>().copied().unwrap_or_default();
    (u64::from_be_bytes(head) >> 1).max(1)
}

/// A page of the holdings of a package.
pub(super) struct Page {
    pub(super) holdings: Vec<Holding>,
    /// Where the next page begins; `None` if this is the last.
    pub(super) next: Option<u64>,
}

impl Holding {
    fn key(&self) -> [u64; 2] {
        [place(&self.package), place(&self.owner)]
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::default();
        out.bytes(self.package.as_bytes()).bytes(self.owner.as_bytes());
        out.raw(&[self.owner_type.map_or(0, |kind| kind.saturating_add(1))]).number(self.tokens).number(self.revision);
        seal(Table::Holding, &self.key(), &out.0)
    }

    fn decode(key: [u64; 2], row: &[u8]) -> Result<Self, Damaged> {
        let mut input = Decoder(open(Table::Holding, &key, row)?);
        Ok(Self {
            package: input.text()?.into(),
            owner: input.text()?.into(),
            owner_type: input.byte()?.checked_sub(1),
            tokens: input.number()?,
            revision: input.number()?,
        })
    }
}

impl Due {
    fn key(&self) -> [u64; 2] {
        [place(&self.package), place(&self.owner)]
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::default();
        out.bytes(self.package.as_bytes()).bytes(self.owner.as_bytes()).number(self.number).raw(&[self.looks]);
        out.raw(&[u8::from(self.cause.is_some())]);
        if let Some(cause) = &self.cause {
            out.raw(&cause.event.0);
            for text in [&cause.deploy_hash, &cause.token_id] {
                out.raw(&[u8::from(text.is_some())]).bytes(text.as_deref().unwrap_or_default().as_bytes());
            }
        }
        seal(Table::Due, &self.key(), &out.0)
    }

    fn decode(key: [u64; 2], row: &[u8]) -> Result<Self, Damaged> {
        let mut input = Decoder(open(Table::Due, &key, row)?);
        Ok(Self {
            package: input.text()?.into(),
            owner: input.text()?.into(),
            number: input.number()?,
            looks: input.byte()?,
            cause: if input.byte()? == 0 { None } else { Some(Arc::new(Cause::decode(&mut input)?)) },
        })
    }
}

impl Cause {
    fn decode(input: &mut Decoder<'_>) -> Result<Self, Damaged> {
        let event = EventId(input.array()?);
        let mut text = || {
            let is_there = input.byte()? != 0;
            Ok::<_, Damaged>(Some(Box::from(input.text()?)).filter(|_| is_there))
        };
        Ok(Self { event, deploy_hash: text()?, token_id: text()? })
    }
}

/// A damaged row counts as none: the next look at CSPR.cloud, or the next walk, brings it again.
fn sound<T>(what: &'static str, row: Result<T, Damaged>) -> Option<T> {
    row.inspect_err(|damage| tracing::error!(what, %damage, "a row about owners is damaged and counts as none")).ok()
}

fn key(row: &Row<'_>) -> rusqlite::Result<[u64; 2]> {
    Ok([row.get(0)?, row.get(1)?])
}

fn read_holding(row: &Row<'_>) -> rusqlite::Result<Option<Holding>> {
    let key = key(row)?;
    Ok(sound("holding", Holding::decode(key, row.get_ref(2)?.as_bytes().unwrap_or_default())))
}

fn read_due(row: &Row<'_>) -> rusqlite::Result<Option<Due>> {
    let key = key(row)?;
    Ok(sound("due", Due::decode(key, row.get_ref(2)?.as_bytes().unwrap_or_default())))
}

pub(super) fn put_holding(connection: &Connection, holding: &Holding) -> rusqlite::Result<()> {
    let [package, owner] = holding.key();
    if holding.tokens == 0 {
        let sql = "DELETE FROM holding WHERE package = ?1 AND owner = ?2";
        return connection.prepare_cached(sql)?.execute([package, owner]).map(drop);
    }
    let sql = "INSERT OR REPLACE INTO holding VALUES (?1, ?2, ?3)";
    connection.prepare_cached(sql)?.execute(params![package, owner, holding.encode()]).map(drop)
}

pub(super) fn holding(connection: &Connection, package: &str, owner: &str) -> rusqlite::Result<Option<Holding>> {
    let sql = "SELECT package, owner, row FROM holding WHERE package = ?1 AND owner = ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement.query_row([place(package), place(owner)], read_holding).optional()?.flatten();
    Ok(found.filter(|holding| *holding.package == *package && *holding.owner == *owner))
}

/// The holdings of a package behind the place `after`, at most about `max`.
pub(super) fn holdings(connection: &Connection, package: &str, after: u64, max: usize) -> rusqlite::Result<Page> {
    let sql = "SELECT package, owner, row FROM holding WHERE package = ?1 AND owner > ?2 ORDER BY owner LIMIT ?3";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![place(package), after, max])?;
    let (mut found, mut count, mut last) = (Vec::new(), 0, after);
    while let Some(row) = rows.next()? {
        (count, last) = (count + 1, row.get(1)?);
        found.extend(read_holding(row)?.filter(|holding| *holding.package == *package));
    }
    Ok(Page { holdings: found, next: (count == max).then_some(last) })
}

/// Holdings of a package, an owner or both, the greatest first.
pub(super) fn find(
    connection: &Connection,
    package: Option<&str>,
    owner: Option<&str>,
) -> rusqlite::Result<Vec<Holding>> {
    let sql =
        "SELECT package, owner, row FROM holding WHERE (?1 IS NULL OR package = ?1) AND (?2 IS NULL OR owner = ?2)";
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map(params![package.map(place), owner.map(place)], read_holding)?;
    let all: Vec<Option<Holding>> = rows.collect::<Result<_, _>>()?;
    let is_wanted = |wanted: Option<&str>, text: &str| wanted.is_none_or(|wanted| wanted == text);
    let wanted = |holding: &Holding| is_wanted(package, &holding.package) && is_wanted(owner, &holding.owner);
    let mut found: Vec<Holding> = all.into_iter().flatten().filter(wanted).collect();
    found.sort_by(|a, b| b.tokens.cmp(&a.tokens).then_with(|| (&a.package, &a.owner).cmp(&(&b.package, &b.owner))));
    Ok(found)
}

pub(super) fn put_due(connection: &Connection, due: &Due) -> rusqlite::Result<()> {
    let [package, owner] = due.key();
    let sql = "INSERT OR REPLACE INTO due VALUES (?1, ?2, ?3)";
    connection.prepare_cached(sql)?.execute(params![package, owner, due.encode()]).map(drop)
}

pub(super) fn due(connection: &Connection, package: &str, owner: &str) -> rusqlite::Result<Option<Due>> {
    let sql = "SELECT package, owner, row FROM due WHERE package = ?1 AND owner = ?2";
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.query_row([place(package), place(owner)], read_due).optional()?.flatten())
}

/// Whether the row is still the one that was taken.
pub(super) fn is_current(connection: &Connection, taken: &Due) -> rusqlite::Result<bool> {
    Ok(due(connection, &taken.package, &taken.owner)?.is_some_and(|due| due.number == taken.number))
}

pub(super) fn remove_due(connection: &Connection, due: &Due) -> rusqlite::Result<()> {
    let sql = "DELETE FROM due WHERE package = ?1 AND owner = ?2";
    connection.prepare_cached(sql)?.execute(due.key()).map(drop)
}

/// All dues, in the order in which they were marked. Damaged rows go.
pub(super) fn dues(connection: &Connection) -> rusqlite::Result<Vec<Due>> {
    let mut statement = connection.prepare("SELECT package, owner, row FROM due")?;
    let mut rows = statement.query([])?;
    let (mut found, mut damaged) = (Vec::new(), Vec::new());
    while let Some(row) = rows.next()? {
        match read_due(row)? {
            Some(due) => found.push(due),
            None => damaged.push(key(row)?),
        }
    }
    let remove = "DELETE FROM due WHERE package = ?1 AND owner = ?2";
    damaged.into_iter().try_for_each(|key| connection.execute(remove, key).map(drop))?;
    found.sort_unstable_by_key(|due| due.number);
    Ok(found)
}

/// Removes the dues of a package whose numbers are not above `to`.
pub(super) fn remove_dues(connection: &Connection, package: &str, to: u64) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached("SELECT package, owner, row FROM due WHERE package = ?1")?;
    let rows: Vec<Option<Due>> = statement.query_map([place(package)], read_due)?.collect::<Result<_, _>>()?;
    let passed = rows.into_iter().flatten().filter(|due| due.number <= to);
    passed.into_iter().try_for_each(|due| remove_due(connection, &due))
}

pub(super) fn walked(connection: &Connection, package: &str) -> rusqlite::Result<()> {
    let row = seal(Table::Collection, &[place(package)], package.as_bytes());
    let sql = "INSERT OR REPLACE INTO collection VALUES (?1, ?2)";
    connection.prepare_cached(sql)?.execute(params![place(package), row]).map(drop)
}

/// A damaged row counts as one: a second baseline would swallow what has changed.
pub(super) fn is_walked(connection: &Connection, package: &str) -> rusqlite::Result<bool> {
    let sql = "SELECT count(*) > 0 FROM collection WHERE package = ?1";
    connection.prepare_cached(sql)?.query_row([place(package)], |row| row.get(0))
}
