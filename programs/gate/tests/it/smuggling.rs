//! Requests on which two parsers could disagree: each is refused, and nothing of it reaches the server.

use crate::scene;
use crate::stand::{CHAT, question};

const SMUGGLED: &str = "GET /slots HTTP/1.1\r\nHost: x\r\n\r\n";

#[test]
fn requests_that_two_parsers_read_differently_are_refused() {
    let scene = scene();
    let ticket = &scene.ticket;
    let body = question();
    let length = body.len();
    let start = format!("POST {CHAT} HTTP/1.1\r\nHost: gate\r\nAuthorization: Bearer {ticket}\r\n");
    let typed = format!("{start}Content-Type: application/json\r\n");
    let chunked = format!("{length:x}\r\n{body}\r\n0\r\n\r\n");
    let simple = format!("{typed}Content-Length: {length}\r\n\r\n{body}");
    let cases: Vec<(&str, String)> = vec![
        ("chunks beside a length", format!("{typed}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}{SMUGGLED}")),
        ("a length beside chunks", format!("{typed}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n{chunked}{SMUGGLED}")),
        ("two lengths", format!("{typed}Content-Length: {length}\r\nContent-Length: 0\r\n\r\n{body}{SMUGGLED}")),
        ("the same length twice", format!("{typed}Content-Length: {length}\r\nContent-Length: {length}\r\n\r\n{body}")),
        ("a list of lengths", format!("{typed}Content-Length: {length}, {length}\r\n\r\n{body}")),
        ("an empty length", format!("{typed}Content-Length: \r\n\r\n{body}")),
        ("a signed length", format!("{typed}Content-Length: +{length}\r\n\r\n{body}")),
        ("a length in hexadecimal", format!("{typed}Content-Length: 0x{length:x}\r\n\r\n{body}")),
        ("a length with an underscore", format!("{typed}Content-Length: 1_0\r\n\r\n{body}")),
        ("a huge length", format!("{typed}Content-Length: 99999999999999999999\r\n\r\n{body}")),
        ("chunked twice", format!("{typed}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}")),
        ("identity, chunked", format!("{typed}Transfer-Encoding: identity, chunked\r\n\r\n{chunked}")),
        ("a comma before chunked", format!("{typed}Transfer-Encoding: ,chunked\r\n\r\n{chunked}")),
        ("gzip, chunked", format!("{typed}Transfer-Encoding: gzip, chunked\r\n\r\n{chunked}")),
        ("a folded line", format!("{typed}X-A: b\r\n Content-Length: 3\r\nContent-Length: {length}\r\n\r\n{body}")),
        ("a tab at the start", format!("{typed}\tTransfer-Encoding: chunked\r\nContent-Length: {length}\r\n\r\n{body}")),
        ("a space before the colon", format!("{typed}Content-Length : {length}\r\n\r\n{body}")),
        ("a space before chunked's colon", format!("{typed}Transfer-Encoding : chunked\r\nContent-Length: {length}\r\n\r\n{body}")),
        ("bare line feeds", simple.replace("\r\n", "\n")),
        ("one bare line feed", simple.replacen("Host: gate\r\n", "Host: gate\n", 1)),
        ("a bare carriage return", simple.replacen("Host: gate\r\n", "Host: gate\rX: y\r\n", 1)),
        ("a zero byte in a value", simple.replacen("Host: gate", "X: a\0b\r\nHost: gate", 1)),
        ("a zero byte in a name", simple.replacen("Host: gate", "X\0: a\r\nHost: gate", 1)),
        ("an empty name", simple.replacen("Host: gate", ": a\r\nHost: gate", 1)),
        ("no colon", simple.replacen("Host: gate", "Foo\r\nHost: gate", 1)),
        ("two hosts", simple.replacen("Host: gate", "Host: gate\r\nHost: gate", 1)),
        ("no host", simple.replacen("Host: gate\r\n", "", 1)),
        ("a slash in the host", simple.replacen("Host: gate", "Host: a/b", 1)),
        ("two tickets", simple.replacen("Host: gate", "Host: gate\r\nAuthorization: Bearer x", 1)),
        ("two media types", simple.replacen("Host: gate", "Host: gate\r\nContent-Type: text/plain", 1)),
        ("version 1.0", simple.replacen("HTTP/1.1", "HTTP/1.0", 1)),
        ("version 1.2", simple.replacen("HTTP/1.1", "HTTP/1.2", 1)),
        ("version 2.0", simple.replacen("HTTP/1.1", "HTTP/2.0", 1)),
        ("no version", simple.replacen(" HTTP/1.1", "", 1)),
        ("two spaces", simple.replacen("POST ", "POST  ", 1)),
        ("a tab in the request line", simple.replacen("POST ", "POST\t", 1)),
        ("an empty line first", format!("\r\n{simple}")),
        ("lower-case method", simple.replacen("POST", "post", 1)),
        ("connect", "CONNECT 127.0.0.1:8000 HTTP/1.1\r\nHost: gate\r\n\r\n".to_owned()),
        ("options of all", "OPTIONS * HTTP/1.1\r\nHost: gate\r\n\r\n".to_owned()),
        ("absolute form", simple.replacen("POST /", "POST http://127.0.0.1/", 1)),
        ("a fragment", simple.replacen("completions ", "completions#x ", 1)),
        ("beyond ASCII", simple.replacen("completions ", "compl\u{e9}tions ", 1)),
        ("upgrade to h2c", simple.replacen("Host: gate", "Host: gate\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__", 1)),
        ("upgrade to a web socket", simple.replacen("Host: gate", "Host: gate\r\nConnection: Upgrade\r\nUpgrade: websocket", 1)),
        ("connection names a field", simple.replacen("Host: gate", "Host: gate\r\nConnection: close, content-length", 1)),
        ("te", simple.replacen("Host: gate", "Host: gate\r\nTE: trailers", 1)),
        ("trailer", simple.replacen("Host: gate", "Host: gate\r\nTrailer: x", 1)),
        ("expects the unexpected", simple.replacen("Host: gate", "Host: gate\r\nExpect: 200-ok", 1)),
        ("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned()),
    ];
    for (what, request) in &cases {
        let reply = scene.ask(request.as_bytes());
        assert_eq!(reply.status, 400, "{what}: {reply:?}");
        assert!(
            matches!(reply.code(), "request_malformed" | "path_not_canonical"),
            "{what}: {reply:?}"
        );
        assert_eq!(reply.field("connection"), Some("close"), "{what}");
        assert_eq!(reply.json()["by"], "gate/infer", "{what}");
    }
    assert!(
        scene.server.log().requests.is_empty(),
        "{:?}",
        scene.server.log().requests
    );
}

#[test]
fn chunks_that_break_the_grammar_are_refused() {
    let scene = scene();
    let ticket = &scene.ticket;
    let body = question();
    let length = body.len();
    let start = format!(
        "POST {CHAT} HTTP/1.1\r\nHost: gate\r\nAuthorization: Bearer {ticket}\r\n\
         Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    let good = format!("{start}{length:x}\r\n{body}\r\n0\r\n\r\n");
    assert_eq!(
        scene.ask(good.as_bytes()).status,
        200,
        "chunks as they should be"
    );
    scene.server.log().requests.clear();
    let wrong = [
        (
            "an extension",
            format!("{length:x};a=b\r\n{body}\r\n0\r\n\r\n"),
        ),
        (
            "a trailer",
            format!("{length:x}\r\n{body}\r\n0\r\nX: y\r\n\r\n"),
        ),
        (
            "a size with 0x",
            format!("0x{length:x}\r\n{body}\r\n0\r\n\r\n"),
        ),
        (
            "a signed size",
            format!("+{length:x}\r\n{body}\r\n0\r\n\r\n"),
        ),
        (
            "a space before the size",
            format!(" {length:x}\r\n{body}\r\n0\r\n\r\n"),
        ),
        (
            "a size beyond 64 bits",
            format!("10000000000000000{length:x}\r\n{body}\r\n0\r\n\r\n"),
        ),
        ("a bare line feed", format!("{length:x}\n{body}\n0\n\n")),
        ("no size", format!("\r\n{body}\r\n0\r\n\r\n")),
        (
            "data beyond the size",
            format!("{:x}\r\n{body}\r\n0\r\n\r\n", length - 1),
        ),
    ];
    for (what, chunks) in &wrong {
        let reply = scene.ask(format!("{start}{chunks}").as_bytes());
        assert_ne!(reply.status, 200, "{what}: {reply:?}");
        assert!(
            matches!(reply.code(), "body_malformed" | ""),
            "{what}: {reply:?}"
        );
    }
    assert!(
        scene.server.log().requests.is_empty(),
        "{:?}",
        scene.server.log().requests
    );
}

#[test]
fn what_follows_a_refused_request_is_not_looked_at() {
    let scene = scene();
    let good = String::from_utf8(crate::stand::post(CHAT, &scene.ticket, &question())).unwrap();
    let bad = good.replacen(
        "Content-Length",
        "Transfer-Encoding: chunked\r\nContent-Length",
        1,
    );
    let mut connection = scene.anna.connect(scene.gate.address);
    let first = connection.exchange(format!("{good}{bad}{good}").as_bytes());
    assert_eq!(first.status, 200, "{first:?}");
    assert_eq!(connection.read().unwrap().code(), "request_malformed");
    assert!(connection.read().is_err(), "the connection is closed");
    assert_eq!(scene.server.log().requests.len(), 1);
}
