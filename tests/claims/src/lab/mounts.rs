//! A mount tree that plays the host's.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use casemate_testkit::wait_for;

/// A mount namespace that somebody keeps open, a copy of the host's that shares nothing with it.
pub(crate) struct Elsewhere(Child);

impl Elsewhere {
    pub(crate) fn new() -> Self {
        let mut keep = Command::new("unshare");
        keep.args(["--mount", "--propagation=private", "sleep", "600"]);
        let child = keep.stdin(Stdio::null()).spawn().unwrap();
        let tree = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/mnt"));
        wait_for("a mount namespace", Duration::from_secs(5), || {
            let other = tree(&child.id().to_string())? != tree("self")?;
            Ok(other.then_some(()))
        })
        .unwrap();
        Self(child)
    }

    /// The words that run further words there.
    pub(crate) fn enter(&self) -> Vec<String> {
        let target = self.0.id().to_string();
        ["nsenter", "--target", &target, "--mount"]
            .map(str::to_owned)
            .to_vec()
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
