//! All rows of a listing, page by page.
//!
//! Pages shift while they are walked: when somebody's number of tokens changes, rows move across the border between a
//! page that was read and one that was not. A row that is met twice counts once, as met last; a row that moved away
//! unseen is noticed by the service's own counter, where it gives one.

use std::collections::HashMap;

use super::{Ownership, Ownerships, Rest, RestError};

/// What a walk brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Walked {
    /// One for each owner and package, the greatest number of tokens first, then by hash.
    pub(crate) rows: Vec<Ownership>,
    /// How many rows the service counted at the end; `None` if it does not say.
    pub(crate) counted: Option<u64>,
}

impl Walked {
    /// Rows that the service counted and that were not met, since they moved meanwhile.
    pub(crate) fn missed(&self) -> u64 {
        self.counted.unwrap_or_default().saturating_sub(self.rows.len() as u64)
    }
}

impl Rest {
    /// Reads all rows of `whose`; after each page `note` is told how many rows there are, and of how many, if known.
    pub(crate) async fn ownerships(
        &self,
        whose: &Ownerships,
        mut note: impl FnMut(usize, Option<u64>),
    ) -> Result<Walked, RestError> {
        let mut rows = HashMap::new();
        let mut counted = None;
        for page in 1_u64.. {
            let found = self.ownership_page(whose, page).await?;
            let is_last = found.is_last(page);
            counted = found.item_count.or(counted);
            rows.extend(found.data.into_iter().map(|row| (key(&row), row)));
            note(rows.len(), counted);
            if is_last {
                break;
            }
        }
        let mut rows: Vec<Ownership> = rows.into_values().collect();
        rows.sort_by(|a, b| b.tokens_number.cmp(&a.tokens_number).then_with(|| key(a).cmp(&key(b))));
        Ok(Walked { rows, counted })
    }
}

fn key(row: &Ownership) -> (String, String) {
    (row.contract_package_hash.clone(), row.owner_hash.clone())
}
