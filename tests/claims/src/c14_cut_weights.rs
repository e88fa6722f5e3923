//! C14: a sealed model that was cut short or has something appended is refused before anything is
//! decrypted.

use std::fs;

use crate::lab::weights::Disk;
use crate::lab::{Attempt, Reference, judge};

#[test]
fn c14_a_shorter_or_longer_file_is_refused() {
    for file in ["header.json", "key.age", "index", "tags", "data"] {
        for shorter in [true, false] {
            let disk = Disk::new();
            disk.change(file, |bytes| {
                if shorter {
                    bytes.pop();
                } else {
                    bytes.push(0);
                }
            });
            let ours = disk.verify("sealed");
            // Reading the file as it is, with no signed length to compare with.
            let plain = Attempt::of(&fs::read(disk.path("sealed").join(file)));
            let reference = Reference {
                what: "a copied file",
                attempt: plain.clone(),
            };
            judge(
                &format!("C14 {file}"),
                &Attempt::of(&ours),
                &plain,
                Some(reference),
            );
        }
    }
}
