//! The lanes of a sealing: each takes one file at a time, hashes it on one thread and reads,
//! encrypts and writes it on another.
//!
//! SHA-256 of a file is one chain and costs more than three times what AES does, so hashing gets a
//! thread of its own and everything else happens beside it. A chunk is read once.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use zeroize::{Zeroize, Zeroizing};

use super::SealModelError;
use crate::artifact::open_regular;
use crate::digest::{Digest, Hasher};
use crate::format::keys::{ArtifactKeys, FileKey};
use crate::format::layout::Layout;
use crate::oms::walk::WalkedFile;
use crate::{Progress, ProgressFn};

/// What all lanes share.
pub(super) struct Job<'a> {
    pub(super) source: &'a Path,
    pub(super) files: &'a [WalkedFile],
    pub(super) layout: &'a Layout,
    pub(super) keys: &'a ArtifactKeys,
    pub(super) data: &'a File,
    pub(super) data_path: &'a Path,
    pub(super) progress: ProgressFn<'a>,
}

/// What sealing a file gives.
#[derive(Clone, Debug)]
pub(super) struct SealedFile {
    pub(super) sha256: Digest,
    pub(super) tags: Vec<u8>,
}

/// A chunk of plaintext on its way through the hasher and back.
enum ToHash {
    Chunk {
        buffer: Zeroizing<Vec<u8>>,
        plain: usize,
    },
    End,
}

enum FromHash {
    Chunk(Zeroizing<Vec<u8>>),
    Digest(Digest),
}

/// Seals all files; the results are in the order of the files.
pub(super) fn seal_files(job: &Job<'_>) -> Result<Vec<SealedFile>, SealModelError> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let lanes = (cores / 2).max(1).min(job.files.len());
    let (next, done, stop) = (
        AtomicUsize::new(0),
        AtomicU64::new(0),
        AtomicBool::new(false),
    );
    let results = Mutex::new(Ok(vec![None; job.files.len()]));
    let total = job.files.iter().map(|file| file.size).sum();
    let told = |bytes: u64| {
        let done = done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        (job.progress)(Progress { done, total });
    };
    let run = || {
        let mut lane = Lane::new(job, &stop);
        thread::scope(|scope| {
            let (to_hash, chunks) = sync_channel(BUFFERS);
            let (hashed, from_hash) = sync_channel(BUFFERS);
            scope.spawn(move || hash(&chunks, &hashed));
            loop {
                let ordinal = next.fetch_add(1, Ordering::Relaxed);
                if ordinal >= job.files.len() || stop.load(Ordering::Relaxed) {
                    return;
                }
                let outcome = lane.seal_file(ordinal, &to_hash, &from_hash, &told);
                // A poisoned lock means that another lane panicked, which ends the scope anyway.
                let Ok(mut results) = results.lock() else {
                    return;
                };
                match (outcome, &mut *results) {
                    (Ok(sealed), Ok(list)) => {
                        if let Some(slot) = list.get_mut(ordinal) {
                            *slot = Some(sealed);
                        }
                    }
                    (Err(error), Ok(_)) => {
                        stop.store(true, Ordering::Relaxed);
                        *results = Err(error);
                        return;
                    }
                    (_, Err(_)) => return,
                }
            }
        });
    };
    thread::scope(|scope| {
        for _ in 0..lanes {
            scope.spawn(run);
        }
    });
    let list = results
        .into_inner()
        .unwrap_or_else(|poisoned| poisoned.into_inner())?;
    let sealed: Vec<_> = list.into_iter().flatten().collect();
    if sealed.len() == job.files.len() {
        Ok(sealed)
    } else {
        Err(write_error(
            job.data_path,
            io::Error::other("a worker stopped early"),
        ))
    }
}

fn hash(chunks: &Receiver<ToHash>, hashed: &SyncSender<FromHash>) {
    let mut hasher = Hasher::new();
    for message in chunks {
        let answer = match message {
            ToHash::Chunk { buffer, plain } => {
                hasher.update(buffer.get(..plain).unwrap_or_default());
                FromHash::Chunk(buffer)
            }
            ToHash::End => FromHash::Digest(std::mem::take(&mut hasher).finish()),
        };
        if hashed.send(answer).is_err() {
            return;
        }
    }
}

struct Lane<'a> {
    job: &'a Job<'a>,
    stop: &'a AtomicBool,
    free: Vec<Zeroizing<Vec<u8>>>,
}

