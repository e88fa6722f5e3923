//! C13: a sealed model with any byte changed, cut or exchanged gives not one byte of plaintext from
//! the place that was changed.

use std::fs;

use crate::lab::weights::Disk;
use crate::lab::{Attempt, Reference, judge};

#[test]
fn c13_a_changed_byte_of_the_weights_is_refused() {
    let disk = Disk::new();
    disk.change("data", |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
    // The signature alone covers the tags, not the bytes that the tags stand for: believing without
    // looking at the tags is this sandbox with that control removed.
    let (ours, without) = (disk.read("sealed"), disk.verify("sealed"));
    judge(
        "C13 changed",
        &Attempt::of(&ours),
        &Attempt::of(&without),
        Some(plain_file()),
    );
}

#[test]
fn c13_two_chunks_exchanged_are_refused() {
    let disk = Disk::new();
    disk.change("data", |bytes| {
        let (first, second) = bytes.split_at_mut(1 << 20);
        first[..4096].swap_with_slice(&mut second[..4096]);
    });
    let (ours, without) = (disk.read("sealed"), disk.verify("sealed"));
    judge(
        "C13 exchanged",
        &Attempt::of(&ours),
        &Attempt::of(&without),
        Some(plain_file()),
    );
}

#[test]
fn c13_no_byte_of_the_small_files_can_be_changed() {
    for file in ["header.json", "key.age", "index", "tags"] {
        let disk = Disk::new();
        disk.change(file, |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        });
        let ours = disk.read("sealed");
        // A reader that takes the files as they are.
        let without = fs::read(disk.path("sealed").join(file));
        judge(
            &format!("C13 {file}"),
            &Attempt::of(&ours),
            &Attempt::of(&without),
            None,
        );
    }
}

/// What llama.cpp does with a weight whose bits were flipped in a plain file: it loads it.
fn plain_file() -> Reference {
    let disk = Disk::new();
    let path = disk.path("plain/model.gguf");
    let mut bytes = fs::read(&path).unwrap();
    bytes[1_000_000] ^= 1;
    fs::write(&path, bytes).unwrap();
    let loads = fs::read(&path).is_ok_and(|bytes| bytes.starts_with(b"GGUF"));
    Reference {
        what: "a plain model file",
        attempt: if loads {
            Attempt::Worked
        } else {
            Attempt::Stopped("its loader".to_owned())
        },
    }
}
