//! The control stream between the daemon and a child: one JSON document a line, both ways.
//!
//! A child is less trusted than the daemon. Its lines are bounded before they are parsed, unknown
//! members are refused by the types, and the first line that does not parse ends the stream: the
//! caller then ends the child. Writing has a deadline, so that a child that stops reading cannot hold
//! the thread that speaks to it.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::marker::PhantomData;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why a line was not sent to or not taken from a child.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ControlError {
    #[error("the child's control stream broke")]
    Broken(#[source] io::Error),
    #[error("the child sent a line of more than {MAX_LINE_BYTES} bytes")]
    TooLong,
    #[error("the child sent a line that is not of its protocol")]
    Malformed(#[source] serde_json::Error),
    #[error("a message cannot be written as JSON")]
    Unwritable(#[source] serde_json::Error),
}

/// The daemon's writing end.
#[derive(Debug)]
pub(crate) struct Sender {
    stream: Mutex<UnixStream>,
}

impl Sender {
    /// Sends one line, whole or not at all as far as other threads can see.
    pub(crate) fn send(&self, message: &impl Serialize) -> Result<(), ControlError> {
        let mut line = serde_json::to_vec(message).map_err(ControlError::Unwritable)?;
        line.push(b'\n');
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        stream.write_all(&line).map_err(ControlError::Broken)
    }

    /// Ends the stream in both directions; the reading thread sees its end.
    pub(crate) fn close(&self) {
        let stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        // Fails only when the child was faster.
        stream.shutdown(std::net::Shutdown::Both).ok();
    }
}

/// The daemon's reading end, giving lines of type `T`.
#[derive(Debug)]
pub(crate) struct Lines<T> {
    stream: BufReader<UnixStream>,
    kind: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Lines<T> {
    /// The next line, or nothing at the end of the stream.
    pub(crate) fn next(&mut self) -> Result<Option<T>, ControlError> {
        let mut line = Vec::new();
        let limit = u64::try_from(MAX_LINE_BYTES)
            .unwrap_or(u64::MAX)
            .saturating_add(1);
        (&mut self.stream)
            .take(limit)
            .read_until(b'\n', &mut line)
            .map_err(ControlError::Broken)?;
        match line.pop() {
            None => Ok(None),
            Some(b'\n') => serde_json::from_slice(&line)
                .map(Some)
                .map_err(ControlError::Malformed),
            // The stream ended inside a line: a child that was ended while it wrote.
            Some(_) if line.len() < MAX_LINE_BYTES => Ok(None),
            Some(_) => Err(ControlError::TooLong),
        }
    }

    /// From now on a line that does not come within `limit` is an error.
    pub(crate) fn set_deadline(&self, limit: Option<Duration>) -> Result<(), ControlError> {
        self.stream
            .get_ref()
            .set_read_timeout(limit)
            .map_err(ControlError::Broken)
    }
}

/// Both ends of the daemon's side of `stream`.
pub(crate) fn split<T>(stream: UnixStream) -> Result<(Sender, Lines<T>), ControlError> {
    stream
        .set_write_timeout(Some(WRITE_LIMIT))
        .map_err(ControlError::Broken)?;
    let reader = stream.try_clone().map_err(ControlError::Broken)?;
    Ok((
        Sender {
            stream: Mutex::new(stream),
        },
        Lines {
            stream: BufReader::new(reader),
            kind: PhantomData,
        },
    ))
}

/// No line of any control stream is longer.
pub(crate) const MAX_LINE_BYTES: usize = 1024 * 1024;
const WRITE_LIMIT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
