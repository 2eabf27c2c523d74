//! The store's commands, by the words of the command line.

use std::path::Path;

use clap::Parser;
use serde_json::Value;

use super::*;
use crate::cli::events::fill_for_test;

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    store: Args,
}

/// A store whose log is folded into the file, as the next start would.
async fn fill(path: &Path) {
    fill_for_test(path).await;
    while path.join("relay.db-wal").exists() {
        let connection = rusqlite::Connection::open(path.join("relay.db")).unwrap();
        connection.query_row("SELECT count(*) FROM event", [], |_| Ok(())).unwrap();
    }
}

fn print(path: &Path, line: &[&str]) -> (u8, String, String) {
    let data = ["--data", path.to_str().unwrap()];
    let line = ["x"].iter().chain(line).chain(&data);
    let (mut out, mut errors) = (Vec::new(), Vec::new());
    let code = run(Command::try_parse_from(line).unwrap().store, &mut out, &mut errors).unwrap();
    (code, String::from_utf8(out).unwrap(), String::from_utf8(errors).unwrap())
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[tokio::test]
async fn a_store_is_inspected_and_verified() {
    let directory = tempfile::tempdir().unwrap();
    fill(directory.path()).await;
    let (code, text, _) = print(directory.path(), &["inspect"]);
    assert_eq!(code, 0);
    for part in ["format       2\n", "newest event 3, accepted 2", "known ids    3\n", "\nsink ", "\ncrm "] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    let (_, text, _) = print(directory.path(), &["inspect", "--json", "--tables"]);
    let found = json(&text);
    assert_eq!((&found["newest"]["sequence"], &found["newest_noted"]), (&3.into(), &3.into()));
    assert!(found["tables"]["event"].as_u64().unwrap() > 0);
    let mail = found["sinks"].as_array().unwrap().iter().find(|sink| sink["sink"] == "mail").unwrap();
    assert_eq!((&mail["waiting"], &mail["ahead"]), (&1.into(), &3.into()));

    let (code, text, _) = print(directory.path(), &["verify"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("3 events, 10 deliveries pending") && text.contains("Nothing is damaged."), "{text}");
}

#[tokio::test]
async fn a_damaged_store_is_told_and_rebuilt() {
    let directory = tempfile::tempdir().unwrap();
    fill(directory.path()).await;
    let path = directory.path().join("relay.db");
    let mut bytes = std::fs::read(&path).unwrap();
    let message = b"\"action\":\"created\"";
    let at = bytes.windows(message.len()).position(|window| window == message).unwrap();
    bytes[at + 3] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let (code, text, _) = print(directory.path(), &["verify"]);
    assert_eq!(code, FAILED);
    assert!(text.contains("damaged: event ") && text.contains("pending for "), "{text}");
    let to = directory.path().join("new");
    let (code, text, _) = print(directory.path(), &["rebuild", "--to", to.to_str().unwrap()]);
    assert_eq!(code, 0, "{text}");
    for part in ["Rows taken over: ", "is whole: point store.path there", "a new epoch"] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    assert_eq!(print(&to, &["verify"]).0, 0);
    let (_, text, _) = print(&to, &["verify", "--json"]);
    assert_eq!(json(&text)["is_whole"], true);
}

#[tokio::test]
async fn what_is_exported_is_what_came_in() {
    let directory = tempfile::tempdir().unwrap();
    fill(directory.path()).await;
    let (code, all, errors) = print(directory.path(), &["export"]);
    assert_eq!((code, errors.as_str()), (0, ""));
    let sequences: Vec<Value> = all.lines().map(|line| json(line)["sequence"].clone()).collect();
    assert_eq!(sequences, [1, 2, 3]);
    let first = json(all.lines().next().unwrap());
    assert!(first["message"].as_str().unwrap().starts_with(r#"{"data":{"contract_package_hash":"#), "{first}");
    let (_, rest, _) = print(directory.path(), &["export", "--after", "2"]);
    assert_eq!(all.lines().skip(2).collect::<Vec<_>>(), rest.lines().collect::<Vec<_>>());
    let (_, messages, _) = print(directory.path(), &["export", "--messages"]);
    assert_eq!(messages.lines().next(), first["message"].as_str());
    for nothing in [["--sink", "nobody"], ["--token", "1"], ["--until", "2020-01-01T00:00:00Z"], ["--stream", "blocks"]]
    {
        assert_eq!(print(directory.path(), &[&["export"], &nothing[..]].concat()).1, "", "{nothing:?}");
    }
    let (_, letters, _) = print(directory.path(), &["export", "dead-letters"]);
    assert_eq!(json(&letters)["cause"], "refused");
    assert_eq!(json(&letters)["message"], first["message"]);
    assert_eq!(print(directory.path(), &["export", "quarantine"]).1, "");
}

#[tokio::test]
async fn a_store_of_another_format_is_refused_by_all_that_look() {
    let directory = tempfile::tempdir().unwrap();
    fill(directory.path()).await;
    let path = directory.path().join("relay.db");
    let mut bytes = std::fs::read(&path).unwrap();
    // Where SQLite keeps `user_version`.
    bytes[60..64].copy_from_slice(&77_u32.to_be_bytes());
    std::fs::write(&path, bytes).unwrap();
    for words in [&["inspect"][..], &["export"], &["export", "dead-letters"], &["export", "quarantine"]] {
        let line = [words, &["--data", directory.path().to_str().unwrap()]].concat();
        let args = Command::try_parse_from(["x"].iter().chain(&line)).unwrap().store;
        let error = format!("{:#}", run(args, &mut Vec::new(), &mut Vec::new()).unwrap_err());
        assert!(error.contains("has store format 77"), "{words:?}: {error}");
    }
}
