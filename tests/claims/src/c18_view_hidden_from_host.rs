//! C18: while a stage reads its model, the host's own file tree shows no plaintext of it.

use std::path::{Path, PathBuf};
use std::process::Command;

use casemate_testkit::{IdentityProvider, Node, StandIn, Tools, needs_host};

use crate::lab::{Attempt, Reference, judge};

#[test]
fn c18_the_view_is_mounted_where_the_host_cannot_see_it() {
    needs_host!();
    let provider = IdentityProvider::start(&Tools::locate()).unwrap();
    let node = Node::start().unwrap();
    let stand_in = StandIn::prepare(&node, &provider, "answer").unwrap();
    let plain = node.path("stand-in/plain/model.gguf");
    node.run_casemate(&["up", &stand_in.file().display().to_string()])
        .unwrap();

    let views = node.run().join("views");
    let ours = search(&mut find(&views));
    // The same path, seen from inside the daemon's private mount namespace.
    let pid = node.pid().unwrap().to_string();
    let mut inside = Command::new("nsenter");
    inside
        .args(["--target", &pid, "--mount", "find"])
        .arg(&views)
        .args(["-name", "*.gguf"]);
    let without = search(&mut inside);
    let reference = Reference {
        what: "a model directory that is mounted in",
        attempt: search(&mut find(&plain)),
    };
    judge("C18", &ours, &without, Some(reference));
}

fn find(below: &Path) -> Command {
    let mut command = Command::new("find");
    command.arg(below).args(["-name", "*.gguf"]);
    command
}

fn search(command: &mut Command) -> Attempt {
    let output = command.output().unwrap();
    let found: Vec<PathBuf> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(PathBuf::from)
        .collect();
    if found.is_empty() {
        Attempt::Stopped("the private mount namespace".to_owned())
    } else {
        Attempt::Worked
    }
}
