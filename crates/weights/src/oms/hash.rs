//! Hashes the files of a model on all cores.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;

use super::ModelSigningError;
use super::walk::WalkedFile;
use crate::artifact::open_regular;
use crate::digest::{Digest, Hasher};
use crate::{Progress, ProgressFn};

/// A piece of a file that is hashed alone.
struct Piece {
    file: usize,
    name: String,
    start: u64,
    end: u64,
}

/// Whole files, sorted by name.
pub(super) fn files(
    directory: &Path,
    files: &[WalkedFile],
    progress: ProgressFn<'_>,
) -> Result<Vec<(String, Digest)>, ModelSigningError> {
    let pieces = files.iter().enumerate().map(|(file, walked)| Piece {
        file,
        name: walked.path.to_string(),
        start: 0,
        end: walked.size,
    });
    run(directory, files, &pieces.collect::<Vec<_>>(), progress)
}

/// Shards named `path:start:end`; a file without bytes has none.
pub(super) fn shards(
    directory: &Path,
    files: &[WalkedFile],
    size: u64,
    progress: ProgressFn<'_>,
) -> Result<Vec<(String, Digest)>, ModelSigningError> {
    let mut pieces = Vec::new();
    for (file, walked) in files.iter().enumerate() {
        let mut start = 0;
        while start < walked.size {
            let end = walked.size.min(start.saturating_add(size));
            pieces.push(Piece {
                file,
                name: format!("{}:{start}:{end}", walked.path),
                start,
                end,
            });
            start = end;
        }
    }
    run(directory, files, &pieces, progress)
}

fn run(
    directory: &Path,
    files: &[WalkedFile],
    pieces: &[Piece],
    progress: ProgressFn<'_>,
) -> Result<Vec<(String, Digest)>, ModelSigningError> {
    let total = pieces.iter().map(|piece| piece.end - piece.start).sum();
    let (next, done, stop) = (
        AtomicUsize::new(0),
        AtomicU64::new(0),
        AtomicBool::new(false),
    );
    let results = Mutex::new(Ok(Vec::with_capacity(pieces.len())));
    let told = |bytes: u64| {
        let done = done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        progress(Progress { done, total });
    };
    let work = || {
        let mut buffer = vec![0; BUFFER_BYTES];
        while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let outcome = hash_piece(directory, files, piece, &mut buffer, &told);
            // A poisoned lock means that another worker panicked, which ends the scope anyway.
            let Ok(mut results) = results.lock() else {
                return;
            };
            match (outcome, &mut *results) {
                (Ok(digest), Ok(list)) => list.push((piece.name.clone(), digest)),
                (Err(error), Ok(_)) => {
                    stop.store(true, Ordering::Relaxed);
                    *results = Err(error);
                }
                (_, Err(_)) => {}
            }
        }
    };
    let workers = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(pieces.len());
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(work);
        }
    });
    let mut list = results
        .into_inner()
        .unwrap_or_else(|poisoned| poisoned.into_inner())?;
    list.sort();
    Ok(list)
}

fn hash_piece(
    directory: &Path,
    files: &[WalkedFile],
    piece: &Piece,
    buffer: &mut [u8],
    told: &dyn Fn(u64),
) -> Result<Digest, ModelSigningError> {
    let path = files
        .get(piece.file)
        .map(|file| directory.join(file.path.as_str()));
    let path = path.unwrap_or_else(|| directory.join(&piece.name));
    let failed = |source| ModelSigningError::Read {
        path: path.clone(),
        source,
    };
    let file = open_regular(&path).map_err(failed)?;
    let mut hasher = Hasher::new();
    let mut at = piece.start;
    while at < piece.end {
        let wanted = usize::try_from(piece.end - at)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let Some(part) = buffer.get_mut(..wanted) else {
            break;
        };
        file.read_exact_at(part, at).map_err(failed)?;
        hasher.update(part);
        at += part.len() as u64;
        told(part.len() as u64);
    }
    Ok(hasher.finish())
}

const BUFFER_BYTES: usize = 1024 * 1024;
