//! Namespaces: leaving the shared ones, making and naming network namespaces, telling them apart.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::Path;
use std::thread;

use crate::{mount, socket};

/// A kind of namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// What `/sys/fs/cgroup` and `/proc/self/cgroup` show.
    Cgroup,
    /// System V and POSIX message queues, semaphores, shared memory.
    Ipc,
    /// The mount tree.
    Mount,
    /// Interfaces, routes, ports, abstract sockets.
    Network,
    /// Process ids.
    Pid,
    /// User ids and capabilities.
    User,
    /// Host and domain name.
    Uts,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Cgroup,
        Self::Ipc,
        Self::Mount,
        Self::Network,
        Self::Pid,
        Self::User,
        Self::Uts,
    ];

    /// The name under `/proc/<pid>/ns`.
    #[must_use]
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Cgroup => "cgroup",
            Self::Ipc => "ipc",
            Self::Mount => "mnt",
            Self::Network => "net",
            Self::Pid => "pid",
            Self::User => "user",
            Self::Uts => "uts",
        }
    }

    pub(crate) const fn clone_flag(self) -> i32 {
        match self {
            Self::Cgroup => libc::CLONE_NEWCGROUP,
            Self::Ipc => libc::CLONE_NEWIPC,
            Self::Mount => libc::CLONE_NEWNS,
            Self::Network => libc::CLONE_NEWNET,
            Self::Pid => libc::CLONE_NEWPID,
            Self::User => libc::CLONE_NEWUSER,
            Self::Uts => libc::CLONE_NEWUTS,
        }
    }
}

