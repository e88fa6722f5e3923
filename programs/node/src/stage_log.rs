//! What a stage writes to its standard output and error, kept in two bounded files.
//!
//! A hostile stage writes these bytes. They are bounded in size and in rate (the pipe fills and the
//! writer waits), and whoever shows them gets them with every control character made visible, so that
//! a terminal cannot be driven by a log. They can hold prompts: the files are removed with the stage.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The bounded log of one stage.
#[derive(Debug)]
pub(crate) struct StageLog {
    path: PathBuf,
    limit: u64,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: File,
    length: u64,
    dropped: u64,
}

impl StageLog {
    /// An empty log at `path`, replacing what an earlier stage of that name left.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        Self::with_limit(path, HALF_BYTES)
    }

    fn with_limit(path: &Path, limit: u64) -> io::Result<Self> {
        remove(path);
        let inner = Mutex::new(Inner {
            file: open(path)?,
            length: 0,
            dropped: 0,
        });
        Ok(Self {
            path: path.to_owned(),
            limit,
            inner,
        })
    }

    /// Adds bytes; the older half of the log is forgotten when the newer half is full.
    pub(crate) fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.length >= self.limit {
            let older = older(&self.path);
            inner.dropped += fs::metadata(&older).map_or(0, |old| old.len());
            fs::rename(&self.path, &older)?;
            inner.file = open(&self.path)?;
            inner.length = 0;
        }
        inner.file.write_all(bytes)?;
        inner.length += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Ok(())
    }

    /// The last `count` lines, safe to show, and how many bytes were forgotten.
    pub(crate) fn tail(&self, count: usize) -> io::Result<(Vec<String>, u64)> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = fs::read(older(&self.path)).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(Vec::new()),
            _ => Err(error),
        })?;
        bytes.extend(fs::read(&self.path)?);
        let mut lines: Vec<String> = bytes
            .rsplit(|byte| *byte == b'\n')
            .skip(usize::from(bytes.last() == Some(&b'\n')))
            .take(count)
            .map(visible)
            .collect();
        lines.reverse();
        Ok((lines, inner.dropped))
    }

    /// Copies everything from `source` until it ends, no faster than the bound.
    pub(crate) fn fill_from(&self, mut source: impl Read) -> io::Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        let mut window = (Instant::now(), 0);
        loop {
            let length = match source.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.append(buffer.get(..length).unwrap_or_default())?;
            window.1 += length;
            if window.1 >= BYTES_PER_SECOND {
                if let Some(rest) = Duration::from_secs(1).checked_sub(window.0.elapsed()) {
                    std::thread::sleep(rest);
                }
                window = (Instant::now(), 0);
            }
        }
    }

    /// Removes the files.
    pub(crate) fn remove(&self) {
        remove(&self.path);
    }
}

/// One line as text that moves no cursor and hides nothing: controls and reordering marks are escaped.
pub(crate) fn visible(line: &[u8]) -> String {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let cut = line.len() > MAX_LINE_BYTES;
    let text = String::from_utf8_lossy(line.get(..MAX_LINE_BYTES).unwrap_or(line));
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        let reorders = matches!(character,
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if (character.is_control() && character != '\t') || reorders {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    if cut {
        shown.push('…');
    }
    shown
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

fn older(path: &Path) -> PathBuf {
    path.with_extension("log.1")
}

fn remove(path: &Path) {
    // Absent is what was asked for, and a file that stays is found by the leftover report.
    fs::remove_file(path).ok();
    fs::remove_file(older(path)).ok();
}

const HALF_BYTES: u64 = 512 * 1024;
const MAX_LINE_BYTES: usize = 4096;
const BYTES_PER_SECOND: usize = 4 * 1024 * 1024;

#[cfg(test)]
mod tests;
