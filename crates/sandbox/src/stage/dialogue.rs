//! What a launcher and the first process of a stage say to each other.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use casemate_core::confinement::{InitOrder, InitReport};

use super::{Confirmation, RunStageError, failed};

/// Hears that the sandbox is the planned one.
pub(super) fn confirmation(
    control: &mut UnixStream,
    digest: &str,
) -> Result<Confirmation, RunStageError> {
    match report(control)? {
        Some(InitReport::Confined {
            digest: read,
            namespaces,
            mounts,
            landlock_abi,
            ..
        }) => {
            if read != digest {
                return Err(RunStageError::Protocol("read another plan".to_owned()));
            }
            Ok(Confirmation {
                digest: read,
                namespaces,
                mounts,
                landlock_abi,
            })
        }
        other => Err(unexpected(other)),
    }
}

/// Gives the order and waits until it is carried out: for the server, until the control socket was
/// closed by its execution.
pub(super) fn order(control: &mut UnixStream, until_closed: bool) -> Result<u32, RunStageError> {
    let mut line = serde_json::to_vec(&InitOrder::Serve)
        .map_err(|error| failed("write the order")(error.into()))?;
    line.push(b'\n');
    control.write_all(&line).map_err(failed("give the order"))?;
    let abi = match report(control)? {
        Some(InitReport::Executing { landlock_abi }) => landlock_abi,
        other => return Err(unexpected(other)),
    };
    if until_closed {
        match report(control)? {
            None => {}
            other => return Err(unexpected(other)),
        }
    }
    Ok(abi)
}

fn unexpected(report: Option<InitReport>) -> RunStageError {
    match report {
        Some(InitReport::Mismatch { differences }) => RunStageError::Mismatch(differences),
        Some(InitReport::Failed { reason }) => RunStageError::Failed(reason),
        Some(InitReport::Confined { .. } | InitReport::Executing { .. }) => {
            RunStageError::Protocol("spoke out of turn".to_owned())
        }
        None => RunStageError::Protocol("ended without a word".to_owned()),
    }
}

/// One line, byte by byte: what follows may belong to somebody else. Nothing at the end.
fn report(control: &mut UnixStream) -> Result<Option<InitReport>, RunStageError> {
    let began = Instant::now();
    let mut line = Vec::new();
    loop {
        let left = LONGEST_REPORT
            .saturating_sub(began.elapsed())
            .max(Duration::from_millis(1));
        control
            .set_read_timeout(Some(left))
            .map_err(failed("wait for the first process"))?;
        let mut byte = [0];
        match control.read(&mut byte) {
            Ok(0) if line.is_empty() => return Ok(None),
            Ok(0) => {
                return Err(RunStageError::Protocol(
                    "ended in the middle of a line".to_owned(),
                ));
            }
            Ok(_) if byte == *b"\n" => break,
            Ok(_) => line.extend(byte),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Err(error) => return Err(failed("hear the first process")(error)),
        }
        if line.len() > LONGEST_LINE {
            return Err(RunStageError::Protocol("said too much".to_owned()));
        }
    }
    serde_json::from_slice(&line)
        .map(Some)
        .map_err(|error| RunStageError::Protocol(format!("was not understood: {error}")))
}

const LONGEST_REPORT: Duration = Duration::from_secs(15);
const LONGEST_LINE: usize = 1 << 20;
