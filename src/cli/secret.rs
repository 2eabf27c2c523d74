//! `cspr-relay secret`, and how the commands that check signatures are given secrets.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Context;
use secrecy::{ExposeSecret, SecretString};

use crate::signature::{SigningKey, generate};

/// Make secrets for signing webhooks
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Verb {
    /// Print a fresh `whsec_…` secret, and nothing else
    ///
    /// It is 32 bytes from the operating system's random source. Give it to the relay (`secrets:` of a webhook) and to
    /// the receiver; to change one, list the new and the old together until the receiver knows the new.
    New,
}

/// Writes the secret to `out`.
pub(crate) fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<()> {
    match args.verb {
        Verb::New => {
            let secret = generate().map_err(io::Error::from).context("asking the system for random bytes")?;
            writeln!(out, "{secret}")?;
            Ok(out.flush()?)
        }
    }
}

/// The secrets to check signatures with, for other commands.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Secrets {
    /// Secret `whsec_…` that may have signed; other users of this machine can see it, so prefer --secret-file
    #[arg(long, value_name = "SECRET")]
    secret: Vec<SecretString>,
    /// File with such a secret
    #[arg(long, value_name = "FILE")]
    secret_file: Vec<PathBuf>,
}

impl Secrets {
    /// Every key given, in no special order. Errors do not show any of a secret.
    pub(super) fn keys(&self) -> anyhow::Result<Vec<SigningKey>> {
        let given = self.secret.iter().map(|secret| SigningKey::parse(secret.expose_secret()).context("--secret"));
        let filed = self.secret_file.iter().map(|path| {
            let secret = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
            SigningKey::parse(&secret).with_context(|| format!("the secret in {}", path.display()))
        });
        given.chain(filed).collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        secret: Args,
    }

    #[derive(Parser)]
    struct Other {
        #[command(flatten)]
        secrets: Secrets,
    }

    #[test]
    fn a_new_secret_is_printed_and_nothing_else() {
        let args = Command::try_parse_from(["secret", "new"]).unwrap().secret;
        let mut out = Vec::new();
        run(&args, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(SigningKey::parse(text.strip_suffix('\n').unwrap()).is_ok());
    }

    #[test]
    fn secrets_come_from_flags_and_files_and_do_not_print() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("{}\n", generate().unwrap())).unwrap();
        let secret = generate().unwrap();
        let path = file.path().to_str().unwrap();
        let parse = |line: &[&str]| Other::try_parse_from(line).unwrap().secrets;
        let both = parse(&["x", "--secret", &secret, "--secret-file", path, "--secret-file", path]);
        assert_eq!(both.keys().unwrap().len(), 3);
        assert!(!format!("{both:?}").contains(&secret));
        let wrong = format!("{:#}", parse(&["x", "--secret", "hunter2"]).keys().unwrap_err());
        assert_eq!(wrong, "--secret: a webhook secret starts with `whsec_`");
    }
}
