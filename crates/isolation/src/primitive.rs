//! The few calls that most checks share, made through a [`Child`] so that filters answer and not a library.

use std::ffi::CString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use casemate_linux::raw::{Argument, Child, Errno};

/// Relative to the working directory, as paths that start with a slash are not.
pub(crate) const HERE: i64 = libc::AT_FDCWD as i64;

/// A path for the kernel; one with a zero byte becomes a path that does not exist.
pub(crate) fn path(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}

pub(crate) fn open(child: &Child, at: &str, flags: i32) -> Result<i64, Errno> {
    let at = path(at);
    child.call(
        libc::SYS_openat,
        [
            HERE.into(),
            at.as_c_str().into(),
            (flags | libc::O_CLOEXEC).into(),
            0o600.into(),
        ],
    )
}

pub(crate) fn close(child: &Child, descriptor: i64) {
    let _closed = child.call(libc::SYS_close, [descriptor.into()]);
}

/// Opens for writing and closes at once: nothing is written, nothing is cut.
pub(crate) fn open_for_writing(child: &Child, at: &str) -> Result<i64, Errno> {
    let descriptor = open(
        child,
        at,
        libc::O_WRONLY | libc::O_NONBLOCK | libc::O_NOCTTY,
    )?;
    close(child, descriptor);
    Ok(0)
}

/// Whether `at` is a mask: the null device bound over something that is no device.
pub(crate) fn is_mask(at: &str) -> bool {
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
    at != "/dev/null"
        && std::fs::metadata(at)
            .is_ok_and(|found| found.file_type().is_char_device() && found.rdev() == NULL_DEVICE)
}

/// Character device 1:3.
pub(crate) const NULL_DEVICE: u64 = 0x103;

/// Whether file modes allow `mode`; Landlock does not see this call.
pub(crate) fn access(child: &Child, at: &str, mode: i32) -> Result<i64, Errno> {
    let at = path(at);
    child
        .call(
            libc::SYS_faccessat2,
            [
                HERE.into(),
                at.as_c_str().into(),
                mode.into(),
                libc::AT_EACCESS.into(),
            ],
        )
        .or_else(|_| {
            child.call(
                libc::SYS_faccessat,
                [HERE.into(), at.as_c_str().into(), mode.into()],
            )
        })
}

/// Up to `limit` bytes of a file.
pub(crate) fn read_file(child: &Child, at: &str, limit: usize) -> Result<Vec<u8>, Errno> {
    let descriptor = open(
        child,
        at,
        libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY,
    )?;
    let mut content = vec![0; limit];
    let mut filled = 0;
    let result = loop {
        let rest = content.get_mut(filled..).unwrap_or_default();
        let room = i64::try_from(rest.len()).unwrap_or(0);
        match child.call(
            libc::SYS_read,
            [descriptor.into(), rest.into(), room.into()],
        ) {
            Ok(0) => break Ok(()),
            Ok(count) => filled += usize::try_from(count).unwrap_or(0),
            Err(errno) => break Err(errno),
        }
    };
    close(child, descriptor);
    content.truncate(filled);
    result.map(|()| content)
}

pub(crate) fn mkdir(child: &Child, at: &str) -> Result<i64, Errno> {
    let at = path(at);
    child.call(
        libc::SYS_mkdirat,
        [HERE.into(), at.as_c_str().into(), 0o700.into()],
    )
}

pub(crate) fn unlink(child: &Child, at: &str) {
    let at = path(at);
    let _gone = child.call(
        libc::SYS_unlinkat,
        [HERE.into(), at.as_c_str().into(), 0.into()],
    );
}

pub(crate) fn rmdir(child: &Child, at: &str) {
    let at = path(at);
    let _gone = child.call(
        libc::SYS_unlinkat,
        [HERE.into(), at.as_c_str().into(), libc::AT_REMOVEDIR.into()],
    );
}

