//! All that there is of a package, from one end: its tokens as they are, or what was done with them.
//!
//! The order is one in which nothing that was listed before goes away, so that a page can be asked for again later:
//! what is new comes last or in between, and then a page repeats what the one before it had.

use serde_json::value::RawValue;

use super::{Action, PAGE_SIZE, Page, Rest, RestError};

/// A page, and whether there are more.
#[derive(Clone, Debug)]
pub(crate) struct Listing<T> {
    pub(crate) rows: Vec<T>,
    /// On all pages together, if that is said.
    pub(crate) total: Option<u64>,
    pub(crate) is_last: bool,
}

impl Listing<Box<RawValue>> {
    /// The rows as actions.
    pub(super) fn read(self) -> Result<Listing<Action>, RestError> {
        let rows = self.rows.into_iter().map(Action::read).collect::<Result<_, _>>()?;
        Ok(Listing { rows, total: self.total, is_last: self.is_last })
    }
}

impl Rest {
    /// Rows of a full page.
    pub(crate) const PAGE_SIZE: usize = PAGE_SIZE;

    /// The tokens of a package as written, burned ones included, by their ids; pages count from 1.
    pub(crate) async fn tokens(&self, package: &str, page: u64) -> Result<Listing<Box<RawValue>>, RestError> {
        self.listing(&["contract-packages", package, "nft-tokens"], ("token_id", "ASC"), page).await
    }

    /// What was done with the tokens of a package, the oldest first; pages count from 1.
    pub(crate) async fn history(&self, package: &str, page: u64) -> Result<Listing<Action>, RestError> {
        let path = ["contract-packages", package, "nft-token-actions"];
        self.listing(&path, ("timestamp", "ASC"), page).await?.read()
    }

    pub(super) async fn listing(
        &self,
        path: &[&str],
        (order, direction): (&str, &str),
        page: u64,
    ) -> Result<Listing<Box<RawValue>>, RestError> {
        let query = [
            ("page", page.to_string()),
            ("page_size", PAGE_SIZE.to_string()),
            ("order_by", order.to_owned()),
            ("order_direction", direction.to_owned()),
        ];
        let found: Page<Box<RawValue>> = self.fetch_at(path, &query).await?;
        let is_last = found.is_last(page);
        Ok(Listing { rows: found.data, total: found.item_count, is_last })
    }
}
