//! `cspr-relay ownership`: who owns how many tokens, as CSPR.cloud's REST API says now, or as the relay saw last.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use anyhow::Context;
use serde_json::json;

use super::USAGE;
use crate::budget::Purpose;
use crate::config::{self, Config};
use crate::source::rest::{Account, Ownership, Ownerships, Rest, Walked};
use crate::store::{self, Holding};

/// Show who owns how many tokens of a collection
///
/// Asks CSPR.cloud's REST API with the key of the configuration: for all owners of a contract package, all that an
/// owner holds, or both for one number. Large collections take a request for every 250 owners, and at most
/// half of `source.rest` in a minute, since a relay may be at work with the same key.
#[derive(Clone, Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("whose").args(["package", "owner"]).required(true).multiple(true)))]
pub(crate) struct Args {
    /// The hash of a contract package
    #[arg(long, value_name = "HASH", value_parser = config::hash)]
    package: Option<String>,
    /// An account or contract: its hash, or a public key
    #[arg(long, value_name = "HASH", value_parser = config::owner)]
    owner: Option<String>,
    /// Show what the relay saw last of the packages that its routes watch, from its data directory; nothing is asked
    #[arg(long)]
    from_store: bool,
    /// Write one line of JSON for each row, with CSPR.cloud's names
    #[arg(long)]
    json: bool,
    /// The configuration file, for its `source` or `store` [default: `$CSPR_RELAY_CONFIG`, or else `./cspr-relay.yaml`]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Args {
    /// `None` cannot be: one of the two is required.
    fn whose(&self) -> Option<Ownerships> {
        Some(match (self.package.clone(), self.owner.clone()) {
            (Some(package), None) => Ownerships::Package(package),
            (None, Some(owner)) => Ownerships::Owner(owner),
            (Some(package), Some(owner)) => Ownerships::OwnerInPackage { owner, package },
            (None, None) => return None,
        })
    }
}

/// Asks and writes the rows to `out`, all else to `errors`.
pub(crate) async fn run(args: Args, out: &mut impl Write, errors: &mut impl Write) -> anyhow::Result<u8> {
    let Some(whose) = args.whose() else { return Ok(USAGE) };
    let Some(config) = config(&args, errors)? else { return Ok(USAGE) };
    if args.from_store {
        let found = store::holdings(&config.store.path, args.package.as_deref(), args.owner.as_deref())?;
        let rows = found.into_iter().map(row).collect();
        write(&Walked { rows, counted: None }, args.json, "The relay has seen no tokens there.", out)?;
        return Ok(0);
    }
    let source = config.source;
    let rest = Rest::new(&source, Account::default())?.at(Purpose::Backfill);
    let progress = if io::stderr().is_terminal() { Progress::Shown } else { Progress::Hidden };
    let walked = rest
        .ownerships(&whose, |rows, of| progress.note(errors, rows, of))
        .await
        .with_context(|| format!("asking {}", source.rest.url))?;
    progress.clear(errors);
    write(&walked, args.json, "CSPR.cloud knows of no tokens there.", out)?;
    if walked.missed() > 0 {
        writeln!(
            errors,
            "{} of the rows moved between pages while they were read and are not among these: ask again.",
            walked.missed()
        )?;
    }
    Ok(0)
}

/// `None` if the configuration has faults, which are written to `errors`.
fn config(args: &Args, errors: &mut impl Write) -> io::Result<Option<Config>> {
    match config::load(&config::locate(args.config.clone())) {
        Ok(loaded) => Ok(Some(loaded.config)),
        Err(faults) => {
            faults.0.iter().try_for_each(|fault| writeln!(errors, "{fault}\n"))?;
            Ok(None)
        }
    }
}

/// A line on the terminal that says how far the walk is.
#[derive(Clone, Copy)]
enum Progress {
    Shown,
    Hidden,
}

impl Progress {
    fn note(self, errors: &mut impl Write, rows: usize, of: Option<u64>) {
        let of = of.map(|of| format!(" of {of}")).unwrap_or_default();
        self.show(errors, &format!("{rows}{of} rows"));
    }

    fn clear(self, errors: &mut impl Write) {
        self.show(errors, "");
    }

    fn show(self, errors: &mut impl Write, text: &str) {
        if matches!(self, Self::Shown) {
            // A terminal that is gone does not end the walk.
            let _unseen = write!(errors, "\r\x1b[2K{text}").and_then(|()| errors.flush());
        }
    }
}

fn row(holding: Holding) -> Ownership {
    Ownership {
        contract_package_hash: holding.package.to_string(),
        owner_hash: holding.owner.to_string(),
        owner_type: holding.owner_type,
        tokens_number: holding.tokens,
    }
}

/// Without rows the table is `nothing`.
fn write(walked: &Walked, is_json: bool, nothing: &str, out: &mut impl Write) -> io::Result<()> {
    if is_json {
        return walked.rows.iter().try_for_each(|row| writeln!(out, "{}", as_json(row)));
    }
    if walked.rows.is_empty() {
        return writeln!(out, "{nothing}");
    }
    writeln!(out, "{:>10}  {:<8}  {:<64}  {:<64}", "tokens", "type", "owner", "contract package")?;
    for row in &walked.rows {
        let (owner, package) = (printable(&row.owner_hash), printable(&row.contract_package_hash));
        writeln!(out, "{:>10}  {:<8}  {owner:<64}  {package:<64}", row.tokens_number, kind(row.owner_type))?;
    }
    let tokens: u64 = walked.rows.iter().map(|row| row.tokens_number).fold(0, u64::saturating_add);
    writeln!(out, "{} rows, {tokens} tokens", walked.rows.len())
}

/// What came from outside may hold what a terminal would obey.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

fn kind(owner_type: Option<u8>) -> String {
    match owner_type {
        Some(0) => "account".to_owned(),
        Some(1) => "contract".to_owned(),
        Some(other) => other.to_string(),
        None => "-".to_owned(),
    }
}

fn as_json(row: &Ownership) -> serde_json::Value {
    json!({
        "contract_package_hash": row.contract_package_hash,
        "owner_hash": row.owner_hash,
        "owner_type": row.owner_type,
        "tokens_number": row.tokens_number,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(rows: Vec<Ownership>, is_json: bool) -> String {
        let mut out = Vec::new();
        write(&Walked { rows, counted: None }, is_json, "nothing there", &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn row(owner: &str, owner_type: Option<u8>, tokens_number: u64) -> Ownership {
        let (contract_package_hash, owner_hash) = ("p".repeat(64), owner.to_owned());
        Ownership { contract_package_hash, owner_hash, owner_type, tokens_number }
    }

    #[test]
    fn the_table_obeys_no_text_of_the_answer() {
        let table = shown(vec![row("a\x1b[2J", Some(1), 3), row("b", Some(0), 2)], false);
        assert!(!table.contains('\x1b'), "{table:?}");
        assert!(table.contains("         3  contract  a[2J"), "{table}");
        assert!(table.ends_with("2 rows, 5 tokens\n"), "{table}");
        assert_eq!(shown(Vec::new(), false), "nothing there\n");
    }

    #[test]
    fn json_has_the_names_of_the_service() {
        let fixture = json!({
            "contract_package_hash": "p".repeat(64), "owner_hash": "a", "owner_type": null, "tokens_number": 3
        });
        let line = shown(vec![row("a", None, 3)], true);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&line).unwrap(), fixture);
        assert_eq!(shown(Vec::new(), true), "");
    }
}
