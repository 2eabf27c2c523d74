//! The messages to explain: out of files, standard input, or the store.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::value::RawValue;

use crate::cli::data::Which;
use crate::event::Stream;
use crate::store::{Body, Events};

/// A file or an input that is longer is refused.
const INPUT_BYTES_MAX: u64 = 256 * 1024 * 1024;

pub(super) struct Message {
    /// Where it was found, for messages about it.
    pub(super) origin: String,
    pub(super) stream: Stream,
    /// None: there is no such event in the store, or it is no longer kept.
    pub(super) body: Option<Vec<u8>>,
}

/// The messages of all files, in order; of `input` if no file is named.
pub(super) fn of_files(files: &[PathBuf], stream: Stream, input: &mut impl Read) -> anyhow::Result<Vec<Message>> {
    let standard_input = [PathBuf::from("-")];
    let files = if files.is_empty() { &standard_input } else { files };
    let mut messages = Vec::new();
    for path in files {
        let (name, text) = if path == Path::new("-") {
            ("standard input".to_owned(), text_of(input).context("reading standard input")?)
        } else {
            let open = std::fs::File::open(path).and_then(|mut file| text_of(&mut file));
            (path.display().to_string(), open.with_context(|| format!("reading {}", path.display()))?)
        };
        messages.extend(split(&name, &text, stream)?);
    }
    Ok(messages)
}

fn text_of(input: &mut impl Read) -> std::io::Result<String> {
    let mut text = String::new();
    let length = input.take(INPUT_BYTES_MAX + 1).read_to_string(&mut text)?;
    if length as u64 > INPUT_BYTES_MAX {
        return Err(std::io::Error::other("it is longer than 256 MiB"));
    }
    Ok(text)
}

/// One JSON value after the other, however they are laid out; each keeps its bytes.
fn split(name: &str, text: &str, stream: Stream) -> anyhow::Result<Vec<Message>> {
    let values = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    let numbered = values.zip(1..).map(|(value, number)| {
        let value = value.with_context(|| format!("{name}: message {number} is not JSON"))?;
        let body = Some(value.get().as_bytes().to_vec());
        Ok(Message { origin: format!("{name}, message {number}"), stream, body })
    });
    numbered.collect()
}

pub(super) fn of_store(store: &Events, events: &[Which]) -> anyhow::Result<Vec<Message>> {
    let find = |which: &Which| {
        let (name, sequence) = match which {
            Which::Id(id) => (id.to_string(), store.find_id(*id)?),
            Which::Sequence(sequence) => (format!("event {sequence}"), Some(*sequence)),
        };
        let history = sequence.map(|sequence| store.history(sequence)).transpose()?.flatten();
        let stream = history.as_ref().map_or(Stream::NftTokens, |history| history.stream);
        let body =
            history.and_then(|history| if let Body::Kept(body) = history.body { Some(body.to_vec()) } else { None });
        Ok(Message { origin: name, stream, body })
    };
    events.iter().map(find).collect::<anyhow::Result<_>>().context("reading the store")
}
