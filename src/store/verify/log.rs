//! The end of the store: whether the log is whole, and whether somebody vouches for the newest events.

use std::path::Path;

use super::Report;
use crate::store::error::OpenError;
use crate::store::vouch::{self, Vouched};
use crate::store::{schema, wal};

pub(super) fn check(directory: &Path, newest: u64, report: &mut Report) -> Result<(), OpenError> {
    let path = directory.join(schema::WAL_FILE);
    let tail = wal::Log::read(&path).map_err(|source| OpenError::Directory { path: path.clone(), source })?.tail();
    if tail.cut_off > 0 {
        let what = format!(
            "it breaks off after {} pages, {} whole pages stand behind the break: SQLite drops these commits",
            tail.valid, tail.cut_off
        );
        report.damage("(log)", format!("page {}", tail.valid + 1), what);
    } else if tail.is_torn {
        report.unvouched.push(format!(
            "the log ends in a page that was not written whole, after {} pages: as a kill leaves it, and then nothing \
             accepted is lost; damage at its very end looks the same",
            tail.valid
        ));
    }
    let path = directory.join(vouch::FILE);
    match vouch::vouched(directory).map_err(|source| OpenError::Directory { path, source })? {
        Vouched::Newest(accepted) if accepted > newest => {
            let what = "accepted, and nothing is left of them: the log has lost its end";
            report.damage("event", format!("seq {} to {accepted}", newest + 1), what);
        }
        Vouched::Damaged => {
            report.damage(
                "(newest)",
                "-",
                "the number of the newest event is damaged: nothing vouches for the log's end",
            );
        }
        Vouched::Nothing if newest > 0 => {
            report.unvouched.push(format!("there is no file `{}`: nothing vouches for the newest events", vouch::FILE));
        }
        Vouched::Newest(_) | Vouched::Nothing => {}
    }
    Ok(())
}
