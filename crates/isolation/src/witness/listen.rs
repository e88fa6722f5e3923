//! The witness's listeners and the one thread that watches them.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use casemate_core::finding::EndpointKind;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{ANSWER, GREETING, find};

/// Listeners that are set up and not yet watched.
#[derive(Debug)]
pub(super) struct Listeners {
    token: String,
    sockets: Vec<(&'static str, Socket)>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Udp(UdpSocket),
    Stream(UnixListener),
    Datagram(UnixDatagram),
}

#[derive(Debug, Default)]
struct Counts {
    by_check: Mutex<BTreeMap<String, u64>>,
    strangers: AtomicU64,
    stop: AtomicBool,
}

/// A thread that watches listeners.
#[derive(Debug)]
pub(super) struct Watch {
    counts: Arc<Counts>,
    thread: Option<JoinHandle<()>>,
}

/// How long one arrival may take to show its token.
const PATIENCE: Duration = Duration::from_millis(250);

impl Listeners {
    pub(super) const fn new(token: String) -> Self {
        Self {
            token,
            sockets: Vec::new(),
        }
    }

    pub(super) fn network(
        &mut self,
        check: &'static str,
        kind: EndpointKind,
        address: IpAddr,
    ) -> io::Result<SocketAddr> {
        let at = SocketAddr::new(address, 0);
        let (socket, at) = if kind == EndpointKind::Udp {
            let socket = UdpSocket::bind(at)?;
            let at = socket.local_addr()?;
            socket.set_nonblocking(true)?;
            (Socket::Udp(socket), at)
        } else {
            let socket = TcpListener::bind(at)?;
            let at = socket.local_addr()?;
            socket.set_nonblocking(true)?;
            (Socket::Tcp(socket), at)
        };
        self.sockets.push((check, socket));
        Ok(at)
    }

    pub(super) fn unix_path(&mut self, check: &'static str, path: &Path) -> io::Result<()> {
        let socket = UnixListener::bind(path)?;
        socket.set_nonblocking(true)?;
        // That a stage cannot connect must not rest on the socket's mode.
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o666))?;
        self.sockets.push((check, Socket::Stream(socket)));
        Ok(())
    }

    pub(super) fn abstract_name(
        &mut self,
        check: &'static str,
        kind: EndpointKind,
        name: &str,
    ) -> io::Result<()> {
        let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
        let socket = if kind == EndpointKind::AbstractDatagram {
            let socket = UnixDatagram::bind_addr(&address)?;
            socket.set_nonblocking(true)?;
            Socket::Datagram(socket)
        } else {
            let socket = UnixListener::bind_addr(&address)?;
            socket.set_nonblocking(true)?;
            Socket::Stream(socket)
        };
        self.sockets.push((check, socket));
        Ok(())
    }

    pub(super) fn watch(self) -> io::Result<Watch> {
        let counts = Arc::new(Counts::default());
        let shared = Arc::clone(&counts);
        let thread = thread::Builder::new()
            .name("witness".to_owned())
            .spawn(move || self.serve(&shared))?;
        Ok(Watch {
            counts,
            thread: Some(thread),
        })
    }

    fn serve(&self, counts: &Counts) {
        let tick = Timespec {
            tv_sec: 0,
            tv_nsec: 50_000_000,
        };
        while !counts.stop.load(Ordering::Relaxed) {
            let mut waiting: Vec<PollFd<'_>> = self
                .sockets
                .iter()
                .map(|(_, socket)| PollFd::from_borrowed_fd(socket.descriptor(), PollFlags::IN))
                .collect();
            if poll(&mut waiting, Some(&tick)).is_err() {
                continue;
            }
            let ready: Vec<bool> = waiting
                .iter()
                .map(|waiting| !waiting.revents().is_empty())
                .collect();
            for ((check, socket), ready) in self.sockets.iter().zip(ready) {
                if ready {
                    self.take(check, socket, counts);
                }
            }
        }
    }

    fn take(&self, check: &str, socket: &Socket, counts: &Counts) {
        match socket {
            Socket::Tcp(listener) => {
                if let Ok((stream, _)) = listener.accept() {
                    let ready = stream.set_nonblocking(false).is_ok()
                        && stream.set_read_timeout(Some(PATIENCE)).is_ok()
                        && stream.set_write_timeout(Some(PATIENCE)).is_ok();
                    self.converse(check, stream, ready, counts);
                }
            }
            Socket::Stream(listener) => {
                if let Ok((stream, _)) = listener.accept() {
                    let ready = stream.set_nonblocking(false).is_ok()
                        && stream.set_read_timeout(Some(PATIENCE)).is_ok()
                        && stream.set_write_timeout(Some(PATIENCE)).is_ok();
                    self.converse(check, stream, ready, counts);
                }
            }
            Socket::Udp(socket) => {
                let mut buffer = [0; 1_024];
                if let Ok((count, from)) = socket.recv_from(&mut buffer)
                    && self.arrived(check, buffer.get(..count).unwrap_or_default(), counts)
                {
                    drop(socket.send_to(self.answer().as_bytes(), from));
                }
            }
            Socket::Datagram(socket) => {
                let mut buffer = [0; 1_024];
                if let Ok(count) = socket.recv(&mut buffer) {
                    self.arrived(check, buffer.get(..count).unwrap_or_default(), counts);
                }
            }
        }
    }

    fn converse(&self, check: &str, mut stream: impl Read + Write, ready: bool, counts: &Counts) {
        let mut buffer = [0; 1_024];
        let count = if ready {
            stream.read(&mut buffer).unwrap_or(0)
        } else {
            0
        };
        if self.arrived(check, buffer.get(..count).unwrap_or_default(), counts) {
            drop(stream.write_all(self.answer().as_bytes()));
        }
    }

    fn arrived(&self, check: &str, bytes: &[u8], counts: &Counts) -> bool {
        let expected = [GREETING, &self.token].concat();
        let ours = find(bytes, expected.as_bytes()).is_some();
        if ours {
            let mut by_check = counts
                .by_check
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            *by_check.entry(check.to_owned()).or_default() += 1;
        } else {
            counts.strangers.fetch_add(1, Ordering::Relaxed);
        }
        ours
    }

    fn answer(&self) -> String {
        format!("{ANSWER}{}\n", self.token)
    }
}

impl Socket {
    fn descriptor(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Udp(socket) => socket.as_fd(),
            Self::Stream(socket) => socket.as_fd(),
            Self::Datagram(socket) => socket.as_fd(),
        }
    }
}

impl Watch {
    pub(super) fn arrivals(&self, check: &str) -> u64 {
        let by_check = self
            .counts
            .by_check
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        by_check.get(check).copied().unwrap_or(0)
    }

    pub(super) fn all(&self) -> BTreeMap<String, u64> {
        self.counts
            .by_check
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn strangers(&self) -> u64 {
        self.counts.strangers.load(Ordering::Relaxed)
    }

    pub(super) fn stop(&mut self) {
        self.counts.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A watching thread that panicked has nothing more to say.
            drop(thread.join());
        }
    }
}
