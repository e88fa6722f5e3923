//! C18: while a stage reads its model, the host's own file tree shows no plaintext of it.

use std::path::Path;
use std::process::Command;

use casemate_testkit::{IdentityProvider, Node, Programs, StandIn, Tools, needs_host};

use crate::lab::mounts::Elsewhere;
use crate::lab::{Attempt, Reference, judge};

#[test]
fn c18_the_view_is_mounted_where_the_host_cannot_see_it() {
    needs_host!();
    // A mount tree to play the host's, so that what the removed control lets out stays within the test.
    let host = Elsewhere::new();
    let without = Programs::locate().unwrap().path("without");
    let without = without.display().to_string();
    let (ours, _) = search(&host, &[]);
    let (without, plain) = search(&host, &[&without, "private-mounts"]);
    let reference = Reference {
        what: "a model directory that is mounted in",
        attempt: plain,
    };
    judge("C18", &ours, &without, Some(reference));
}

/// What is seen from the host's mount tree while a stage runs whose daemon was started through `words`:
/// below the daemon's views, and beside it where the plain model lies.
fn search(host: &Elsewhere, words: &[&str]) -> (Attempt, Attempt) {
    let provider = IdentityProvider::start(&Tools::locate()).unwrap();
    let through: Vec<String> = host.enter();
    let through: Vec<&str> = through
        .iter()
        .map(String::as_str)
        .chain(words.iter().copied())
        .collect();
    let node = Node::start_through(&through, &[]).unwrap();
    let stand_in = StandIn::prepare(&node, &provider, "answer").unwrap();
    node.run_casemate(&["up", &stand_in.file().display().to_string()])
        .unwrap();
    let find = |below: &Path| {
        let words = host.enter();
        let mut find = Command::new(&words[0]);
        find.args(&words[1..])
            .arg("find")
            .arg(below)
            .args(["-name", "*.gguf"]);
        let output = find.output().unwrap();
        if output.stdout.is_empty() {
            Attempt::Stopped("the private mount namespace".to_owned())
        } else {
            Attempt::Worked
        }
    };
    (
        find(&node.run().join("views")),
        find(&node.path("stand-in/plain")),
    )
}
