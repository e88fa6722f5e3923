//! Answers that run: passed on piece by piece, cut when their permission ends, never longer than the
//! client listens.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use casemate_api::gate::{Nothing, Revoke, ToGate};

use crate::stand::{CHAT, Connection, MODEL, Reply, now, post, question, wait};
use crate::upstream::Behaviour;
use crate::{Scene, scene, scene_with};

fn stream_question() -> String {
    format!(r#"{{"model":"{MODEL}","stream":true,"messages":[]}}"#)
}

const ENDLESS: Behaviour = Behaviour::Stream {
    chunks: 100_000,
    every: Duration::from_millis(10),
};

/// Starts an endless answer and reads its first chunk.
fn begin(scene: &Scene, ticket: &str) -> (Connection, Reply) {
    scene.server.behave(ENDLESS);
    let mut connection = scene.anna.connect(scene.gate.address);
    connection
        .write(&post(CHAT, ticket, &stream_question()))
        .unwrap();
    let head = connection.head().unwrap();
    assert_eq!(head.status, 200);
    assert_eq!(head.field("content-type"), Some("text/event-stream"));
    assert!(connection.chunk().unwrap().starts_with(b"data: {\"n\":0}"));
    (connection, head)
}

/// Reads until the answer breaks off, and says what came last and when.
fn read_to_the_cut(connection: &mut Connection) -> (Vec<u8>, Instant) {
    let mut last = Vec::new();
    let mut at = Instant::now();
    while let Ok(chunk) = connection.chunk() {
        assert!(!chunk.is_empty(), "a cut answer must not look complete");
        last = chunk;
        at = Instant::now();
    }
    (last, at)
}

#[test]
fn chunks_are_passed_on_one_by_one() {
    let scene = scene();
    scene.server.behave(Behaviour::Stream {
        chunks: 50,
        every: Duration::from_millis(2),
    });
    let reply = scene.ask(&post(CHAT, &scene.ticket, &stream_question()));
    assert!(reply.complete);
    assert_eq!(reply.chunks.len(), 50, "no chunk was merged with another");
    for (number, chunk) in reply.chunks.iter().enumerate() {
        assert_eq!(*chunk, format!("data: {{\"n\":{number}}}\n\n").into_bytes());
    }
    // Also when the server writes faster than anybody reads.
    scene.server.behave(Behaviour::Stream {
        chunks: 2000,
        every: Duration::ZERO,
    });
    let reply = scene.ask(&post(CHAT, &scene.ticket, &stream_question()));
    // One read may end inside a chunk, which is then passed on in two pieces; never two as one.
    let ends = |chunk: &Vec<u8>| chunk.windows(2).filter(|two| two == b"\n\n").count();
    assert!(
        reply.chunks.iter().all(|chunk| ends(chunk) <= 1),
        "two chunks were merged"
    );
    assert_eq!(reply.text().matches("data: ").count(), 2000);
}

#[test]
fn a_chunk_is_not_held_back() {
    let scene = scene();
    scene.server.behave(Behaviour::Stream {
        chunks: 5,
        every: Duration::from_millis(100),
    });
    let mut connection = scene.anna.connect(scene.gate.address);
    connection
        .write(&post(CHAT, &scene.ticket, &stream_question()))
        .unwrap();
    connection.head().unwrap();
    let mut worst = Duration::ZERO;
    for _ in 0..5 {
        connection.chunk().unwrap();
        worst = worst.max(scene.server.log().sent.unwrap().elapsed());
    }
    eprintln!("longest way of a chunk through the gate: {worst:?}");
    assert!(
        worst < Duration::from_millis(90),
        "{worst:?}: a chunk waited for the next one"
    );
}

#[test]
fn a_revoked_ticket_cuts_its_running_answers() {
    let scene = scene();
    let claims = scene.anna.claims("infer");
    let (mut connection, _) = begin(&scene, &scene.anna.sign(&claims));
    let revoked = Instant::now();
    scene.gate.order(&ToGate::Revoke(Revoke {
        at: None,
        jti: Some(claims.jti),
        sub: None,
    }));
    let (last, at) = read_to_the_cut(&mut connection);
    let took = at.duration_since(revoked);
    eprintln!("revoked to last byte: {took:?}");
    assert!(took < Duration::from_millis(250), "{took:?}");
    assert_eq!(last, b": cut ticket_revoked by gate/infer\n\n");
    wait("the server's connection is closed", || {
        scene.server.log().gone.is_some()
    });
}

#[test]
fn a_client_that_does_not_read_is_cut_too() {
    let scene = scene();
    let claims = scene.anna.claims("infer");
    scene.server.behave(Behaviour::Stream {
        chunks: 10_000_000,
        every: Duration::ZERO,
    });
    let mut connection = scene.anna.connect(scene.gate.address);
    connection
        .write(&post(CHAT, &scene.anna.sign(&claims), &stream_question()))
        .unwrap();
    // All buffers on the way are full when the server cannot send any more.
    let stuck = || {
        scene
            .server
            .log()
            .sent
            .is_some_and(|at| at.elapsed() > Duration::from_millis(300))
    };
    wait("the way is full", stuck);
    let revoked = Instant::now();
    scene.gate.order(&ToGate::Revoke(Revoke {
        at: None,
        jti: Some(claims.jti),
        sub: None,
    }));
    wait("the server's connection is closed", || {
        scene.server.log().gone.is_some()
    });
    let gone = scene.server.log().gone.unwrap().duration_since(revoked);
    eprintln!("revoked to server closed, client not reading: {gone:?}");
    assert!(gone < Duration::from_millis(250), "{gone:?}");
}

#[test]
fn an_expired_ticket_a_withdrawn_flow_and_a_closed_door_cut_running_answers() {
    let scene = scene();
    let mut claims = scene.anna.claims("infer");
    claims.exp = now().plus(Duration::from_secs(2));
    let (mut expiring, _) = begin(&scene, &scene.anna.sign(&claims));
    let (last, _) = read_to_the_cut(&mut expiring);
    assert_eq!(last, b": cut ticket_expired by gate/infer\n\n");

    let (mut withdrawn, _) = begin(&scene, &scene.ticket);
    scene.gate.order(&ToGate::Flows(Vec::new()));
    assert_eq!(
        read_to_the_cut(&mut withdrawn).0,
        b": cut flow_withdrawn by gate/infer\n\n"
    );

    let caller = casemate_core::admission::Caller::Group("analysts".to_owned());
    scene
        .gate
        .order(&ToGate::Flows(vec![crate::stand::flow(caller)]));
    scene.gate.settle();
    let (mut closed, _) = begin(&scene, &scene.ticket);
    scene.gate.order(&ToGate::Admit(false));
    assert_eq!(
        read_to_the_cut(&mut closed).0,
        b": cut not_admitting by gate/infer\n\n"
    );
}

#[test]
fn when_the_client_goes_the_server_learns_it_at_once() {
    let scene = scene();
    let (connection, _) = begin(&scene, &scene.ticket);
    let left = Instant::now();
    drop(connection);
    wait("the server's connection is closed", || {
        scene.server.log().gone.is_some()
    });
    let took = scene.server.log().gone.unwrap().duration_since(left);
    eprintln!("client gone to server closed: {took:?}");
    assert!(took < Duration::from_millis(50), "{took:?}");
    // Also before the answer has begun.
    scene.server.log().gone = None;
    scene.server.behave(Behaviour::Silent);
    let mut waiting = scene.anna.connect(scene.gate.address);
    waiting
        .write(&post(CHAT, &scene.ticket, &question()))
        .unwrap();
    wait("the request arrived", || {
        scene.server.log().requests.len() == 2
    });
    drop(waiting);
    wait("the server's connection is closed", || {
        scene.server.log().gone.is_some()
    });
}

#[test]
fn rotation_drops_nothing() {
    let scene = scene_with(|plan| plan.svid_lifetime = Duration::from_secs(2));
    let (mut running, _) = begin(&scene, &scene.ticket);
    let stop = AtomicBool::new(false);
    let answered = AtomicU32::new(0);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let mut connection = scene.anna.connect(scene.gate.address);
                let reply = connection.exchange(&crate::stand::get("/health", &scene.ticket));
                assert!(matches!(reply.status, 200), "{reply:?}");
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
        // The answer goes on over several certificates, each of which ends before the next but one.
        let running = std::cell::RefCell::new(&mut running);
        wait("four certificates", || {
            assert!(!running.borrow_mut().chunk().unwrap().is_empty());
            scene.gate.said().certificates >= 4
        });
        stop.store(true, Ordering::Relaxed);
    });
    eprintln!(
        "{} handshakes over 4 certificates",
        answered.load(Ordering::Relaxed)
    );
    assert!(
        !running.chunk().unwrap().is_empty(),
        "the answer still runs"
    );
}

#[test]
fn draining_lets_answers_end_and_then_the_gate_exits() {
    let scene = scene();
    scene.server.behave(Behaviour::Stream {
        chunks: 30,
        every: Duration::from_millis(20),
    });
    let mut connection = scene.anna.connect(scene.gate.address);
    connection
        .write(&post(CHAT, &scene.ticket, &stream_question()))
        .unwrap();
    connection.head().unwrap();
    let mut other = scene.anna.connect(scene.gate.address);
    other.write(b"GET /health HTTP/1.1\r\n").unwrap();
    scene.gate.order(&ToGate::Drain(Nothing {}));
    let mut chunks = 0;
    while !connection.chunk().unwrap().is_empty() {
        chunks += 1;
    }
    assert_eq!(chunks, 30);
    let exit = scene.gate.child.wait_for(Duration::from_secs(5)).unwrap();
    assert!(exit.expect("the gate exits").success());
}
