//! Memory that others cannot read, and memory files that nobody can change.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::slice;

use rustix::fs::{MemfdFlags, SealFlags};

/// A memory file holding `content`, positioned at its start, that nobody can write, grow, shrink or
/// unseal again.
///
/// # Errors
/// When `name` has a zero byte, or the kernel refuses the file, the content or the seals.
pub fn sealed_file(name: &str, content: &[u8]) -> io::Result<OwnedFd> {
    let name = CString::new(name)?;
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let descriptor = match rustix::fs::memfd_create(&name, flags | MemfdFlags::NOEXEC_SEAL) {
        // Kernels before 6.3 do not know the flag.
        Err(rustix::io::Errno::INVAL) => rustix::fs::memfd_create(&name, flags)?,
        other => other?,
    };
    let mut file = File::from(descriptor);
    file.write_all(content)?;
    file.rewind()?;
    rustix::fs::fcntl_add_seals(&file, all_seals())?;
    Ok(file.into())
}

/// Whether `file` is a memory file that cannot be changed any more.
pub fn is_sealed(file: impl AsFd) -> bool {
    rustix::fs::fcntl_get_seals(file).is_ok_and(|seals| seals.contains(all_seals()))
}

/// Reads at most `limit` bytes from the start of a sealed file; longer ones are refused.
///
/// # Errors
/// When the file is not sealed, is longer than `limit`, or cannot be read.
pub fn read_sealed(file: OwnedFd, limit: u64) -> io::Result<Vec<u8>> {
    if !is_sealed(&file) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the memory file is not sealed",
        ));
    }
    let mut file = File::from(file);
    file.rewind()?;
    let mut content = Vec::new();
    (&file)
        .take(limit.saturating_add(1))
        .read_to_end(&mut content)?;
    if u64::try_from(content.len()).is_ok_and(|length| length <= limit) {
        Ok(content)
    } else {
        Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "the memory file is too long",
        ))
    }
}

fn all_seals() -> SealFlags {
    SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE
}

/// Forbids core dumps of this process, and reading its memory or descriptors through `/proc` or by
/// tracing, to everybody without privilege. An execution undoes it.
///
/// # Errors
/// When the kernel refuses.
pub fn forbid_dumps() -> io::Result<()> {
    // SAFETY: PR_SET_DUMPABLE takes a number and no memory; unused arguments are zero.
    let status = unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0_u64, 0_u64, 0_u64, 0_u64) };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    let none = rustix::process::Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    rustix::process::setrlimit(rustix::process::Resource::Core, none)?;
    Ok(())
}

/// Keeps every page of this process, present and future, out of swap. Pages are locked when they are
/// first touched, so that address space that is never used costs no memory.
///
/// # Errors
/// When the limit on locked memory is too low.
pub fn lock_all() -> io::Result<()> {
    // SAFETY: mlockall takes flags and no memory of ours.
    let status =
        unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT) };
    if status == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Bytes that are never swapped, never in a core dump, not inherited by a child, wiped on drop.
pub struct LockedBuffer {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the mapping is owned by this value alone and reached only through borrows of it.
unsafe impl Send for LockedBuffer {}
// SAFETY: shared borrows only read.
unsafe impl Sync for LockedBuffer {}

impl LockedBuffer {
    /// A zeroed buffer of `length` bytes.
    ///
    /// # Errors
    /// When `length` is zero, memory is short, or the limit on locked memory is too low.
    pub fn new(length: usize) -> io::Result<Self> {
        // SAFETY: a new private anonymous mapping, which overlaps nothing; zero length is refused by
        // the kernel.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(address.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let buffer = Self { start, length };
        // SAFETY: the range is the mapping that `buffer` owns.
        if unsafe { libc::mlock(address, length) } != 0 {
            return Err(io::Error::last_os_error());
        }
        for advice in [libc::MADV_DONTDUMP, libc::MADV_DONTFORK] {
            // SAFETY: the range is the mapping that `buffer` owns; neither advice changes content.
            if unsafe { libc::madvise(address, length, advice) } != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(buffer)
    }
}

impl Deref for LockedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the mapping has `length` readable, initialised bytes and lives as long as `self`.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

impl DerefMut for LockedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, writable, and `self` is borrowed exclusively.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }
}

impl Drop for LockedBuffer {
    fn drop(&mut self) {
        // SAFETY: explicit_bzero writes exactly the bytes of the mapping that `self` owns, and is
        // never optimised away.
        unsafe { libc::explicit_bzero(self.start.as_ptr().cast(), self.length) };
        // SAFETY: the range is the whole mapping and no borrow of it outlives `self`.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

impl std::fmt::Debug for LockedBuffer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "LockedBuffer({} bytes, redacted)", self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_file_can_be_read_and_not_changed() {
        let file = sealed_file("plan", b"content").unwrap();
        assert!(is_sealed(&file));
        let copy = file.try_clone().unwrap();
        assert!(File::from(copy).write_all(b"other").is_err());
        assert_eq!(read_sealed(file, 7).unwrap(), b"content");
    }

    #[test]
    fn a_sealed_file_longer_than_expected_is_refused() {
        let file = sealed_file("plan", b"content").unwrap();
        assert_eq!(
            read_sealed(file, 6).unwrap_err().kind(),
            io::ErrorKind::FileTooLarge
        );
    }

    #[test]
    fn an_ordinary_file_is_not_taken_for_a_sealed_one() {
        let file = tempfile::tempfile().unwrap();
        assert!(read_sealed(file.into(), 10).is_err());
    }

    #[test]
    fn a_locked_buffer_holds_what_is_written_and_prints_nothing_of_it() {
        let mut buffer = LockedBuffer::new(32).unwrap();
        buffer.copy_from_slice(&[7; 32]);
        assert_eq!(&buffer[..], &[7; 32]);
        assert_eq!(format!("{buffer:?}"), "LockedBuffer(32 bytes, redacted)");
    }
}
