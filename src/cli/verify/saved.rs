//! A request out of files: as it came over the wire, or as headers and body apart.

use anyhow::{Context, bail, ensure};

/// Headers by their lower-case names, each of which stands once, and the body.
#[derive(Debug)]
pub(super) struct Saved {
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Saved {
    /// Reads a raw HTTP/1 request; lines end with CRLF or LF. Bytes beyond `Content-Length` are not part of it.
    pub(super) fn parse(request: Vec<u8>) -> anyhow::Result<Self> {
        let (head, body) = split(&request).context("there is no empty line between headers and body")?;
        let mut saved = Self { headers: headers(head)?, body: body.to_vec() };
        if saved.header("transfer-encoding").is_some() {
            bail!("the body is in chunks: save it whole, and give it with --headers and --body");
        }
        if let Some(length) = saved.header("content-length") {
            let length: usize = length.parse().context("Content-Length is not a number")?;
            let present = saved.body.len();
            ensure!(present >= length, "the body has {present} bytes, and Content-Length says {length}");
            saved.body.truncate(length);
        }
        Ok(saved)
    }

    pub(super) fn from_parts(head: &[u8], body: Vec<u8>) -> anyhow::Result<Self> {
        Ok(Self { headers: headers(head)?, body })
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| &**value)
    }
}

/// What stands before the first empty line, and after it.
fn split(request: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut start = 0;
    for line in request.split_inclusive(|byte| *byte == b'\n') {
        let end = start + line.len();
        if matches!(line, b"\r\n" | b"\n") {
            return Some((request.get(..start)?, request.get(end..)?));
        }
        start = end;
    }
    None
}

/// Reads `name: value` lines; a request line before them is passed over.
fn headers(head: &[u8]) -> anyhow::Result<Vec<(String, String)>> {
    let head = std::str::from_utf8(head).context("the headers are not text")?;
    let mut headers: Vec<(String, String)> = Vec::new();
    for (number, line) in (1..).zip(head.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        let is_request_line =
            number == 1 && line.trim_end().rsplit(' ').next().is_some_and(|word| word.starts_with("HTTP/"));
        if is_request_line {
            continue;
        }
        let (name, value) = line.split_once(':').with_context(|| format!("line {number} is not `name: value`"))?;
        let name = name.trim().to_ascii_lowercase();
        let is_repeated = name.starts_with("webhook-") && headers.iter().any(|(own, _)| *own == name);
        ensure!(!is_repeated, "{name} stands twice");
        headers.push((name, value.trim().to_owned()));
    }
    Ok(headers)
}
