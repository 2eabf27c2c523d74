//! From a public key to the account hash that events carry.

use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest};
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};

/// Why a text is not a public key.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AccountError {
    #[error("a public key starts with 01 (ed25519, 66 hex digits) or 02 (secp256k1, 68 hex digits)")]
    Shape,
    #[error("a public key consists of hex digits only")]
    Hex,
}

/// The account hash (64 lower-case hex digits) of a public key with its algorithm tag (`01…` or `02…`, any case):
/// blake2b-256 over the algorithm's name, a zero byte and the raw key, as the Casper node computes it.
pub(crate) fn account_hash(public_key: &str) -> Result<String, AccountError> {
    let algorithm: &[u8] = match (public_key.get(..2), public_key.len()) {
        (Some("01"), 66) => b"ed25519",
        (Some("02"), 68) => b"secp256k1",
        _ => return Err(AccountError::Shape),
    };
    let digits = public_key.get(2..).ok_or(AccountError::Shape)?;
    let raw = HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).map_err(|_| AccountError::Hex)?;
    let mut hash = Blake2b::<U32>::new();
    hash.update(algorithm);
    hash.update([0]);
    hash.update(raw);
    Ok(HEXLOWER.encode(&hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test cases of the Chain Agnostic Namespaces' CAIP-10 page for Casper.
    #[test]
    fn public_keys_of_both_kinds_give_their_account_hash() {
        for (public_key, expected) in [
            (
                "01cd4f2ed572ea555ca46c17c83c43e609d2e916871236f40faa9ba747478e8dee",
                "79c9563deeb7bbd05e91c7dddddec9328717fea1ae846dd54ab9dfeaae015bc0",
            ),
            (
                "02022ade9bd8e06033e99b1bfbf789db4e2db0349045818469bbcaf756996900e838",
                "5b7e450d8b1e58de5f012db6c6e934431a6b6b063e5d4955914675e791797712",
            ),
        ] {
            assert_eq!(account_hash(public_key).as_deref(), Ok(expected));
            assert_eq!(account_hash(&public_key.to_uppercase()).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn what_is_not_a_public_key_is_refused() {
        let digits = "cd4f2ed572ea555ca46c17c83c43e609d2e916871236f40faa9ba747478e8dee";
        for (text, expected) in [
            (String::new(), AccountError::Shape),
            (digits.to_owned(), AccountError::Shape),
            (format!("02{digits}"), AccountError::Shape),
            (format!("03{digits}"), AccountError::Shape),
            (format!("01{}", digits.replace('f', "g")), AccountError::Hex),
        ] {
            assert_eq!(account_hash(&text), Err(expected), "{text}");
        }
    }
}
