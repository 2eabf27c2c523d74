//! `cspr-relay verify`: was this saved request signed with this secret, and if not, why not?

mod saved;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::ArgGroup;
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::listen::shown;
use super::secret::Secrets;
use crate::clock::{Clock, Timestamp};
use crate::config::duration;
use crate::signature::{Check, Signed, SigningKey, VerifyError, verify};
use saved::Saved;

/// Exit codes, beside 0 for an authentic request.
const NOT_AUTHENTIC: u8 = 1;
const UNUSABLE: u8 = 2;

const SIGNED_HEADERS: [&str; 3] = ["webhook-id", "webhook-timestamp", "webhook-signature"];

const INPUT_BYTES_MAX: u64 = 64 << 20;
const VALUE_CHARS_MAX: usize = 200;

/// Check the signature of a saved webhook
///
/// Says what was checked and, if the request is not authentic, why not: a header is missing, it is too old, or the
/// secret or the body is another one. The exit code is 0 if it is authentic, 1 if not, 2 if the input cannot be used.
#[derive(Clone, Debug, clap::Args)]
#[command(group(ArgGroup::new("what").required(true).args(["request", "headers"])))]
#[command(group(ArgGroup::new("with").required(true).multiple(true).args(["secret", "secret_file"])))]
pub(crate) struct Args {
    #[command(flatten)]
    secrets: Secrets,
    /// File with the whole request as it came over the wire; `-` is standard input
    #[arg(long, value_name = "FILE")]
    request: Option<PathBuf>,
    /// File with the headers, one `name: value` a line
    #[arg(long, value_name = "FILE", requires = "body")]
    headers: Option<PathBuf>,
    /// File with exactly the body
    #[arg(long, value_name = "FILE", requires = "headers")]
    body: Option<PathBuf>,
    /// How far the timestamp may lie from now
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    tolerance: Duration,
    /// Check the signature alone, however old the request is
    #[arg(long)]
    ignore_time: bool,
}

/// Writes what was found to `out` and returns the exit code.
pub(crate) fn run(args: &Args, out: &mut impl Write) -> io::Result<u8> {
    run_at(args, Clock::default().now(), out)
}

fn run_at(args: &Args, now: Timestamp, out: &mut impl Write) -> io::Result<u8> {
    let code = match args.read() {
        Ok((keys, saved)) => {
            let tolerance = (!args.ignore_time).then_some(args.tolerance);
            examine(&saved, Check { keys: &keys, now: now.unix_seconds(), tolerance }, out)?
        }
        Err(error) => {
            writeln!(out, "CANNOT TELL: {error:#}")?;
            UNUSABLE
        }
    };
    out.flush()?;
    Ok(code)
}

impl Args {
    fn read(&self) -> anyhow::Result<(Vec<SigningKey>, Saved)> {
        let keys = self.secrets.keys()?;
        let saved = match (&self.request, &self.headers, &self.body) {
            (Some(path), ..) => Saved::parse(read(path)?).with_context(|| path.display().to_string())?,
            (_, Some(headers), Some(body)) => {
                Saved::from_parts(&read(headers)?, read(body)?).with_context(|| headers.display().to_string())?
            }
            _ => anyhow::bail!("give --request, or --headers and --body"),
        };
        Ok((keys, saved))
    }
}

/// `-` is standard input.
fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let input: Box<dyn Read> = match path.as_os_str() == "-" {
        true => Box::new(io::stdin()),
        false => Box::new(File::open(path).with_context(|| format!("opening {}", path.display()))?),
    };
    input.take(INPUT_BYTES_MAX + 1).read_to_end(&mut bytes).with_context(|| format!("reading {}", path.display()))?;
    ensure!(bytes.len() as u64 <= INPUT_BYTES_MAX, "{} is longer than 64 MiB", path.display());
    Ok(bytes)
}

