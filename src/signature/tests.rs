//! The vectors of the standard, and its reference library as an independent judge.

use hyper::HeaderMap;
use proptest::prelude::{ProptestConfig, any, prop, proptest};

use super::*;
use crate::clock::Clock;

struct Vector {
    secret: &'static str,
    id: &'static str,
    timestamp: u64,
    body: &'static str,
    signature: &'static str,
}

const VECTORS: [Vector; 2] = [
    Vector {
        secret: "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
        id: "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
        timestamp: 1_649_367_553,
        body: r#"{"email":"test@example.com","username":"test_user"}"#,
        signature: "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
    },
    Vector {
        secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        id: "msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp: 1_614_265_330,
        body: r#"{"test": 2432232314}"#,
        signature: "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    },
];

fn key(secret: &str) -> SigningKey {
    SigningKey::parse(secret).unwrap()
}

#[test]
fn the_vectors_of_the_standard_hold() {
    for vector in VECTORS {
        let keys = [key(vector.secret)];
        let header = sign(&keys, vector.id, vector.timestamp, vector.body.as_bytes());
        assert_eq!(header, vector.signature);
    }
}

#[test]
fn every_key_signs_and_any_key_verifies() {
    let keys = [key(VECTORS[0].secret), key(VECTORS[1].secret)];
    let body = b"\xff\xfenot UTF-8";
    let header = sign(&keys, "evt_1", 1000, body);
    assert_eq!(header.split(' ').count(), 2);
    for key in keys {
        let signed = Signed { id: "evt_1", timestamp: "1000", signature: &header };
        let check = Check { keys: &[key], now: 1000, tolerance: Some(TOLERANCE) };
        assert_eq!(verify(signed, body, check), Ok(()));
    }
}

#[test]
fn verification_names_what_is_wrong() {
    let keys = [key(VECTORS[0].secret)];
    let good = sign(&keys, "evt_1", 1000, b"body");
    let other_key = sign(&[key(VECTORS[1].secret)], "evt_1", 1000, b"body");
    let listed = format!("v1a,AAAA v2,x {other_key} {good}");
    type Case<'a> = (&'a str, &'a str, &'a str, u64, Result<(), VerifyError>);
    let cases: [Case<'_>; 12] = [
        ("evt_1", "1000", &good, 1000, Ok(())),
        ("evt_1", "1000", &listed, 1000, Ok(())),
        ("evt_1", "1000", &good, 1300, Ok(())),
        ("evt_1", "1000", &good, 1301, Err(VerifyError::TooOld { seconds: 301 })),
        ("evt_1", "1000", &good, 700, Ok(())),
        ("evt_1", "1000", &good, 699, Err(VerifyError::TooNew { seconds: 301 })),
        ("evt_2", "1000", &good, 1000, Err(VerifyError::Mismatch)),
        ("evt_1", "1001", &good, 1000, Err(VerifyError::Mismatch)),
        ("evt_1", "1000", &other_key, 1000, Err(VerifyError::Mismatch)),
        ("evt_1", "soon", &good, 1000, Err(VerifyError::Timestamp)),
        ("evt_1", "1000", "v1,AAAA", 1000, Err(VerifyError::NoSignature)),
        ("evt_1", "1000", "", 1000, Err(VerifyError::NoSignature)),
    ];
    for (id, timestamp, signature, now, expected) in cases {
        let check = Check { keys: &keys, now, tolerance: Some(TOLERANCE) };
        assert_eq!(verify(Signed { id, timestamp, signature }, b"body", check), expected, "{id} {timestamp} {now}");
    }
    let check = Check { keys: &keys, now: 9_999_999, tolerance: None };
    assert_eq!(verify(Signed { id: "evt_1", timestamp: "1000", signature: &good }, b"body", check), Ok(()));
}

#[test]
fn secrets_are_checked() {
    let of_bytes = |n: usize| format!("whsec_{}", BASE64.encode(&vec![7; n]));
    let cases = [
        (of_bytes(24), None),
        (of_bytes(64), None),
        (format!(" {}\n", of_bytes(32)), None),
        (of_bytes(23), Some(SecretError::Length(23))),
        (of_bytes(65), Some(SecretError::Length(65))),
        ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned(), Some(SecretError::Prefix)),
        ("whsk_abc".to_owned(), Some(SecretError::Asymmetric)),
        ("whsec_ä".to_owned(), Some(SecretError::Base64)),
        ("whsec_".to_owned(), Some(SecretError::Length(0))),
    ];
    for (secret, expected) in cases {
        assert_eq!(SigningKey::parse(&secret).err(), expected, "{secret:?}");
    }
}

#[test]
fn generated_secrets_are_usable_and_differ() {
    let (first, second) = (generate().unwrap(), generate().unwrap());
    assert!(SigningKey::parse(&first).is_ok());
    assert_ne!(first, second);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_reference_library_accepts_what_is_signed(body in any::<String>(), raw in prop::collection::vec(any::<u8>(), 24..=64)) {
        let secret = format!("whsec_{}", BASE64.encode(&raw));
        let now = Clock::default().now().unix_seconds();
        let mut headers = HeaderMap::new();
        headers.insert("webhook-id", "evt_1".parse().unwrap());
        headers.insert("webhook-timestamp", now.to_string().parse().unwrap());
        headers.insert("webhook-signature", sign(&[key(&secret)], "evt_1", now, body.as_bytes()).parse().unwrap());
        standardwebhooks::Webhook::new(&secret).unwrap().verify(body.as_bytes(), &headers).unwrap();
    }
}
