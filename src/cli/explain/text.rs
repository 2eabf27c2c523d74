//! An answer for people.

use std::io::{self, Write};

use super::answer::{Answer, Destination};
use super::known::Known;
use crate::cli::listen::shown;
use crate::config::RouteConfig;
use crate::route::{Explained, Failure};
use crate::sink::Part;

/// Of a text out of a message or a list.
const CHARS_MAX: usize = 2000;

pub(super) fn write(answer: &Answer<'_>, all: &[RouteConfig], out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "event id   {}", answer.decoded.identity.id)?;
    writeln!(out, "duplicate  {}", duplicate(answer))?;
    let mut label = "made of";
    for (name, text) in answer.identity() {
        let text = text.map_or_else(|| "-".to_owned(), |text| shown(&text, CHARS_MAX));
        writeln!(out, "{label:<10} {name:<17} {text}")?;
        label = "";
    }
    if answer.sinks.is_empty() {
        writeln!(out, "sinks      none: it would be counted as unmatched and forgotten")?;
    }
    answer.sinks.iter().try_for_each(|sink| write_sink(sink, out))?;
    writeln!(out)?;
    answer.routes.iter().try_for_each(|route| write_route(route, out))?;
    write_others(answer, all, out)
}

/// What a sink would get; or why it would refuse it, so that it would become a dead letter at once.
fn write_sink(Destination { sink, parts }: &Destination, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "sink       {}, by {}", sink.sink, sink.routes.join(", "))?;
    parts.iter().try_for_each(|Part { name, text }| match text {
        Ok(text) => writeln!(out, "           {name}: {}", shown(text, CHARS_MAX)),
        Err(reason) => writeln!(out, "           {name}: rejected, {reason}"),
    })
}

fn duplicate(answer: &Answer<'_>) -> String {
    match answer.known {
        Known::Accepted(sequence) if answer.decoded.identity.has_deploy => {
            format!("yes: the relay has accepted it, as number {sequence}")
        }
        Known::Accepted(sequence) => format!(
            "the relay has accepted it, as number {sequence}; it names no deploy, so after \
             dedup.window_without_deploy it would be taken as a recurrence"
        ),
        Known::SameDeploy(sequence) => {
            format!("yes, by dedup.identity deploy_token: number {sequence} is of the same package, token and deploy")
        }
        Known::New => "no: the relay has not accepted it, or no longer knows".to_owned(),
        Known::NoStore => "unknown: there is no store to look it up in".to_owned(),
    }
}

fn write_route(route: &Explained<'_>, out: &mut impl Write) -> io::Result<()> {
    let sinks: Vec<String> = route.sinks.iter().map(ToString::to_string).collect();
    match &route.failure {
        None => writeln!(out, "match      {} → {}", route.route, sinks.join(", ")),
        Some(failure) => {
            writeln!(out, "no match   {}", route.route)?;
            write_failure(failure, 11, out)
        }
    }
}

/// Each alternative one step further in.
fn write_failure(failure: &Failure, indent: usize, out: &mut impl Write) -> io::Result<()> {
    let Failure { path, expected, actual, alternatives } = failure;
    let (path, expected, actual) = (shown(path, CHARS_MAX), unquoted(expected), unquoted(actual));
    writeln!(out, "{:indent$}{path}: expected {expected}, found {actual}", "")?;
    alternatives.iter().try_for_each(|failure| write_failure(failure, indent + 2, out))
}

/// Texts in it were escaped when they were quoted; what is left is cut.
fn unquoted(text: &str) -> String {
    text.chars().take(CHARS_MAX).collect()
}

fn write_others(answer: &Answer<'_>, all: &[RouteConfig], out: &mut impl Write) -> io::Result<()> {
    let others = all.iter().filter(|route| route.stream != answer.stream).count();
    match others {
        0 => Ok(()),
        1 => writeln!(out, "1 route is for another stream"),
        _ => writeln!(out, "{others} routes are for other streams"),
    }
}
