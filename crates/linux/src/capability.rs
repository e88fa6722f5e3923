//! Capabilities: giving all of them up, and seeing what is left.

use std::io;

/// The capability sets of a process, as bit masks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Kept over an execution by programs that ask for them.
    pub inheritable: u64,
    /// What the process may make effective.
    pub permitted: u64,
    /// What is checked.
    pub effective: u64,
    /// What can ever be gained by executing.
    pub bounding: u64,
    /// Kept over any execution.
    pub ambient: u64,
}

impl Capabilities {
    /// All sets together: zero only when there is nothing left and nothing to gain.
    #[must_use]
    pub const fn union(&self) -> u64 {
        self.inheritable | self.permitted | self.effective | self.bounding | self.ambient
    }
}

/// Gives up every capability of the calling thread, in every set, for good.
///
/// Emptying the bounding set needs `CAP_SETPCAP`; a thread without it keeps a bounding set that
/// `no_new_privs` makes useless.
///
/// # Errors
/// When the kernel refuses to empty a set.
pub fn drop_all() -> io::Result<()> {
    drop_bounding()?;
    drop_others()
}

/// Empties the bounding set. Async-signal-safe.
pub(crate) fn drop_bounding() -> io::Result<()> {
    for capability in 0..64_u64 {
        // SAFETY: PR_CAPBSET_DROP takes a number and no memory; unused arguments are zero.
        let status = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0_u64, 0_u64, 0_u64) };
        if status == 0 {
            continue;
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            // Past the last capability of this kernel.
            Some(libc::EINVAL) => break,
            Some(libc::EPERM) => break,
            _ => return Err(error),
        }
    }
    Ok(())
}

/// Empties the ambient, inheritable, permitted and effective sets. Async-signal-safe.
pub(crate) fn drop_others() -> io::Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    #[repr(C)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    // SAFETY: PR_CAP_AMBIENT_CLEAR_ALL takes no memory; unused arguments are zero.
    let status = unsafe {
        libc::prctl(
            libc::PR_CAP_AMBIENT,
            libc::PR_CAP_AMBIENT_CLEAR_ALL,
            0_u64,
            0_u64,
            0_u64,
        )
    };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    let header = Header {
        version: VERSION_3,
        pid: 0,
    };
    let empty = || Data {
        effective: 0,
        permitted: 0,
        inheritable: 0,
    };
    let data = [empty(), empty()];
    // SAFETY: version 3 reads one header and two data elements, and both outlive the call.
    let status = unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) };
    if status == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

const VERSION_3: u32 = 0x2008_0522;
