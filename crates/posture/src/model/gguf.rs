//! Headers of GGUF files, read as a loader would, with every count and length held against the file's size.

use std::collections::BTreeSet;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

use super::bytes::Source;

/// What was read of a file.
#[derive(Debug, Default)]
pub(crate) struct Header {
    /// What is wrong; nothing when it is as the format says.
    pub(crate) faults: Vec<String>,
    /// The chat templates in it, each by the name of its key.
    pub(crate) templates: Vec<(String, String)>,
    /// The licence, when it is named.
    pub(crate) license: Option<String>,
}

/// Reads the header of a file of `length` bytes.
pub(crate) fn read(source: &mut dyn Source, length: u64) -> Header {
    let mut header = Header::default();
    let mut reader = Reader {
        source: BufReader::with_capacity(64 * 1024, source),
        at: 0,
        length,
    };
    if let Err(Stop(fault)) = reader.header(&mut header) {
        header.faults.push(fault);
    }
    header.faults.truncate(MAX_FAULTS);
    header
}

/// Why reading stopped.
struct Stop(String);

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self(match error.kind() {
            io::ErrorKind::UnexpectedEof => "the file ends inside its header".to_owned(),
            _ => format!("it cannot be read: {error}"),
        })
    }
}

struct Reader<S> {
    source: S,
    at: u64,
    length: u64,
}

struct Tensor {
    name: String,
    offset: u64,
    bytes: u64,
}

impl<S: Read + Seek> Reader<S> {
    fn header(&mut self, header: &mut Header) -> Result<(), Stop> {
        self.source.rewind()?;
        if self.array::<4>()? != *b"GGUF" {
            return Err(Stop("it does not start with `GGUF`".to_owned()));
        }
        let version = self.u32()?;
        match version {
            2 | 3 => {}
            _ if version.swap_bytes() <= 3 => {
                return Err(Stop(
                    "it is written for big-endian machines, which is not read here".to_owned(),
                ));
            }
            _ => {
                return Err(Stop(format!(
                    "version {version} is none that loaders take (2, 3)"
                )));
            }
        }
        let tensors = self.count("tensors", 24)?;
        let pairs = self.count("metadata values", 13)?;
        let mut alignment = 32;
        let mut keys = BTreeSet::new();
        for _ in 0..pairs {
            let key = self.string(MAX_KEY, "a key")?;
            let kind = self.u32()?;
            if key == "general.alignment" {
                let value = if kind == 4 { self.u32()? } else { 0 };
                alignment = u64::from(value);
                if !alignment.is_power_of_two() || alignment < 8 {
                    return Err(Stop(format!(
                        "`general.alignment` is {alignment}, and must be a power of two"
                    )));
                }
            } else if kind == STRING && (key.contains("chat_template") || key == "general.license")
            {
                let text = self.string(MAX_TEXT, &key)?;
                if key == "general.license" {
                    header.license = Some(text);
                } else {
                    header.templates.push((key.clone(), text));
                }
            } else {
                self.skip_value(kind, &key)?;
            }
            if !keys.insert(key.clone()) {
                header.faults.push(format!("key `{key}` is there twice"));
            }
        }
        let mut names = BTreeSet::new();
        let mut end = 0_u64;
        for _ in 0..tensors {
            let tensor = self.tensor(&mut header.faults)?;
            if tensor.offset % alignment != 0 {
                header.faults.push(format!(
                    "`{}` is at {}, off the alignment of {alignment}",
                    tensor.name, tensor.offset
                ));
            }
            let wanted = end.checked_next_multiple_of(alignment);
            if wanted != Some(tensor.offset) {
                header.faults.push(format!(
                    "`{}` is at {}, and the tensor before it ends at {end}: it overlaps, or hides bytes",
                    tensor.name, tensor.offset
                ));
            }
            end = tensor
                .offset
                .checked_add(tensor.bytes)
                .ok_or_else(|| overflow(&tensor.name))?;
            if !names.insert(tensor.name.clone()) {
                header
                    .faults
                    .push(format!("tensor `{}` is there twice", tensor.name));
            }
            if header.faults.len() > MAX_FAULTS {
                return Ok(());
            }
        }
        let start = self
            .at
            .checked_next_multiple_of(alignment)
            .unwrap_or(u64::MAX);
        let data = self.length.saturating_sub(start);
        if end > data {
            header.faults.push(format!(
                "the tensors need {end} bytes, and the file has {data}: a loader that believes them reads beyond its memory"
            ));
        } else if data > end.checked_next_multiple_of(alignment).unwrap_or(u64::MAX) {
            header.faults.push(format!(
                "{} bytes behind the last tensor belong to nothing",
                data - end
            ));
        }
        Ok(())
    }

    fn tensor(&mut self, faults: &mut Vec<String>) -> Result<Tensor, Stop> {
        let name = self.string(MAX_KEY, "the name of a tensor")?;
        if name.len() >= MAX_NAME {
            faults.push(format!(
                "the name of tensor `{}…` has {} bytes, and loaders keep 63",
                start_of(&name),
                name.len()
            ));
        }
        let dimensions = self.u32()?;
        if dimensions > 4 {
            return Err(Stop(format!(
                "`{name}` has {dimensions} dimensions, and loaders have room for 4"
            )));
        }
        let mut elements = 1_u64;
        let mut row = 1;
        for at in 0..dimensions {
            let side = self.u64()?;
            if at == 0 {
                row = side;
            }
            elements = elements
                .checked_mul(side)
                .filter(|product| i64::try_from(*product).is_ok())
                .ok_or_else(|| overflow(&name))?;
        }
        let kind = self.u32()?;
        let offset = self.u64()?;
        let Some((block, size)) = block(kind) else {
            return Err(Stop(format!("`{name}` has the unknown type {kind}")));
        };
        if row % block != 0 {
            faults.push(format!(
                "the rows of `{name}` have {row} values, which is no multiple of {block}"
            ));
        }
        let bytes = elements
            .div_ceil(block)
            .checked_mul(size)
            .ok_or_else(|| overflow(&name))?;
        Ok(Tensor {
            name,
            offset,
            bytes,
        })
    }

