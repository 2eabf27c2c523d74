//! `cspr-relay schema`: the configuration for editors.

use std::io::{self, Write};

use clap::Args;

use crate::config;

/// Print the JSON Schema of the configuration
///
/// An editor completes and checks with it: `cspr-relay schema > cspr-relay.schema.json` puts it beside the
/// configuration, and `# yaml-language-server: $schema=cspr-relay.schema.json` as the first line of that names it, which
/// the YAML extensions of the common editors know.
///
/// What a schema cannot tell (an unknown sink, an unset variable), `cspr-relay check` does.
#[derive(Args, Debug)]
pub(crate) struct Schema {
    /// The schema of an included file
    #[arg(long)]
    included: bool,
}

pub(crate) fn run(args: &Schema, out: &mut dyn Write) -> io::Result<()> {
    let schema = if args.included { config::schema_of_included() } else { config::schema() };
    writeln!(out, "{schema:#}")
}
