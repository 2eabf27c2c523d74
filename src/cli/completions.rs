//! `cspr-relay completions`: what a shell needs to complete the command line.

use std::io::Write;

use clap::CommandFactory;
use clap_complete::{Shell, generate};

/// Print the completion script of a shell
///
/// For bash: `cspr-relay completions bash > /etc/bash_completion.d/cspr-relay`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<()> {
    // In memory first: the generator would panic at a closed pipe.
    let mut script = Vec::new();
    generate(args.shell, &mut super::Cli::command(), "cspr-relay", &mut script);
    Ok(out.write_all(&script)?)
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn every_shell_gets_a_script_that_names_the_commands() {
        for shell in Shell::value_variants() {
            let mut out = Vec::new();
            run(&Args { shell: *shell }, &mut out).unwrap();
            let script = String::from_utf8(out).unwrap();
            assert!(["dead-letters", "status", "tail"].iter().all(|name| script.contains(name)), "{shell}");
        }
    }
}