/// Makes a new file with `content` and mode 0700.
pub(crate) fn write_new(child: &Child, at: &str, content: &[u8]) -> Result<(), Errno> {
    let name = path(at);
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_CLOEXEC;
    let descriptor = child.call(
        libc::SYS_openat,
        [
            HERE.into(),
            name.as_c_str().into(),
            flags.into(),
            0o700.into(),
        ],
    )?;
    let written = write_all(child, descriptor, content);
    close(child, descriptor);
    written
}

pub(crate) fn write_all(child: &Child, descriptor: i64, content: &[u8]) -> Result<(), Errno> {
    let mut rest = content;
    while !rest.is_empty() {
        let count = child.call(
            libc::SYS_write,
            [descriptor.into(), rest.into(), length(rest).into()],
        )?;
        rest = rest
            .get(usize::try_from(count).unwrap_or(0)..)
            .unwrap_or_default();
    }
    Ok(())
}

pub(crate) fn length(bytes: &[u8]) -> i64 {
    i64::try_from(bytes.len()).unwrap_or(i64::MAX)
}

pub(crate) fn socket(child: &Child, domain: i32, kind: i32, protocol: i32) -> Result<i64, Errno> {
    child.call(
        libc::SYS_socket,
        [
            domain.into(),
            (kind | libc::SOCK_CLOEXEC).into(),
            protocol.into(),
        ],
    )
}

/// The same family with a type that no kernel has: only a filter refuses it with a denial.
pub(crate) fn socket_twin(child: &Child, domain: i32) -> Result<i64, Errno> {
    child.call(libc::SYS_socket, [domain.into(), 15.into(), 0.into()])
}

/// Bounds how long sending, connecting and receiving on `descriptor` may take.
pub(crate) fn set_patience(child: &Child, descriptor: i64, millis: i64) {
    let mut time = [0_u8; 16];
    let (seconds, micros) = time.split_at_mut(8);
    seconds.copy_from_slice(&(millis / 1_000).to_ne_bytes());
    micros.copy_from_slice(&((millis % 1_000) * 1_000).to_ne_bytes());
    for option in [libc::SO_SNDTIMEO, libc::SO_RCVTIMEO] {
        let _set = child.call(
            libc::SYS_setsockopt,
            [
                descriptor.into(),
                libc::SOL_SOCKET.into(),
                option.into(),
                time.as_slice().into(),
                16.into(),
            ],
        );
    }
}

/// The kernel's form of an address.
pub(crate) fn socket_address(address: SocketAddr) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(28);
    match address.ip() {
        IpAddr::V4(ip) => {
            bytes.extend(family(libc::AF_INET));
            bytes.extend(address.port().to_be_bytes());
            bytes.extend(ip.octets());
            bytes.extend([0; 8]);
        }
        IpAddr::V6(ip) => {
            bytes.extend(family(libc::AF_INET6));
            bytes.extend(address.port().to_be_bytes());
            bytes.extend([0; 4]);
            bytes.extend(ip.octets());
            bytes.extend([0; 4]);
        }
    }
    bytes
}

/// The kernel's form of a Unix address; an abstract name begins with a zero byte.
pub(crate) fn unix_address(name: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::from(family(libc::AF_UNIX));
    bytes.extend(name.iter().take(107));
    bytes
}

pub(crate) fn family(number: i32) -> [u8; 2] {
    u16::try_from(number).unwrap_or(0).to_ne_bytes()
}

pub(crate) fn domain(address: SocketAddr) -> i32 {
    if address.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    }
}

pub(crate) fn connect(child: &Child, descriptor: i64, address: &[u8]) -> Result<i64, Errno> {
    child.call(
        libc::SYS_connect,
        [descriptor.into(), address.into(), length(address).into()],
    )
}

pub(crate) fn send_to(
    child: &Child,
    descriptor: i64,
    bytes: &[u8],
    flags: i32,
    address: Option<&[u8]>,
) -> Result<i64, Errno> {
    let (address, size) = match address {
        Some(address) => (Argument::Bytes(address), length(address)),
        None => (Argument::Number(0), 0),
    };
    child.call(
        libc::SYS_sendto,
        [
            descriptor.into(),
            bytes.into(),
            length(bytes).into(),
            flags.into(),
            address,
            size.into(),
        ],
    )
}

