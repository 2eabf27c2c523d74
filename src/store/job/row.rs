//! The rows of jobs: sealed like all others, with the job as JSON inside.

use rusqlite::{Connection, params};

use super::{Job, JobState};
use crate::store::format::{Table, open, seal};

/// Jobs that have ended and are still shown.
const ENDED_MAX: u64 = 200;

impl Job {
    /// Gives a new job its number, and the extent of what it is about.
    pub(super) fn begin(mut self, connection: &Connection) -> rusqlite::Result<Self> {
        let next = "SELECT coalesce(max(number), 0) + 1 FROM job";
        self.number = connection.prepare_cached(next)?.query_row([], |row| row.get(0))?;
        self.last = self.order.extent(connection)?;
        let known = Self::read_all(connection)?;
        let is_old = |job: &&Self| !job.is_running() && job.number + ENDED_MAX <= self.number;
        for old in known.iter().filter(is_old) {
            connection.prepare_cached("DELETE FROM job WHERE number = ?1")?.execute([old.number])?;
        }
        self.write(connection)?;
        Ok(self)
    }

    pub(super) fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        let json = serde_json::to_vec(self).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
        let row = seal(Table::Job, &[self.number], &json);
        connection
            .prepare_cached("INSERT OR REPLACE INTO job VALUES (?1, ?2)")?
            .execute(params![self.number, row])
            .map(drop)
    }

    /// All that are known, oldest first. A damaged one has ended: nobody knows what it was to do.
    pub(in crate::store) fn read_all(connection: &Connection) -> rusqlite::Result<Vec<Self>> {
        let mut statement = connection.prepare("SELECT number, row FROM job ORDER BY number")?;
        let rows = statement.query_map([], |row| Ok((row.get::<_, u64>(0)?, row.get::<_, Vec<u8>>(1)?)))?;
        let mut jobs = Vec::new();
        for row in rows {
            let (number, row) = row?;
            let payload = open(Table::Job, &[number], &row).ok();
            match payload.and_then(|json| serde_json::from_slice(json).ok()) {
                Some(job) => jobs.push(job),
                None => tracing::error!(number, "the row of a job is damaged: the job does not go on"),
            }
        }
        Ok(jobs)
    }
}

impl JobState {
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
            Self::Failed(_) => "failed",
        }
    }
}
