//! What a program used up, as the kernel counts it when the program ends.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ExitStatus};

/// How a program ended and what it took.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// How it ended.
    pub status: ExitStatus,
    /// The most memory, in bytes, that it or one of the processes it waited for had resident.
    pub peak: u64,
}

/// Waits for `child` and takes its usage.
///
/// # Errors
/// When the process is not ours to wait for any more.
pub fn wait(child: Child) -> io::Result<Usage> {
    let pid = libc::pid_t::try_from(child.id()).map_err(io::Error::other)?;
    let mut status = 0;
    // SAFETY: `rusage` is a plain structure of numbers, for which all zeros is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: both places are ours and valid for the length of the call; the process was not waited for, since
        // `child` is owned here and waiting takes it.
        let waited = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) };
        if waited == pid {
            break;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    drop(child);
    Ok(Usage {
        status: ExitStatus::from_raw(status),
        peak: u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024,
    })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::wait;

    #[test]
    fn a_program_that_ends_tells_how_and_what_it_took() {
        let child = Command::new("/bin/sh")
            .args(["-c", "exit 3"])
            .spawn()
            .unwrap();
        let usage = wait(child).unwrap();
        assert_eq!(usage.status.code(), Some(3));
        assert!(
            usage.peak > 64 << 10,
            "a shell takes more than {} bytes",
            usage.peak
        );
    }
}