/// What arrives on `descriptor` within its patience, up to 512 bytes.
pub(crate) fn receive(child: &Child, descriptor: i64) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0; 512];
    let count = child.call(
        libc::SYS_recvfrom,
        [
            descriptor.into(),
            buffer.as_mut_slice().into(),
            512.into(),
            0.into(),
            0.into(),
            0.into(),
        ],
    )?;
    buffer.truncate(usize::try_from(count).unwrap_or(0));
    Ok(buffer)
}

/// A TCP listener of this process on loopback, and where it is. It is not bound to a port, so that rules
/// about binding do not apply: listening picks one.
pub(crate) fn own_listener(child: &Child, version: i32) -> Result<(i64, SocketAddr), Errno> {
    let listener = socket(child, version, libc::SOCK_STREAM, 0)?;
    child.call(libc::SYS_listen, [listener.into(), 4.into()])?;
    let port = own_port(child, listener)?;
    let ip = if version == libc::AF_INET {
        IpAddr::V4(Ipv4Addr::LOCALHOST)
    } else {
        IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)
    };
    Ok((listener, SocketAddr::new(ip, port)))
}

/// A UDP socket of this process on loopback, and where it is.
pub(crate) fn own_receiver(child: &Child, version: i32) -> Result<(i64, SocketAddr), Errno> {
    let receiver = socket(child, version, libc::SOCK_DGRAM, 0)?;
    let ip = if version == libc::AF_INET {
        IpAddr::V4(Ipv4Addr::LOCALHOST)
    } else {
        IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)
    };
    let any = socket_address(SocketAddr::new(ip, 0));
    child.call(
        libc::SYS_bind,
        [receiver.into(), any.as_slice().into(), length(&any).into()],
    )?;
    Ok((receiver, SocketAddr::new(ip, own_port(child, receiver)?)))
}

fn own_port(child: &Child, descriptor: i64) -> Result<u16, Errno> {
    let mut name = [0_u8; 28];
    let mut size = 28_u32.to_ne_bytes();
    child.call(
        libc::SYS_getsockname,
        [
            descriptor.into(),
            name.as_mut_slice().into(),
            size.as_mut_slice().into(),
        ],
    )?;
    let [_, _, high, low, ..] = name;
    Ok(u16::from_be_bytes([high, low]))
}

/// The address of `bytes` as a number, for structures that hold pointers.
pub(crate) fn pointer(bytes: &[u8]) -> [u8; 8] {
    (bytes.as_ptr() as u64).to_ne_bytes()
}

/// One `struct iovec`: where `bytes` lie and how many they are.
pub(crate) fn iovec(address: u64, size: u64) -> [u8; 16] {
    let mut words = [0; 16];
    let (first, second) = words.split_at_mut(8);
    first.copy_from_slice(&address.to_ne_bytes());
    second.copy_from_slice(&size.to_ne_bytes());
    words
}

/// A process made by this one. `None` in the new process.
pub(crate) fn fork(child: &Child) -> Result<Option<i64>, Errno> {
    let signal = i64::from(libc::SIGCHLD);
    let pid = child.call(libc::SYS_clone, [signal.into()])?;
    Ok((pid != 0).then_some(pid))
}

/// Waits for a process made by this one and gives its raw wait status.
pub(crate) fn wait(child: &Child, pid: i64) -> Result<i32, Errno> {
    let mut status = [0; 4];
    child.call(
        libc::SYS_wait4,
        [pid.into(), status.as_mut_slice().into(), 0.into(), 0.into()],
    )?;
    Ok(i32::from_ne_bytes(status))
}

pub(crate) fn kill(child: &Child, pid: i64, signal: i32) -> Result<i64, Errno> {
    child.call(libc::SYS_kill, [pid.into(), signal.into()])
}

/// The names of what lies in a directory, without `.` and `..`.
pub(crate) fn names(at: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(at) else {
        return Vec::new();
    };
    entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Waits `millis` without using the processor.
pub(crate) fn rest(child: &Child, millis: i64) {
    let _woken = child.call(libc::SYS_poll, [0.into(), 0.into(), millis.into()]);
}