/// Puts the calling thread into new namespaces. For a mount namespace, see [`isolate_mounts`].
///
/// # Errors
/// When privilege is missing, or a user or mount namespace is asked for by one of several threads.
pub fn unshare(kinds: &[Kind]) -> io::Result<()> {
    let flags = kinds
        .iter()
        .fold(0, |flags, kind| flags | kind.clone_flag());
    // SAFETY: unshare takes flags and no memory. Namespace flags do not separate memory,
    // descriptors or signal handlers, so nothing that Rust relies on changes.
    let status = unsafe { libc::unshare(flags) };
    if status == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Leaves the host's mount tree: from here on, mounts made by this thread and its later children
/// are seen by nobody else, and mounts made elsewhere are not seen here.
///
/// Call it before other threads are started; they keep the tree in which they were made.
///
/// # Errors
/// When privilege is missing.
pub fn isolate_mounts() -> io::Result<()> {
    unshare(&[Kind::Mount])?;
    mount::make_private(Path::new("/"))
}

/// Moves the calling thread into the namespace behind `descriptor`, if it is of that kind.
///
/// # Errors
/// When privilege is missing or the descriptor is of another kind.
pub fn enter(descriptor: impl AsFd, kind: Kind) -> io::Result<()> {
    let descriptor = descriptor.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open for the length of the call; no memory is passed.
    let status = unsafe { libc::setns(descriptor, kind.clone_flag()) };
    if status == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Makes a network namespace with nothing but `lo`, up, and names it by a mount at `path`.
///
/// Returns its inode number.
///
/// # Errors
/// When `path` exists, or privilege is missing. Nothing is left behind.
pub fn create_network(path: &Path) -> io::Result<u64> {
    OpenOptions::new().write(true).create_new(true).open(path)?;
    let target = path.to_owned();
    let made = on_own_thread(move || {
        unshare(&[Kind::Network])?;
        socket::raise_loopback()?;
        let own = Path::new("/proc/thread-self/ns/net");
        mount::bind(own, &target, mount::Flags::NONE)?;
        inode_of(File::open(&target)?)
    });
    if made.is_err() {
        remove_network(path)?;
    }
    made
}

/// Takes the name of a network namespace away; it ends with its last process.
///
/// # Errors
/// When the mount or the file under it cannot be removed. A `path` that is not there is no error.
pub fn remove_network(path: &Path) -> io::Result<()> {
    loop {
        match mount::unmount(path) {
            Ok(()) => {}
            // Not a mount point (any more), or not there.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => break,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    std::fs::remove_file(path)
}

/// Opens a named network namespace, to enter it or to start a process in it.
///
/// # Errors
/// When there is none at `path`.
pub fn open_network(path: &Path) -> io::Result<OwnedFd> {
    let file = File::open(path)?;
    if rustix::fs::fstatfs(&file)?.f_type != NSFS_MAGIC {
        let reason = format!("`{}` is not a namespace", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    }
    Ok(file.into())
}

/// Runs `work` on a thread of its own inside the network namespace and returns what it made:
/// a socket belongs for ever to the namespace in which it was created.
///
/// # Errors
/// When the namespace cannot be entered, or as `work`.
pub fn in_network<T: Send + 'static>(
    network: OwnedFd,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    on_own_thread(move || {
        enter(&network, Kind::Network)?;
        work()
    })
}

fn on_own_thread<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    thread::Builder::new()
        .name("namespace".to_owned())
        .spawn(work)?
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the namespace thread panicked")))
}

/// The inode number of a namespace of this process (`self`) or another one.
///
/// # Errors
/// When the process is gone or may not be looked at.
pub fn inode(process: &str, kind: Kind) -> io::Result<u64> {
    // The link names it without opening it, which needs less privilege: `net:[4026531840]`.
    let link = std::fs::read_link(format!("/proc/{process}/ns/{}", kind.file_name()))?;
    let text = link.to_string_lossy();
    let number = text
        .split_once(":[")
        .and_then(|(_, rest)| rest.strip_suffix(']'));
    number
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, text.into_owned()))
}

/// The inode number of the namespace behind a descriptor.
///
/// # Errors
/// When the descriptor cannot be looked at.
pub fn inode_of(descriptor: impl AsFd) -> io::Result<u64> {
    Ok(rustix::fs::fstat(descriptor)?.st_ino)
}

/// From now on a memory file made by any process of the pid namespace of `process` cannot be
/// executed unless its maker asks for it (a seccomp filter can refuse that question).
///
/// # Errors
/// When privilege is missing, the process is gone, or the kernel is older than 6.3.
pub fn forbid_memory_file_execution(process: i32) -> io::Result<()> {
    let namespace = File::open(format!("/proc/{process}/ns/pid"))?;
    let setting = OpenOptions::new()
        .write(true)
        .open("/proc/sys/vm/memfd_noexec")?;
    // The setting is that of the writer's own pid namespace, and entering one moves only children.
    on_own_thread(move || {
        enter(&namespace, Kind::Pid)?;
        crate::process::write_in_child(&setting, b"1")
    })
}

const NSFS_MAGIC: rustix::fs::FsWord = 0x6e73_6673;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inode_of_the_own_namespace_is_the_one_behind_its_file() {
        let file = File::open("/proc/self/ns/net").unwrap();
        assert_eq!(
            inode("self", Kind::Network).unwrap(),
            inode_of(&file).unwrap()
        );
    }

    #[test]
    fn an_ordinary_file_is_not_opened_as_a_network_namespace() {
        assert!(open_network(Path::new("/proc/self/status")).is_err());
    }

    #[test]
    fn a_made_network_has_only_its_loopback_and_goes_away() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root");
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        // Mounts of a test stay in the test's own thread.
        let path = directory.path().join("network");
        let names = on_own_thread(move || {
            isolate_mounts()?;
            let inode = create_network(&path)?;
            let network = open_network(&path)?;
            assert_eq!(inode, inode_of(&network)?);
            let names = in_network(network, || {
                std::net::TcpListener::bind("127.0.0.1:0")?;
                crate::proc::interfaces("thread-self")
            })?;
            remove_network(&path)?;
            assert!(!path.exists());
            remove_network(&path)?;
            Ok(names)
        });
        assert_eq!(names.unwrap(), ["lo"]);
    }
}
