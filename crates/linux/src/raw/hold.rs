//! Objects that are kept alive so that others may try to reach them: memory of a process, a System V
//! segment, a message queue. Each goes away when its value is dropped.
//!
//! The kernel keeps segments and queues when the process that made them is killed, and counts them
//! against its user until no more can be made. So the process of [`HeldMemory`] removes those that it was
//! told of when its starter is gone, however that came about.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use rustix::pipe::{PipeFlags, pipe_with};

/// A process that does nothing but keep bytes in its memory.
#[derive(Debug)]
pub struct HeldMemory {
    pid: libc::pid_t,
    address: u64,
    length: usize,
    // The process ends when this end of the pipe closes, even if we are killed.
    _leash: OwnedFd,
}

impl HeldMemory {
    /// Forks a process named `name` (15 bytes are kept) with `bytes` in its memory. It holds no descriptor
    /// of ours, and removes `segment` and `queue` if we end without dropping them.
    ///
    /// # Errors
    /// When there is no memory, pipe or process to be had.
    pub fn start(
        name: &str,
        bytes: &[u8],
        segment: Option<&HeldSegment>,
        queue: Option<&HeldQueue>,
    ) -> io::Result<Self> {
        let name = CString::new(name)?;
        let (wait_end, leash) = pipe_with(PipeFlags::CLOEXEC)?;
        let length = bytes.len().max(1);
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches nothing of ours.
        let place = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if place == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `place` is a fresh mapping of at least `bytes.len()` bytes and overlaps nothing.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), place.cast::<u8>(), bytes.len()) };
        // SAFETY: the child calls only async-signal-safe functions and leaves by `_exit`.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            keep_still(&name, wait_end.as_raw_fd(), segment, queue);
        }
        let forked = if pid > 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        };
        // SAFETY: `place` is ours alone and not used after this; the child has its own copy.
        unsafe { libc::munmap(place, length) };
        forked?;
        Ok(Self {
            pid,
            address: place as u64,
            length,
            _leash: leash,
        })
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.unsigned_abs()
    }

    /// Where the bytes lie in that process.
    #[must_use]
    pub const fn address(&self) -> u64 {
        self.address
    }

    /// How many bytes there are.
    #[must_use]
    pub const fn length(&self) -> usize {
        self.length
    }
}

impl Drop for HeldMemory {
    fn drop(&mut self) {
        // SAFETY: kill reads no memory; the process was not waited for, so the number is still its own.
        unsafe { libc::kill(self.pid, libc::SIGKILL) };
        let mut status = 0;
        // SAFETY: `status` is a valid place for one int for the length of the call.
        unsafe { libc::waitpid(self.pid, &raw mut status, 0) };
    }
}

/// Only async-signal-safe calls: other threads of ours may have held locks at the fork.
fn keep_still(
    name: &CString,
    wait_end: i32,
    segment: Option<&HeldSegment>,
    queue: Option<&HeldQueue>,
) -> ! {
    close_all_but(wait_end);
    // What ends the starter's group (a terminal's Ctrl-C, a supervisor) must not end this before it tidied.
    // SAFETY: setsid takes no argument; a failure leaves the group as it was.
    unsafe { libc::setsid() };
    // SAFETY: PR_SET_NAME reads a text with its ending zero, which `name` is.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr(), 0, 0, 0) };
    let mut byte = 0_u8;
    loop {
        // SAFETY: one byte is read into a place for one byte.
        let count = unsafe { libc::read(wait_end, (&raw mut byte).cast(), 1) };
        if count == 0 {
            if let Some(segment) = segment {
                segment.remove();
            }
            if let Some(queue) = queue {
                queue.remove();
            }
            // SAFETY: `_exit` ends the process and touches no memory of ours.
            unsafe { libc::_exit(0) };
        }
    }
}

/// Sockets of a starter that was killed must not stay open here, nor the leash of another such process.
fn close_all_but(kept: i32) {
    let kept = kept.unsigned_abs();
    if kept > 0 {
        // SAFETY: close_range reads no memory; nothing of this process uses the descriptors.
        unsafe { libc::syscall(libc::SYS_close_range, 0, kept - 1, 0) };
    }
    // SAFETY: as above.
    unsafe { libc::syscall(libc::SYS_close_range, kept + 1, u32::MAX, 0) };
}

/// A System V shared memory segment with a key.
#[derive(Debug)]
pub struct HeldSegment {
    id: i32,
    key: i32,
}

impl HeldSegment {
    /// Makes a segment of one page under `key`, for the owner only.
    ///
    /// # Errors
    /// When the key is taken or there is no memory.
    pub fn make(key: i32) -> io::Result<Self> {
        // SAFETY: shmget reads no memory.
        let id = unsafe { libc::shmget(key, 4096, libc::IPC_CREAT | libc::IPC_EXCL | 0o666) };
        if id < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(Self { id, key })
        }
    }

    /// The key.
    #[must_use]
    pub const fn key(&self) -> i32 {
        self.key
    }

    fn remove(&self) {
        // SAFETY: IPC_RMID takes no buffer.
        unsafe { libc::shmctl(self.id, libc::IPC_RMID, std::ptr::null_mut()) };
    }
}

impl Drop for HeldSegment {
    fn drop(&mut self) {
        self.remove();
    }
}

/// A POSIX message queue with a name.
#[derive(Debug)]
pub struct HeldQueue {
    name: CString,
    _queue: OwnedFd,
}

impl HeldQueue {
    /// Makes a queue named `name`, which starts with a slash, for one message of one byte: the default size
    /// would use up a tenth of what all processes of this user may have.
    ///
    /// # Errors
    /// When the name is taken or the kernel has no queues.
    pub fn make(name: &str) -> io::Result<Self> {
        let name = CString::new(name)?;
        let flags = libc::O_CREAT | libc::O_EXCL | libc::O_RDONLY | libc::O_CLOEXEC;
        // SAFETY: a structure of integers may be all zero.
        let mut attributes: libc::mq_attr = unsafe { std::mem::zeroed() };
        attributes.mq_maxmsg = 1;
        attributes.mq_msgsize = 1;
        // SAFETY: the name ends with a zero; the attributes are valid for the length of the call.
        let queue = unsafe { libc::mq_open(name.as_ptr(), flags, 0o666, &raw const attributes) };
        if queue < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: on Linux a message queue is a descriptor, and this one is new and ours.
        let queue = unsafe { OwnedFd::from_raw_fd(queue) };
        Ok(Self {
            name,
            _queue: queue,
        })
    }

    /// The name, with its slash.
    #[must_use]
    pub fn name(&self) -> String {
        self.name.to_string_lossy().into_owned()
    }

    fn remove(&self) {
        // SAFETY: the name ends with a zero.
        unsafe { libc::mq_unlink(self.name.as_ptr()) };
    }
}

impl Drop for HeldQueue {
    fn drop(&mut self) {
        self.remove();
    }
}
