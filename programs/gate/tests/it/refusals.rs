//! What does not get through, and what the caller is told.

use std::io::Read as _;
use std::net::TcpStream;
use std::time::Duration;

use casemate_api::gate::{Revoke, ToGate};
use casemate_core::ticket::TicketClaims;
use casemate_core::time::UnixTime;

use crate::stand::{CHAT, Client, get, now, post, question};
use crate::{Scene, scene, scene_with, upstream};

#[test]
fn an_admitted_request_is_forwarded_in_our_own_words() {
    let scene = scene();
    let body = question();
    let request = format!(
        "POST {CHAT} HTTP/1.1\r\nHost: evil.example\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json; charset=utf-8\r\nAccept: application/json\r\n\
         X-Forwarded-For: 10.0.0.1\r\nCookie: a=b\r\nUser-Agent: curl\r\nContent-Length: {}\r\n\r\n{body}",
        scene.ticket,
        body.len()
    );
    let reply = scene.ask(request.as_bytes());
    assert_eq!(
        (reply.status, reply.text().as_str()),
        (200, r#"{"ok":true}"#)
    );
    let names: Vec<_> = reply.fields.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "content-type",
            "cache-control",
            "x-content-type-options",
            "content-length",
            "date"
        ]
    );
    let seen = scene.server.log().requests.clone();
    let bounded = body.replacen('{', r#"{"n_predict":256,"#, 1);
    let expected = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: application/json\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{bounded}",
        bounded.len()
    );
    assert_eq!(seen, [expected]);
}

#[test]
fn one_connection_carries_many_requests() {
    let scene = scene();
    let mut connection = scene.anna.connect(scene.gate.address);
    for _ in 0..20 {
        assert_eq!(
            connection
                .exchange(&post(CHAT, &scene.ticket, &question()))
                .status,
            200
        );
        assert_eq!(
            connection.exchange(&get("/props", &scene.ticket)).status,
            403
        );
    }
    assert_eq!(scene.server.log().requests.len(), 20);
}

/// A ticket that is as it should be, but for one thing.
fn changed(client: &Client, change: impl FnOnce(&mut TicketClaims)) -> String {
    let mut claims = client.claims("infer");
    change(&mut claims);
    client.sign(&claims)
}

