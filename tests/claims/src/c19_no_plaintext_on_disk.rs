//! C19: serving a model writes none of it to a disk, not even for a while.

use std::fs;
use std::path::Path;

use casemate_testkit::leftovers::plaintext_files;
use casemate_testkit::{IdentityProvider, Node, StandIn, Tools, needs_host};

use crate::lab::{Attempt, Reference, judge};

#[test]
fn c19_a_running_enclosure_has_no_plaintext_file() {
    needs_host!();
    let provider = IdentityProvider::start(&Tools::locate()).unwrap();
    let node = Node::start().unwrap();
    let stand_in = StandIn::prepare(&node, &provider, "answer").unwrap();
    let plain = node.path("stand-in/plain");
    let elsewhere = tempfile::tempdir().unwrap();
    fs::copy(
        plain.join("model.gguf"),
        elsewhere.path().join("model.gguf"),
    )
    .unwrap();
    fs::remove_dir_all(&plain).unwrap();
    node.run_casemate(&["up", &stand_in.file().display().to_string()])
        .unwrap();

    let ours = search(node.directory());
    // The same search over a directory into which the model was opened.
    let sealed = node.path("stand-in/model.sealed").display().to_string();
    let opened = node.path("opened").display().to_string();
    let identity = node.path("stand-in/identity.age").display().to_string();
    let signer = node.path("stand-in/signing.pub").display().to_string();
    node.run_casemate(&[
        "model",
        "open",
        &sealed,
        &opened,
        "--identity",
        &identity,
        "--signer",
        &signer,
    ])
    .unwrap();
    let without = search(Path::new(&opened));
    let reference = Reference {
        what: "a plain model directory",
        attempt: search(elsewhere.path()),
    };
    judge("C19", &ours, &without, Some(reference));
}

fn search(directory: &Path) -> Attempt {
    // The stand-in's model is GGUF's magic and then sevens.
    let found = plaintext_files(directory, &[7; 64]).unwrap();
    if found.is_empty() {
        Attempt::Stopped("sealing".to_owned())
    } else {
        Attempt::Worked
    }
}
