//! From what a check's processes reported to one finding.

use casemate_core::finding::{ControlResult, Evidence, Finding, Layer, Step, Verdict};
use casemate_linux::raw::{ChildOutcome, PANICKED};

use super::Record;
use crate::check::Check;

/// Everything that the processes of one check left behind, in order.
#[derive(Debug, Default)]
pub(crate) struct Attempted {
    pub(crate) steps: Vec<Step>,
    pub(crate) controls: Vec<ControlResult>,
    pub(crate) sent: u32,
    /// How the last process ended, when not by itself.
    pub(crate) ended: Option<String>,
    /// The last process said that it had tried everything.
    pub(crate) complete: bool,
}

impl Attempted {
    /// Adds one process. True when it was killed by a filter, so that the check should go on behind the
    /// step that did it.
    pub(crate) fn add(&mut self, records: Vec<Record>, outcome: ChildOutcome) -> bool {
        let mut trying = None;
        self.complete = false;
        for record in records {
            match record {
                Record::Trying(tried) => trying = Some(tried),
                Record::Step(step) => {
                    trying = None;
                    self.steps.push(step);
                }
                Record::Control(control) => self.controls.push(control),
                Record::Sent => self.sent += 1,
                Record::End => self.complete = true,
            }
        }
        let (ended, verdict, layer) = match outcome {
            ChildOutcome::Exited(0) => (None, Verdict::Inconclusive, None),
            ChildOutcome::Exited(PANICKED) => (
                Some("the check has a bug and panicked".to_owned()),
                Verdict::Inconclusive,
                None,
            ),
            ChildOutcome::Exited(status) => (
                Some(format!("exit status {status}")),
                Verdict::Inconclusive,
                None,
            ),
            ChildOutcome::Killed {
                signal: libc::SIGSYS,
                ..
            } => (
                Some("SIGSYS".to_owned()),
                Verdict::Blocked,
                Some(Layer::Seccomp),
            ),
            ChildOutcome::Killed { signal, .. } => (
                Some(format!("signal {signal}")),
                Verdict::Inconclusive,
                None,
            ),
            ChildOutcome::Overdue => (
                Some("alarm: the check took too long".to_owned()),
                Verdict::Inconclusive,
                None,
            ),
        };
        let filtered = layer.is_some() && trying.is_some();
        if let Some(tried) = trying {
            let detail = ended
                .clone()
                .unwrap_or_else(|| "no result was reported".to_owned());
            self.steps.push(Step {
                tried,
                verdict,
                layer,
                errno: None,
                detail,
            });
        }
        self.ended = if filtered { self.ended.take() } else { ended };
        filtered
    }
}

/// The verdict: open beats everything; without a control that worked, or with a process that did not
/// come to its end, nothing counts as blocked.
pub(crate) fn judge(check: &Check, attempted: Attempted, millis: u64) -> Finding {
    let Attempted {
        steps,
        controls,
        ended,
        complete,
        ..
    } = attempted;
    let control = controls
        .iter()
        .find(|control| control.worked)
        .or(controls.first())
        .cloned();
    let worst = steps.iter().fold(Verdict::NotApplicable, |worst, step| {
        worst.worst(step.verdict)
    });
    let controlled = control.as_ref().is_some_and(|control| control.worked);
    let verdict = match worst {
        Verdict::Open => Verdict::Open,
        Verdict::Inconclusive => Verdict::Inconclusive,
        Verdict::Blocked | Verdict::NotApplicable if !complete => Verdict::Inconclusive,
        Verdict::Blocked if !controlled => Verdict::Inconclusive,
        Verdict::Blocked => Verdict::Blocked,
        Verdict::NotApplicable if steps.is_empty() => Verdict::Inconclusive,
        Verdict::NotApplicable => Verdict::NotApplicable,
    };
    let layer = (verdict == Verdict::Blocked)
        .then(|| commonest(&steps))
        .flatten();
    Finding {
        check: check.id.to_owned(),
        title: check.title.to_owned(),
        category: check.category,
        techniques: check.techniques.iter().map(|&id| id.to_owned()).collect(),
        proof: check.proof,
        verdict,
        layer,
        evidence: Evidence {
            steps,
            ended,
            witnessed: None,
        },
        control,
        millis,
    }
}

/// The layer that refused most steps; the earlier one when two refused as many.
fn commonest(steps: &[Step]) -> Option<Layer> {
    let mut counts: Vec<(Layer, usize)> = Vec::new();
    for layer in steps.iter().filter_map(|step| step.layer) {
        match counts.iter_mut().find(|(known, _)| *known == layer) {
            Some((_, count)) => *count += 1,
            None => counts.push((layer, 1)),
        }
    }
    counts
        .into_iter()
        .rev()
        .max_by_key(|(_, count)| *count)
        .map(|(layer, _)| layer)
}
