//! Hosts that lack something: each is named, nothing is left up, and it works once the host has it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use casemate_testkit::{IdentityProvider, Node, Programs, StandIn, Tools, needs_host, programs};

/// Runs its words in a mount namespace of its own, whose `/dev` has no `fuse`.
const NO_FUSE: &str = r#"d=$(mktemp -d) && mount -t tmpfs -o mode=755 dev "$d" &&
    cp -a /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty "$d" &&
    mount --move "$d" /dev && rmdir "$d" && exec "$@""#;
/// The same, with another device under that name.
const OTHER_FUSE: &str = r#"mount --bind /dev/null /dev/fuse && exec "$@""#;

#[test]
fn without_fuse_nothing_comes_up_and_with_it_the_same_node_does() {
    needs_host!();
    let provider = IdentityProvider::start(&Tools::locate()).unwrap();
    let mut node = Node::start_through(&elsewhere(NO_FUSE), &[]).unwrap();
    let stand_in = StandIn::prepare(&node, &provider, "answer").unwrap();
    refused(
        &up(&node, &stand_in),
        &["cannot open `/dev/fuse`", "fix: load the module"],
    );

    node.stop().unwrap();
    node.next_through(&elsewhere(OTHER_FUSE), &[]);
    node.restart().unwrap();
    refused(
        &up(&node, &stand_in),
        &["`/dev/fuse` is not the device", "fix: load the module"],
    );

    node.stop().unwrap();
    node.next_through(&[], &[]);
    node.restart().unwrap();
    came_up(&node, &stand_in);
}

#[test]
fn a_runtime_below_the_floor_is_refused_until_somebody_says_danger() {
    needs_host!();
    let scratch = tempfile::tempdir().unwrap();
    let old = runtime(scratch.path(), "old", "runc version 1.0.3");
    let provider = IdentityProvider::start(&Tools::locate()).unwrap();
    let mut node = Node::start_with(&["--runtime", &old]).unwrap();
    let stand_in = StandIn::prepare(&node, &provider, "answer").unwrap();
    refused(
        &up(&node, &stand_in),
        &[
            "runc 1.0.3",
            &old,
            "too old",
            "install runc 1.1.12",
            "fix:",
            "--danger-old-runtime",
        ],
    );

    let wordless = runtime(scratch.path(), "wordless", "something else");
    node.stop().unwrap();
    node.next_through(&[], &["--runtime", &wordless]);
    node.restart().unwrap();
    refused(
        &up(&node, &stand_in),
        &[&wordless, "does not say which version it is", "fix:"],
    );

    node.stop().unwrap();
    node.next_through(&[], &["--runtime", &old, "--danger-old-runtime"]);
    node.restart().unwrap();
    came_up(&node, &stand_in);
    let receipts = node.run_casemate(&["receipts", "list", "--json"]).unwrap();
    assert!(
        receipts.contains("runc 1.0.3, below the floor (--danger-old-runtime)"),
        "{receipts}"
    );
    // Every start says it again, with the hole's name.
    let log = fs::read_to_string(node.path("casemated.log")).unwrap();
    assert!(log.contains("CVE-2024-21626"), "{log}");
}

#[test]
fn a_daemon_that_is_not_root_says_so_and_makes_nothing() {
    needs_host!();
    let scratch = open_directory();
    let program = scratch.path().join("casemated");
    fs::copy(Programs::locate().unwrap().path("casemated"), &program).unwrap();
    let mut daemon = Command::new(program);
    daemon.arg("--state").arg(scratch.path().join("state"));
    daemon.arg("--run").arg(scratch.path().join("run"));
    let output = daemon.uid(NOBODY).gid(NOBODY).output().unwrap();
    refused(&output, &["must be started as root", "sudo casemated"]);
    assert!(!scratch.path().join("state").exists() && !scratch.path().join("run").exists());
}

#[test]
fn somebody_who_may_not_use_the_daemon_is_told_what_to_ask_for() {
    needs_host!();
    let provider = IdentityProvider::start(&Tools::locate()).unwrap();
    let node = Node::start().unwrap();
    let stand_in = StandIn::prepare(&node, &provider, "answer").unwrap();
    let scratch = open_directory();
    let program = scratch.path().join("casemate");
    fs::copy(Programs::locate().unwrap().path("casemate"), &program).unwrap();
    let mut asked = Command::new(program);
    asked
        .env("CASEMATE_SOCKET", node.run().join("casemated.sock"))
        .env("CASEMATE_HOME", scratch.path())
        .current_dir("/")
        .arg("up")
        .arg(stand_in.file());
    let output = asked.uid(NOBODY).gid(NOBODY).output().unwrap();
    let words = words(&output);
    // It could not be told whether the daemon would have done it.
    assert_eq!(output.status.code(), Some(2), "{words}");
    for word in ["casemated.sock", "fix:", "group", "root"] {
        assert!(words.contains(word), "`{word}` is not in: {words}");
    }
    let status = node.run_casemate(&["status", "--json"]).unwrap();
    assert!(!status.contains("\"admitting\""), "{status}");
}

/// A runtime that says it is of another version than it is.
fn runtime(directory: &Path, name: &str, version: &str) -> String {
    let path: PathBuf = directory.join(name);
    let real = programs::runc().unwrap().display().to_string();
    let script = format!(
        "#!/bin/sh\nif [ \"$1\" = --version ]; then echo '{version}'; else exec {real} \"$@\"; fi\n"
    );
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

/// The words that run further words by `script` in a mount namespace of their own.
fn elsewhere(script: &str) -> [&str; 7] {
    [
        "unshare",
        "--mount",
        "--propagation=private",
        "sh",
        "-c",
        script,
        "sh",
    ]
}

/// A directory that everybody may write to, not below `/tmp`.
fn open_directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
    directory
}

fn up(node: &Node, stand_in: &StandIn) -> Output {
    let mut up = node.casemate(&node.path("home"));
    let output = up.arg("up").arg(stand_in.file()).output().unwrap();
    let status = node.run_casemate(&["status", "--json"]).unwrap();
    assert!(
        !status.contains("\"admitting\""),
        "something is up: {status}"
    );
    output
}

/// What was refused before is up now, and the record of both is whole.
fn came_up(node: &Node, stand_in: &StandIn) {
    node.run_casemate(&["up", &stand_in.file().display().to_string()])
        .unwrap();
    let status = node.run_casemate(&["status", "--json"]).unwrap();
    assert!(status.contains("\"admitting\""), "{status}");
    node.run_casemate(&["receipts", "verify"]).unwrap();
}

fn refused(output: &Output, because: &[&str]) {
    let words = words(output);
    assert_eq!(output.status.code(), Some(1), "{words}");
    for word in because {
        assert!(words.contains(word), "`{word}` is not in: {words}");
    }
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The user that owns nothing.
const NOBODY: u32 = 65_534;
