//! `casemate`: asks the daemon, or runs an engine that needs none.
//!
//! Data goes to stdout, words and progress to stderr. No rule about what is allowed lives here: the
//! command line can do nothing that the daemon's API or an engine cannot.

mod arguments;
mod commands;
mod exit;
mod home;
mod http;
mod output;
#[cfg(test)]
mod scene;
mod sse;
mod stage;

use std::path::PathBuf;
use std::process::ExitCode;

use casemate_api::client::DEFAULT_SOCKET;
use clap::Parser as _;

use crate::arguments::{Arguments, Command};
use crate::commands::Context;
use crate::exit::{Exit, Failure};
use crate::home::Home;
use crate::output::Output;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are answers; everything else is a mistake in the call.
            let exit = if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Held
            };
            return match error.print() {
                Ok(()) => exit.into(),
                Err(_) => Exit::Ours.into(),
            };
        }
    };
    let output = Output::new(arguments.json);
    match run(arguments, &output) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            output.failure(&failure);
            failure.exit().into()
        }
    }
}

fn run(arguments: Arguments, output: &Output) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::ours("cannot start", error))?;
    let set = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let context = Context {
        output,
        socket: arguments
            .socket
            .or_else(|| set("CASEMATE_SOCKET"))
            .unwrap_or_else(|| PathBuf::from(DEFAULT_SOCKET)),
        home: Home::new(arguments.home.or_else(|| set("CASEMATE_HOME")))?,
    };
    runtime.block_on(async {
        match arguments.command {
            Command::Up(up) => commands::up::run(&context, up).await,
            Command::Down(down) => commands::down::run(&context, down).await,
            Command::Status(status) => commands::status::run(&context, status).await,
            Command::Login(login) => Box::pin(commands::login::run(&context, login)).await,
            Command::Ticket(ticket) => Box::pin(commands::ticket::run(&context, ticket)).await,
            Command::Call(call) => Box::pin(commands::call::run(&context, call)).await,
            Command::Model(model) => commands::model::run(&context, model),
            Command::Probe(probe) => commands::probe::run(&context, probe).await,
            Command::Events(events) => commands::events::run(&context, events).await,
            Command::Receipts(receipts) => commands::receipts::run(&context, receipts).await,
            Command::Revoke(revoke) => commands::revoke::run(&context, revoke).await,
            Command::Logs(logs) => commands::logs::run(&context, logs).await,
            Command::Scan(scan) => commands::scan::run(&context, &scan),
            Command::Render(render) => commands::render::run(&context, &render),
            Command::Schema(schema) => commands::schema::run(&context, &schema),
        }
    })
}

#[cfg(test)]
mod tests;