/// Writes what there is to check, and the verdict.
fn examine(saved: &Saved, check: Check<'_>, out: &mut impl Write) -> io::Result<u8> {
    let [id, timestamp, signature] = SIGNED_HEADERS.map(|name| saved.header(name));
    for (name, value) in SIGNED_HEADERS.into_iter().zip([id, timestamp, signature]) {
        let value = value.map_or_else(|| "MISSING".to_owned(), |value| shown(value, VALUE_CHARS_MAX));
        let time = if name == "webhook-timestamp" { when(timestamp, check.now) } else { String::new() };
        writeln!(out, "{name:<18} {value}{time}")?;
    }
    let sha256 = HEXLOWER.encode(&Sha256::digest(&saved.body));
    writeln!(out, "{:<18} {} bytes, sha256 {sha256}", "body", saved.body.len())?;
    writeln!(out, "{:<18} {}\n", "secrets tried", check.keys.len())?;
    let (Some(id), Some(timestamp), Some(signature)) = (id, timestamp, signature) else {
        let missing: Vec<_> = SIGNED_HEADERS.into_iter().filter(|name| saved.header(name).is_none()).collect();
        writeln!(out, "NOT AUTHENTIC: the request lacks {}.", missing.join(" and "))?;
        return Ok(NOT_AUTHENTIC);
    };
    let signed = Signed { id, timestamp, signature };
    match verify(signed, &saved.body, check) {
        Ok(()) => {
            writeln!(out, "AUTHENTIC: {}.", praise(check))?;
            Ok(0)
        }
        Err(error) => {
            writeln!(out, "NOT AUTHENTIC: {}", explain(error, signed, &saved.body, check))?;
            Ok(NOT_AUTHENTIC)
        }
    }
}

fn praise(check: Check<'_>) -> String {
    match check.tolerance {
        Some(tolerance) => format!("the signature fits, and the time is within {} of now", span(tolerance.as_secs())),
        None => "the signature fits; the time was not looked at".to_owned(),
    }
}

/// In sentences, with what to do.
fn explain(error: VerifyError, signed: Signed<'_>, body: &[u8], check: Check<'_>) -> String {
    let tolerance = check.tolerance.unwrap_or_default().as_secs();
    let (seconds, side) = match error {
        VerifyError::TooOld { seconds } => (seconds, "old"),
        VerifyError::TooNew { seconds } => (seconds, "ahead of this machine's clock"),
        VerifyError::Timestamp => return "webhook-timestamp is not a whole number of seconds since 1970.".to_owned(),
        VerifyError::NoSignature => {
            return "webhook-signature holds no `v1,…` signature of 32 bytes in base64.".to_owned();
        }
        VerifyError::Mismatch => return mismatch(signed, body, check),
    };
    let rest = match verify(signed, body, Check { tolerance: None, ..check }) {
        Ok(()) => "The signature itself fits: --ignore-time accepts it.".to_owned(),
        Err(error) => format!("Besides, {}", explain(error, signed, body, Check { tolerance: None, ..check })),
    };
    let excess = span(seconds.saturating_sub(tolerance));
    format!("it is {} {side}, {excess} more than the tolerance of {}. {rest}", span(seconds), span(tolerance))
}

fn mismatch(signed: Signed<'_>, body: &[u8], check: Check<'_>) -> String {
    let shorter = body.strip_suffix(b"\r\n").or_else(|| body.strip_suffix(b"\n"));
    if shorter.is_some_and(|shorter| verify(signed, shorter, check).is_ok()) {
        return "the saved body has a newline at its end that was not signed; without it the signature fits."
            .to_owned();
    }
    "no signature fits. The sender has another secret, or the id, the timestamp or the body was changed on the way; \
     a body that was parsed and written again is changed, too."
        .to_owned()
}

/// A timestamp for people, in brackets.
fn when(timestamp: Option<&str>, now: u64) -> String {
    let Some(seconds) = timestamp.and_then(|text| text.parse::<u64>().ok()) else { return String::new() };
    let time = Timestamp(seconds.saturating_mul(1000));
    match seconds > now {
        true => format!(" ({time}, {} from now)", span(seconds - now)),
        false => format!(" ({time}, {} ago)", span(now - seconds)),
    }
}

/// `1d 2h`, `5m 1s`: the two largest units.
fn span(seconds: u64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let mut rest = seconds;
    let parts = units.map(|(length, unit)| {
        let count = rest / length;
        rest %= length;
        (count, unit)
    });
    let parts: Vec<String> = parts
        .into_iter()
        .skip_while(|(count, _)| *count == 0)
        .take(2)
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect();
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}
