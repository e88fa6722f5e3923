//! The members of an archive, each with the name and the link that extension headers give it.
//!
//! Extension headers are kept in memory, so their length is judged before they are read: the archive
//! says it, and may say anything.

use std::borrow::Cow;
use std::io::{self, Read};

use tar::{Entries, Entry, EntryType};

/// Members in the order of the archive.
pub(super) struct Members<'archive, R: Read> {
    entries: Entries<'archive, R>,
}

/// A member; what it holds is read from `entry`.
pub(super) struct Member<'archive, R: Read> {
    pub(super) entry: Entry<'archive, R>,
    extensions: Extensions,
}

/// What extension headers say of the member that follows them.
#[derive(Default)]
struct Extensions {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    records: Option<Records>,
}

/// What is understood of the records of a PAX header.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Records {
    path: Option<Vec<u8>>,
    link_path: Option<Vec<u8>>,
    size: Option<Vec<u8>>,
}

impl<'archive, R: Read> Members<'archive, R> {
    pub(super) fn of(archive: &'archive mut tar::Archive<R>) -> io::Result<Self> {
        Ok(Self {
            entries: archive.entries()?.raw(true),
        })
    }

    fn next_member(&mut self) -> io::Result<Option<Member<'archive, R>>> {
        let mut extensions = Extensions::default();
        let mut began = false;
        loop {
            let Some(entry) = self.entries.next() else {
                return if began {
                    Err(malformed("an extension header without a member"))
                } else {
                    Ok(None)
                };
            };
            let mut entry = entry?;
            match entry.header().entry_type() {
                EntryType::GNULongName => put(&mut extensions.name, text(&mut entry)?)?,
                EntryType::GNULongLink => put(&mut extensions.link, text(&mut entry)?)?,
                EntryType::XHeader => {
                    let records = parse_records(&short(&mut entry)?).map_err(malformed)?;
                    put(&mut extensions.records, records)?;
                }
                _ => {
                    extensions.agree(entry.size())?;
                    return Ok(Some(Member { entry, extensions }));
                }
            }
            began = true;
        }
    }
}

impl<'archive, R: Read> Iterator for Members<'archive, R> {
    type Item = io::Result<Member<'archive, R>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_member().transpose()
    }
}

impl<R: Read> Member<'_, R> {
    pub(super) fn name(&self) -> Cow<'_, [u8]> {
        let records = self.extensions.records.as_ref();
        let long = self.extensions.name.as_ref();
        match long.or_else(|| records?.path.as_ref()) {
            Some(name) => Cow::Borrowed(name),
            None => self.entry.header().path_bytes(),
        }
    }

    pub(super) fn link(&self) -> Option<Cow<'_, [u8]>> {
        let records = self.extensions.records.as_ref();
        let long = self.extensions.link.as_ref();
        match long.or_else(|| records?.link_path.as_ref()) {
            Some(link) => Some(Cow::Borrowed(link)),
            None => self.entry.header().link_name_bytes(),
        }
    }
}

impl Extensions {
    /// A second opinion on where the next member begins would hide members from one of two readers.
    fn agree(&self, size: u64) -> io::Result<()> {
        let other = self
            .records
            .as_ref()
            .and_then(|records| records.size.as_ref());
        let agrees = other.is_none_or(|other| *other == size.to_string().into_bytes());
        agrees
            .then_some(())
            .ok_or_else(|| malformed("two sizes of one member"))
    }
}

/// The records of a PAX header, each `<length> <key>=<value>\n`. Of a key that comes twice the last
/// one counts.
pub(crate) fn parse_records(mut bytes: &[u8]) -> Result<Records, &'static str> {
    const WRONG: &str = "an extension header that is not understood";
    let mut records = Records::default();
    while !bytes.is_empty() {
        let blank = bytes.iter().position(|byte| *byte == b' ').ok_or(WRONG)?;
        let length = bytes.get(..blank).and_then(|digits| {
            let digits = str::from_utf8(digits).ok()?;
            digits.parse::<usize>().ok()
        });
        let (record, rest) = length
            .and_then(|length| bytes.split_at_checked(length))
            .ok_or(WRONG)?;
        let record = record
            .get(blank.saturating_add(1)..)
            .and_then(|record| record.strip_suffix(b"\n"))
            .ok_or(WRONG)?;
        let equals = record.iter().position(|byte| *byte == b'=').ok_or(WRONG)?;
        let (key, value) = record.split_at_checked(equals).ok_or(WRONG)?;
        let value = value.strip_prefix(b"=").unwrap_or(value).to_vec();
        match key {
            b"path" => records.path = Some(value),
            b"linkpath" => records.link_path = Some(value),
            b"size" => records.size = Some(value),
            _ => {}
        }
        bytes = rest;
    }
    Ok(records)
}

/// A long name ends with a zero byte.
fn text(entry: &mut Entry<'_, impl Read>) -> io::Result<Vec<u8>> {
    let mut text = short(entry)?;
    if text.last() == Some(&0) {
        text.pop();
    }
    Ok(text)
}

fn short(entry: &mut Entry<'_, impl Read>) -> io::Result<Vec<u8>> {
    let size = entry.size();
    if size > MOST_EXTENSION_BYTES {
        return Err(malformed("an extension header of more than 64 KiB"));
    }
    let mut content = Vec::new();
    entry.take(size).read_to_end(&mut content)?;
    if u64::try_from(content.len()).is_ok_and(|length| length == size) {
        Ok(content)
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

fn put<T>(place: &mut Option<T>, value: T) -> io::Result<()> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(malformed("two extension headers of one kind")),
    }
}

fn malformed(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, Malformed(reason))
}

/// What is wrong with an archive, in words of ours.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Malformed(&'static str);

const MOST_EXTENSION_BYTES: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_cut_by_their_lengths_and_not_by_what_they_hold() {
        let records = parse_records(b"23 SCHILY.xattr.x=\n3 a\n12 path=a=\n\n").unwrap();
        assert_eq!(records.path.as_deref(), Some(b"a=\n".as_slice()));
    }

    #[test]
    fn records_that_end_elsewhere_than_they_say_are_refused() {
        for wrong in [
            "8 path=a\n",
            "99 path=a\n",
            "x path=a\n",
            "0 ",
            "3 \n",
            "path=a",
        ] {
            assert!(parse_records(wrong.as_bytes()).is_err(), "{wrong:?}");
        }
    }
}
