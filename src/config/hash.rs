//! Hashes as operators paste them: with or without the prefix that explorers and tools show.

use crate::event;

const PREFIXES: [&str; 5] = ["contract-package-wasm", "contract-package-", "contract-", "account-hash-", "hash-"];

/// The 64 lower-case hex digits of a hash.
pub(crate) fn hash(text: &str) -> Result<String, String> {
    let digits = without_prefix(text)?;
    match digits.chars().find(|c| !c.is_ascii_hexdigit()) {
        Some(wrong) => Err(format!("a hash consists of hex digits, and `{wrong}` is none")),
        None if digits.len() == 64 => Ok(digits.to_ascii_lowercase()),
        None => Err(format!("a hash has 64 hex digits, this has {}", digits.len())),
    }
}

/// The hash of an owner, who may also be given by public key.
pub(crate) fn owner(text: &str) -> Result<String, String> {
    match event::account_hash(text) {
        Ok(hash) => Ok(hash),
        Err(event::AccountError::Hex) => Err(event::AccountError::Hex.to_string()),
        Err(event::AccountError::Shape) => hash(text).map_err(|reason| match text.get(..2) {
            Some("01" | "02") if text.len() != 64 => format!("{reason}; {}", event::AccountError::Shape),
            _ => reason,
        }),
    }
}

fn without_prefix(text: &str) -> Result<&str, String> {
    let Some(prefix) =
        PREFIXES.iter().find(|prefix| text.get(..prefix.len()).is_some_and(|t| t.eq_ignore_ascii_case(prefix)))
    else {
        return match text.rsplit_once('-') {
            Some((prefix, _)) => Err(format!(
                "`{prefix}-` is no known prefix; accepted are hash-, account-hash-, contract- and contract-package-"
            )),
            None => Ok(text),
        };
    };
    Ok(text.get(prefix.len()..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "5341882bae97a7368cdb007faa9f25735d2780d601114f82907fd83af2e9f508";

    #[test]
    fn prefixes_and_case_do_not_matter() {
        for prefix in ["", "hash-", "account-hash-", "contract-", "contract-package-", "contract-package-wasm", "Hash-"]
        {
            for digits in [HASH.to_owned(), HASH.to_uppercase()] {
                assert_eq!(hash(&format!("{prefix}{digits}")).as_deref(), Ok(HASH));
                assert_eq!(owner(&format!("{prefix}{digits}")).as_deref(), Ok(HASH));
            }
        }
    }

    #[test]
    fn what_is_not_a_hash_is_refused() {
        for text in ["", "5341", "uref-5341", &HASH.replace('5', "x"), &format!("{HASH}0"), "hash-", "ünïcödé"] {
            assert!(hash(text).is_err(), "{text}");
            assert!(owner(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_hash_that_starts_like_a_public_key_stays_a_hash() {
        let hash = format!("01{}", &HASH[2..]);
        assert_eq!(owner(&hash), Ok(hash.clone()));
    }
}
