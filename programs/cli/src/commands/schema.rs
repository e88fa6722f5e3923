//! `casemate schema`: the JSON Schemas of the files that people write.

use casemate_core::{enclosure, profile};

use super::Context;
use crate::exit::{Exit, Failure};

/// Prints the JSON Schema of a file format.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  casemate schema enclosure > enclosure.schema.json

Then put this first into an enclosure file, and an editor with a YAML language server completes it:
  # yaml-language-server: $schema=enclosure.schema.json")]
pub(crate) struct Arguments {
    /// Which format.
    #[arg(value_enum)]
    format: Format,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    /// The declared pipeline.
    Enclosure,
    /// What is known of a server.
    Profile,
}

pub(crate) fn run(context: &Context<'_>, arguments: &Arguments) -> Result<Exit, Failure> {
    let schema = match arguments.format {
        Format::Enclosure => enclosure::json_schema(),
        Format::Profile => profile::json_schema(),
    };
    let text = serde_json::to_string_pretty(&schema)
        .map_err(|error| Failure::ours("cannot write the schema", error))?;
    context.output.data(&text)?;
    Ok(Exit::Held)
}
