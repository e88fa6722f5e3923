//! C20: when the daemon is killed, every door of its stages closes: no supervision, no service.

use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use casemate_testkit::identity_provider::free_address;
use casemate_testkit::{IdentityProvider, Node, Programs, StandIn, Tools, needs_host, wait_for};

use crate::lab::{Attempt, Reference, judge};

#[test]
fn c20_a_killed_daemon_takes_its_gates_with_it() {
    needs_host!();
    let provider = IdentityProvider::start(&Tools::locate()).unwrap();
    let mut node = Node::start().unwrap();
    let stand_in = StandIn::prepare(&node, &provider, "answer").unwrap();
    node.run_casemate(&["up", &stand_in.file().display().to_string()])
        .unwrap();
    TcpStream::connect(stand_in.gate()).expect("the gate listens while the daemon lives");
    node.kill();
    let ours = reach(stand_in.gate());

    // A server that was started by somebody who then dies, without the tie that ours have.
    let orphan = free_address().unwrap();
    let server = Programs::locate().unwrap().path("stand-in");
    let script = format!(
        "{} {} >/dev/null 2>&1 & echo $!; exec sleep 60",
        server.display(),
        orphan.port()
    );
    let mut parent = Command::new("sh")
        .args(["-c", &script])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for("the orphan", Duration::from_secs(5), || {
        Ok(TcpStream::connect(orphan).ok())
    })
    .unwrap();
    parent.kill().unwrap();
    let output = parent.wait_with_output().unwrap();
    let without = reach(orphan);
    let pid = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Command::new("kill").arg(pid).status().unwrap();

    let reference = Reference {
        what: "a container that outlives its manager",
        attempt: without.clone(),
    };
    judge("C20", &ours, &without, Some(reference));
}

/// Whether something still answers after a moment.
fn reach(address: SocketAddr) -> Attempt {
    let closed = wait_for("the door to close", Duration::from_secs(3), || {
        Ok(TcpStream::connect(address).is_err().then_some(()))
    });
    match closed {
        Ok(()) => Attempt::Stopped("the parent's death".to_owned()),
        Err(_) => Attempt::Worked,
    }
}
