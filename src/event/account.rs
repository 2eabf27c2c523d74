//! From a public key to the account hash that events carry.

use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest};
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};

/// Why a text is not a public key.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    #[error("a public key starts with 01 (ed25519, 66 hex digits) or 02 (secp256k1, 68 hex digits)")]
    Shape,
    #[error("a public key consists of hex digits only")]
    Hex,
}

/// The account hash (64 lower-case hex digits) of a public key with its algorithm tag (`01…` or `02…`, any case):
/// blake2b-256 over the algorithm's name, a zero byte and the raw key, as the Casper node computes it.
pub fn account_hash(public_key: &str) -> Result<String, AccountError> {
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