impl<'a> Lane<'a> {
    fn new(job: &'a Job<'a>, stop: &'a AtomicBool) -> Self {
        let size = usize::try_from(job.layout.chunk_size).unwrap_or(usize::MAX);
        let free = (0..BUFFERS)
            .map(|_| Zeroizing::new(vec![0; size]))
            .collect();
        Self { job, stop, free }
    }

    fn seal_file(
        &mut self,
        ordinal: usize,
        to_hash: &SyncSender<ToHash>,
        from_hash: &Receiver<FromHash>,
        told: &dyn Fn(u64),
    ) -> Result<SealedFile, SealModelError> {
        let stopped = || write_error(self.job.data_path, io::Error::other("the hasher stopped"));
        let (Some(walked), Some(extent)) = (
            self.job.files.get(ordinal),
            self.job.layout.extents.get(ordinal),
        ) else {
            return Err(stopped());
        };
        let path = self.job.source.join(walked.path.as_str());
        let failed = |source| SealModelError::Read {
            path: path.clone(),
            source,
        };
        let file = open_regular(&path).map_err(failed)?;
        let before = file.metadata().map_err(failed)?;
        if before.len() != walked.size {
            return Err(SealModelError::Changed(path));
        }
        let number = u32::try_from(ordinal).map_err(|_| stopped())?;
        let key = self
            .job
            .keys
            .file(number, &walked.path, extent, self.job.layout.chunk_size);
        let mut tags = Vec::new();
        let (mut read, mut written) = (0, 0);
        while written < extent.chunks {
            if self.stop.load(Ordering::Relaxed) {
                return Err(stopped());
            }
            if read < extent.chunks
                && let Some(mut buffer) = self.free.pop()
            {
                let plain = self
                    .read(&file, ordinal, read, &mut buffer)
                    .map_err(|source| match source.kind() {
                        io::ErrorKind::UnexpectedEof => SealModelError::Changed(path.clone()),
                        _ => SealModelError::Read {
                            path: path.clone(),
                            source,
                        },
                    })?;
                to_hash
                    .send(ToHash::Chunk { buffer, plain })
                    .map_err(|_| stopped())?;
                read += 1;
                continue;
            }
            let Ok(FromHash::Chunk(mut buffer)) = from_hash.recv() else {
                return Err(stopped());
            };
            let plain = self.write(&key, ordinal, written, &mut buffer, &mut tags)?;
            self.free.push(buffer);
            written += 1;
            told(plain);
        }
        to_hash.send(ToHash::End).map_err(|_| stopped())?;
        let Ok(FromHash::Digest(sha256)) = from_hash.recv() else {
            return Err(stopped());
        };
        let after = file.metadata().map_err(failed)?;
        let same = after.len() == before.len() && after.modified().ok() == before.modified().ok();
        if same {
            Ok(SealedFile { sha256, tags })
        } else {
            Err(SealModelError::Changed(path))
        }
    }

    fn read(
        &self,
        file: &File,
        ordinal: usize,
        index: u64,
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        let chunk = self
            .job
            .layout
            .chunk(ordinal, index)
            .ok_or(io::ErrorKind::InvalidInput)?;
        let start = index * u64::from(self.job.layout.chunk_size);
        let (Some(plain), true) = (buffer.get_mut(..chunk.plain), chunk.plain <= chunk.padded)
        else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        file.read_exact_at(plain, start)?;
        if let Some(padding) = buffer.get_mut(chunk.plain..chunk.padded) {
            padding.zeroize();
        }
        Ok(chunk.plain)
    }

    fn write(
        &self,
        key: &FileKey,
        ordinal: usize,
        index: u64,
        buffer: &mut [u8],
        tags: &mut Vec<u8>,
    ) -> Result<u64, SealModelError> {
        let failed = |source| write_error(self.job.data_path, source);
        let chunk = self.job.layout.chunk(ordinal, index);
        let bytes = chunk
            .as_ref()
            .and_then(|chunk| buffer.get_mut(..chunk.padded));
        let (Some(chunk), Some(bytes)) = (chunk, bytes) else {
            return Err(failed(io::ErrorKind::InvalidInput.into()));
        };
        tags.extend_from_slice(&key.seal(&chunk, bytes));
        self.job
            .data
            .write_all_at(bytes, chunk.offset)
            .map_err(failed)?;
        Ok(chunk.plain as u64)
    }
}

fn write_error(path: &Path, source: io::Error) -> SealModelError {
    SealModelError::Write {
        path: path.to_owned(),
        source,
    }
}

/// Enough for one chunk being hashed, one encrypted and one read.
const BUFFERS: usize = 3;
