//! The daemon's API over its Unix socket, for those who ask it for something.
//!
//! One connection per request: a request here is a person's command, not traffic. Answers are
//! bounded before they are parsed, because a client that can be made to eat memory is a client that
//! can be made to fail open.

use std::io;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::v1;

/// Where the daemon listens unless it was told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/casemate/casemated.sock";

/// Why the daemon's answer could not be had.
#[derive(Debug, thiserror::Error)]
pub enum CallDaemonError {
    /// No daemon listens there, or this user may not reach it.
    #[error("cannot reach the daemon at `{socket}`")]
    Connect {
        /// The socket that was tried.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The connection broke.
    #[error("the connection to the daemon broke")]
    Transport(#[source] hyper::Error),
    /// The request could not be put into words.
    #[error("cannot write the request for `{path}`")]
    Request {
        /// The resource asked for.
        path: String,
        /// What is wrong with it.
        source: http::Error,
    },
    /// The request's body could not be written as JSON.
    #[error("cannot write the request's body")]
    Body(#[source] serde_json::Error),
    /// The daemon refused, and said why.
    #[error("{}", .0.message)]
    Refused(v1::ApiError),
    /// The daemon answered with something that is not its API.
    #[error(
        "the daemon's answer to `{path}` is not what version 1 of its API says (status {status})"
    )]
    Unexpected {
        /// The resource asked for.
        path: String,
        /// The status it came with.
        status: StatusCode,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The answer is larger than any answer should be.
    #[error("the daemon's answer to `{path}` is longer than {MAX_ANSWER_BYTES} bytes or broke off")]
    TooLong {
        /// The resource asked for.
        path: String,
    },
    /// A streamed answer ended before it said how it went.
    #[error("the daemon's answer to `{path}` ended before it was complete")]
    Unfinished {
        /// The resource asked for.
        path: String,
    },
}

impl CallDaemonError {
    /// What the daemon itself said, when it was the daemon that refused.
    #[must_use]
    pub const fn refusal(&self) -> Option<&v1::ApiError> {
        match self {
            Self::Refused(error) => Some(error),
            Self::Connect { .. }
            | Self::Transport(_)
            | Self::Request { .. }
            | Self::Body(_)
            | Self::Unexpected { .. }
            | Self::TooLong { .. }
            | Self::Unfinished { .. } => None,
        }
    }
}

/// Asks one daemon. Needs a Tokio runtime with input and output enabled.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// A client of the daemon that listens at `socket`; nothing is opened yet.
    #[must_use]
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
        }
    }

    /// The socket it asks at.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// `GET /v1/status`.
    ///
    /// # Errors
    /// See [`CallDaemonError`]; the same holds for every method of this type.
    pub async fn status(&self) -> Result<v1::Status, CallDaemonError> {
        self.fetch("/v1/status").await
    }

    /// Brings an enclosure up; `progress` sees each step.
    ///
    /// # Errors
    /// [`CallDaemonError::Refused`] also when the launch failed on the way.
    pub async fn up(
        &self,
        request: &v1::UpRequest,
        mut progress: impl FnMut(v1::UpProgress),
    ) -> Result<v1::UpDone, CallDaemonError> {
        const PATH: &str = "/v1/enclosures";
        let mut lines = self.stream(Method::POST, PATH, Some(request)).await?;
        while let Some(line) = lines.next::<v1::UpLine>().await? {
            match line {
                v1::UpLine::Progress(step) => progress(step),
                v1::UpLine::Done(done) => return Ok(done),
                v1::UpLine::Failed(error) => return Err(CallDaemonError::Refused(error)),
            }
        }
        Err(CallDaemonError::Unfinished {
            path: PATH.to_owned(),
        })
    }

    /// Takes an enclosure down.
    ///
    /// # Errors
    /// `no-such-enclosure` when it is not up.
    pub async fn down(&self, enclosure: &str) -> Result<v1::DownReport, CallDaemonError> {
        let path = format!("/v1/enclosures/{}", segment(enclosure));
        self.ask(Method::DELETE, &path, None::<&()>).await
    }

    /// Attacks stages from inside; `each` sees every line but the last.
    ///
    /// # Errors
    /// [`CallDaemonError::Refused`] also when a probe could not be carried out.
    pub async fn probe(
        &self,
        request: &v1::ProbeRequest,
        mut each: impl FnMut(v1::ProbeLine),
    ) -> Result<v1::ProbeEnd, CallDaemonError> {
        const PATH: &str = "/v1/probe";
        let mut lines = self.stream(Method::POST, PATH, Some(request)).await?;
        while let Some(line) = lines.next::<v1::ProbeLine>().await? {
            match line {
                v1::ProbeLine::Done(end) => return Ok(end),
                v1::ProbeLine::Failed(error) => return Err(CallDaemonError::Refused(error)),
                line @ (v1::ProbeLine::Stage(_)
                | v1::ProbeLine::Finding(_)
                | v1::ProbeLine::Evidence(_)) => each(line),
            }
        }
        Err(CallDaemonError::Unfinished {
            path: PATH.to_owned(),
        })
    }

    /// The whole chain of receipts.
    ///
    /// # Errors
    /// See [`CallDaemonError`].
    pub async fn receipts(&self) -> Result<v1::ReceiptList, CallDaemonError> {
        self.fetch("/v1/receipts").await
    }

    /// The public key that receipts verify with.
    ///
    /// # Errors
    /// See [`CallDaemonError`].
    pub async fn receipt_key(&self) -> Result<v1::ReceiptKey, CallDaemonError> {
        self.fetch("/v1/receipt-key").await
    }

    /// A page of events with a number above `after`.
    ///
    /// # Errors
    /// See [`CallDaemonError`].
    pub async fn events(&self, after: u64) -> Result<v1::EventPage, CallDaemonError> {
        self.fetch(&format!("/v1/events?after={after}")).await
    }

    /// The last `tail` lines that a stage wrote.
    ///
    /// # Errors
    /// `no-such-stage` when there is none of that name.
    pub async fn logs(
        &self,
        enclosure: &str,
        stage: &str,
        tail: u32,
    ) -> Result<v1::Logs, CallDaemonError> {
        let (enclosure, stage) = (segment(enclosure), segment(stage));
        self.fetch(&format!("/v1/logs/{enclosure}/{stage}?tail={tail}"))
            .await
    }

    /// The trust bundle and where the issuer is.
    ///
    /// # Errors
    /// See [`CallDaemonError`].
    pub async fn trust(&self) -> Result<v1::Trust, CallDaemonError> {
        self.fetch("/v1/trust").await
    }

    /// Revokes a ticket or all tickets of a subject.
    ///
    /// # Errors
    /// See [`CallDaemonError`].
    pub async fn revoke(
        &self,
        request: &v1::RevokeRequest,
    ) -> Result<v1::Revoked, CallDaemonError> {
        self.ask(Method::POST, "/v1/revoke", Some(request)).await
    }

    /// What is on the host and belongs to no running stage.
    ///
    /// # Errors
    /// See [`CallDaemonError`].
    pub async fn leftovers(&self) -> Result<v1::Leftovers, CallDaemonError> {
        self.fetch("/v1/leftovers").await
    }

    async fn fetch<A: DeserializeOwned>(&self, path: &str) -> Result<A, CallDaemonError> {
        self.ask(Method::GET, path, None::<&()>).await
    }

    async fn ask<Q: Serialize, A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        question: Option<&Q>,
    ) -> Result<A, CallDaemonError> {
        let response = self.send(method, path, question).await?;
        let status = response.status();
        let body = collect(response, path).await?;
        serde_json::from_slice(&body).map_err(|source| CallDaemonError::Unexpected {
            path: path.to_owned(),
            status,
            source,
        })
    }

    async fn stream<Q: Serialize>(
        &self,
        method: Method,
        path: &str,
        question: Option<&Q>,
    ) -> Result<Lines, CallDaemonError> {
        let response = self.send(method, path, question).await?;
        Ok(Lines {
            path: path.to_owned(),
            status: response.status(),
            body: response.into_body(),
            buffer: BytesMut::new(),
        })
    }

    /// Sends one request on a connection of its own; an error status becomes [`CallDaemonError::Refused`].
    async fn send<Q: Serialize>(
        &self,
        method: Method,
        path: &str,
        question: Option<&Q>,
    ) -> Result<Response<Incoming>, CallDaemonError> {
        let body = question
            .map(serde_json::to_vec)
            .transpose()
            .map_err(CallDaemonError::Body)?
            .unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::HOST, "casemated")
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|source| CallDaemonError::Request {
                path: path.to_owned(),
                source,
            })?;

        let stream =
            UnixStream::connect(&self.socket)
                .await
                .map_err(|source| CallDaemonError::Connect {
                    socket: self.socket.clone(),
                    source,
                })?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(CallDaemonError::Transport)?;
        // The task ends with the connection, which ends when the response's body is dropped.
        tokio::spawn(async move { connection.await.ok() });
        let response = sender
            .send_request(request)
            .await
            .map_err(CallDaemonError::Transport)?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = collect(response, path).await?;
        match serde_json::from_slice(&body) {
            Ok(error) => Err(CallDaemonError::Refused(error)),
            Err(source) => Err(CallDaemonError::Unexpected {
                path: path.to_owned(),
                status,
                source,
            }),
        }
    }
}

