//! Answers that run for a while: one JSON document a line, written as it is known.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use hyper::body::Frame;
use serde::Serialize;
use tokio::sync::mpsc;

/// Runs `work` on a blocking thread; what it sends becomes the lines of the answer.
///
/// When the asker goes away, the work goes on: half a launch helps nobody.
pub(crate) fn lines(work: impl FnOnce(&Lines) + Send + 'static) -> Response {
    let (queue, waiting) = mpsc::channel(QUEUE);
    tokio::task::spawn_blocking(move || work(&Lines { queue }));
    (
        [(CONTENT_TYPE, "application/jsonl")],
        Body::new(Waiting(waiting)),
    )
        .into_response()
}

/// Where work puts its lines.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    queue: mpsc::Sender<Bytes>,
}

impl Lines {
    /// Adds a line; waits when the asker reads slowly, and drops it when nobody reads any more.
    pub(crate) fn send(&self, line: &impl Serialize) {
        if let Ok(mut bytes) = serde_json::to_vec(line) {
            bytes.push(b'\n');
            self.queue.blocking_send(Bytes::from(bytes)).ok();
        }
    }
}

struct Waiting(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Waiting {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0
            .poll_recv(context)
            .map(|line| line.map(|bytes| Ok(Frame::data(bytes))))
    }
}

const QUEUE: usize = 256;
