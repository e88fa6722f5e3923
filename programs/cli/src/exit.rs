//! How a command ends: the documented exit codes, and failures with their cause and fix.

use std::error::Error;
use std::fmt::{self, Display};
use std::process::ExitCode;

use casemate_api::client::CallDaemonError;

/// The documented exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything held.
    Held,
    /// Something was found, or somebody refused.
    Found,
    /// The question could not be answered, which is never the same as yes.
    Unclear,
    /// The call itself is wrong.
    Usage,
    /// We did not do what we should.
    Ours,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Held => 0,
            Exit::Found => 1,
            Exit::Unclear => 2,
            Exit::Usage => 64,
            Exit::Ours => 70,
        })
    }
}

/// Why a command could not do what it was asked, in words, with what to do next.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
    causes: Vec<String>,
    fix: Option<String>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Display) -> Self {
        Self {
            exit,
            message: message.to_string(),
            causes: Vec::new(),
            fix: None,
        }
    }

    /// The call is wrong.
    pub(crate) fn usage(message: impl Display) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Somebody refused, or what was looked at does not hold.
    pub(crate) fn found(message: impl Display) -> Self {
        Self::new(Exit::Found, message)
    }

    /// It could not be told.
    pub(crate) fn unclear(message: impl Display) -> Self {
        Self::new(Exit::Unclear, message)
    }

    /// We failed.
    pub(crate) fn ours(message: impl Display, error: impl Error) -> Self {
        Self::new(Exit::Ours, message).because(&error)
    }

    /// Whoever read our answer went away, as `head` does: no mistake, and nobody to tell.
    pub(crate) const fn unheard() -> Self {
        Self {
            exit: Exit::Unclear,
            message: String::new(),
            causes: Vec::new(),
            fix: None,
        }
    }

    pub(crate) const fn is_unheard(&self) -> bool {
        self.message.is_empty()
    }

    /// An error with its causes, as the way to end that fits it.
    pub(crate) fn of(exit: Exit, error: &dyn Error) -> Self {
        let mut failure = Self::new(exit, error);
        if let Some(source) = error.source() {
            failure = failure.because(source);
        }
        failure
    }

    /// Adds an error and its own causes, the outermost first.
    pub(crate) fn because(mut self, error: &dyn Error) -> Self {
        let mut next = Some(error);
        while let Some(cause) = next {
            let text = cause.to_string();
            // Libraries often repeat the cause inside their own text.
            let said = self.causes.last().unwrap_or(&self.message);
            if !said.ends_with(&text) {
                self.causes.push(text);
            }
            next = cause.source();
        }
        self
    }

    /// Adds what to do next.
    pub(crate) fn fix(mut self, fix: impl Display) -> Self {
        self.fix = Some(fix.to_string());
        self
    }

    /// Adds what to do next where nobody could be asked; an answer brought its own.
    pub(crate) fn fix_when_unclear(self, fix: impl Display) -> Self {
        if self.exit == Exit::Unclear {
            self.fix(fix)
        } else {
            self
        }
    }

    pub(crate) const fn exit(&self) -> Exit {
        self.exit
    }
}

impl Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.message)?;
        for cause in &self.causes {
            write!(formatter, "\n  because: {cause}")?;
        }
        if let Some(fix) = &self.fix {
            write!(formatter, "\n  fix: {fix}")?;
        }
        Ok(())
    }
}

impl From<CallDaemonError> for Failure {
    fn from(error: CallDaemonError) -> Self {
        if let Some(refusal) = error.refusal() {
            let failure = Self::found(refusal);
            return if refusal.fix.is_empty() {
                failure
            } else {
                failure.fix(&refusal.fix)
            };
        }
        match &error {
            CallDaemonError::Connect { source, .. } => {
                let fix = if source.kind() == std::io::ErrorKind::PermissionDenied {
                    "ask to be added to the daemon's group, or run as root"
                } else {
                    "start it with `casemated`, or name its socket with --socket"
                };
                Self::of(Exit::Unclear, &error).fix(fix)
            }
            CallDaemonError::Transport(_) | CallDaemonError::Unfinished { .. } => {
                Self::of(Exit::Unclear, &error).fix("look at the daemon's log, then ask again")
            }
            CallDaemonError::Request { .. }
            | CallDaemonError::Body(_)
            | CallDaemonError::Refused(_)
            | CallDaemonError::Unexpected { .. }
            | CallDaemonError::TooLong { .. } => Self::of(Exit::Ours, &error)
                .fix("`casemate` and `casemated` may be of different versions"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read `a`")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn a_failure_prints_each_cause_once_and_the_fix() {
        let failure =
            Failure::of(Exit::Ours, &Outer(std::io::Error::other("disk is gone"))).fix("buy one");
        assert_eq!(
            failure.to_string(),
            "cannot read `a`\n  because: disk is gone\n  fix: buy one"
        );
    }
}
