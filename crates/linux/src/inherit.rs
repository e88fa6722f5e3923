//! Takes over the descriptors that whoever started this process left open under agreed numbers.

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};

/// Takes over the descriptor `number`, once.
///
/// What a process opens itself is marked close-on-exec, by everything in this project and by the
/// standard library; what it was given cannot be, or it would not be here. So only an unmarked
/// descriptor is taken, and it is marked then: nothing is ever owned twice.
///
/// # Errors
/// `NotFound` when there is no such descriptor; `PermissionDenied` when it was not inherited, was
/// taken before, or is one of the three standard streams.
pub fn take(number: i32) -> io::Result<OwnedFd> {
    if number < 3 {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    // SAFETY: F_GETFD takes no further argument and touches no memory of ours.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    if flags < 0 {
        return Err(io::ErrorKind::NotFound.into());
    }
    if flags & libc::FD_CLOEXEC != 0 {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    // SAFETY: F_SETFD takes an `int` and touches no memory of ours.
    let marked = unsafe { libc::fcntl(number, libc::F_SETFD, flags | libc::FD_CLOEXEC) };
    if marked < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open, and as it was not marked close-on-exec, nothing in this
    // process owns it; from now on it is marked, so that it cannot be taken again.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;

    use super::*;

    #[test]
    fn what_this_process_opened_itself_cannot_be_taken() {
        let own = std::fs::File::open("/dev/null").unwrap();
        let refused = take(own.as_raw_fd()).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(take(1).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(take(100_000).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
