//! Seccomp: a process gives up system calls for good.
//!
//! A [`Filter`] is a list of rules and an action for the rest. It knows the native architecture
//! only; calls by any other entry (32-bit, x32) kill the process, whatever the rules say. Filters
//! add up: the strictest answer of all that are installed counts.

use std::io;

mod assemble;
mod names;
#[cfg(test)]
mod tests;

pub use assemble::Instruction;
pub use names::{name, number};

/// What happens to a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is done.
    Allow,
    /// It is done, and the kernel's audit log says so.
    Log,
    /// It fails with this error number.
    Fail(u16),
    /// The whole process is killed.
    Kill,
}

/// A comparison of one argument of a system call, as an unsigned 64-bit value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Which argument, 0 to 5.
    pub argument: u8,
    /// The bits that are looked at.
    pub mask: u64,
    /// What those bits must be.
    pub value: u64,
}

impl Condition {
    /// The argument is exactly `value`, all 64 bits.
    #[must_use]
    pub const fn equal(argument: u8, value: u64) -> Self {
        Self {
            argument,
            mask: u64::MAX,
            value,
        }
    }

    /// The lower half of the argument is `value`; for arguments that the kernel takes as an `int`.
    #[must_use]
    pub const fn equal_int(argument: u8, value: u32) -> Self {
        Self {
            argument,
            mask: 0xffff_ffff,
            value: value as u64,
        }
    }

    /// The bits of `mask` are `value`.
    #[must_use]
    pub const fn masked(argument: u8, mask: u64, value: u64) -> Self {
        Self {
            argument,
            mask,
            value,
        }
    }
}

/// What to do with one system call, if all conditions hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The number of the call; see [`number`].
    pub call: u32,
    /// All must hold; none always does.
    pub conditions: Vec<Condition>,
    /// What happens then.
    pub action: Action,
}

/// Rules, tried in order for each call, and an action for what none of them matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    otherwise: Action,
    rules: Vec<Rule>,
}

/// Why a filter was not made or installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallFilterError {
    /// No such system call on this architecture.
    #[error("`{0}` is not a system call of this architecture")]
    UnknownCall(String),
    /// More instructions than the kernel takes.
    #[error("the filter has {0} instructions, the kernel takes 4096")]
    TooLong(usize),
    /// One call has too many rules for a jump to pass over.
    #[error("system call {0} has too many rules")]
    TooManyRules(u32),
    /// The kernel refused it.
    #[error("the kernel refused the filter")]
    Refused(#[source] io::Error),
}

impl Filter {
    /// A filter that does `otherwise` with every call, until rules say more.
    #[must_use]
    pub const fn new(otherwise: Action) -> Self {
        Self {
            otherwise,
            rules: Vec::new(),
        }
    }

    /// Adds a rule for the call of this name.
    ///
    /// # Errors
    /// When the architecture has no such call.
    pub fn rule(
        mut self,
        call: &str,
        conditions: &[Condition],
        action: Action,
    ) -> Result<Self, InstallFilterError> {
        let call = number(call).ok_or_else(|| InstallFilterError::UnknownCall(call.to_owned()))?;
        self.rules.push(Rule {
            call,
            conditions: conditions.to_vec(),
            action,
        });
        Ok(self)
    }

    /// Adds a rule without conditions for each call of these names, where the architecture has it.
    #[must_use]
    pub fn rules<'names>(
        mut self,
        calls: impl IntoIterator<Item = &'names str>,
        action: Action,
    ) -> Self {
        let known = calls.into_iter().filter_map(number);
        self.rules.extend(known.map(|call| Rule {
            call,
            conditions: Vec::new(),
            action,
        }));
        self
    }

    /// The program that the kernel runs for each call.
    ///
    /// # Errors
    /// When it is too long.
    pub fn assemble(&self) -> Result<Vec<Instruction>, InstallFilterError> {
        assemble::assemble(self.otherwise, &self.rules)
    }

    /// Installs the filter for every thread of this process, for good; sets `no_new_privs` first.
    ///
    /// # Errors
    /// When it is too long or the kernel refuses it.
    pub fn install(&self) -> Result<(), InstallFilterError> {
        let program = self.assemble()?;
        let length =
            u16::try_from(program.len()).map_err(|_| InstallFilterError::TooLong(program.len()))?;
        crate::process::forbid_new_privileges().map_err(InstallFilterError::Refused)?;
        let instructions: Vec<libc::sock_filter> = program
            .iter()
            .map(|instruction| libc::sock_filter {
                code: instruction.code,
                jt: instruction.then_skip,
                jf: instruction.else_skip,
                k: instruction.operand,
            })
            .collect();
        let program = libc::sock_fprog {
            len: length,
            filter: instructions.as_ptr().cast_mut(),
        };
        // SAFETY: the program points to `len` instructions that outlive the call; the kernel copies
        // them and writes nothing.
        let status = unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                libc::SECCOMP_FILTER_FLAG_TSYNC,
                &raw const program,
            )
        };
        match status {
            0 => Ok(()),
            thread if thread > 0 => {
                let reason = format!("thread {thread} has other filters");
                Err(InstallFilterError::Refused(io::Error::other(reason)))
            }
            _ => Err(InstallFilterError::Refused(io::Error::last_os_error())),
        }
    }
}
