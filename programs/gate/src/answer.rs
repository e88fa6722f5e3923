//! The body of an answer: whole, or passed through piece by piece while it is still permitted.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use casemate_core::admission::Refusal;
use casemate_core::event::{Event, Outcome, Severity, kind};
use hyper::body::{Body, Frame, Incoming, SizeHint};

use crate::flight::FlightGuard;
use crate::gate::{Gate, Running, count};
use crate::pool::Lease;

/// What an answer's body is.
#[derive(Debug)]
pub enum Answer {
    /// All of it, at once.
    Whole(Option<Bytes>),
    /// The server's, as it comes.
    Passing(Box<Passing>),
}

/// The server's answer, as it comes. Dropping it closes the connection to the server, unless the
/// answer was read to its end.
#[derive(Debug)]
pub struct Passing {
    body: Incoming,
    lease: Option<Lease>,
    guard: FlightGuard,
    gate: Arc<Gate>,
    status: u16,
    event_stream: bool,
    bytes: u64,
    end: Option<End>,
    /// The reason of a cut was just said, and hyper must send it before it learns of the end.
    saying: bool,
    _running: Running,
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Complete,
    Cut(Refusal),
    ServerFailed,
}

/// An answer was broken off, so that nobody takes it for complete.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the answer was broken off: {0}")]
pub struct BrokenOff(&'static str);

impl Answer {
    /// An answer of `bytes`.
    #[must_use]
    pub const fn whole(bytes: Bytes) -> Self {
        Self::Whole(Some(bytes))
    }
}

impl Passing {
    /// Passes `body` through, which came over `lease` for the request of `guard`.
    pub fn new(
        gate: Arc<Gate>,
        guard: FlightGuard,
        running: Running,
        lease: Lease,
        body: Incoming,
        status: u16,
        event_stream: bool,
    ) -> Box<Self> {
        Box::new(Self {
            body,
            lease: Some(lease),
            guard,
            gate,
            status,
            event_stream,
            bytes: 0,
            end: None,
            saying: false,
            _running: running,
        })
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if std::mem::take(&mut self.saying) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        match self.end {
            Some(End::Complete) => return Poll::Ready(None),
            Some(End::Cut(refusal)) => return Poll::Ready(Some(Err(BrokenOff(refusal.code())))),
            Some(End::ServerFailed) => return Poll::Ready(Some(Err(BrokenOff("upstream_error")))),
            None => {}
        }
        if let Some(refusal) = self.guard.flight.cut(context) {
            return self.cut(refusal);
        }
        loop {
            match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(frame))) => {
                    // Trailers are the server's own words, which nobody asked for.
                    let Ok(data) = frame.into_data() else {
                        continue;
                    };
                    self.bytes += data.len() as u64;
                    self.guard.flight.touch(self.gate.ticks());
                    if self.bytes > self.gate.bounds.answer_bytes {
                        return self.cut(Refusal::UpstreamError);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Poll::Ready(Some(Err(_))) => {
                    self.end = Some(End::ServerFailed);
                    self.lease = None;
                    return Poll::Ready(Some(Err(BrokenOff("upstream_error"))));
                }
                Poll::Ready(None) => {
                    self.end = Some(End::Complete);
                    if let Some(lease) = self.lease.take() {
                        lease.give_back();
                    }
                    return Poll::Ready(None);
                }
            }
        }
    }

    /// Closes the connection to the server, and tells the client why where a comment can.
    fn cut(&mut self, refusal: Refusal) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        self.end = Some(End::Cut(refusal));
        self.lease = None;
        count(&self.gate.counters.cut);
        if self.event_stream {
            self.saying = true;
            let comment = format!(": cut {} by {}\n\n", refusal.code(), self.gate.by);
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from(comment)))));
        }
        Poll::Ready(Some(Err(BrokenOff(refusal.code()))))
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        let flight = &self.guard.flight;
        if !flight.is_admitted_here() {
            return;
        }
        let permit = flight.permit();
        let ended = match self.end {
            Some(End::Complete) => "complete",
            Some(End::Cut(refusal)) => refusal.code(),
            Some(End::ServerFailed) => "upstream_error",
            None if self.body.is_end_stream() => "complete",
            None => "client_gone",
        };
        let (kind, severity) = match self.end {
            Some(End::Cut(_)) => (kind::REQUEST_CUT, Severity::Warning),
            Some(End::Complete | End::ServerFailed) | None => {
                (kind::REQUEST_FINISHED, Severity::Info)
            }
        };
        let took = self.gate.ticks().saturating_sub(flight.started());
        let mut event = self
            .gate
            .event(kind, severity)
            .about(permit.subject().to_string())
            .fact("token", permit.token_id())
            .fact("status", self.status.to_string())
            .fact("bytes", self.bytes.to_string())
            .fact("milliseconds", took.to_string())
            .fact("end", ended);
        if let Some(End::Cut(refusal)) = self.end {
            event = event.decided(Outcome::Refused, refusal.code(), &self.gate.by);
        }
        self.gate.audit.follow(event);
        if self.lease.is_some() && self.end.is_none() && self.body.is_end_stream() {
            // An answer without a body is complete before anybody asks for it.
            if let Some(lease) = self.lease.take() {
                lease.give_back();
            }
        }
    }
}

impl Gate {
    /// An event of this gate, now.
    pub fn event(&self, kind: &'static str, severity: Severity) -> Event {
        let (enclosure, stage) = (&self.enclosure, &self.stage.name);
        Event::new(self.now(), kind, severity).at(enclosure, Some(stage))
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Passing(passing) => passing.poll(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Passing(passing) => {
                passing.end == Some(End::Complete)
                    || (passing.end.is_none() && passing.body.is_end_stream())
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Passing(passing) => passing.body.size_hint(),
        }
    }
}
