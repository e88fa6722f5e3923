//! Runs the catalogue inside a sandbox that matched its order, and says what came out.
//!
//! One check, one process, one finding: what a check breaks ends with its process, and a check that
//! cannot be finished is reported as inconclusive, never left out.

use std::io::{self, BufRead, Read as _};
use std::time::{Duration, Instant};

use casemate_core::finding::{
    Evidence, Finding, ProbeEnd, ProbeMessage, ProbeOrder, ProbeStart, Step, Verdict,
};
use casemate_linux::raw::run_in_child;

use crate::check::{self, Check};
use crate::guard::Matched;
use crate::scene::{self, Scene, Status};
use crate::sweep::Sweep;
use crate::trial::{Attempted, Record, Trial, decode, judge};

/// Longest line that is accepted as an order.
pub const ORDER_LIMIT: u64 = 1 << 20;
/// A filter may kill a check's process once for each of its steps.
const MOST_RESTARTS: usize = 64;

/// What belongs to the prober itself, so that checks do not take it for a leak.
#[derive(Clone, Debug, Default)]
pub struct Own {
    /// Descriptors that the prober was given.
    pub descriptors: Vec<i32>,
    /// Its environment, as `NAME=value`.
    pub environment: Vec<String>,
}

/// Reads the order: one line, up to [`ORDER_LIMIT`] bytes.
///
/// # Errors
/// When the channel ends before a whole line, or the line is too long.
pub fn read_order(channel: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    channel.take(ORDER_LIMIT).read_until(b'\n', &mut line)?;
    if line.pop() == Some(b'\n') {
        Ok(line)
    } else {
        Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "no whole line with an order",
        ))
    }
}

/// Runs every check that the order asks for and hands each message to `emit`.
///
/// # Errors
/// When `emit` cannot pass a message on; then nobody listens and the run ends.
pub fn run(
    matched: Matched,
    own: Own,
    emit: &mut dyn FnMut(&ProbeMessage) -> io::Result<()>,
) -> io::Result<()> {
    let started = now();
    let namespaces = matched.namespaces();
    let order = matched.into_order();
    let checks: Vec<&Check> = check::all().filter(|check| order.wants(check.id)).collect();
    let status = Status::read();
    emit(&ProbeMessage::Started(ProbeStart {
        nonce: order.nonce.clone(),
        kernel: rustix::system::uname()
            .release()
            .to_string_lossy()
            .into_owned(),
        namespaces,
        uid: status.uid,
        gid: status.gid,
        checks: count(checks.len()),
    }))?;
    let scene = Scene {
        sweep: Sweep::make(status.seccomp_mode),
        mounts: scene::mounts(),
        own_descriptors: own.descriptors,
        environment: own.environment,
        status,
        order,
    };
    let total = Duration::from_millis(u64::from(scene.order.budget.total_millis));
    let mut sent = 0;
    for &check in &checks {
        let finding = if started.elapsed() > total {
            unfinished(check, "the time for all checks was used up")
        } else {
            let (finding, used) =
                carry_out(check, &scene, scene.order.budget.sends.saturating_sub(sent));
            sent = sent.saturating_add(used);
            finding
        };
        emit(&ProbeMessage::Finding(Box::new(finding)))?;
    }
    emit(&ProbeMessage::Done(ProbeEnd {
        nonce: scene.order.nonce,
        checks: count(checks.len()),
        millis: millis(started.elapsed()),
        sent: u64::from(sent),
    }))
}

fn carry_out(check: &'static Check, scene: &Scene, sends: u32) -> (Finding, u32) {
    let started = now();
    let limit = limit_of(check, &scene.order);
    let mut attempted = Attempted::default();
    for _ in 0..MOST_RESTARTS {
        let first_step = u32::try_from(attempted.steps.len()).unwrap_or(u32::MAX);
        let sends_left = sends.saturating_sub(attempted.sent);
        let ended = run_in_child(limit, |child| {
            let mut trial = Trial::new(child, scene, check.id, first_step, sends_left);
            (check.try_it)(&mut trial);
            Record::End.send(child);
        });
        match ended {
            Ok(end) => {
                if !attempted.add(decode(&end.report), end.outcome) {
                    break;
                }
            }
            Err(error) => {
                attempted.complete = false;
                attempted.ended = Some(error.to_string());
                break;
            }
        }
    }
    let sent = attempted.sent;
    (judge(check, attempted, millis(started.elapsed())), sent)
}

fn limit_of(check: &Check, order: &ProbeOrder) -> Duration {
    let usual = order.budget.check_millis;
    Duration::from_millis(u64::from(check.millis.map_or(usual, |own| own.max(usual))))
}

/// A finding for a check that was asked for and not carried out: inconclusive, with the reason.
pub(crate) fn unfinished(check: &Check, reason: &str) -> Finding {
    let mut finding = judge(check, Attempted::default(), 0);
    finding.evidence = Evidence {
        steps: vec![Step {
            tried: "nothing".to_owned(),
            verdict: Verdict::Inconclusive,
            layer: None,
            errno: None,
            detail: reason.to_owned(),
        }],
        ended: Some(reason.to_owned()),
        witnessed: None,
    };
    finding
}

fn now() -> Instant {
    Instant::now()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_one_whole_line() {
        assert_eq!(read_order(&mut b"{}\nrest".as_slice()).unwrap(), b"{}");
        assert!(read_order(&mut b"{}".as_slice()).is_err());
        assert!(read_order(&mut b"".as_slice()).is_err());
    }

    #[test]
    fn a_check_that_was_not_carried_out_is_inconclusive() {
        for check in check::all() {
            assert_eq!(unfinished(check, "no time").verdict, Verdict::Inconclusive);
        }
    }
}
