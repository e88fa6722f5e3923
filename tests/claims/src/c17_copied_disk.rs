//! C17: whoever copies the disk gets no weight: not from the sealed model, not with another key.

use std::fs;

use casemate_weights::key_release::{Identity, generate_identity, unwrap_with};

use crate::lab::weights::Disk;
use crate::lab::{Attempt, Reference, judge};

#[test]
fn c17_another_key_opens_nothing() {
    let disk = Disk::new();
    let (text, _) = generate_identity();
    let thief = Identity::parse(text.expose()).unwrap();
    let ours = unwrap_with(&disk.verify("sealed").unwrap(), &thief);
    let without = unwrap_with(&disk.verify("sealed").unwrap(), &disk.identity);
    judge("C17 key", &Attempt::of(&ours), &Attempt::of(&without), None);
}

#[test]
fn c17_no_file_of_a_sealed_model_holds_plaintext_or_a_file_name() {
    let disk = Disk::new();
    let weights = fs::read(disk.path("plain/model.gguf")).unwrap();
    let needles = [&weights[1_000_000..1_000_032], b"tokenizer.json", b"GGUF"];
    let search = |directory: &str| {
        let mut found = Vec::new();
        for entry in fs::read_dir(disk.path(directory)).unwrap() {
            let path = entry.unwrap().path();
            let mut bytes = fs::read(&path).unwrap();
            bytes.extend_from_slice(path.file_name().unwrap().as_encoded_bytes());
            if needles
                .iter()
                .any(|needle| bytes.windows(needle.len()).any(|part| part == *needle))
            {
                found.push(path);
            }
        }
        if found.is_empty() {
            Attempt::Stopped("encryption".to_owned())
        } else {
            Attempt::Worked
        }
    };
    let plain = search("plain");
    let reference = Reference {
        what: "a model directory",
        attempt: plain.clone(),
    };
    judge("C17 disk", &search("sealed"), &plain, Some(reference));
}
