//! `casemate model seal`: encrypts and signs a model's directory.

use std::path::PathBuf;
use std::time::Instant;

use casemate_core::name::{ModelVersion, Name};
use casemate_weights::key_release::{Recipient, load_recipients};
use casemate_weights::seal::{SealModelError, SealRequest, seal};
use casemate_weights::signing::load_private;

use super::{advance, rate, say_swept};
use crate::commands::Context;
use crate::exit::{Exit, Failure};
use crate::output::size;

/// Encrypts and signs a model's directory.
///
/// The result appears under its name only when it is complete. Nothing is left when it fails.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  casemate model seal ./smollm2 ./smollm2.sealed --name smollm2 --model-version 1 \\
      --recipient keys/recipient.txt --signer keys/signing.key")]
pub(super) struct Seal {
    /// The directory with the model's files.
    #[arg(value_name = "SOURCE")]
    source: PathBuf,
    /// The sealed directory to make.
    #[arg(value_name = "OUTPUT")]
    output: PathBuf,
    /// The model's name.
    #[arg(long, value_name = "NAME")]
    name: Name,
    /// The model's version.
    #[arg(long, visible_alias = "version", value_name = "VERSION")]
    model_version: String,
    /// Who may open it: an age recipient, or a file of them. May be given more than once.
    #[arg(long, value_name = "RECIPIENT", required = true)]
    recipient: Vec<String>,
    /// The private key that signs it.
    #[arg(long, value_name = "FILE")]
    signer: PathBuf,
    /// Counts up with every release: an older one than a host has seen is refused there.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    epoch: u64,
}

pub(super) fn run(context: &Context<'_>, arguments: &Seal) -> Result<Exit, Failure> {
    let model: ModelVersion = format!("{}@{}", arguments.name, arguments.model_version)
        .parse()
        .map_err(|error| Failure::of(Exit::Usage, &error))?;
    let mut recipients: Vec<Recipient> = Vec::new();
    for named in &arguments.recipient {
        if named.starts_with("age1") {
            recipients.push(
                named
                    .parse()
                    .map_err(|error| Failure::of(Exit::Usage, &error))?,
            );
        } else {
            let file = load_recipients(named.as_ref());
            recipients.extend(file.map_err(|error| Failure::of(Exit::Usage, &error))?);
        }
    }
    let signer =
        load_private(&arguments.signer).map_err(|error| Failure::of(Exit::Usage, &error))?;
    let mut request = SealRequest::new(
        &arguments.source,
        &arguments.output,
        model,
        &signer,
        &recipients,
    );
    request.epoch = arguments.epoch;

    let bar = context.output.bar("sealing", 0);
    let start = Instant::now();
    let sealed = seal(&request, &|progress| advance(&bar, progress));
    bar.finish_and_clear();
    let summary = sealed.map_err(|error| Failure::of(exit_of(&error), &error))?;
    if context.output.json() {
        context.output.value(&serde_json::json!({
            "model": summary.header.model,
            "epoch": summary.header.epoch,
            "root-digest": summary.header.root_digest,
            "seal-digest": summary.seal_digest,
            "signer": summary.signer,
            "files": summary.files,
            "bytes": summary.bytes,
            "ignored": summary.ignored,
            "swept": summary.swept,
        }))?;
    } else {
        context.output.data(&format!(
            "model        {}\nepoch        {}\nroot digest  {}\nseal digest  {}\nsigner       {}",
            summary.header.model,
            summary.header.epoch,
            summary.header.root_digest,
            summary.seal_digest,
            summary.signer,
        ))?;
        context.output.say(&format!(
            "{} {}, {}, at {}",
            summary.files,
            if summary.files == 1 { "file" } else { "files" },
            size(summary.bytes),
            rate(summary.bytes, start.elapsed())
        ));
    }
    say_swept(context, &summary.swept);
    for ignored in &summary.ignored {
        context
            .output
            .say(&format!("left out, as model signing does: {ignored}"));
    }
    Ok(Exit::Held)
}

/// Whose fault it is that a model was not sealed.
const fn exit_of(error: &SealModelError) -> Exit {
    match error {
        SealModelError::Exists(_)
        | SealModelError::Output(_)
        | SealModelError::ChunkSize(_)
        | SealModelError::Read { .. } => Exit::Usage,
        SealModelError::Walk(_)
        | SealModelError::Layout(_)
        | SealModelError::Index
        | SealModelError::Changed(_)
        | SealModelError::NoSpace { .. } => Exit::Found,
        SealModelError::Write { .. }
        | SealModelError::Wrap(_)
        | SealModelError::Sign(_)
        | SealModelError::Random
        | SealModelError::Memory(_) => Exit::Ours,
    }
}
