//! Servers that fail, or turn on their host: each takes only itself down.

use std::time::Duration;

use casemate_testkit::{IdentityProvider, Node, StandIn, Tools, needs_host, wait_for};
use serde_json::Value;

use crate::scene::{Scene, code};

#[test]
fn what_a_failing_server_says_about_itself_stays_inside() {
    needs_host!();
    let scene = Scene::start("fail").unwrap();
    let answer = scene.ask().unwrap();
    // The server's own status, with a body of the gate's.
    assert_eq!(
        (answer.head.status, code(&answer).as_str()),
        (500, "upstream_error")
    );
    assert!(!answer.text().contains("hunter2"), "{}", answer.text());
    assert_eq!(answer.head.header("server"), None);
}

#[test]
fn a_fork_bomb_stays_within_its_stage() {
    needs_host!();
    let scene = Scene::start("fork").unwrap();
    // It starts as many threads as it may and then answers, or cannot even do that.
    drop(scene.ask());
    let held = threads_of(&scene).unwrap();
    assert!(held <= 64, "{held} threads in a stage that may have 64");
    assert!(
        std::process::Command::new("true")
            .status()
            .unwrap()
            .success()
    );
    scene.node.run_casemate(&["down", "stand-in"]).unwrap();
}

#[test]
fn a_server_that_eats_memory_is_ended_and_started_again() {
    needs_host!();
    let scene = Scene::start("eat").unwrap();
    drop(scene.ask());
    restarted(&scene);
}

#[test]
fn a_server_that_dies_is_started_again_and_its_gate_stays_closed_meanwhile() {
    needs_host!();
    let scene = Scene::start("die").unwrap();
    let answer = scene.ask().unwrap();
    assert_eq!(answer.head.status, 502, "{}", answer.text());
    restarted(&scene);
}

#[test]
fn no_gate_opens_before_every_stage_of_the_enclosure_is_ready() {
    needs_host!();
    let provider = IdentityProvider::start(&Tools::locate()).unwrap();
    let node = Node::start_with(&["--warm-timeout-secs", "8"]).unwrap();
    let stand_in = StandIn::prepare(&node, &provider, "answer").unwrap();
    // A second stage that never answers: the first is long ready when that is given up.
    let deaf = r#"    - name: deaf
      profile: http
      run: { host: [/usr], command: [/usr/bin/sleep, "600"] }
      serves: 8000
      resources: { memory: 128MiB, cpus: 1, pids: 64 }
  flows:
"#;
    let text = std::fs::read_to_string(stand_in.file()).unwrap();
    std::fs::write(stand_in.file(), text.replace("  flows:\n", deaf)).unwrap();

    let mut command = node.casemate(&node.path("home"));
    let output = command.arg("up").arg(stand_in.file()).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains("did not answer on port 8000"), "{words}");
    // The other one was ready, and was not let go on.
    assert!(
        words.contains("server: ready: the server answers"),
        "{words}"
    );
    let receipts = node.run_casemate(&["receipts", "list", "--json"]).unwrap();
    assert!(receipts.contains("stage-attested"), "{receipts}");
    assert!(!receipts.contains("stage-admitted"), "{receipts}");
    let events = node.run_casemate(&["events", "--json"]).unwrap();
    assert!(events.contains("enclosure.failed"), "{events}");
    assert!(!events.contains("stage.admitted"), "{events}");

    // The reason was the file's: mended, it comes up.
    std::fs::write(stand_in.file(), text).unwrap();
    node.run_casemate(&["up", &stand_in.file().display().to_string()])
        .unwrap();
    let receipts = node.run_casemate(&["receipts", "list", "--json"]).unwrap();
    assert!(receipts.contains("stage-admitted"), "{receipts}");
}

fn restarted(scene: &Scene) {
    wait_for("a restart", Duration::from_secs(60), || {
        let stage = scene.stage()?;
        let restarts = stage.get("restarts").and_then(Value::as_u64);
        Ok(restarts.filter(|restarts| *restarts >= 1))
    })
    .unwrap();
    scene.wait_for_state("admitting", 60).unwrap();
}

/// Threads of the stage's first process and of all below it.
fn threads_of(scene: &Scene) -> anyhow::Result<u64> {
    let stage = scene.stage()?;
    let Some(pid) = stage.get("pid").and_then(Value::as_u64) else {
        return Ok(0);
    };
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("Threads:"));
    Ok(line
        .and_then(|count| count.trim().parse().ok())
        .unwrap_or(0))
}
