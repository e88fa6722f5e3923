//! From the handover to the last read: confine, verify, unlock, answer, forget.

use std::io;
use std::thread;

use casemate_api::vault::{Ready, Report, Served};
use casemate_weights::unlock::{UnlockError, unlock};
use casemate_weights::verify::{VerifyModelError, verify_files};
use casemate_weights::view::{SealedFilesystem, ViewControl, ViewStatistics};

use crate::confine::{self, ConfineError, Locked};
use crate::control::Control;
use crate::settings::{self, SettingsError};

/// Why the vault ended without having served to the end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error("the handover failed")]
    Settings(#[from] SettingsError),
    #[error("the vault could not confine itself")]
    Confine(#[from] ConfineError),
    #[error("the model is refused")]
    Verify(#[from] VerifyModelError),
    #[error("the model does not open")]
    Unlock(#[from] UnlockError),
    #[error("no memory for decrypted chunks could be locked")]
    Memory(#[source] io::Error),
    #[error("the FUSE device does not answer")]
    Attach(#[source] io::Error),
    #[error("the connection to the kernel broke")]
    Session(#[source] io::Error),
}

impl ServeError {
    /// 1 for a model that is refused, 70 for everything that is our fault.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Verify(_) | Self::Unlock(_) => 1,
            Self::Settings(_)
            | Self::Confine(_)
            | Self::Memory(_)
            | Self::Attach(_)
            | Self::Session(_) => 70,
        }
    }
}

/// Runs the vault's whole life.
pub(crate) fn run() -> Result<(), ServeError> {
    let control = Control::new(settings::take_descriptor(CONTROL, "the control stream")?);
    let outcome = serve(&control);
    if let Err(error) = &outcome {
        control.report(&Report::Refused {
            reason: crate::chain(error),
        });
    }
    outcome
}

fn serve(control: &Control) -> Result<(), ServeError> {
    // The key is read only once memory is out of reach of swap and dumps.
    let locked = confine::protect_memory()?;
    let mut handover = settings::take()?;
    if let Locked::Secrets { at_most } = locked {
        handover.view.cache_bytes = handover.view.cache_bytes.min(at_most);
    }
    let confinement = confine::give_up_the_rest(locked)?;

    let verified = verify_files(handover.files, &handover.expectation)?;
    let mut ready = Ready {
        model: verified.header().model.clone(),
        root_digest: verified.header().root_digest.to_string(),
        seal_digest: verified.seal_digest().to_string(),
        epoch: verified.header().epoch,
        signer: verified.signer().fingerprint(),
        files: 0,
        bytes: 0,
        confinement,
    };
    let model = unlock(verified, &handover.key)?;
    drop(handover.key);
    ready.files = model.entries().len() as u64;
    ready.bytes = model.entries().iter().map(|entry| entry.size).sum();

    let reporter = control.clone();
    let filesystem = SealedFilesystem::new(
        model,
        handover.view,
        Box::new(move |error| reporter.report_chunk(error)),
    )
    .map_err(ServeError::Memory)?;
    let view = filesystem.control();
    let running = filesystem
        .attach(handover.device)
        .map_err(ServeError::Attach)?;
    control.report(&Report::Ready(ready));

    let (listener, watched) = (control.clone(), view);
    thread::spawn(move || stop_with_the_daemon(&listener, &watched));
    let statistics = running.serve().map_err(ServeError::Session)?;
    control.report(&Report::Stopped(served(statistics)));
    Ok(())
}

/// Ends the process when the daemon is gone; what is still mounted then answers nothing any more.
fn stop_with_the_daemon(control: &Control, view: &ViewControl) {
    control.wait_for_end();
    view.forget();
    tracing::warn!("the daemon closed the control stream; the keys are wiped");
    end_process();
}

#[expect(
    clippy::exit,
    reason = "threads are blocked in reads of the FUSE device that nothing else ends"
)]
fn end_process() {
    std::process::exit(0);
}

fn served(statistics: ViewStatistics) -> Served {
    Served {
        opens: statistics.opens,
        reads: statistics.reads,
        bytes: statistics.bytes,
        chunks: statistics.chunks,
        corrupt: statistics.corrupt,
    }
}

const CONTROL: i32 = 4;
