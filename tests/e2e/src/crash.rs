//! The daemon is killed at a bad moment: doors close, and its successor cleans up.

use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use casemate_testkit::leftovers::Snapshot;
use casemate_testkit::{IdentityProvider, Node, StandIn, Tools, needs_host, wait_for};

use crate::scene::Scene;

#[test]
fn a_killed_daemon_closes_every_door_and_its_successor_cleans_up() {
    needs_host!();
    let before = Snapshot::take();
    let mut scene = Scene::start("answer").unwrap();
    assert_eq!(scene.ask().unwrap().head.status, 200);
    scene.node.kill();
    let gate = scene.stand_in.gate();
    wait_for("the gate to close", Duration::from_secs(5), || {
        Ok(TcpStream::connect(gate).is_err().then_some(()))
    })
    .unwrap();
    scene.node.restart().unwrap();
    scene.node.stop().unwrap();
    let ports = [gate.port(), scene.node.issuer().port()];
    let left = Snapshot::leftovers(&before, scene.node.directory(), &ports);
    assert!(left.is_empty(), "left over: {left:?}\n{}", scene.node.log());
}

#[test]
fn a_daemon_killed_while_it_launches_leaves_nothing_that_its_successor_does_not_remove() {
    needs_host!();
    for millis in [50, 200, 500, 1000] {
        let before = Snapshot::take();
        let provider = IdentityProvider::start(&Tools::locate()).unwrap();
        let mut node = Node::start().unwrap();
        let stand_in = StandIn::prepare(&node, &provider, "answer").unwrap();
        let mut up = node.casemate(&node.path("home"));
        let mut up = up
            .arg("up")
            .arg(stand_in.file())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // The moment matters, not what was reached by then: every one must be survived.
        std::thread::sleep(Duration::from_millis(millis));
        node.kill();
        up.wait().unwrap();
        node.restart().unwrap();
        node.stop().unwrap();
        let ports = [stand_in.gate().port(), node.issuer().port()];
        let left = Snapshot::leftovers(&before, node.directory(), &ports);
        assert!(
            left.is_empty(),
            "after {millis} ms: {left:?}\n{}",
            node.log()
        );
    }
}
