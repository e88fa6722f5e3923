//! C14: a sealed model that was cut short or has something appended is refused before anything is
//! decrypted.

use std::fs;

use casemate_core::control::{self, Control};

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
            let without = match file {
                // It is what is signed; taken without its signature, it is a file like any other.
                "header.json" => Attempt::of(&fs::read(disk.path("sealed").join(file))),
                _ => control::without(Control::SignedFiles, || Attempt::of(&disk.verify("sealed"))),
            };
            let plain = Attempt::of(&fs::read(disk.path("sealed").join(file)));
            let reference = Reference {
                what: "a copied file",
                attempt: plain,
            };
            judge(
                &format!("C14 {file}"),
                &Attempt::of(&ours),
                &without,
                Some(reference),
            );
        }
    }
}
