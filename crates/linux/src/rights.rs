//! Work done with somebody else's rights to files.
//!
//! Rights belong to threads: the work runs on a thread of its own, which takes the user's identity
//! for files, gives up every capability and ends with the work. It stays uid 0 otherwise, so that the
//! user can neither signal nor trace it.

use std::io;
use std::thread;

use crate::capability;

/// Whose rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The user.
    pub uid: u32,
    /// The primary group.
    pub gid: u32,
    /// All other groups.
    pub groups: Vec<u32>,
}

/// Runs `work` where the kernel checks every path as if `user` used it.
///
/// # Errors
/// When privilege is missing to take the user's identity; `work` has not run then.
pub fn with_rights_of<T: Send>(user: &User, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        thread::Builder::new()
            .name("rights".to_owned())
            .spawn_scoped(scope, || {
                take(user)?;
                Ok(work())
            })?
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
    })
}

/// Takes the identity of `user` for files, on this thread only, and gives up all capabilities.
fn take(user: &User) -> io::Result<()> {
    // SAFETY: PR_GET_DUMPABLE takes no memory; unused arguments are zero.
    let dumpable = unsafe { libc::prctl(libc::PR_GET_DUMPABLE, 0_u64, 0_u64, 0_u64, 0_u64) };
    // By number: the library's function changes the groups of every thread.
    // SAFETY: the kernel reads `len` groups from memory that outlives the call.
    let status =
        unsafe { libc::syscall(libc::SYS_setgroups, user.groups.len(), user.groups.as_ptr()) };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    // These calls answer what held before and never fail: an impossible number asks what holds.
    // SAFETY: a number and no memory; this thread only. The same holds for the next three.
    unsafe { libc::setfsgid(user.gid) };
    // SAFETY: as above.
    unsafe { libc::setfsuid(user.uid) };
    // SAFETY: as above.
    let gid = unsafe { libc::setfsgid(u32::MAX) };
    // SAFETY: as above.
    let uid = unsafe { libc::setfsuid(u32::MAX) };
    if u32::try_from(gid) != Ok(user.gid) || u32::try_from(uid) != Ok(user.uid) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    // A new identity sets whether the process can be dumped back to the system's default.
    if dumpable == 0 {
        // SAFETY: PR_SET_DUMPABLE takes a number and no memory; unused arguments are zero.
        let status = unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0_u64, 0_u64, 0_u64, 0_u64) };
        if status != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    capability::drop_others()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, chown};

    use super::*;

    const STRANGER: u32 = 54_321;

    fn user(groups: &[u32]) -> User {
        User {
            uid: STRANGER,
            gid: STRANGER,
            groups: groups.to_vec(),
        }
    }

    fn is_root() -> bool {
        let root = rustix::process::geteuid().is_root();
        if !root {
            println!("skipped: needs root");
        }
        root
    }

    #[test]
    fn a_file_of_root_is_closed_to_work_with_the_rights_of_a_user_and_stays_open_to_us() {
        if !is_root() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        let path = directory.path().join("secret");
        fs::write(&path, "secret").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        let open = || File::open(&path).map(drop).map_err(|error| error.kind());
        let refused = with_rights_of(&user(&[]), open).unwrap();
        assert_eq!(refused, Err(io::ErrorKind::PermissionDenied));
        // Nothing of the other identity stays in this process.
        assert_eq!(open(), Ok(()));
        // Its own file, and one of a group that it is in.
        chown(&path, Some(STRANGER), None).unwrap();
        assert_eq!(with_rights_of(&user(&[]), open).unwrap(), Ok(()));
        chown(&path, Some(0), Some(77)).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        assert!(with_rights_of(&user(&[]), open).unwrap().is_err());
        assert_eq!(with_rights_of(&user(&[77]), open).unwrap(), Ok(()));
    }

    #[test]
    fn work_with_the_rights_of_a_user_has_no_capability_left() {
        if !is_root() {
            return;
        }
        let status = with_rights_of(&user(&[]), || {
            fs::read_to_string("/proc/thread-self/status")
        })
        .unwrap();
        let status = status.unwrap();
        for set in ["CapEff:", "CapPrm:", "CapInh:", "CapAmb:"] {
            let line = status.lines().find(|line| line.starts_with(set)).unwrap();
            assert!(line.ends_with("\t0000000000000000"), "{line}");
        }
    }
}