#[test]
fn every_refusal_says_status_code_and_who_decided() {
    let scene = scene();
    let anna = &scene.anna;
    let berta = scene.realm.client("berta");
    let body = question();
    let expired = changed(anna, |claims| {
        claims.iat = UnixTime(now().0 - 400);
        claims.exp = UnixTime(now().0 - 100);
    });
    let elsewhere = changed(anna, |claims| {
        claims.aud = scene.realm.stage("redact");
        claims.authorization_details[0].stage = "redact".parse().unwrap();
    });
    let no_group = changed(anna, |claims| claims.groups = vec!["staff".to_owned()]);
    let mut forged = scene.ticket.clone();
    forged.truncate(forged.len() - 4);
    forged.push_str("AAAA");
    let with = |ticket: &str| post(CHAT, ticket, &body);
    let good = |path: &str| post(path, &scene.ticket, &body);
    let said = |body: &str| post(CHAT, &scene.ticket, body);
    let chunked = String::from_utf8(with(&scene.ticket)).unwrap();
    let plain_text = chunked
        .replace("application/json", "text/plain")
        .into_bytes();
    let compressed = chunked
        .replace("Content-Type", "Content-Encoding: gzip\r\nContent-Type")
        .into_bytes();
    let no_ticket = String::from_utf8(with("x"))
        .unwrap()
        .replace("Authorization: Bearer x\r\n", "");
    let deep = format!(
        r#"{{"model":"smol","x":{}1{}}}"#,
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    let cases: Vec<(&str, Vec<u8>, u16, &str)> = vec![
        ("no ticket", no_ticket.into_bytes(), 401, "no_ticket"),
        ("not a ticket", with("abc"), 401, "ticket_malformed"),
        ("expired", with(&expired), 401, "ticket_expired"),
        ("forged", with(&forged), 401, "ticket_signature"),
        (
            "for another stage",
            with(&elsewhere),
            401,
            "ticket_wrong_audience",
        ),
        (
            "of another holder",
            with(&berta.ticket("infer")),
            401,
            "not_holder",
        ),
        ("without the group", with(&no_group), 403, "no_flow"),
        ("slots", get("/slots", &scene.ticket), 403, "route_denied"),
        ("props", get("/props", &scene.ticket), 403, "route_denied"),
        (
            "adapters",
            get("/lora-adapters", &scene.ticket),
            403,
            "route_denied",
        ),
        ("unknown path", good("/v1/nothing"), 403, "route_denied"),
        (
            "class not granted",
            good("/v1/completions"),
            403,
            "route_denied",
        ),
        ("method", get(CHAT, &scene.ticket), 403, "method_denied"),
        (
            "two slashes",
            good("//v1/chat/completions"),
            400,
            "path_not_canonical",
        ),
        (
            "slash at the end",
            good("/v1/chat/completions/"),
            400,
            "path_not_canonical",
        ),
        (
            "encoded dots",
            good("/v1/%2e%2e/slots"),
            400,
            "path_not_canonical",
        ),
        (
            "encoded slash",
            good("/v1%2fchat/completions"),
            400,
            "path_not_canonical",
        ),
        (
            "dot segments",
            good("/health/../v1/chat/completions"),
            400,
            "path_not_canonical",
        ),
        (
            "parameter",
            good("/v1/chat/completions;x"),
            400,
            "path_not_canonical",
        ),
        (
            "backslash",
            good("/v1\\chat/completions"),
            400,
            "path_not_canonical",
        ),
        (
            "case",
            good("/V1/chat/completions"),
            400,
            "path_not_canonical",
        ),
        (
            "absolute form",
            good("http://gate/v1/chat/completions"),
            400,
            "path_not_canonical",
        ),
        (
            "query",
            good("/v1/chat/completions?x=1"),
            400,
            "query_not_allowed",
        ),
        (
            "another version",
            said(r#"{"model":"smol@2"}"#),
            403,
            "model_not_granted",
        ),
        ("no model", said(r#"{"messages":[]}"#), 400, "model_missing"),
        (
            "twice",
            said(r#"{"model":"smol@1","model":"smol@2"}"#),
            400,
            "body_malformed",
        ),
        ("deep", said(&deep), 400, "body_malformed"),
        ("not JSON", said("model=smol"), 400, "body_malformed"),
        (
            "tokens",
            said(r#"{"model":"smol","max_tokens":257}"#),
            403,
            "tokens_over_limit",
        ),
        (
            "forbidden member",
            said(r#"{"model":"smol","id_slot":1}"#),
            403,
            "parameter_forbidden",
        ),
        ("media type", plain_text, 400, "body_malformed"),
        ("compressed", compressed, 400, "body_malformed"),
    ];
    for (what, request, status, code) in &cases {
        let reply = scene.ask(request);
        assert_eq!(
            (reply.status, reply.code()),
            (*status, *code),
            "{what}: {}",
            reply.text()
        );
        let problem = reply.json();
        assert_eq!(problem["code"], *code, "{what}");
        assert_eq!(problem["status"], *status, "{what}");
        assert_eq!(problem["by"], "gate/infer", "{what}");
        assert!(
            problem["title"].is_string() && problem["type"].is_string(),
            "{what}"
        );
        assert_eq!(
            reply.field("content-type"),
            Some("application/problem+json"),
            "{what}"
        );
    }
    assert!(
        scene.server.log().requests.is_empty(),
        "a refused request reached the server"
    );
    scene.gate.settle();
    let said = scene.gate.said();
    let refused = |code: &str| {
        let decided = said
            .events
            .iter()
            .filter_map(|event| event.decision.as_ref());
        decided.filter(|decision| decision.code == code).count()
    };
    for (what, _, _, code) in &cases {
        assert!(refused(code) > 0, "{what}: no event says {code}");
    }
}

#[test]
fn without_a_client_certificate_the_handshake_fails() {
    let scene = scene();
    let nobody = Client {
        svids: None,
        ..scene.realm.client("nobody")
    };
    let mut connection = nobody.connect(scene.gate.address);
    let failed = connection
        .write(&get("/health", &scene.ticket))
        .and_then(|()| {
            let mut byte = [0];
            connection.stream.read(&mut byte).map(|_| ())
        });
    let error = failed.unwrap_err().to_string();
    assert!(error.contains("CertificateRequired"), "{error}");
    // Nor does plain HTTP get an answer.
    let mut plain = TcpStream::connect(scene.gate.address).unwrap();
    plain
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    std::io::Write::write_all(&mut plain, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    drop(plain.read_to_end(&mut answer));
    assert!(!answer.starts_with(b"HTTP"), "plain HTTP was answered");
}

#[test]
fn a_certificate_of_another_trust_domain_is_refused() {
    let scene = scene();
    let stranger = crate::stand::Realm::new().client("anna");
    let known = scene.realm.client("anna");
    // It trusts our gate, and shows a certificate that our authority did not sign.
    let mixed = Client {
        svids: stranger.svids.clone(),
        ..known
    };
    let mut connection = mixed.connect(scene.gate.address);
    let reply = connection.exchange(&get("/health", &scene.ticket));
    assert_eq!(reply.status, 0);
    assert!(scene.server.log().requests.is_empty());
}

#[test]
fn a_gate_starts_closed_and_can_be_closed_again() {
    let scene = scene_with(|plan| plan.admit = false);
    let request = post(CHAT, &scene.ticket, &question());
    let reply = scene.ask(&request);
    assert_eq!((reply.status, reply.code()), (503, "not_admitting"));
    scene.gate.order(&ToGate::Admit(true));
    scene.gate.settle();
    assert_eq!(scene.ask(&request).status, 200);
    scene.gate.order(&ToGate::Admit(false));
    scene.gate.settle();
    assert_eq!(scene.ask(&request).code(), "not_admitting");
}

#[test]
fn a_revoked_ticket_and_a_revoked_subject_are_refused() {
    let scene = scene();
    let claims = scene.anna.claims("infer");
    let ticket = scene.anna.sign(&claims);
    assert_eq!(scene.ask(&post(CHAT, &ticket, &question())).status, 200);
    scene.gate.order(&ToGate::Revoke(Revoke {
        at: None,
        jti: Some(claims.jti),
        sub: None,
    }));
    scene.gate.settle();
    assert_eq!(
        scene.ask(&post(CHAT, &ticket, &question())).code(),
        "ticket_revoked"
    );
    assert_eq!(
        scene.ask(&post(CHAT, &scene.ticket, &question())).status,
        200
    );
    scene.gate.order(&ToGate::Revoke(Revoke {
        at: None,
        jti: None,
        sub: Some(scene.anna.id.clone()),
    }));
    scene.gate.settle();
    assert_eq!(
        scene.ask(&post(CHAT, &scene.ticket, &question())).code(),
        "ticket_revoked"
    );
}

#[test]
fn more_requests_in_a_minute_than_granted_are_refused() {
    let scene = scene_with(|plan| plan.flows[0].limits.requests_per_minute = Some(3));
    let codes: Vec<_> = (0..5)
        .map(|_| {
            scene
                .ask(&post(CHAT, &scene.ticket, &question()))
                .code()
                .to_owned()
        })
        .collect();
    assert_eq!(codes, ["", "", "", "rate_limited", "rate_limited"]);
}

fn said_by_server(scene: &Scene, behaviour: upstream::Behaviour) -> crate::stand::Reply {
    scene.server.behave(behaviour);
    scene.ask(&post(CHAT, &scene.ticket, &question()))
}

#[test]
fn what_a_failing_server_says_stays_behind_the_gate() {
    let scene = scene();
    let leak = "Traceback at /opt/models/secret.gguf 0x7ffd";
    for status in [
        "500 Internal Server Error",
        "503 Busy",
        "302 Found",
        "101 Switching Protocols",
    ] {
        let reply = said_by_server(&scene, upstream::answer(status, "text/html", leak));
        assert!(!reply.text().contains("Traceback"), "{status}");
        assert!(
            matches!(reply.status, 500..=599),
            "{status}: {}",
            reply.status
        );
        assert!(!reply.code().is_empty(), "{status}");
    }
    let reply = said_by_server(
        &scene,
        upstream::answer("400 Bad", "application/json", "{\"e\":1}"),
    );
    assert_eq!(
        (reply.status, reply.text().as_str()),
        (400, "{\"e\":1}"),
        "the caller's own mistake"
    );
    let reply = said_by_server(&scene, upstream::answer("400 Bad", "text/html", leak));
    assert_eq!((reply.status, reply.code()), (502, "upstream_error"));
    let broken = upstream::Behaviour::Answer(
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx".to_vec(),
    );
    assert_eq!(
        said_by_server(&scene, broken).code(),
        "upstream_unavailable"
    );
    let reply = said_by_server(&scene, upstream::json("{}"));
    assert_eq!(reply.status, 200);
    assert!(reply.field("server").is_none() && reply.field("x-internal").is_none());
}

#[test]
fn a_server_that_is_not_there_is_unavailable() {
    let scene = scene_with(|plan| {
        let door = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        plan.upstream = door.local_addr().unwrap();
    });
    let reply = scene.ask(&post(CHAT, &scene.ticket, &question()));
    assert_eq!((reply.status, reply.code()), (502, "upstream_unavailable"));
}
