//! Stands between TLS and hyper on an HTTP/1 connection, and lets through only what [`head`] accepts.
//!
//! A head that breaks the grammar is never shown to hyper. In its place hyper gets an empty request of
//! our own, and the service, told by [`Connection::verdict`], answers that one with the refusal; the
//! connection is closed after it. A body that breaks the grammar ends the stream with an error.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use casemate_core::admission::Refusal;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::gate::Connection;
use crate::head::{self, Chunks, Framing};

/// A byte stream whose reading side is checked.
#[derive(Debug)]
pub struct Strict<Io> {
    io: Io,
    connection: Arc<Connection>,
    checker: Checker,
    /// Bytes that were read after the last answer, so that the peer can read the answer before a reset.
    drained: usize,
}

/// What has been read and may not be shown yet, and where in a request the stream stands.
#[derive(Debug)]
pub struct Checker {
    held: Vec<u8>,
    /// How much of `held` may be shown.
    released: usize,
    state: State,
    max_bytes: usize,
    max_fields: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In a head, of which this much was searched for its end.
    Head { searched: usize },
    /// In a body with this many bytes left.
    Length(u64),
    /// In a chunked body.
    Chunked(Chunks),
    /// A head was refused; the stand-in is released, and nothing after it ever is.
    Refused,
    /// A body was refused.
    Broken,
}

/// The request that hyper sees instead of a refused one.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";
/// The most that is read and thrown away after a refusal.
const MAX_DRAIN: usize = 4 * 1024 * 1024;
const READ_SIZE: usize = 8 * 1024;

impl Checker {
    /// A checker at the start of a connection.
    #[must_use]
    pub const fn new(max_bytes: usize, max_fields: usize) -> Self {
        let state = State::Head { searched: 0 };
        Self {
            held: Vec::new(),
            released: 0,
            state,
            max_bytes,
            max_fields,
        }
    }

    /// Whether some of a head was read, but not all.
    #[must_use]
    pub const fn amid_head(&self) -> bool {
        matches!(self.state, State::Head { .. }) && self.held.len() > self.released
    }

    /// Whether a body broke the grammar: nothing more is shown, not even an end.
    #[must_use]
    pub const fn is_broken(&self) -> bool {
        matches!(self.state, State::Broken)
    }

    /// Takes `bytes`, which follow those taken before. A refusal is returned once, at the head it is for.
    pub fn take(&mut self, bytes: &[u8]) -> Option<Refusal> {
        if !matches!(self.state, State::Refused | State::Broken) {
            self.held.extend_from_slice(bytes);
        }
        loop {
            let fresh = self.held.get(self.released..).unwrap_or_default();
            match &mut self.state {
                State::Refused | State::Broken => return None,
                _ if fresh.is_empty() => return None,
                State::Head { searched } => {
                    let Some(length) = head::end(fresh, *searched) else {
                        let refusal = incomplete(fresh, *searched, self.max_bytes);
                        *searched = fresh.len();
                        return refusal.map(|refusal| self.refuse(refusal));
                    };
                    if length > self.max_bytes {
                        return Some(self.refuse(Refusal::HeadersTooLarge));
                    }
                    let head = fresh.get(..length).unwrap_or_default();
                    match head::check(head, self.max_fields) {
                        Err(refusal) => return Some(self.refuse(refusal)),
                        Ok(framing) => {
                            self.released += length;
                            self.state = match framing {
                                Framing::Length(0) => State::Head { searched: 0 },
                                Framing::Length(left) => State::Length(left),
                                Framing::Chunked => State::Chunked(Chunks::default()),
                            };
                        }
                    }
                }
                State::Length(left) => {
                    let here = fresh
                        .len()
                        .min(usize::try_from(*left).unwrap_or(usize::MAX));
                    self.released += here;
                    *left -= here as u64;
                    if *left == 0 {
                        self.state = State::Head { searched: 0 };
                    }
                }
                State::Chunked(chunks) => match chunks.follow(fresh) {
                    Ok(None) => self.released = self.held.len(),
                    Ok(Some(length)) => {
                        self.released += length;
                        self.state = State::Head { searched: 0 };
                    }
                    Err(head::BrokenChunks) => {
                        self.held.truncate(self.released);
                        self.state = State::Broken;
                    }
                },
            }
        }
    }

    /// Puts the stand-in where the refused head would be.
    pub fn refuse(&mut self, refusal: Refusal) -> Refusal {
        self.held.truncate(self.released);
        self.held.extend_from_slice(STAND_IN);
        self.released = self.held.len();
        self.state = State::Refused;
        refusal
    }

