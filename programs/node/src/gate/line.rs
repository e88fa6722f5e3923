//! The way to one running gate: whoever cannot be told something is ended, and so refuses everybody.

use std::sync::Arc;

use casemate_api::gate as wire;

use crate::control::{ControlError, Sender};

/// Speaks to one gate, and ends it when it does not listen.
pub(crate) struct Line {
    control: Arc<Sender>,
    end: Box<dyn Fn() + Send + Sync>,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Line")
            .field("control", &self.control)
            .finish_non_exhaustive()
    }
}

impl Line {
    /// A line to the gate at the other end of `control`; `end` ends its process.
    pub(crate) fn new(control: Arc<Sender>, end: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            control,
            end: Box::new(end),
        }
    }

    /// Tells the gate something. One that was not told a revocation or an order to close would go on
    /// with what is no longer allowed, so it is ended.
    pub(crate) fn tell(&self, message: &wire::ToGate) -> Result<(), ControlError> {
        self.control.send(message).inspect_err(|_| self.end())
    }

    /// Closes the stream without waiting for the process.
    pub(crate) fn close(&self) {
        self.control.close();
    }

    /// Ends the gate, whatever it is doing.
    pub(crate) fn end(&self) {
        self.control.close();
        (self.end)();
    }
}
