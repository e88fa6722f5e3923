//! Where an image's parts are kept: a folder, or an archive that is read as a stream, twice.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use flate2::read::MultiGzDecoder;

use super::layer::Listing;
use super::tar::{self, Entries};
use crate::input::walk::reason;

/// The parts of a layout.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
    is_folder: bool,
    /// The small parts of an archive, by name.
    small: BTreeMap<String, Vec<u8>>,
    started: Instant,
}

impl Store {
    pub(super) fn open(path: &Path, started: Instant) -> Result<Self, String> {
        let metadata = fs::metadata(path).map_err(|error| reason(&error))?;
        let mut store = Self {
            path: path.to_owned(),
            is_folder: metadata.is_dir(),
            small: BTreeMap::new(),
            started,
        };
        if !store.is_folder {
            store.small = store.read_small()?;
        }
        Ok(store)
    }

    /// A layout of documents only.
    pub(super) fn of_parts(parts: BTreeMap<String, Vec<u8>>) -> Self {
        Self {
            path: PathBuf::new(),
            is_folder: false,
            small: parts,
            started: Instant::now(),
        }
    }

    /// A small part: `index.json`, a manifest, a configuration.
    pub(super) fn part(&self, name: &str) -> Result<Vec<u8>, String> {
        if !self.is_folder {
            let found = self.small.get(name).cloned();
            return found.ok_or_else(|| {
                format!("`{name}` is not in it, or is larger than {MAX_SMALL} bytes")
            });
        }
        let told = |error: &io::Error| format!("`{name}`: {}", reason(error));
        let file = File::open(self.inside(name)?).map_err(|error| told(&error))?;
        let mut bytes = Vec::new();
        file.take(MAX_SMALL + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| told(&error))?;
        if bytes.len() > usize::try_from(MAX_SMALL).unwrap_or(usize::MAX) {
            return Err(format!("`{name}` is larger than {MAX_SMALL} bytes"));
        }
        Ok(bytes)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        if self.is_folder {
            self.inside(name).is_ok_and(|path| path.exists())
        } else {
            self.small.contains_key(name)
        }
    }

    /// The path of a part in the folder: a regular file that no link leads away from.
    fn inside(&self, name: &str) -> Result<PathBuf, String> {
        let path = self.path.join(name);
        let metadata =
            fs::symlink_metadata(&path).map_err(|error| format!("`{name}`: {}", reason(&error)))?;
        if metadata.is_file() {
            Ok(path)
        } else {
            Err(format!("`{name}` is no plain file"))
        }
    }

    /// What the wanted layers hold, by their names.
    pub(super) fn listings(
        &self,
        wanted: &[String],
    ) -> Result<HashMap<String, Result<Listing, String>>, String> {
        let wanted: HashSet<&str> = wanted.iter().map(String::as_str).collect();
        let mut budget = Budget {
            bytes: MAX_UNPACKED,
            deadline: self.started + MAX_TIME,
        };
        let mut found = HashMap::new();
        if self.is_folder {
            for name in wanted {
                let listing = self
                    .inside(name)
                    .and_then(|path| File::open(path).map_err(|error| reason(&error)))
                    .and_then(|file| list(BufReader::new(file), &mut budget));
                found.insert(name.to_owned(), listing);
            }
            return Ok(found);
        }
        // A layout that is no file has its documents and nothing else.
        if wanted.is_empty() || self.path.as_os_str().is_empty() {
            return Ok(found);
        }
        let mut archive = budget.clone();
        let source = self.archive(&mut archive)?;
        let mut entries = Entries::new(source);
        entries.each(|entry, content| {
            if entry.is_file()
                && wanted.contains(entry.path.as_str())
                && !found.contains_key(&entry.path)
            {
                found.insert(entry.path.clone(), list(content, &mut budget));
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// The archive as a stream, unpacked where it is compressed.
    fn archive<'budget>(
        &self,
        budget: &'budget mut Budget,
    ) -> Result<impl Read + use<'budget>, String> {
        let file = File::open(&self.path).map_err(|error| reason(&error))?;
        unpacked(BufReader::new(file), budget)
    }

    fn read_small(&self) -> Result<BTreeMap<String, Vec<u8>>, String> {
        let mut budget = Budget {
            bytes: MAX_UNPACKED,
            deadline: self.started + MAX_TIME,
        };
        let source = self.archive(&mut budget)?;
        let mut found: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let mut total = 0;
        Entries::new(source).each(|entry, content| {
            if !entry.is_file() || entry.size > MAX_SMALL || found.len() >= MAX_PARTS {
                return Ok(());
            }
            let mut bytes = Vec::new();
            content
                .take(MAX_SMALL)
                .read_to_end(&mut bytes)
                .map_err(|error| reason(&error))?;
            // Layers may be small too; only what is JSON is kept.
            if bytes
                .iter()
                .find(|byte| !byte.is_ascii_whitespace())
                .is_some_and(|byte| b"{[".contains(byte))
            {
                total += entry.size;
                if total > MAX_SMALL_TOTAL {
                    return Err(format!("more than {MAX_SMALL_TOTAL} bytes of manifests"));
                }
                found.insert(entry.path.clone(), bytes);
            }
            Ok(())
        })?;
        Ok(found)
    }
}

/// What may still be unpacked, and until when.
#[derive(Clone, Debug)]
struct Budget {
    bytes: u64,
    deadline: Instant,
}

/// A stream that counts what is read of it.
struct Counted<R> {
    source: R,
    count: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(into)?;
        self.count.set(
            self.count
                .get()
                .saturating_add(u64::try_from(count).unwrap_or(u64::MAX)),
        );
        Ok(count)
    }
}

/// A stream that ends with an error where the bounds do.
struct Bounded<'budget, R> {
    source: R,
    budget: &'budget mut Budget,
    /// What came out, and what was read for it.
    out: u64,
    packed: Rc<Cell<u64>>,
}

