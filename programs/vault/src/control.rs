//! The control stream: one report a line to the daemon, and its end as the order to stop.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use casemate_api::vault::Report;
use casemate_weights::unlock::ReadChunkError;

/// The vault's end of the control stream.
#[derive(Clone, Debug)]
pub(crate) struct Control {
    stream: Arc<File>,
    writing: Arc<Mutex<BTreeSet<(String, u64)>>>,
}

impl Control {
    pub(crate) fn new(stream: OwnedFd) -> Self {
        Self {
            stream: Arc::new(stream.into()),
            writing: Arc::default(),
        }
    }

    /// Sends one report. A daemon that is gone is noticed by [`Control::wait_for_end`].
    pub(crate) fn report(&self, report: &Report) {
        let writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.send(report);
        drop(writing);
    }

    /// Reports a chunk that was refused, once for each chunk, so that a reader that tries again and
    /// again does not flood the daemon.
    pub(crate) fn report_chunk(&self, error: &ReadChunkError) {
        let (path, chunk) = match error {
            ReadChunkError::Absent { file, chunk } => (format!("#{file}"), *chunk),
            ReadChunkError::Read { path, chunk, .. } | ReadChunkError::Corrupt { path, chunk } => {
                (path.clone(), *chunk)
            }
        };
        let mut reported = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if reported.len() < MAX_REPORTED && reported.insert((path.clone(), chunk)) {
            tracing::error!(%path, chunk, "a chunk of the model was refused");
            self.send(&Report::Corrupt {
                path,
                chunk,
                reason: crate::chain(error),
            });
        }
    }

    /// Returns when the daemon has closed its end.
    pub(crate) fn wait_for_end(&self) {
        let mut ignored = [0; 256];
        let mut stream = &*self.stream;
        loop {
            match stream.read(&mut ignored) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    fn send(&self, report: &Report) {
        let Ok(mut line) = serde_json::to_vec(report) else {
            return;
        };
        line.push(b'\n');
        if let Err(error) = (&*self.stream).write_all(&line) {
            tracing::warn!(%error, "the daemon does not listen");
        }
    }
}

const MAX_REPORTED: usize = 1024;
