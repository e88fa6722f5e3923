//! A command that is killed while it writes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use casemate_testkit::{Programs, wait_for};

#[test]
fn a_killed_sealing_leaves_no_model_and_the_next_one_clears_up_after_it() {
    let Ok(programs) = Programs::locate() else {
        casemate_testkit::skip!("the programs are not built");
    };
    let scratch = tempfile::tempdir_in("/var/tmp").unwrap();
    let path = |name: &str| scratch.path().join(name);
    let casemate = || {
        let mut command = Command::new(programs.path("casemate"));
        command
            .env("CASEMATE_HOME", path("home"))
            .stdin(Stdio::null());
        command
    };
    let made = casemate()
        .args(["model", "keygen", "--out"])
        .arg(scratch.path())
        .output();
    assert!(made.unwrap().status.success());
    fs::create_dir(path("plain")).unwrap();
    // Large enough to be still at it when it is killed; a file with holes takes no room itself.
    let model = fs::File::create(path("plain/model.gguf")).unwrap();
    model.set_len(2 << 30).unwrap();
    let seal = || {
        let mut seal = casemate();
        seal.args(["model", "seal"])
            .arg(path("plain"))
            .arg(path("model.sealed"));
        seal.args(["--name", "small", "--model-version", "1", "--recipient"]);
        seal.arg(path("recipient.txt"))
            .arg("--signer")
            .arg(path("signing.key"));
        seal
    };
    let mut killed = seal()
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for("sealing to write", Duration::from_secs(20), || {
        let started = partials(scratch.path())
            .iter()
            .any(|partial| fs::metadata(partial.join("data")).is_ok_and(|data| data.len() > 0));
        Ok(started.then_some(()))
    })
    .unwrap();
    model.set_len(1 << 20).unwrap();
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(!path("model.sealed").exists());
    let [left] = partials(scratch.path()).try_into().unwrap();

    let output = seal().output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{words}");
    assert!(words.contains(&left.display().to_string()), "{words}");
    assert!(partials(scratch.path()).is_empty());
    let mut verify = casemate();
    verify.args(["model", "verify"]).arg(path("model.sealed"));
    verify.arg("--signer").arg(path("signing.pub"));
    assert!(verify.output().unwrap().status.success());
}

fn partials(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap();
    entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "partial"))
        .collect()
}
