//! Zip archives as PyTorch and NumPy write them. Both headers of each member are read and must agree.

use std::collections::BTreeSet;
use std::io::Read;

use super::bytes::{Cursor, Source, stretch};

/// One member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// Its name.
    pub(crate) name: String,
    /// Its size once it is unpacked.
    pub(crate) size: u64,
    packed: u64,
    deflated: bool,
    start: u64,
}

/// The members of the archive in `source`; or why loaders may disagree about what they are.
pub(crate) fn members(source: &mut dyn Source, length: u64) -> Result<Vec<Member>, String> {
    let (count, start, size) = directory(source, length)?;
    if count > MAX_MEMBERS || size > MAX_DIRECTORY || start.saturating_add(size) > length {
        return Err(format!(
            "its directory says it has {count} members in {size} bytes"
        ));
    }
    let bytes = read(source, start, size)?;
    let mut cursor = Cursor::new(&bytes);
    let mut members = Vec::new();
    let mut names = BTreeSet::new();
    for _ in 0..count {
        let member = central(&mut cursor).ok_or("its directory is cut off")??;
        if !names.insert(member.name.clone()) {
            return Err(format!("`{}` is there twice", member.name));
        }
        members.push(local(source, length, member)?);
    }
    if !cursor.rest().is_empty() {
        return Err("its directory has more members than it says".to_owned());
    }
    Ok(members)
}

/// The bytes of a member, when it has at most `limit` of them.
pub(crate) fn unpack(
    source: &mut dyn Source,
    member: &Member,
    limit: u64,
) -> Result<Vec<u8>, String> {
    if member.size > limit || member.packed > limit {
        return Err(format!(
            "`{}` has {} bytes; at most {limit} are read",
            member.name, member.size
        ));
    }
    let packed = read(source, member.start, member.packed)?;
    if !member.deflated {
        return Ok(packed);
    }
    let mut bytes = Vec::new();
    flate2::read::DeflateDecoder::new(packed.as_slice())
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("`{}` cannot be unpacked: {error}", member.name))?;
    if bytes.len() as u64 == member.size {
        Ok(bytes)
    } else {
        Err(format!("`{}` has another size than it says", member.name))
    }
}

/// Whether an archive ends where `source` does, whatever it begins with.
pub(crate) fn ends_here(source: &mut dyn Source, length: u64) -> bool {
    directory(source, length).is_ok()
}

fn read(source: &mut dyn Source, start: u64, length: u64) -> Result<Vec<u8>, String> {
    let bytes =
        stretch(source, start, length).map_err(|error| format!("it cannot be read: {error}"))?;
    if bytes.len() as u64 == length {
        Ok(bytes)
    } else {
        Err("it is cut off".to_owned())
    }
}

/// How many members there are, and where their directory starts and how long it is.
fn directory(source: &mut dyn Source, length: u64) -> Result<(u64, u64, u64), String> {
    let tail_start = length.saturating_sub(END_LENGTH + 65_535);
    let tail = read(source, tail_start, length - tail_start)?;
    let mut ends = tail
        .windows(4)
        .enumerate()
        .filter(|(_, bytes)| *bytes == END);
    let (at, _) = ends.next_back().ok_or("it has no directory")?;
    if ends.next().is_some() {
        return Err("it has two directories".to_owned());
    }
    let mut cursor = Cursor::new(tail.get(at + 4..).unwrap_or(&[]));
    let fields = (|| {
        let disks = (cursor.u16()?, cursor.u16()?);
        let counts = (cursor.u16()?, cursor.u16()?);
        let (size, start) = (cursor.u32()?, cursor.u32()?);
        let comment = cursor.u16()?;
        Some((disks, counts, size, start, comment))
    })();
    let (disks, counts, size, start, comment) = fields.ok_or("its end is cut off")?;
    if usize::from(comment) != cursor.rest().len() {
        return Err("bytes follow its end".to_owned());
    }
    if counts.0 == u16::MAX || size == u32::MAX || start == u32::MAX {
        return large_directory(source, tail_start + at as u64);
    }
    if disks != (0, 0) || counts.0 != counts.1 {
        return Err("it is one of several parts".to_owned());
    }
    Ok((u64::from(counts.0), u64::from(start), u64::from(size)))
}

/// The same for archives beyond 4 GiB: another record stands before the end.
fn large_directory(source: &mut dyn Source, end: u64) -> Result<(u64, u64, u64), String> {
    let locator = end.checked_sub(20).ok_or("its end is cut off")?;
    let bytes = read(source, locator, 20)?;
    let at = bytes.strip_prefix(LARGE_LOCATOR).and_then(|rest| {
        let mut cursor = Cursor::new(rest);
        cursor.u32()?;
        cursor.u64()
    });
    let record = read(source, at.ok_or("its large directory is not found")?, 56)?;
    let fields = record.strip_prefix(LARGE_END).and_then(|rest| {
        let mut cursor = Cursor::new(rest);
        cursor.take(8 + 2 + 2 + 4 + 4)?;
        let counts = (cursor.u64()?, cursor.u64()?);
        let (size, start) = (cursor.u64()?, cursor.u64()?);
        (counts.0 == counts.1).then_some((counts.0, start, size))
    });
    fields.ok_or_else(|| "its large directory is not as it must be".to_owned())
}

