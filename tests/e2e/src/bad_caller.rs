//! Callers who hold a ticket and misbehave.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use casemate_testkit::http::{Request, read_answer};
use casemate_testkit::needs_host;

use crate::scene::{Scene, code};

#[test]
fn hostile_requests_are_refused_and_the_next_caller_is_answered() {
    needs_host!();
    let scene = Scene::start("answer").unwrap();

    let mut huge = scene.request(false);
    huge.headers
        .push(("x-padding".to_owned(), "x".repeat(1 << 20)));
    let answer = scene.client.send(&huge).unwrap();
    assert_eq!(
        (answer.head.status, code(&answer).as_str()),
        (431, "headers_too_large")
    );

    let mut deep = scene.request(false);
    deep.body = format!(
        "{{\"model\":\"small@1\",\"messages\":{}{}}}",
        "[".repeat(10_000),
        "]".repeat(10_000)
    )
    .into_bytes();
    let answer = scene.client.send(&deep).unwrap();
    assert_eq!(
        (answer.head.status, code(&answer).as_str()),
        (400, "body_malformed")
    );

    let mut tokens = scene.request(false);
    tokens.body = br#"{"model":"small@1","messages":[],"max_tokens":100000}"#.to_vec();
    assert_eq!(
        code(&scene.client.send(&tokens).unwrap()),
        "tokens_over_limit"
    );

    let mut smuggled = scene.request(false);
    smuggled
        .headers
        .push(("transfer-encoding".to_owned(), "chunked".to_owned()));
    let answer = scene.client.send(&smuggled).unwrap();
    assert_eq!(answer.head.status, 400, "{}", answer.text());

    let stranger = scene.holding(Request::get("/metrics"));
    assert_eq!(code(&scene.client.send(&stranger).unwrap()), "route_denied");

    assert_eq!(scene.ask().unwrap().head.status, 200);
}

#[test]
fn a_body_that_never_ends_is_cut_at_its_limit() {
    needs_host!();
    let scene = Scene::start("answer").unwrap();
    let mut stream = scene.client.connect().unwrap();
    let mut request = scene.request(false);
    request
        .headers
        .push(("transfer-encoding".to_owned(), "chunked".to_owned()));
    let text = String::from_utf8(request.bytes("gate")).unwrap();
    let head = text.split("\r\n\r\n").next().unwrap();
    let head: Vec<&str> = head
        .lines()
        .filter(|line| !line.starts_with("content-length"))
        .collect();
    stream
        .write_all(format!("{}\r\n\r\n", head.join("\r\n")).as_bytes())
        .unwrap();
    let piece = format!("{:x}\r\n{}\r\n", 64 << 10, " ".repeat(64 << 10));
    let mut sent = 0_usize;
    // Written until the gate stops reading and closes, or far past any limit.
    while sent < 512 << 20 && stream.write_all(piece.as_bytes()).is_ok() {
        sent += piece.len();
    }
    assert!(sent < 512 << 20, "the gate read {sent} bytes");
    // Its answer, where the connection was not torn down before it could be read.
    if let Ok(answer) = read_answer(&mut stream, |_| true) {
        assert_eq!(answer.head.status, 413, "{}", answer.text());
    }
    assert_eq!(scene.ask().unwrap().head.status, 200);
}

#[test]
fn a_caller_who_sends_a_byte_a_second_is_dropped_and_delays_nobody() {
    needs_host!();
    let scene = Scene::start("answer").unwrap();
    let bytes = scene.request(false).bytes("gate");
    let mut slow = scene.client.connect().unwrap();
    let start = Instant::now();
    let mut dropped = false;
    for byte in bytes {
        if slow.write_all(&[byte]).and_then(|()| slow.flush()).is_err() {
            dropped = true;
            break;
        }
        if start.elapsed() < Duration::from_secs(2) {
            assert_eq!(scene.ask().unwrap().head.status, 200);
        }
        std::thread::sleep(Duration::from_secs(1));
        if start.elapsed() > Duration::from_secs(90) {
            break;
        }
    }
    if !dropped {
        slow.sock
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let mut answer = Vec::new();
        drop(slow.read_to_end(&mut answer));
        let text = String::from_utf8_lossy(&answer);
        dropped = text.contains("408") || answer.is_empty();
    }
    assert!(
        dropped,
        "still being listened to after {:?}",
        start.elapsed()
    );
}
