//! The entries of a tar stream, read with bounds on what describes them.
//!
//! Long names and extended headers are read here and not by the `tar` crate, which would take one of any size
//! into memory.

use std::io::Read;

use ::tar::{Archive, EntryType};

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::input) struct Entry {
    /// Its name without a leading `/` or `./`.
    pub(super) path: String,
    pub(super) size: u64,
    pub(super) mode: u32,
    pub(super) owner: u64,
    /// What it links to.
    pub(super) link: Option<String>,
    kind: EntryType,
}

impl Entry {
    pub(super) fn is_file(&self) -> bool {
        self.kind.is_file() || self.kind.is_contiguous()
    }

    pub(super) fn is_symlink(&self) -> bool {
        self.kind.is_symlink()
    }

    /// Whether its name leads out of where it would be unpacked.
    pub(super) fn escapes(&self) -> bool {
        self.path.split('/').any(|part| part == "..")
    }
}

/// The entries of a stream.
pub(super) struct Entries<R: Read> {
    archive: Archive<R>,
}

impl<R: Read> Entries<R> {
    pub(super) fn new(source: R) -> Self {
        Self {
            archive: Archive::new(source),
        }
    }

    /// Calls `look` with every entry and its content, in order.
    pub(super) fn each(
        &mut self,
        mut look: impl FnMut(&Entry, &mut dyn Read) -> Result<(), String>,
    ) -> Result<(), String> {
        let entries = self
            .archive
            .entries()
            .map_err(|error| fault(&error))?
            .raw(true);
        let (mut path, mut link) = (None, None);
        for (count, entry) in entries.enumerate() {
            if count >= MAX_ENTRIES {
                return Err(format!("more than {MAX_ENTRIES} entries in an archive"));
            }
            let mut entry = entry.map_err(|error| fault(&error))?;
            let header = entry.header().clone();
            match header.entry_type() {
                EntryType::GNULongName => path = Some(described(&mut entry)?),
                EntryType::GNULongLink => link = Some(described(&mut entry)?),
                EntryType::XHeader => {
                    for (key, value) in records(&described(&mut entry)?) {
                        match key {
                            "path" => path = Some(value.to_owned()),
                            "linkpath" => link = Some(value.to_owned()),
                            _ => {}
                        }
                    }
                }
                EntryType::XGlobalHeader => {}
                kind => {
                    let own = || String::from_utf8_lossy(&entry.path_bytes()).into_owned();
                    let own_link = || {
                        entry
                            .link_name_bytes()
                            .map(|name| String::from_utf8_lossy(&name).into_owned())
                    };
                    let found = Entry {
                        path: plain(&path.take().unwrap_or_else(own)),
                        size: header.size().map_err(|error| fault(&error))?,
                        mode: header.mode().unwrap_or(0),
                        owner: header.uid().unwrap_or(0),
                        link: link.take().or_else(own_link),
                        kind,
                    };
                    look(&found, &mut entry)?;
                }
            }
        }
        Ok(())
    }
}

fn fault(error: &std::io::Error) -> String {
    format!("this is not a tar archive to its end: {error}")
}

/// The text of an entry that describes the next one.
fn described(entry: &mut dyn Read) -> Result<String, String> {
    let mut bytes = Vec::new();
    entry
        .take(MAX_DESCRIPTION + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| fault(&error))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_DESCRIPTION {
        return Err(format!(
            "a name in it is longer than {MAX_DESCRIPTION} bytes"
        ));
    }
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.trim_end_matches('\0').to_owned())
}

/// `LENGTH KEY=VALUE` lines; what is broken ends them.
fn records(text: &str) -> Vec<(&str, &str)> {
    let mut rest = text;
    let mut found = Vec::new();
    while let Some((length, _)) = rest.split_once(' ') {
        let Ok(whole) = length.parse::<usize>() else {
            break;
        };
        let record = rest.get(length.len() + 1..whole);
        let Some((key, value)) =
            record.and_then(|record| record.strip_suffix('\n')?.split_once('='))
        else {
            break;
        };
        found.push((key, value));
        rest = rest.get(whole..).unwrap_or("");
    }
    found
}

/// The name without what says nothing at its start.
fn plain(path: &str) -> String {
    let mut rest = path;
    while let Some(more) = rest.strip_prefix("./").or_else(|| rest.strip_prefix('/')) {
        rest = more;
    }
    rest.trim_end_matches('/').to_owned()
}

const MAX_ENTRIES: usize = 2_000_000;
const MAX_DESCRIPTION: u64 = 64 * 1024;