    /// A number of things, each of which takes at least `smallest` bytes of the file.
    fn count(&mut self, what: &str, smallest: u64) -> Result<u64, Stop> {
        let count = self.u64()?;
        if count
            .checked_mul(smallest)
            .is_none_or(|bytes| bytes > self.length)
        {
            return Err(Stop(format!(
                "it says it has {count} {what}, which do not fit its {} bytes",
                self.length
            )));
        }
        if count > MAX_COUNT {
            return Err(Stop(format!(
                "it says it has {count} {what}; at most {MAX_COUNT} are read"
            )));
        }
        Ok(count)
    }

    fn skip_value(&mut self, kind: u32, key: &str) -> Result<(), Stop> {
        match kind {
            STRING => self.skip_string(key),
            ARRAY => {
                let inner = self.u32()?;
                let count = self.u64()?;
                match (inner, width(inner)) {
                    (STRING, _) => {
                        if count.checked_mul(8).is_none_or(|bytes| bytes > self.length) {
                            return Err(too_long(key, count));
                        }
                        (0..count).try_for_each(|_| self.skip_string(key))
                    }
                    (_, Some(width)) => {
                        let bytes = count
                            .checked_mul(width)
                            .ok_or_else(|| too_long(key, count))?;
                        self.skip(bytes, key)
                    }
                    (_, None) => Err(Stop(format!(
                        "`{key}` is a list of type {inner}, which loaders refuse"
                    ))),
                }
            }
            _ => match width(kind) {
                Some(width) => self.skip(width, key),
                None => Err(Stop(format!("`{key}` has the unknown type {kind}"))),
            },
        }
    }

    fn skip_string(&mut self, key: &str) -> Result<(), Stop> {
        let length = self.u64()?;
        self.skip(length, key)
    }

    fn skip(&mut self, bytes: u64, key: &str) -> Result<(), Stop> {
        let at = self.at.checked_add(bytes).filter(|at| *at <= self.length);
        let at = at.ok_or_else(|| too_long(key, bytes))?;
        if bytes <= 4096 {
            // Seeking would throw the buffer away.
            io::copy(&mut self.source.by_ref().take(bytes), &mut io::sink())?;
        } else {
            self.source.seek(SeekFrom::Start(at))?;
        }
        self.at = at;
        Ok(())
    }

    fn string(&mut self, limit: u64, what: &str) -> Result<String, Stop> {
        let length = self.u64()?;
        if length > limit || length > self.length.saturating_sub(self.at) {
            return Err(too_long(what, length));
        }
        let mut bytes = Vec::new();
        self.source.by_ref().take(length).read_to_end(&mut bytes)?;
        self.at += length;
        String::from_utf8(bytes).map_err(|_| Stop(format!("{what} is not UTF-8")))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        let mut bytes = [0; N];
        self.source.read_exact(&mut bytes)?;
        self.at += N as u64;
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32, Stop> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Stop> {
        self.array().map(u64::from_le_bytes)
    }
}

fn too_long(what: &str, length: u64) -> Stop {
    Stop(format!(
        "`{}` says it has {length} bytes or members, which is more than there is",
        start_of(what)
    ))
}

fn overflow(name: &str) -> Stop {
    Stop(format!(
        "the size of `{}` is larger than a number can say: a loader's buffer overflows",
        start_of(name)
    ))
}

fn start_of(text: &str) -> String {
    text.chars().take(64).collect()
}

/// The bytes of a value of fixed width.
const fn width(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

/// How many values of a type make a block, and the bytes of one.
const fn block(kind: u32) -> Option<(u64, u64)> {
    Some(match kind {
        0 | 26 => (1, 4),
        1 | 25 | 30 => (1, 2),
        2 | 20 => (32, 18),
        3 => (32, 20),
        6 => (32, 22),
        7 => (32, 24),
        8 => (32, 34),
        9 => (32, 36),
        10 => (256, 84),
        11 | 21 => (256, 110),
        12 => (256, 144),
        13 => (256, 176),
        14 => (256, 210),
        15 => (256, 292),
        16 | 35 => (256, 66),
        17 => (256, 74),
        18 => (256, 98),
        19 => (256, 50),
        22 => (256, 82),
        23 => (256, 136),
        24 => (1, 1),
        27 | 28 => (1, 8),
        29 => (256, 56),
        34 => (256, 54),
        39 => (32, 17),
        _ => return None,
    })
}

const STRING: u32 = 8;
const ARRAY: u32 = 9;
const MAX_KEY: u64 = 65_535;
const MAX_NAME: usize = 64;
const MAX_TEXT: u64 = 1024 * 1024;
const MAX_COUNT: u64 = 1_000_000;
const MAX_FAULTS: usize = 8;

#[cfg(test)]
mod tests;