    /// The bytes that may be shown; [`Checker::shown`] takes them away.
    #[must_use]
    pub fn ready(&self) -> &[u8] {
        self.held.get(..self.released).unwrap_or_default()
    }

    /// Takes away the first `count` bytes of [`Checker::ready`].
    pub fn shown(&mut self, count: usize) {
        let count = count.min(self.released);
        self.released -= count;
        if count == self.held.len() {
            self.held.clear();
            // A connection that waits for its next request holds no buffer.
            if matches!(self.state, State::Head { .. }) {
                self.held = Vec::new();
            }
        } else {
            self.held.drain(..count);
        }
    }

    /// How many bytes of a body with a known length may go past the checker: nothing is held back.
    fn passing(&self) -> Option<u64> {
        match self.state {
            State::Length(left) if self.held.is_empty() => Some(left),
            _ => None,
        }
    }

    fn passed(&mut self, count: u64) {
        if let State::Length(left) = &mut self.state {
            *left = left.saturating_sub(count);
            if *left == 0 {
                self.state = State::Head { searched: 0 };
            }
        }
    }
}

/// What is wrong already with a head that is not complete.
fn incomplete(fresh: &[u8], searched: usize, max_bytes: usize) -> Option<Refusal> {
    if fresh.len() > max_bytes {
        return Some(Refusal::HeadersTooLarge);
    }
    let window = fresh.get(searched.saturating_sub(1)..).unwrap_or_default();
    let bare = window
        .windows(2)
        .any(|two| matches!(two, [before, b'\n'] if *before != b'\r'));
    (bare || fresh.first() == Some(&b'\n'))
        .then_some(Refusal::RequestMalformed("a line does not end with CR LF"))
}

impl<Io: AsyncRead + AsyncWrite + Unpin> Strict<Io> {
    /// Checks what is read from `io`.
    pub const fn new(
        io: Io,
        connection: Arc<Connection>,
        max_bytes: usize,
        max_fields: usize,
    ) -> Self {
        Self {
            io,
            connection,
            checker: Checker::new(max_bytes, max_fields),
            drained: 0,
        }
    }

    /// Reads and throws away what comes after a refusal; `Ready` at its end.
    fn drain(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut waste = [0; READ_SIZE];
        while self.drained < MAX_DRAIN {
            let mut buffer = ReadBuf::new(&mut waste);
            match ready!(Pin::new(&mut self.io).poll_read(context, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => self.drained += buffer.filled().len(),
                Ok(()) | Err(_) => return Poll::Ready(()),
            }
        }
        Poll::Ready(())
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> AsyncRead for Strict<Io> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            let ready = this.checker.ready();
            if !ready.is_empty() {
                let count = ready.len().min(buffer.remaining());
                buffer.put_slice(ready.get(..count).unwrap_or_default());
                this.checker.shown(count);
                return Poll::Ready(Ok(()));
            }
            match this.checker.state {
                // An end here would read as "the client is gone", and the refusal would not be sent.
                State::Refused => {
                    return match this.drain(context) {
                        Poll::Ready(()) | Poll::Pending => Poll::Pending,
                    };
                }
                State::Broken => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
                State::Head { .. } if this.connection.head_overdue() => {
                    let refusal = this.checker.refuse(Refusal::RequestTimeout);
                    this.connection.refuse(refusal);
                    continue;
                }
                State::Head { .. } | State::Length(_) | State::Chunked(_) => {}
            }
            if let Some(left) = this.checker.passing() {
                let wanted = usize::try_from(left)
                    .unwrap_or(usize::MAX)
                    .min(buffer.remaining());
                let mut part = ReadBuf::new(buffer.initialize_unfilled_to(wanted));
                ready!(Pin::new(&mut this.io).poll_read(context, &mut part))?;
                let count = part.filled().len();
                buffer.advance(count);
                this.checker.passed(count as u64);
                return Poll::Ready(Ok(()));
            }
            let mut chunk = [0; READ_SIZE];
            let mut part = ReadBuf::new(&mut chunk);
            ready!(Pin::new(&mut this.io).poll_read(context, &mut part))?;
            if part.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            if let Some(refusal) = this.checker.take(part.filled()) {
                this.connection.refuse(refusal);
            }
            this.connection.head_amid(this.checker.amid_head());
        }
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Strict<Io> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.io).poll_shutdown(context))?;
        if !matches!(this.checker.state, State::Head { .. }) {
            // Closing with unread bytes would reset the connection and take the answer along.
            this.connection.linger();
            ready!(this.drain(context));
        }
        Poll::Ready(Ok(()))
    }
}
