//! How it should go.

use std::time::{Duration, Instant};

use casemate_testkit::{Person, StandIn, needs_host, wait_for};
use serde_json::Value;

use crate::scene::{Scene, code};

#[test]
fn an_entitled_person_is_answered_and_an_answer_streams() {
    needs_host!();
    let scene = Scene::start("answer").unwrap();
    let answer = scene.ask().unwrap();
    assert_eq!(answer.head.status, 200, "{}", answer.text());
    let mut pieces = 0;
    let streamed = scene
        .client
        .stream(&scene.request(true), |_| {
            pieces += 1;
            true
        })
        .unwrap();
    assert_eq!(streamed.head.status, 200);
    assert!(streamed.text().contains("word19"), "{}", streamed.text());
    // Twenty events and the end, each passed on when it came.
    assert!(pieces >= 20, "the answer came in {pieces} pieces");
}

#[test]
fn somebody_of_another_group_gets_no_ticket() {
    needs_host!();
    let scene = Scene::start("answer").unwrap();
    let guest = Person::log_in(&scene.node, &scene.provider, "guest", &["visitors"]).unwrap();
    assert!(guest.ticket(&scene.node, "server", &[]).is_err());
}

#[test]
fn the_guides_program_calls_with_an_exported_login_and_knows_the_gate() {
    needs_host!();
    let scene = Scene::start("answer").unwrap();
    let directory = scene.node.path("program");
    let pem = directory.join("pem");
    let mut export = scene.person.casemate(&scene.node);
    export.args(["login", "--export"]).arg(&pem);
    assert!(export.status().unwrap().success());
    std::fs::write(pem.join("ticket"), &scene.ticket).unwrap();
    let guide = include_str!("../../../docs/guide/call-from-a-program.md");
    let program = guide.split("```python\n").nth(1).unwrap();
    let program = program.split("```").next().unwrap();
    std::fs::write(directory.join("call.py"), program).unwrap();

    let call = |stage_id: &str| {
        let output = std::process::Command::new("python3")
            .current_dir(&directory)
            .arg("call.py")
            .arg(scene.stand_in.gate().ip().to_string())
            .arg(scene.stand_in.gate().port().to_string())
            .args([stage_id, "/v1/chat/completions"])
            .arg(StandIn::question(false).to_string())
            .output()
            .unwrap();
        let words = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&words).into_owned(),
        )
    };
    let (answered, words) = call(StandIn::stage_id());
    assert!(answered && words.contains("chat.completion"), "{words}");
    // Vouched for by the same trust bundle, and another stage: nothing is sent to it.
    let (answered, words) = call("spiffe://example.internal/enclosure/stand-in/stage/other");
    assert!(!answered && words.contains("this is not"), "{words}");
    // What the guide says of curl is so: it does not know the gate by its chain and address alone.
    let curl = std::process::Command::new("curl")
        .current_dir(&directory)
        .args(["--silent", "--cacert", "pem/trust-bundle.pem"])
        .args(["--cert", "pem/chain.pem", "--key", "pem/key.pem"])
        .arg(format!("https://{}/health", scene.stand_in.gate()))
        .status();
    assert!(curl.is_ok_and(|status| status.code() == Some(60)));
}

#[test]
fn certificates_rotate_while_answers_stream_and_nothing_is_dropped() {
    needs_host!();
    let scene = Scene::start_with("answer", &["--stage-certificate-secs", "4"]).unwrap();
    let start = Instant::now();
    let mut answered = 0;
    while start.elapsed() < Duration::from_secs(9) {
        let answer = scene.client.send(&scene.request(true)).unwrap();
        assert_eq!(answer.head.status, 200, "{}", answer.text());
        assert!(
            answer.text().contains("[DONE]"),
            "an answer was cut: {}",
            answer.text()
        );
        answered += 1;
    }
    let stage = scene.stage().unwrap();
    let rotations = stage
        .pointer("/certificate/rotations")
        .and_then(Value::as_u64);
    assert!(rotations.is_some_and(|rotations| rotations >= 2), "{stage}");
    assert!(answered > 5);
}

#[test]
fn a_revoked_person_loses_a_running_answer_within_a_quarter_second() {
    needs_host!();
    let scene = Scene::start("endless").unwrap();
    let login = std::fs::read_to_string(scene.person.home().join("login.json")).unwrap();
    let login: Value = serde_json::from_str(&login).unwrap();
    let subject = login["spiffe-id"].as_str().unwrap().to_owned();
    let mut last = Instant::now();
    let mut revoked = None;
    let running = std::thread::scope(|scope| {
        let revoking = scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(600));
            scene
                .node
                .run_casemate(&["revoke", "--subject", &subject])
                .map(|_| Instant::now())
        });
        let answer = scene.client.stream(&scene.request(true), |_| {
            last = Instant::now();
            true
        });
        revoked = Some(revoking.join().unwrap().unwrap());
        answer
    });
    let after = last.saturating_duration_since(revoked.unwrap());
    assert!(
        after < Duration::from_millis(250),
        "cut {after:?} after: {running:?}"
    );
    let refused = scene.ask().unwrap();
    assert_eq!(code(&refused), "ticket_revoked", "{}", refused.text());
}

#[test]
fn a_client_that_leaves_ends_the_work_behind() {
    needs_host!();
    let scene = Scene::start("endless").unwrap();
    let mut pieces = 0;
    let answer = scene.client.stream(&scene.request(true), |_| {
        pieces += 1;
        pieces < 5
    });
    answer.unwrap();
    wait_for(
        "the gate to have nothing in flight",
        Duration::from_secs(5),
        || {
            let stage = scene.stage()?;
            let running = stage.pointer("/gate/in-flight").and_then(Value::as_u64);
            Ok((running == Some(0)).then_some(()))
        },
    )
    .unwrap();
}

#[test]
fn every_step_leaves_a_receipt_and_the_chain_verifies() {
    needs_host!();
    let scene = Scene::start("answer").unwrap();
    let text = scene
        .node
        .run_casemate(&["receipts", "list", "--json"])
        .unwrap();
    for kind in [
        "stage-attested",
        "key-released",
        "view-mounted",
        "stage-confined",
        "probe-run",
        "stage-admitted",
        "svid-issued",
        "ticket-issued",
    ] {
        assert!(text.contains(kind), "no {kind} in {text}");
    }
    scene.node.run_casemate(&["receipts", "verify"]).unwrap();
}

#[test]
fn the_files_that_people_read_first_have_no_mistakes() {
    needs_host!();
    let root = casemate_testkit::programs::checkout();
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let (_, rest) = readme.split_once("```yaml\n").unwrap();
    let (declared, _) = rest.split_once("```").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("readme.yaml");
    std::fs::write(&file, declared).unwrap();
    let programs = casemate_testkit::Programs::locate().unwrap();
    for file in [file, root.join("examples/chat/enclosure.yaml")] {
        let mut up = std::process::Command::new(programs.path("casemate"));
        up.args(["up", "--json", "--dry-run"]).arg(&file);
        let output = up.output().unwrap();
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        // Only that the models, keys and images were not made yet.
        for mistake in found["mistakes"].as_array().into_iter().flatten() {
            let message = mistake["message"].as_str().unwrap();
            assert!(
                message.starts_with("there is no ") && message.contains(" at `"),
                "{}: {message}",
                file.display()
            );
        }
    }
}
