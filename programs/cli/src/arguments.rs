//! What can be asked, and the help that teaches it.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::commands::{
    call, down, events, login, logs, model, probe, receipts, render, revoke, scan, schema, status,
    ticket, up,
};

/// Runs and inspects sealed LLM pipelines.
#[derive(Debug, Parser)]
#[command(name = "casemate", version, about, long_about = LONG, after_help = AFTER, max_term_width = 100)]
pub(crate) struct Arguments {
    // Their variables are read by us: clap would show what they set as if it had been required.
    /// The daemon's socket [env: CASEMATE_SOCKET] [default: /run/casemate/casemated.sock].
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// Where your login and tickets are kept [env: CASEMATE_HOME] [default: ~/.config/casemate].
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) home: Option<PathBuf>,
    /// Prints data as JSON instead of text.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Up(up::Arguments),
    Down(down::Arguments),
    Status(status::Arguments),
    Login(login::Arguments),
    Ticket(ticket::Arguments),
    Call(call::Arguments),
    Model(model::Arguments),
    Probe(probe::Arguments),
    Events(events::Arguments),
    Receipts(receipts::Arguments),
    Revoke(revoke::Arguments),
    Logs(logs::Arguments),
    Scan(scan::Arguments),
    Render(render::Arguments),
    Schema(schema::Arguments),
}

const LONG: &str = "\
Runs and inspects sealed LLM pipelines.

An enclosure is a pipeline declared in one file: models, stages and the flows between them.
`casemate up` runs it sealed on this host. People log in with their corporate token, exchange it for
a ticket to one stage, and call that stage; everything else is refused, and every decision leaves a
receipt.";

const AFTER: &str = "\
Examples:
  casemate up examples/chat/enclosure.yaml        run it, sealed
  casemate login --token-file token.jwt           who you are
  casemate ticket exchange --stage redact         what you may do
  casemate call redact /v1/chat/completions --stream -d @question.json
  casemate probe                                  attack it from inside
  casemate receipts verify                        check the record
  casemate scan deploy/                           what is wrong with a deployment, before it runs

Exit codes:
  0   it held
  1   findings, or a refusal
  2   could not tell
  64  a mistake in the call
  70  our fault

A stage is written STAGE, or ENCLOSURE/STAGE where its name alone is not enough.";
