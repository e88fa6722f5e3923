//! `casemate model open`: decrypts a sealed model into a directory. Plain weights then lie on a disk.

use std::path::PathBuf;

use casemate_weights::open::{OpenModelError, decrypt_to};

use super::verify::{Expected, opened, verified};
use super::{advance, say_swept};
use crate::commands::Context;
use crate::exit::{Exit, Failure};

/// Decrypts a sealed model into a directory.
///
/// Every byte and every file's signed digest is checked on the way. A stage never needs this: it reads
/// the model through a view, and no plain byte reaches a disk.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  casemate model open ./smollm2.sealed ./plain --signer keys/signing.pub --identity keys/identity.age")]
pub(super) struct Open {
    /// The sealed directory.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// The directory to make.
    #[arg(value_name = "OUTPUT")]
    output: PathBuf,
    #[command(flatten)]
    expected: Expected,
    /// The age identity that opens it.
    #[arg(long, value_name = "FILE")]
    identity: PathBuf,
}

pub(super) fn run(context: &Context<'_>, arguments: &Open) -> Result<Exit, Failure> {
    let model = verified(&arguments.directory, &arguments.expected)?;
    let header = model.header().clone();
    let model = opened(model, &arguments.identity)?;
    let bar = context.output.bar("opening", header.data_bytes);
    let written = decrypt_to(&model, &arguments.output, &|progress| {
        advance(&bar, progress)
    });
    bar.finish_and_clear();
    let swept = written.map_err(|error| {
        let exit = match &error {
            OpenModelError::Chunk(_) | OpenModelError::Digest { .. } => Exit::Found,
            OpenModelError::Output(_) | OpenModelError::Write { .. } => Exit::Usage,
        };
        Failure::of(exit, &error)
    })?;
    if context.output.json() {
        context.output.value(&serde_json::json!({
            "model": header.model,
            "root-digest": header.root_digest,
            "output": arguments.output,
            "files": model.entries().len(),
            "swept": swept,
        }))?;
    } else {
        context.output.data(&format!(
            "{} in {}",
            header.model,
            arguments.output.display()
        ))?;
    }
    say_swept(context, &swept);
    context
        .output
        .say("these are plain weights: whoever reads the directory has them");
    Ok(Exit::Held)
}
