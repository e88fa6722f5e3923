//! The program: take what was inherited, confine, serve. Nothing else happens here.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use casemate_issuer::{confine, settings};
use casemate_linux::memory;
use casemate_linux::wiping::WipingAllocator;

// The authority's and the tickets' keys pass through this heap; what is freed is wiped.
#[global_allocator]
static ALLOCATOR: WipingAllocator = WipingAllocator;

fn main() -> ExitCode {
    // An execution makes a process readable again for others of its user: first of all, that ends.
    let hidden = memory::forbid_dumps();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_max_level(tracing::Level::INFO)
        .init();
    match hidden.map_err(Into::into).and_then(|()| start()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The one place where an error meets a reader: its whole chain, once.
            let mut text = error.to_string();
            let mut cause = error.source();
            while let Some(next) = cause {
                text = format!("{text}: {next}");
                cause = next.source();
            }
            tracing::error!(reason = text, "the issuer stops");
            ExitCode::from(OUR_FAULT)
        }
    }
}

fn start() -> Result<(), Box<dyn std::error::Error>> {
    let inherited = settings::Inherited::take()?;
    // Restrictions bind the calling thread and those it starts: before the runtime.
    let confined = confine::confine()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(4)
        .enable_all()
        .build()?;
    runtime.block_on(casemate_issuer::run(inherited, confined))?;
    // A name that is still being looked up must not keep the process.
    runtime.shutdown_background();
    Ok(())
}

/// The exit code for everything that is not the caller's doing.
const OUR_FAULT: u8 = 70;