/// A streamed answer, line by line.
struct Lines {
    path: String,
    status: StatusCode,
    body: Incoming,
    buffer: BytesMut,
}

impl Lines {
    async fn next<L: DeserializeOwned>(&mut self) -> Result<Option<L>, CallDaemonError> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end + 1);
                return self.parse(&line).map(Some);
            }
            if self.buffer.len() > MAX_LINE_BYTES {
                return Err(CallDaemonError::TooLong {
                    path: self.path.clone(),
                });
            }
            match self.body.frame().await {
                Some(frame) => {
                    if let Ok(data) = frame.map_err(CallDaemonError::Transport)?.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                None if self.buffer.is_empty() => return Ok(None),
                None => {
                    let line = self.buffer.split();
                    return self.parse(&line).map(Some);
                }
            }
        }
    }

    fn parse<L: DeserializeOwned>(&self, line: &[u8]) -> Result<L, CallDaemonError> {
        serde_json::from_slice(line).map_err(|source| CallDaemonError::Unexpected {
            path: self.path.clone(),
            status: self.status,
            source,
        })
    }
}

async fn collect(response: Response<Incoming>, path: &str) -> Result<Bytes, CallDaemonError> {
    Limited::new(response.into_body(), MAX_ANSWER_BYTES)
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .map_err(|_| CallDaemonError::TooLong {
            path: path.to_owned(),
        })
}

/// A name as one path segment: names are plain, and anything else must not become another path.
fn segment(name: &str) -> String {
    name.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;
const MAX_LINE_BYTES: usize = 4 * 1024 * 1024;

#[cfg(test)]
mod tests;
