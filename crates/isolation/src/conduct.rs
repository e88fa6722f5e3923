//! The launcher's end of a probe: hands over the order, reads findings, adds what the witness saw.
//!
//! The prober runs in hostile ground. Its lines are bounded, its words about a check are replaced by the
//! catalogue's, a check that it leaves out becomes inconclusive, and an arrival at the witness outweighs
//! whatever it says.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use casemate_core::finding::{Finding, ProbeEnd, ProbeMessage, ProbeOrder, ProbeStart, Summary};

use crate::check;
use crate::run::unfinished;
use crate::witness::Witness;

/// Longest line that is accepted from a prober.
pub const LINE_LIMIT: u64 = 1 << 20;

/// A probe that came to its end.
#[derive(Clone, Debug)]
pub struct Conducted {
    /// What the prober said about itself.
    pub start: ProbeStart,
    /// One finding for each check that was ordered, in the catalogue's order.
    pub findings: Vec<Finding>,
    /// What it said at the end.
    pub end: ProbeEnd,
}

impl Conducted {
    /// The findings, counted.
    #[must_use]
    pub fn summary(&self) -> Summary {
        Summary::of(&self.findings)
    }
}

/// Why a probe could not be conducted to its end.
#[derive(Debug, thiserror::Error)]
pub enum ConductError {
    /// The order could not be handed over.
    #[error("cannot hand the order to the prober")]
    Send(#[source] io::Error),
    /// Nothing more could be read.
    #[error("cannot read from the prober")]
    Receive(#[source] io::Error),
    /// The order cannot be written as JSON.
    #[error("cannot write the order as JSON")]
    Encode(#[source] serde_json::Error),
    /// The prober ended without saying that it was done.
    #[error("the prober ended after {findings} findings without saying that it was done")]
    Ended {
        /// How many findings there were.
        findings: usize,
    },
    /// The prober took longer than the order allows.
    #[error("the prober was not done in time")]
    Overdue,
    /// A line is too long.
    #[error("the prober wrote a line of more than {LINE_LIMIT} bytes")]
    LineTooLong,
    /// A line is no message.
    #[error("the prober wrote a line that is no message")]
    Decode(#[source] serde_json::Error),
    /// The prober will not run there.
    #[error("the prober refused: {0}")]
    Refused(String),
    /// The prober answered another order, or runs somewhere else.
    #[error("the prober's {0} is not the order's")]
    OtherOrder(&'static str),
    /// The prober reported something that was not asked for, or twice.
    #[error("the prober reported `{0}`, which was not asked for or was reported before")]
    UnknownCheck(String),
    /// A message came out of turn.
    #[error("the prober wrote messages out of turn")]
    OutOfTurn,
}

/// Conducts one probe over `channel`, whose other end is descriptor 4 of the prober. Each finding is
/// handed to `on_finding` as it comes; the returned ones hold the witness's last word.
///
/// # Errors
/// When the prober refuses, breaks the protocol, or is not done in the order's time and a little more.
pub fn conduct(
    channel: &UnixStream,
    order: &ProbeOrder,
    witness: Option<&Witness>,
    on_finding: &mut dyn FnMut(&Finding),
) -> Result<Conducted, ConductError> {
    let mut line = serde_json::to_vec(order).map_err(ConductError::Encode)?;
    line.push(b'\n');
    let mut writer = channel;
    writer.write_all(&line).map_err(ConductError::Send)?;
    // One check may have begun just before the time was up.
    let patience =
        Duration::from_millis(u64::from(order.budget.total_millis)) + Duration::from_secs(15);
    let mut lines = Lines {
        reader: BufReader::new(channel),
        channel,
        deadline: now() + patience,
        seen: 0,
    };
    let start = match lines.next()? {
        ProbeMessage::Started(start) => start,
        ProbeMessage::Refused(refusal) => return Err(ConductError::Refused(refusal.reason)),
        ProbeMessage::Finding(_) | ProbeMessage::Done(_) => return Err(ConductError::OutOfTurn),
    };
    if start.nonce != order.nonce {
        return Err(ConductError::OtherOrder("nonce"));
    }
    if start.namespaces != order.expected {
        return Err(ConductError::OtherOrder("namespaces"));
    }
    let mut reported: Vec<Finding> = Vec::new();
    let end = loop {
        match lines.next()? {
            ProbeMessage::Finding(finding) => {
                let finding = settle(order, &reported, *finding)?;
                let finding = with_witness(finding, witness);
                on_finding(&finding);
                reported.push(finding);
                lines.seen = reported.len();
            }
            ProbeMessage::Done(end) => break end,
            ProbeMessage::Refused(refusal) => return Err(ConductError::Refused(refusal.reason)),
            ProbeMessage::Started(_) => return Err(ConductError::OutOfTurn),
        }
    };
    if end.nonce != order.nonce {
        return Err(ConductError::OtherOrder("nonce"));
    }
    let findings = check::all()
        .filter(|check| order.wants(check.id))
        .map(|check| {
            let found = reported
                .iter()
                .find(|finding| finding.check == check.id)
                .cloned();
            with_witness(
                found.unwrap_or_else(|| unfinished(check, "the prober did not report it")),
                witness,
            )
        })
        .collect();
    Ok(Conducted {
        start,
        findings,
        end,
    })
}

/// Replaces what the prober says about the check by what the catalogue says.
fn settle(
    order: &ProbeOrder,
    before: &[Finding],
    mut finding: Finding,
) -> Result<Finding, ConductError> {
    let known = check::all().find(|check| check.id == finding.check && order.wants(check.id));
    match known {
        Some(check) if before.iter().all(|earlier| earlier.check != finding.check) => {
            finding.title = check.title.to_owned();
            finding.category = check.category;
            finding.proof = check.proof;
            finding.techniques = check.techniques.iter().map(|&id| id.to_owned()).collect();
            Ok(finding)
        }
        Some(_) | None => Err(ConductError::UnknownCheck(finding.check)),
    }
}

fn with_witness(finding: Finding, witness: Option<&Witness>) -> Finding {
    match witness {
        Some(witness) if watches(witness, &finding.check) => {
            let arrivals = witness.arrivals(&finding.check);
            finding.witnessed(arrivals)
        }
        Some(_) | None => finding,
    }
}

fn watches(witness: &Witness, check: &str) -> bool {
    witness
        .canaries()
        .endpoints
        .iter()
        .any(|endpoint| endpoint.check == check)
}

struct Lines<'a> {
    reader: BufReader<&'a UnixStream>,
    channel: &'a UnixStream,
    deadline: Instant,
    seen: usize,
}

impl Lines<'_> {
    fn next(&mut self) -> Result<ProbeMessage, ConductError> {
        let left = self.deadline.saturating_duration_since(now());
        if left.is_zero() {
            return Err(ConductError::Overdue);
        }
        self.channel
            .set_read_timeout(Some(left))
            .map_err(ConductError::Receive)?;
        let mut line = Vec::new();
        let read = self
            .reader
            .by_ref()
            .take(LINE_LIMIT)
            .read_until(b'\n', &mut line);
        match read {
            Ok(_) if line.last() == Some(&b'\n') => {
                serde_json::from_slice(&line).map_err(ConductError::Decode)
            }
            Ok(count) if u64::try_from(count).is_ok_and(|count| count >= LINE_LIMIT) => {
                Err(ConductError::LineTooLong)
            }
            Ok(_) => Err(ConductError::Ended {
                findings: self.seen,
            }),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) =>
            {
                Err(ConductError::Overdue)
            }
            Err(error) => Err(ConductError::Receive(error)),
        }
    }
}

fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests;