struct Central {
    name: String,
    flags: u16,
    method: u16,
    packed: u64,
    size: u64,
    header: u64,
}

/// One record of the directory; none when it is cut off.
fn central(cursor: &mut Cursor<'_>) -> Option<Result<Central, String>> {
    if cursor.take(4)? != CENTRAL {
        return Some(Err("its directory is not as it must be".to_owned()));
    }
    cursor.take(4)?;
    let (flags, method) = (cursor.u16()?, cursor.u16()?);
    cursor.take(8)?;
    let (packed, size) = (cursor.u32()?, cursor.u32()?);
    let lengths = (cursor.u16()?, cursor.u16()?, cursor.u16()?);
    cursor.take(8)?;
    let header = cursor.u32()?;
    let name = cursor.take(usize::from(lengths.0))?;
    let extra = cursor.take(usize::from(lengths.1))?;
    cursor.take(usize::from(lengths.2))?;
    let Ok(name) = String::from_utf8(name.to_vec()) else {
        return Some(Err("a member's name is not UTF-8".to_owned()));
    };
    let (mut size, mut packed, mut header) =
        (u64::from(size), u64::from(packed), u64::from(header));
    let mut large = Cursor::new(large_fields(extra).unwrap_or(&[]));
    for field in [&mut size, &mut packed, &mut header] {
        if *field == u64::from(u32::MAX) {
            match large.u64() {
                Some(value) => *field = value,
                None => return Some(Err(format!("the size of `{name}` is not said"))),
            }
        }
    }
    Some(Ok(Central {
        name,
        flags,
        method,
        packed,
        size,
        header,
    }))
}

/// The part of a record's extra bytes that holds large numbers.
fn large_fields(extra: &[u8]) -> Option<&[u8]> {
    let mut cursor = Cursor::new(extra);
    loop {
        let (kind, length) = (cursor.u16()?, cursor.u16()?);
        let field = cursor.take(usize::from(length))?;
        if kind == 1 {
            return Some(field);
        }
    }
}

/// Reads the header before a member's bytes and holds it against the directory.
fn local(source: &mut dyn Source, length: u64, central: Central) -> Result<Member, String> {
    let name = &central.name;
    if central.flags & 1 != 0 {
        return Err(format!("`{name}` is behind a password"));
    }
    if !matches!(central.method, 0 | 8) {
        return Err(format!(
            "`{name}` is packed by method {}, which is not read here",
            central.method
        ));
    }
    let bytes = read(source, central.header, 30)?;
    let fields = bytes.strip_prefix(LOCAL).and_then(|rest| {
        let mut cursor = Cursor::new(rest);
        cursor.take(2)?;
        let (flags, method) = (cursor.u16()?, cursor.u16()?);
        cursor.take(8)?;
        let sizes = (cursor.u32()?, cursor.u32()?);
        Some((flags, method, sizes, cursor.u16()?, cursor.u16()?))
    });
    let (flags, method, sizes, name_length, extra_length) =
        fields.ok_or_else(|| format!("`{name}` has no header where the directory says"))?;
    let own_name = read(source, central.header + 30, u64::from(name_length))?;
    // Sizes may stand behind the bytes (flag 8) or in the extra part.
    let said =
        |own: u32, wanted: u64| flags & 8 != 0 || own == u32::MAX || u64::from(own) == wanted;
    let agrees = own_name == name.as_bytes()
        && method == central.method
        && flags & 1 == 0
        && said(sizes.0, central.packed)
        && said(sizes.1, central.size);
    if !agrees {
        return Err(format!(
            "the two headers of `{name}` disagree: each loader reads something else"
        ));
    }
    let start = central.header + 30 + u64::from(name_length) + u64::from(extra_length);
    if start
        .checked_add(central.packed)
        .is_none_or(|end| end > length)
    {
        return Err(format!("`{name}` goes on behind the end of the file"));
    }
    if central.method == 0 && central.packed != central.size {
        return Err(format!("`{name}` has two sizes"));
    }
    Ok(Member {
        name: central.name,
        size: central.size,
        packed: central.packed,
        deflated: central.method == 8,
        start,
    })
}

const LOCAL: &[u8] = b"PK\x03\x04";
const CENTRAL: &[u8] = b"PK\x01\x02";
const END: &[u8] = b"PK\x05\x06";
const LARGE_LOCATOR: &[u8] = b"PK\x06\x07";
const LARGE_END: &[u8] = b"PK\x06\x06";
const END_LENGTH: u64 = 22;
const MAX_MEMBERS: u64 = 100_000;
const MAX_DIRECTORY: u64 = 16 * 1024 * 1024;

#[cfg(test)]
mod tests;
