//! `casemate model`: seals, verifies, shows and opens models; needs no daemon.

mod keygen;
mod open;
mod seal;
mod verify;

use std::path::PathBuf;
use std::time::Duration;

use casemate_weights::Progress;
use casemate_weights::inspect::inspect;
use clap::Subcommand;
use indicatif::ProgressBar;

use super::Context;
use crate::exit::{Exit, Failure};
use crate::output::{Table, size};

/// Seals, verifies, shows and opens models.
///
/// A sealed model is a directory: encrypted weights, a signed header, and the key wrapped for those who
/// may open it. Its format is in docs/spec/sealed-model.md.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  casemate model keygen --out keys
  casemate model seal ./smollm2 ./smollm2.sealed --name smollm2 --model-version 1 \\
      --recipient keys/recipient.txt --signer keys/signing.key
  casemate model verify ./smollm2.sealed --signer keys/signing.pub
  casemate model inspect ./smollm2.sealed
  casemate model open ./smollm2.sealed ./plain --signer keys/signing.pub --identity keys/identity.age")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Seal(seal::Seal),
    Verify(verify::Verify),
    Inspect(Inspect),
    Open(open::Open),
    Keygen(keygen::Keygen),
}

/// Shows what a sealed model says of itself; believes none of it.
#[derive(Debug, clap::Args)]
struct Inspect {
    /// The sealed directory.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

pub(crate) fn run(context: &Context<'_>, arguments: Arguments) -> Result<Exit, Failure> {
    match arguments.command {
        Command::Seal(seal) => seal::run(context, &seal),
        Command::Verify(verify) => verify::run(context, &verify),
        Command::Inspect(inspect) => show(context, &inspect),
        Command::Open(open) => open::run(context, &open),
        Command::Keygen(keygen) => keygen::run(context, &keygen),
    }
}

fn show(context: &Context<'_>, arguments: &Inspect) -> Result<Exit, Failure> {
    let found = inspect(&arguments.directory).map_err(|error| Failure::of(Exit::Found, &error))?;
    if context.output.json() {
        context.output.value(&found)?;
    } else {
        let mut table = Table::new(&["CLAIM", "VALUE"]);
        table.row(["model".to_owned(), found.model.clone()]);
        table.row(["epoch".to_owned(), found.epoch.to_string()]);
        table.row(["format".to_owned(), found.format_version.to_string()]);
        table.row(["root digest".to_owned(), found.root_digest.to_string()]);
        table.row(["seal digest".to_owned(), found.seal_digest.to_string()]);
        table.row(["artefact".to_owned(), found.artifact.clone()]);
        let data = format!(
            "{} in {} chunks of {}",
            size(found.data_bytes),
            found.chunks,
            found.chunk_size
        );
        table.row(["data".to_owned(), data]);
        let signer = found
            .claimed_signer
            .clone()
            .unwrap_or_else(|| "does not say".to_owned());
        table.row(["claims to be signed by".to_owned(), signer]);
        table.row(["sealed for".to_owned(), found.recipients.join(", ")]);
        if !found.wrong_lengths.is_empty() {
            table.row(["wrong length".to_owned(), found.wrong_lengths.join(", ")]);
        }
        context.output.data(&table.text())?;
        context
            .output
            .say("nothing of this was verified: casemate model verify DIR --signer KEY");
    }
    Ok(if found.wrong_lengths.is_empty() {
        Exit::Held
    } else {
        Exit::Found
    })
}

/// Says what an earlier command that was killed had left beside its destination.
fn say_swept(context: &Context<'_>, swept: &[PathBuf]) {
    for path in swept {
        context.output.say(&format!(
            "removed what a killed command had left: {}",
            path.display()
        ));
    }
}

/// Moves `bar` along; the engine calls it often and from many threads.
fn advance(bar: &ProgressBar, progress: Progress) {
    if bar.length() != Some(progress.total) {
        bar.set_length(progress.total);
    }
    bar.set_position(progress.done);
}

/// How fast `bytes` went by.
fn rate(bytes: u64, time: Duration) -> String {
    let per_second = u128::from(bytes).saturating_mul(1000) / time.as_millis().max(1);
    format!("{}/s", size(u64::try_from(per_second).unwrap_or(u64::MAX)))
}