impl<R: Read> Read for Bounded<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(into)?;
        let bytes = u64::try_from(count).unwrap_or(u64::MAX);
        self.out = self.out.saturating_add(bytes);
        if self.out > MAX_UNPACKED_EASILY && self.out / MAX_RATIO > self.packed.get() {
            let message = format!("it unpacks to more than {MAX_RATIO} times its size");
            return Err(io::Error::other(message));
        }
        self.budget.bytes = self.budget.bytes.saturating_sub(bytes);
        if self.budget.bytes == 0 {
            return Err(io::Error::other(format!(
                "more than {MAX_UNPACKED} bytes when it is unpacked"
            )));
        }
        if Instant::now() > self.budget.deadline {
            return Err(io::Error::other(format!(
                "it takes more than {} seconds",
                MAX_TIME.as_secs()
            )));
        }
        Ok(count)
    }
}

fn unpacked<'out, R: Read + 'out>(
    mut source: R,
    budget: &'out mut Budget,
) -> Result<impl Read + use<'out, R>, String> {
    let mut head = [0; 4];
    let mut length = 0;
    while length < head.len() {
        let rest = head.get_mut(length..).unwrap_or(&mut []);
        match source.read(rest).map_err(|error| reason(&error))? {
            0 => break,
            count => length += count,
        }
    }
    if head == [0x28, 0xb5, 0x2f, 0xfd] {
        return Err("it is compressed with zstd, which is not read here".to_owned());
    }
    let known = head.get(..length).unwrap_or(&[]).to_vec();
    let packed = Rc::new(Cell::new(0));
    let whole = Counted {
        source: io::Cursor::new(known).chain(source),
        count: Rc::clone(&packed),
    };
    let source: Box<dyn Read + 'out> = if head.starts_with(&[0x1f, 0x8b]) {
        Box::new(MultiGzDecoder::new(whole))
    } else {
        Box::new(whole)
    };
    Ok(Bounded {
        source,
        budget,
        out: 0,
        packed,
    })
}

fn list<R: Read>(source: R, budget: &mut Budget) -> Result<Listing, String> {
    let source = unpacked(source, budget)?;
    Listing::read(source)
}

pub(super) use tar::Entry as TarEntry;

const MAX_SMALL: u64 = 4 * 1024 * 1024;
const MAX_SMALL_TOTAL: u64 = 64 * 1024 * 1024;
const MAX_PARTS: usize = 4_096;
const MAX_UNPACKED: u64 = 64 * 1024 * 1024 * 1024;
const MAX_UNPACKED_EASILY: u64 = 64 * 1024 * 1024;
const MAX_RATIO: u64 = 200;
const MAX_TIME: Duration = Duration::from_secs(300);
