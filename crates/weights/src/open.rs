//! Reads an unlocked model whole: to check it, or to decrypt it to a directory.
//!
//! Decrypting writes to a hidden sibling and renames at the end, so that a directory with the final
//! name holds every file and every digest matched.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;

use zeroize::Zeroizing;

use crate::digest::{Digest, Hasher};
use crate::seal::{SealModelError, Staging};
use crate::unlock::{OpenedModel, ReadChunkError};
use crate::{Progress, ProgressFn};

/// How much is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Every chunk's authentication tag, on all cores: nobody without the data key changed a byte.
    Tags,
    /// Also every file's SHA-256 against the OpenSSF signature: not even a holder of the data key did.
    Digests,
}

/// Why an unlocked model was not read whole.
#[derive(Debug, thiserror::Error)]
pub enum OpenModelError {
    /// A chunk was not handed out.
    #[error("the model is damaged")]
    Chunk(#[from] ReadChunkError),
    /// A file with good chunks and the wrong digest.
    #[error(
        "`{path}` hashes to {found}, but {signed} was signed: somebody with the data key replaced it"
    )]
    Digest {
        /// The file.
        path: String,
        /// Of the decrypted bytes.
        found: Digest,
        /// In the OpenSSF signature.
        signed: Digest,
    },
    /// The destination could not be made.
    #[error("cannot make the directory for the opened model")]
    Output(#[from] SealModelError),
    /// A file could not be written.
    #[error("cannot write `{path}`; nothing was left under the final name")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Reads every byte of `model` and compares it to `depth`.
///
/// # Errors
/// On the first chunk or file that does not match.
pub fn check(
    model: &OpenedModel,
    depth: Depth,
    progress: ProgressFn<'_>,
) -> Result<(), OpenModelError> {
    let chunks: Vec<(usize, u64)> = match depth {
        Depth::Tags => (0..model.entries().len())
            .flat_map(|file| (0..chunks_of(model, file)).map(move |chunk| (file, chunk)))
            .collect(),
        Depth::Digests => (0..model.entries().len()).map(|file| (file, 0)).collect(),
    };
    each(model, chunks.len(), progress, |at, buffer, told| {
        match (depth, chunks.get(at)) {
            (Depth::Tags, Some((file, chunk))) => {
                told(model.read_chunk(*file, *chunk, buffer)?.len() as u64);
                Ok(())
            }
            (Depth::Digests, Some((file, _))) => copy(model, *file, buffer, None, told),
            (_, None) => Ok(()),
        }
    })
}

/// Decrypts `model` into the new directory `output`. What earlier ones to the same place that were killed
/// had left of their plaintext is removed; where it was is returned.
///
/// # Errors
/// When a chunk or digest does not match or the directory cannot be written; then nothing is left.
pub fn decrypt_to(
    model: &OpenedModel,
    output: &Path,
    progress: ProgressFn<'_>,
) -> Result<Vec<PathBuf>, OpenModelError> {
    let staging = Staging::new(output)?;
    each(
        model,
        model.entries().len(),
        progress,
        |file, buffer, told| {
            let Some(entry) = model.entries().get(file) else {
                return Ok(());
            };
            let path = staging.path(entry.path.as_str());
            let failed = |source| OpenModelError::Write {
                path: path.clone(),
                source,
            };
            if let Some(parent) = path.parent() {
                DirBuilder::new()
                    .recursive(true)
                    .mode(0o755)
                    .create(parent)
                    .map_err(failed)?;
            }
            let mode = if entry.executable { 0o755 } else { 0o644 };
            let mut target = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(mode)
                .open(&path)
                .map_err(failed)?;
            copy(model, file, buffer, Some((&mut target, &path)), told)?;
            target.sync_all().map_err(failed)
        },
    )?;
    Ok(staging.publish()?)
}

/// Decrypts one file, compares its digest, and writes it when there is somewhere to write it.
fn copy(
    model: &OpenedModel,
    file: usize,
    buffer: &mut [u8],
    mut target: Option<(&mut File, &Path)>,
    told: &dyn Fn(u64),
) -> Result<(), OpenModelError> {
    let mut hasher = Hasher::new();
    for chunk in 0..chunks_of(model, file) {
        let plain = model.read_chunk(file, chunk, buffer)?;
        hasher.update(plain);
        if let Some((target, path)) = &mut target {
            target
                .write_all(plain)
                .map_err(|source| OpenModelError::Write {
                    path: (*path).to_owned(),
                    source,
                })?;
        }
        told(plain.len() as u64);
    }
    let found = hasher.finish();
    match model.entries().get(file) {
        Some(entry) if entry.sha256 != found => Err(OpenModelError::Digest {
            path: entry.path.to_string(),
            found,
            signed: entry.sha256,
        }),
        Some(_) | None => Ok(()),
    }
}

fn chunks_of(model: &OpenedModel, file: usize) -> u64 {
    model
        .layout()
        .extents
        .get(file)
        .map_or(0, |extent| extent.chunks)
}

/// Runs `work` for every number below `count`, on all cores, until one fails.
fn each(
    model: &OpenedModel,
    count: usize,
    progress: ProgressFn<'_>,
    work: impl Fn(usize, &mut [u8], &dyn Fn(u64)) -> Result<(), OpenModelError> + Sync,
) -> Result<(), OpenModelError> {
    let total = model.entries().iter().map(|entry| entry.size).sum();
    let size = usize::try_from(model.layout().chunk_size).unwrap_or(usize::MAX);
    let (next, done, stop) = (
        AtomicUsize::new(0),
        AtomicU64::new(0),
        AtomicBool::new(false),
    );
    let first_error = Mutex::new(None);
    let told = |bytes: u64| {
        let done = done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        progress(Progress { done, total });
    };
    let run = || {
        let mut buffer = Zeroizing::new(vec![0; size]);
        while !stop.load(Ordering::Relaxed) {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= count {
                return;
            }
            if let Err(error) = work(at, &mut buffer, &told) {
                stop.store(true, Ordering::Relaxed);
                if let Ok(mut slot) = first_error.lock() {
                    slot.get_or_insert(error);
                }
            }
        }
    };
    let workers = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(count.max(1));
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(run);
        }
    });
    match first_error
        .into_inner()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
    {
        Some(error) => Err(error),
        None => Ok(()),
    }
}
