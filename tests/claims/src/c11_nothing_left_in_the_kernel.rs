//! C11: a daemon that is killed while it probes leaves no shared segment and no message queue in the kernel,
//! which keeps such things for ever and counts them until no more can be made.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::Duration;

use casemate_testkit::{IdentityProvider, Node, Programs, StandIn, Tools, needs_host, wait_for};

use crate::lab::{Attempt, judge};

#[test]
fn c11_a_killed_daemon_leaves_no_segment_and_no_queue() {
    needs_host!();
    let ours = kill_while_probing(&[]);
    let without = Programs::locate().unwrap().path("without");
    let without = without.display().to_string();
    let without = kill_while_probing(&[&without, "removal-of-shared-objects"]);
    judge("C11", &ours, &without, None);
}

/// Kills a daemon, started through `words`, while its witness holds a segment and a queue.
fn kill_while_probing(words: &[&str]) -> Attempt {
    let provider = IdentityProvider::start(&Tools::locate()).unwrap();
    let mut node = Node::start_through(words, &[]).unwrap();
    let stand_in = StandIn::prepare(&node, &provider, "answer").unwrap();
    let before = (segments(), queues());
    let mut up = node.casemate(&node.path("home"));
    up.arg("up").arg(stand_in.file());
    let mut up = up
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for("the witness", Duration::from_secs(60), || {
        Ok((segments() != before.0).then_some(()))
    })
    .unwrap();
    wait_for("its queue", Duration::from_secs(1), || {
        Ok((queues() != before.1).then_some(()))
    })
    .unwrap();
    node.kill();
    up.wait().unwrap();
    let gone = wait_for("nothing to be left", Duration::from_secs(3), || {
        Ok(((segments(), queues()) == before).then_some(()))
    });
    if gone.is_ok() {
        return Attempt::Stopped("the process that outlives the daemon to remove them".to_owned());
    }
    for segment in segments().difference(&before.0) {
        Command::new("ipcrm")
            .args(["-m", segment])
            .status()
            .unwrap();
    }
    for queue in queues().difference(&before.1) {
        in_queues(&format!("rm /mnt/{queue}"));
    }
    Attempt::Worked
}

/// The numbers of all System V segments.
fn segments() -> BTreeSet<String> {
    let text = std::fs::read_to_string("/proc/sysvipc/shm").unwrap();
    let lines = text.lines().skip(1);
    lines
        .filter_map(|line| line.split_whitespace().nth(1))
        .map(str::to_owned)
        .collect()
}

/// The names of all POSIX message queues.
fn queues() -> BTreeSet<String> {
    in_queues("ls /mnt").lines().map(str::to_owned).collect()
}

/// Runs a script that finds the message queues at `/mnt`, which nobody else does.
fn in_queues(script: &str) -> String {
    let script = format!("mount -t mqueue queues /mnt && {script}");
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation=private", "sh", "-c", &script]);
    casemate_testkit::programs::output(&mut command).unwrap()
}
