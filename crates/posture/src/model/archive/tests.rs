use std::io::Cursor as Bytes;

use super::*;

/// An archive of members that are stored as they are; `local_name` may differ from what the directory says.
fn archive(members: &[(&str, &str, &[u8])], comment: &[u8]) -> Vec<u8> {
    let small = |number: usize| u32::try_from(number).unwrap().to_le_bytes();
    let short = |number: usize| u16::try_from(number).unwrap().to_le_bytes();
    let mut bytes = Vec::new();
    let mut directory = Vec::new();
    for (name, local_name, content) in members {
        let at = bytes.len();
        let common = |into: &mut Vec<u8>, name: &str| {
            into.extend([0; 2]);
            into.extend([0; 2]);
            into.extend([0; 8]);
            into.extend(small(content.len()));
            into.extend(small(content.len()));
            into.extend(short(name.len()));
            into.extend([0; 2]);
        };
        bytes.extend(b"PK\x03\x04\x14\0");
        common(&mut bytes, local_name);
        bytes.extend(local_name.as_bytes());
        bytes.extend(*content);
        directory.extend(b"PK\x01\x02\x14\0\x14\0");
        common(&mut directory, name);
        directory.extend([0; 10]);
        directory.extend(small(at));
        directory.extend(name.as_bytes());
    }
    let start = bytes.len();
    bytes.extend(&directory);
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    bytes.extend(short(members.len()));
    bytes.extend(short(members.len()));
    bytes.extend(small(directory.len()));
    bytes.extend(small(start));
    bytes.extend(short(comment.len()));
    bytes.extend(comment);
    bytes
}

fn read_members(bytes: &[u8]) -> Result<Vec<Member>, String> {
    members(&mut Bytes::new(bytes), bytes.len() as u64)
}

#[test]
fn members_are_listed_and_unpacked() {
    let bytes = archive(
        &[
            ("a/data.pkl", "a/data.pkl", b"N."),
            ("a/version", "a/version", b"3\n"),
        ],
        b"",
    );
    let found = read_members(&bytes).unwrap();
    assert_eq!(
        found
            .iter()
            .map(|one| one.name.as_str())
            .collect::<Vec<_>>(),
        ["a/data.pkl", "a/version"]
    );
    let first = found.first().unwrap();
    assert_eq!(unpack(&mut Bytes::new(&bytes), first, 10).unwrap(), b"N.");
    assert!(unpack(&mut Bytes::new(&bytes), first, 1).is_err());
    assert!(ends_here(&mut Bytes::new(&bytes), bytes.len() as u64));
}

#[test]
fn headers_that_disagree_are_refused() {
    let why = read_members(&archive(&[("data.pkl", "evil.pkl", b"N.")], b"")).unwrap_err();
    assert!(why.contains("disagree"), "{why}");
    let why = read_members(&archive(&[("a", "a", b"1"), ("a", "a", b"2")], b"")).unwrap_err();
    assert!(why.contains("twice"), "{why}");
    let why = read_members(&archive(&[("a", "a", b"1")], b"PK\x05\x06")).unwrap_err();
    assert!(!why.is_empty());
    let mut locked = archive(&[("a", "a", b"1")], b"");
    let flags = locked.len() - 22 - 47 + 8;
    *locked.get_mut(flags).unwrap() |= 1;
    let why = read_members(&locked).unwrap_err();
    assert!(why.contains("password"), "{why}");
}

#[test]
fn what_is_cut_off_anywhere_is_an_error_and_no_panic() {
    let bytes = archive(&[("a/data.pkl", "a/data.pkl", b"N.")], b"");
    for end in 0..bytes.len() {
        assert!(read_members(bytes.get(..end).unwrap()).is_err(), "{end}");
    }
}
