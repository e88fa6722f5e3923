//! How a check's process says what it tried, and how that becomes a verdict.
//!
//! The process announces each step before it takes it, so that the prober knows which step a filter
//! killed; then the check is started again behind that step.

mod judge;
mod record;

use std::fmt::Display;

use casemate_core::finding::{ControlResult, Layer, Step, Verdict};
use casemate_linux::raw::{Child, Errno};

use crate::attribute::{Cause, Via};
use crate::scene::Scene;

pub(crate) use judge::{Attempted, judge};
pub(crate) use record::{Record, decode};

/// The check's own view of its process.
pub(crate) struct Trial<'a> {
    pub(crate) child: &'a Child,
    pub(crate) scene: &'a Scene,
    pub(crate) check: &'static str,
    /// Steps before this one were taken by an earlier process of the same check.
    first_step: u32,
    next_step: u32,
    /// What this check may still send towards canaries.
    sends_left: u32,
}

impl<'a> Trial<'a> {
    pub(crate) fn new(
        child: &'a Child,
        scene: &'a Scene,
        check: &'static str,
        first_step: u32,
        sends_left: u32,
    ) -> Self {
        Self {
            child,
            scene,
            check,
            first_step,
            next_step: 0,
            sends_left,
        }
    }

    /// Reports the positive control; the first one that worked counts.
    pub(crate) fn control(&self, tried: impl Display, result: Result<String, String>) -> bool {
        let (worked, detail) = match result {
            Ok(detail) => (true, detail),
            Err(detail) => (false, detail),
        };
        Record::Control(ControlResult {
            tried: tried.to_string(),
            worked,
            detail,
        })
        .send(self.child);
        worked
    }

    /// The control of checks whose whole primitive a filter may refuse: the raw call path works.
    /// That the primitive itself is well-formed is shown in a weak sandbox, by the tests of this crate.
    pub(crate) fn control_calls(&self) {
        let answer = self.child.call(libc::SYS_getppid, []);
        let unknown = self.child.call(libc::SYS_close, [(-1_i64).into()]);
        self.control(
            "raw calls are answered: getppid, close(-1)",
            match (answer, unknown) {
                (Ok(_), Err(Errno(libc::EBADF))) => Ok(String::new()),
                (answer, unknown) => Err(format!("getppid {answer:?}, close(-1) {unknown:?}")),
            },
        );
    }

    /// Takes one step: runs `act` and reports success as open, refusal as blocked by the layer that
    /// `via` and the error number name.
    pub(crate) fn attempt(
        &mut self,
        tried: impl Display,
        via: Via,
        act: impl FnOnce(&Child) -> Result<i64, Errno>,
    ) -> Result<i64, Errno> {
        let tried = tried.to_string();
        if !self.announce(&tried) {
            return Err(Errno(0));
        }
        let result = act(self.child);
        let outcome = match result {
            Ok(_) => Outcome::Open("it was served".to_owned()),
            Err(errno) => Outcome::Refused(errno, via),
        };
        self.settle(tried, outcome);
        result
    }

    /// Takes one step whose outcome `act` judges itself.
    pub(crate) fn step(&mut self, tried: impl Display, act: impl FnOnce(&Child) -> Outcome) {
        let tried = tried.to_string();
        if !self.announce(&tried) {
            return;
        }
        let outcome = act(self.child);
        self.settle(tried, outcome);
    }

    fn settle(&self, tried: String, outcome: Outcome) {
        match outcome {
            Outcome::Open(detail) => self.finish(tried, Verdict::Open, None, None, detail),
            Outcome::Blocked(layer, detail) => {
                self.finish(tried, Verdict::Blocked, Some(layer), None, detail);
            }
            Outcome::Refused(errno, via) => self.refused(tried, errno, &via),
            Outcome::Unsure(detail) => {
                self.finish(tried, Verdict::Inconclusive, None, None, detail);
            }
            Outcome::Absent(detail) => {
                self.finish(tried, Verdict::NotApplicable, None, None, detail);
            }
        }
    }

    /// Takes one from the budget of sends; false when it is used up.
    pub(crate) fn may_send(&mut self) -> bool {
        if self.sends_left == 0 {
            return false;
        }
        self.sends_left -= 1;
        Record::Sent.send(self.child);
        true
    }

    /// The text that the witness expects from this check, cut to the order's size.
    pub(crate) fn greeting(&self) -> Vec<u8> {
        let mut greeting = crate::witness::greeting(&self.scene.order.canaries.token, self.check);
        greeting.truncate(
            self.scene
                .order
                .budget
                .bytes_each
                .try_into()
                .unwrap_or(usize::MAX),
        );
        greeting
    }

    fn announce(&mut self, tried: &str) -> bool {
        let step = self.next_step;
        self.next_step += 1;
        if step < self.first_step {
            return false;
        }
        Record::Trying(tried.to_owned()).send(self.child);
        true
    }

    fn refused(&self, tried: String, errno: Errno, via: &Via) {
        let (verdict, layer, detail) = match via.cause(self.scene, self.child, errno) {
            Cause::Layer(layer) => (Verdict::Blocked, Some(layer), String::new()),
            Cause::Absent => (
                Verdict::NotApplicable,
                None,
                "this kernel does not have it".to_owned(),
            ),
            Cause::Unknown => (
                Verdict::Inconclusive,
                None,
                "no layer answers with this error".to_owned(),
            ),
        };
        self.finish(tried, verdict, layer, Some(errno), detail);
    }

    fn finish(
        &self,
        tried: String,
        verdict: Verdict,
        layer: Option<Layer>,
        errno: Option<Errno>,
        detail: String,
    ) {
        let errno = errno.map(|errno| errno.to_string());
        Record::Step(Step {
            tried,
            verdict,
            layer,
            errno,
            detail,
        })
        .send(self.child);
    }
}

/// How a step came out, when the check judges it itself.
pub(crate) enum Outcome {
    Open(String),
    Blocked(Layer, String),
    Refused(Errno, Via),
    Unsure(String),
    Absent(String),
}

#[cfg(test)]
mod tests;
