//! Sockets: pairs, listeners, who is at the other end, descriptors carried over, the loopback.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, sockopt,
};

/// The process at the other end of a Unix socket, as it was when it connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its process id then; it may be another process's by now.
    pub pid: i32,
    /// Its effective user.
    pub uid: u32,
    /// Its effective group.
    pub gid: u32,
}

/// Two connected stream sockets.
///
/// # Errors
/// When descriptors are short.
pub fn pair() -> io::Result<(UnixStream, UnixStream)> {
    UnixStream::pair()
}

/// Listens on a TCP address, which a listener that has just ended may have had.
///
/// # Errors
/// When the address is taken or not ours.
pub fn listen_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

/// Listens on a path, made with `mode` and given to `owner`, that replaces what a listener that
/// ended left there.
///
/// # Errors
/// When something that is not a socket is in the way, or the path cannot be made.
pub fn listen_unix(path: &Path, mode: u32, owner: Option<(u32, u32)>) -> io::Result<UnixListener> {
    use std::os::unix::fs::FileTypeExt as _;
    match std::fs::symlink_metadata(path) {
        Ok(existing) if existing.file_type().is_socket() => std::fs::remove_file(path)?,
        Ok(_) => {
            let reason = format!("`{}` exists and is not a socket", path.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, reason));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(path)?;
    if let Some((uid, gid)) = owner {
        std::os::unix::fs::chown(path, Some(uid), Some(gid))?;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Who is at the other end of a Unix socket.
///
/// # Errors
/// When it is not a connected Unix socket.
pub fn peer(socket: impl AsFd) -> io::Result<Peer> {
    let credentials = sockopt::socket_peercred(socket)?;
    Ok(Peer {
        pid: credentials.pid.as_raw_nonzero().get(),
        uid: credentials.uid.as_raw(),
        gid: credentials.gid.as_raw(),
    })
}

/// The supplementary groups of the process at the other end of a Unix socket, as it connected.
///
/// # Errors
/// When it is not a connected Unix socket.
pub fn peer_groups(socket: impl AsFd) -> io::Result<Vec<u32>> {
    let socket = socket.as_fd();
    let mut groups: Vec<u32> = vec![0; 32];
    loop {
        let mut bytes = libc::socklen_t::try_from(size_of_val(groups.as_slice()))
            .map_err(|_| io::ErrorKind::InvalidData)?;
        // SAFETY: the kernel writes at most `bytes` bytes into memory of that length, and the length
        // itself; both outlive the call.
        let status = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut bytes,
            )
        };
        let count = usize::try_from(bytes).unwrap_or(usize::MAX) / size_of::<u32>();
        if status == 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        // Too short: the length is now what it takes, which grows at most to the kernel's limit.
        if error.raw_os_error() != Some(libc::ERANGE) || count <= groups.len() {
            return Err(error);
        }
        groups.resize(count, 0);
    }
}

/// Sends bytes, at least one, together with descriptors.
///
/// # Errors
/// When the other end is gone, or there are too many descriptors.
pub fn send_descriptors(
    socket: impl AsFd,
    content: &[u8],
    descriptors: &[impl AsFd],
) -> io::Result<usize> {
    let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); ANCILLARY_BYTES];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "too many descriptors",
        ));
    }
    let content = [IoSlice::new(content)];
    Ok(rustix::net::sendmsg(
        socket,
        &content,
        &mut ancillary,
        SendFlags::NOSIGNAL,
    )?)
}

/// Receives bytes and the descriptors that came with them, each closed by an execution.
///
/// # Errors
/// When nothing can be received.
pub fn receive_descriptors(
    socket: impl AsFd,
    content: &mut [u8],
) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); ANCILLARY_BYTES];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut content = [IoSliceMut::new(content)];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = rustix::net::recvmsg(socket, &mut content, &mut ancillary, flags)?;
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(carried) = message {
            descriptors.extend(carried);
        }
    }
    Ok((received.bytes, descriptors))
}

/// Brings the loopback interface of this thread's network namespace up.
///
/// # Errors
/// When privilege is missing.
pub fn raise_loopback() -> io::Result<()> {
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)?;
    // SAFETY: an all-zero `ifreq` is a valid one.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(*b"lo") {
        *place = byte.cast_signed();
    }
    ioctl(&socket, libc::SIOCGIFFLAGS, &mut request)?;
    // SAFETY: SIOCGIFFLAGS has just filled this member.
    let flags = i32::from(unsafe { request.ifr_ifru.ifru_flags });
    let raised = flags | libc::IFF_UP | libc::IFF_RUNNING;
    request.ifr_ifru.ifru_flags = i16::try_from(raised).map_err(io::Error::other)?;
    ioctl(&socket, libc::SIOCSIFFLAGS, &mut request)
}

fn ioctl(socket: &OwnedFd, verb: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: both verbs used here read and write one `ifreq`, which outlives the call.
    let status = unsafe { libc::ioctl(socket.as_raw_fd(), verb, std::ptr::from_mut(request)) };
    if status == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

const BACKLOG: i32 = 1024;
const ANCILLARY_BYTES: usize = rustix::cmsg_space!(ScmRights(32));

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read as _, Write as _};

    use super::*;

    #[test]
    fn descriptors_arrive_with_their_bytes() {
        let (here, there) = pair().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        send_descriptors(&here, b"one", &[writer]).unwrap();
        let mut content = [0; 16];
        let (length, mut descriptors) = receive_descriptors(&there, &mut content).unwrap();
        assert_eq!(&content[..length], b"one");
        File::from(descriptors.remove(0))
            .write_all(b"through")
            .unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
    }

    #[test]
    fn the_groups_of_the_peer_of_an_own_socket_are_those_of_this_process() {
        let (here, _there) = pair().unwrap();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("Groups:"));
        let own = line.unwrap().split_whitespace();
        let own: Vec<u32> = own.map(|group| group.parse().unwrap()).collect();
        assert_eq!(peer_groups(&here).unwrap(), own);
    }

    #[test]
    fn the_peer_of_an_own_socket_is_this_process() {
        let (here, _there) = pair().unwrap();
        let peer = peer(&here).unwrap();
        assert_eq!(u32::try_from(peer.pid).unwrap(), std::process::id());
        assert_eq!(peer.uid, rustix::process::geteuid().as_raw());
    }

    #[test]
    fn a_path_that_is_not_a_socket_is_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "kept").unwrap();
        assert!(listen_unix(&path, 0o600, None).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "kept");
    }

    #[test]
    fn a_listener_replaces_the_socket_of_one_that_ended() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        drop(listen_unix(&path, 0o600, None).unwrap());
        let listener = listen_unix(&path, 0o660, None).unwrap();
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o660
        );
        assert!(UnixStream::connect(&path).is_ok());
        drop(listener);
    }

    #[test]
    fn a_tcp_listener_gets_a_port() {
        let listener = listen_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        assert_ne!(listener.local_addr().unwrap().port(), 0);
    }
}
