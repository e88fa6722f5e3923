//! What stays open in our own sandbox, and why: printed with every report, never left to be found.
//!
//! The list is short on purpose. A check that is open and not on it is a finding; a check on it that is
//! blocked is a pleasant surprise and is reported as blocked.

/// A check that is expected to be open, with the reason and what limits the harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ExpectedOpen {
    /// The check.
    pub check: &'static str,
    /// Why it is left open.
    pub reason: &'static str,
    /// What keeps it from mattering much.
    pub limited_by: &'static str,
}

/// The whole list.
pub const EXPECTED_OPEN: &[ExpectedOpen] = &[
    ExpectedOpen {
        check: "EG-31",
        reason: "model servers read /proc/meminfo, /proc/stat and the load to size their pools, and the kernel shows the host's numbers there",
        limited_by: "two stages that agree on it reach a few bits per second; no stage has a way to pass them on outside",
    },
    ExpectedOpen {
        check: "ME-03",
        reason: "processes of one stage run as one user, and no call filter sees reads of /proc/PID/mem",
        limited_by: "one stage is one trust domain: its own id range, process namespace and no other stage's processes",
    },
    ExpectedOpen {
        check: "ME-04",
        reason: "the same: a process may look at others of its own user in /proc",
        limited_by: "no key, ticket or token is ever in a stage's variables, arguments or files",
    },
    ExpectedOpen {
        check: "PX-04",
        reason: "compilers in model servers (Triton, torch.compile, LuaJIT, CUDA) write machine code and then run it",
        limited_by: "injected code has the same walls around it as the server",
    },
    ExpectedOpen {
        check: "PX-05",
        reason: "the image, or the host directories that the operator chose, bring their interpreters with them",
        limited_by: "no new program can be brought in: nothing writable is executable, and memory files are not either",
    },
    ExpectedOpen {
        check: "LA-14",
        reason: "mincore() and preadv2() without waiting tell cached pages apart, and allocators and asynchronous readers use the calls",
        limited_by: "a view belongs to one stage, so that there is no neighbour's reading to observe in it",
    },
];

/// The entry for a check, if it is expected to be open.
#[must_use]
pub fn expected_open(check: &str) -> Option<&'static ExpectedOpen> {
    EXPECTED_OPEN
        .iter()
        .find(|expected| expected.check == check)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_short_argued_and_names_real_checks() {
        assert!(EXPECTED_OPEN.len() <= 8);
        for expected in EXPECTED_OPEN {
            assert!(
                crate::check::all().any(|check| check.id == expected.check),
                "{}",
                expected.check
            );
            assert!(expected.reason.len() > 40 && expected.limited_by.len() > 40);
        }
    }
}
