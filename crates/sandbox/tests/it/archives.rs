//! Archives that cost their author nothing and would cost the reader much.

use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;

use casemate_sandbox::image::{Bounds, UnpackImageError, unpack};
use tar::{EntryType, Header};

fn header(kind: EntryType, name: &str, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_path(name).unwrap();
    header.set_mode(0o644);
    header.set_size(size);
    header.set_cksum();
    header
}

/// A file of a few blocks on disk: one member, of whose content nothing was written.
fn sparse(path: &Path, header: &Header, size: u64) {
    let mut file = File::create(path).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.seek(SeekFrom::Start(512 + size)).unwrap();
    file.write_all(&[0; 1024]).unwrap();
}

/// The most memory that this process ever had, in bytes.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let kibibytes = line.trim().trim_end_matches("kB").trim();
    kibibytes.parse::<u64>().unwrap() << 10
}

fn refusal(archive: &Path, bounds: &Bounds) -> UnpackImageError {
    let store = archive.with_extension("store");
    let refusal = unpack(archive, &store, bounds).unwrap_err();
    assert_eq!(fs::read_dir(store).unwrap().count(), 0);
    refusal
}

#[test]
fn an_extension_header_is_not_read_beyond_its_bound() {
    const SIZE: u64 = 6 << 30;
    let directory = tempfile::tempdir().unwrap();
    for kind in [
        EntryType::GNULongName,
        EntryType::GNULongLink,
        EntryType::XHeader,
    ] {
        let archive = directory.path().join("hostile.tar");
        sparse(&archive, &header(kind, "x", SIZE), SIZE);
        let before = peak();
        let refusal = refusal(&archive, &Bounds::default());
        assert!(
            refusal.to_string().contains("more than 64 KiB"),
            "{kind:?}: {refusal}"
        );
        assert!(peak() < before + (256 << 20), "{kind:?} was read");
    }
}

#[test]
fn an_archive_longer_than_an_image_may_be_is_not_read() {
    const SIZE: u64 = 8 << 40;
    let directory = tempfile::tempdir().unwrap();
    let archive = directory.path().join("long.tar");
    sparse(&archive, &header(EntryType::Regular, "other", SIZE), SIZE);
    let refusal = refusal(&archive, &Bounds::default());
    assert!(
        matches!(refusal, UnpackImageError::TooMuch { what: "bytes", .. }),
        "{refusal}"
    );
}

#[test]
fn an_image_leaves_space_for_what_else_is_stored_beside_it() {
    let directory = tempfile::tempdir().unwrap();
    let archive = directory.path().join("small.tar");
    sparse(&archive, &header(EntryType::Regular, "index.json", 2), 2);
    let bounds = Bounds {
        free_bytes: u64::MAX >> 1,
        ..Bounds::default()
    };
    let refusal = refusal(&archive, &bounds);
    assert!(
        matches!(refusal, UnpackImageError::Space { .. }),
        "{refusal}"
    );
}

#[test]
fn a_refused_archive_is_not_quoted() {
    let directory = tempfile::tempdir().unwrap();
    let archive = directory.path().join("shadow");
    fs::write(&archive, "root:$y$secret:19000:0:99999:7:::\n".repeat(40)).unwrap();
    let refusal = format!("{:?}", refusal(&archive, &Bounds::default()));
    assert!(!refusal.contains("secret"), "{refusal}");
}

#[test]
fn a_pipe_in_the_place_of_an_archive_does_not_keep_its_reader() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    let mode = rustix::fs::Mode::RUSR;
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, mode, 0).unwrap();
    let refusal = refusal(&pipe, &Bounds::default());
    assert!(refusal.to_string().contains("neither a file"), "{refusal}");
}

#[test]
fn two_sizes_of_one_member_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let archive = directory.path().join("two.tar");
    let records = b"12 size=512\n";
    let mut file = File::create(&archive).unwrap();
    let records_header = header(EntryType::XHeader, "x", records.len() as u64);
    file.write_all(records_header.as_bytes()).unwrap();
    file.write_all(records).unwrap();
    file.write_all(&vec![0; 512 - records.len()]).unwrap();
    file.write_all(header(EntryType::Regular, "index.json", 0).as_bytes())
        .unwrap();
    file.write_all(&[0; 2048]).unwrap();
    let refusal = refusal(&archive, &Bounds::default());
    assert!(refusal.to_string().contains("two sizes"), "{refusal}");
}
