//! Which events a subscription wants: AND between parameters, OR inside a list, upper and lower case alike.

use serde_json::Value;

use crate::event::Stream;

/// The filter in an address. Parameters the service does not document are ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    lists: Vec<List>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct List {
    pointers: &'static [&'static str],
    values: Vec<String>,
}

const NOTHING: &[&str] = &[];

/// Where the values of a parameter stand in a message. An owner of an action is either side, or whom `extra` names.
fn pointers(parameter: &str) -> &'static [&'static str] {
    match parameter {
        "contract_package_hash" => &["/data/contract_package_hash"],
        "contract_hash" => &["/data/contract_hash"],
        "owner_hash" => &["/data/owner_hash", "/data/from_hash", "/data/to_hash", "/extra/owner_hash"],
        "account_hash" => &["/data/account_hash", "/data/initiator_account_hash", "/data/to_account_hash"],
        "deploy_hash" => &["/data/deploy_hash", "/extra/deploy_hash"],
        "caller_hash" => &["/data/caller_hash"],
        "caller_public_key" => &["/data/caller_public_key"],
        "owner_public_key" => &["/data/owner_public_key"],
        "proposer_public_key" => &["/data/proposer_public_key"],
        _ => NOTHING,
    }
}

impl Filter {
    /// The error is the message of an HTTP 400.
    pub(crate) fn parse(stream: Stream, query: &str) -> Result<Self, &'static str> {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let pairs: Vec<(&str, &str)> = pairs.filter(|(_, value)| !value.is_empty()).collect();
        let mandatory = pairs.iter().filter(|(name, _)| matches!(*name, "contract_hash" | "contract_package_hash"));
        if stream == Stream::ContractEvents && mandatory.count() != 1 {
            return Err("exactly one of contract_hash and contract_package_hash is required");
        }
        let lists = pairs.into_iter().map(|(name, value)| List {
            pointers: pointers(name),
            values: value.replace("%2C", ",").split(',').map(str::to_lowercase).collect(),
        });
        Ok(Self { lists: lists.filter(|list| !list.pointers.is_empty()).collect() })
    }

    /// A text that is not JSON passes only where nothing is filtered.
    pub(crate) fn wants(&self, text: &str) -> bool {
        if self.lists.is_empty() {
            return true;
        }
        let Ok(message) = serde_json::from_str::<Value>(text) else { return false };
        self.lists.iter().all(|list| list.wants(&message))
    }
}

impl List {
    fn wants(&self, message: &Value) -> bool {
        let found = self.pointers.iter().filter_map(|pointer| message.pointer(pointer)?.as_str());
        found.map(str::to_lowercase).any(|found| self.values.contains(&found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_alternatives_and_parameters_add_up() {
        let token = r#"{"data":{"contract_package_hash":"ab","owner_hash":"e1"},"extra":null}"#;
        let action = r#"{"data":{"contract_package_hash":"ab","from_hash":"e1","to_hash":"e2"}}"#;
        // (query, wants the token, wants the action)
        let table = [
            ("", true, true),
            ("contract_package_hash=AB", true, true),
            ("contract_package_hash=cd,ab", true, true),
            ("contract_package_hash=cd%2Cab", true, true),
            ("contract_package_hash=cd", false, false),
            ("owner_hash=e2", false, true),
            ("contract_package_hash=ab&owner_hash=e1", true, true),
            ("contract_package_hash=cd&owner_hash=e1", false, false),
            ("unheard_of=1", true, true),
            ("owner_hash=", true, true),
        ];
        for (query, wants_token, wants_action) in table {
            let filter = Filter::parse(Stream::NftTokens, query).unwrap();
            assert_eq!((filter.wants(token), filter.wants(action)), (wants_token, wants_action), "{query}");
        }
    }

    #[test]
    fn contract_events_need_exactly_one_filter() {
        let table = [
            ("", false),
            ("contract_hash=a", true),
            ("contract_package_hash=a&includes=raw_data", true),
            ("contract_hash=a&contract_package_hash=b", false),
        ];
        for (query, is_right) in table {
            assert_eq!(Filter::parse(Stream::ContractEvents, query).is_ok(), is_right, "{query}");
        }
    }
}
