//! Two gates in a row: the first one's stage calls the second one's, under the caller's own rights.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use casemate_api::gate::{Outbound, Revoke, ToGate};
use casemate_core::admission::Caller;
use casemate_core::profile;
use casemate_core::time::SystemClock;
use casemate_identity::tls::{self, ClientAuth, Peers, SvidSource};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::program;
use crate::stand::{
    CHAT, Client, GateProcess, MODEL, Plan, Realm, Reply, flow, name, post, question, transaction,
    wait,
};
use crate::upstream::{Behaviour, Upstream, json};

/// An issuer that gives a Transaction Token to whoever asks, and remembers what was asked.
fn fake_issuer(realm: &Arc<Realm>, path: &Path, anna: &Client) -> Arc<Mutex<Vec<String>>> {
    let door = UnixListener::bind(path).unwrap();
    let svids = SvidSource::empty();
    svids
        .replace(realm.svid(&realm.domain.issuer(), Duration::from_secs(3600)))
        .unwrap();
    let clients = ClientAuth::Required(Peers::Members);
    let clock = Arc::new(SystemClock);
    let config = tls::server_config(svids, realm.bundle(), clients, clock, &[b"http/1.1"]).unwrap();
    let config: Arc<ServerConfig> = Arc::new(config);
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (noted, realm, anna) = (Arc::clone(&asked), Arc::clone(realm), anna.id.clone());
    std::thread::spawn(move || {
        for stream in door.incoming().map_while(Result::ok) {
            let tls = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(tls, stream);
            let mut held = Vec::new();
            let mut buffer = [0; 8192];
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                held.extend_from_slice(&buffer[..count]);
                let text = String::from_utf8_lossy(&held).into_owned();
                let Some((head, body)) = text.split_once("\r\n\r\n") else {
                    continue;
                };
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: "));
                if body.len() < length.unwrap().parse::<usize>().unwrap() {
                    continue;
                }
                noted.lock().unwrap().push(body.to_owned());
                held.clear();
                let peer = tls::authenticated_peer(&stream.conn).unwrap().id;
                let token = transaction(&realm, &peer, &anna, "infer");
                let answer = serde_json::json!({
                    "access_token": token, "token_type": "N_A", "expires_in": 60,
                    "issued_token_type": "urn:ietf:params:oauth:token-type:txn_token",
                })
                .to_string();
                let length = answer.len();
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{answer}");
                stream.write_all(answer.as_bytes()).unwrap();
                stream.flush().unwrap();
            }
        }
    });
    asked
}

struct Chain {
    realm: Arc<Realm>,
    anna: Client,
    redact: GateProcess,
    infer: GateProcess,
    stage: Upstream,
    server: Upstream,
    door: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    _directory: tempfile::TempDir,
}

fn chain() -> Chain {
    let realm = Realm::new();
    let anna = realm.client("anna");
    let directory = tempfile::tempdir().unwrap();
    let mesh = directory.path().join("chat.infer.sock");
    let issuer = directory.path().join("issuer.sock");
    let asked = fake_issuer(&realm, &issuer, &anna);

    let server = Upstream::start();
    let mut plan = Plan::new(server.address);
    plan.flows = vec![flow(Caller::Stage(realm.stage("redact")))];
    plan.mesh = Some(mesh.clone());
    let infer = GateProcess::start(program(), &realm, plan);

    let free = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let door = free.local_addr().unwrap();
    drop(free);
    let stage = Upstream::start();
    stage.behave(Behaviour::Relay(door));
    let mut plan = Plan::new(stage.address);
    plan.stage = "redact";
    plan.profile = profile::built_in("http").unwrap();
    plan.outbound = vec![Outbound {
        to: name("infer"),
        listen: door,
        socket: mesh,
    }];
    plan.issuer = Some(issuer);
    let redact = GateProcess::start(program(), &realm, plan);
    Chain {
        realm,
        anna,
        redact,
        infer,
        stage,
        server,
        door,
        asked,
        _directory: directory,
    }
}

impl Chain {
    fn ask(&self, ticket: &str, body: &str) -> Reply {
        self.anna
            .connect_to(self.redact.address, "redact")
            .exchange(&post(CHAT, ticket, body))
    }

    fn ticket(&self) -> String {
        self.anna.ticket("redact")
    }
}

#[test]
fn a_call_goes_through_both_gates_under_the_callers_rights() {
    let chain = chain();
    chain.server.behave(json(r#"{"answer":42}"#));
    let ticket = chain.ticket();
    let reply = chain.ask(&ticket, &question());
    assert_eq!(
        (reply.status, reply.text().as_str()),
        (200, r#"{"answer":42}"#),
        "{reply:?}"
    );
    // The stage saw a handle, and neither a token nor a name.
    let at_stage = chain.stage.log().requests[0].to_lowercase();
    assert!(at_stage.contains("casemate-transaction: "), "{at_stage}");
    assert!(
        !at_stage.contains("bearer")
            && !at_stage.contains("txn-token")
            && !at_stage.contains("anna")
    );
    // The server saw neither.
    let at_server = chain.server.log().requests[0].to_lowercase();
    assert!(
        !at_server.contains("casemate-transaction") && !at_server.contains("txn-token"),
        "{at_server}"
    );
    // The issuer was shown the ticket and told the next stage.
    let asked = chain.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 1);
    assert!(
        asked[0].contains(&format!("subject_token={ticket}")),
        "{asked:?}"
    );
    assert!(
        asked[0].contains("request_details=%7b%22stage%22%3a%22infer%22%7d"),
        "{asked:?}"
    );
    // The second gate knows for whom it answered.
    chain.infer.settle();
    let said = chain.infer.said();
    let admitted = said
        .events
        .iter()
        .find(|event| event.kind == "request.admitted")
        .unwrap();
    assert_eq!(
        admitted.subject.as_deref(),
        Some(chain.anna.id.to_string().as_str())
    );
}

#[test]
fn streams_pass_both_gates_piece_by_piece() {
    let chain = chain();
    chain.server.behave(Behaviour::Stream {
        chunks: 20,
        every: Duration::from_millis(5),
    });
    let body = format!(r#"{{"model":"{MODEL}","stream":true}}"#);
    let reply = chain.ask(&chain.ticket(), &body);
    assert!(reply.complete, "{reply:?}");
    assert_eq!(reply.text().matches("data: ").count(), 20);
}

#[test]
fn the_second_gates_refusal_reaches_the_caller() {
    let chain = chain();
    let ticket = {
        let mut claims = chain.anna.claims("redact");
        claims.authorization_details[0].limits.max_tokens = Some(256);
        chain.anna.sign(&claims)
    };
    // The first gate's flow allows more tokens than the second one's.
    chain.infer.order(&ToGate::Flows(vec![{
        let mut narrow = flow(Caller::Stage(chain.realm.stage("redact")));
        narrow.limits.max_tokens = Some(10);
        narrow
    }]));
    chain.infer.settle();
    let reply = chain.ask(
        &ticket,
        &format!(r#"{{"model":"{MODEL}","max_tokens":11}}"#),
    );
    assert_eq!(reply.status, 403, "{reply:?}");
    assert_eq!(reply.json()["code"], "tokens_over_limit");
    assert_eq!(reply.json()["by"], "gate/infer");
}

#[test]
fn a_stage_cannot_call_on_its_own() {
    let chain = chain();
    for handle in ["", "casemate-transaction: 0123456789abcdef\r\n"] {
        let mut stream = TcpStream::connect(chain.door).unwrap();
        let body = question();
        let length = body.len();
        let request = format!(
            "POST {CHAT} HTTP/1.1\r\nHost: infer\r\nContent-Type: application/json\r\n{handle}\
             Connection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
        assert!(
            answer.contains("no_transaction") && answer.contains("gate/redact"),
            "{answer}"
        );
    }
    assert!(chain.asked.lock().unwrap().is_empty());
    assert!(chain.server.log().requests.is_empty());
}

#[test]
fn a_ticket_does_not_open_the_mesh_and_a_transaction_token_not_the_edge() {
    let chain = chain();
    let token = transaction(&chain.realm, &chain.anna.id, &chain.anna.id, "infer");
    let mut connection = chain.anna.connect(chain.infer.address);
    let reply = connection.exchange(&post(CHAT, &token, &question()));
    assert_eq!(reply.code(), "ticket_malformed", "{reply:?}");
    let request = String::from_utf8(post(CHAT, "x", &question())).unwrap();
    let request = request.replace("Authorization: Bearer x", &format!("Txn-Token: {token}"));
    let reply = chain
        .anna
        .connect(chain.infer.address)
        .exchange(request.as_bytes());
    assert_eq!(reply.code(), "no_ticket", "{reply:?}");
}

#[test]
fn what_ends_at_the_first_gate_ends_at_the_second() {
    let chain = chain();
    chain.server.behave(Behaviour::Stream {
        chunks: 100_000,
        every: Duration::from_millis(5),
    });
    let claims = chain.anna.claims("redact");
    let body = format!(r#"{{"model":"{MODEL}","stream":true}}"#);
    let mut connection = chain.anna.connect_to(chain.redact.address, "redact");
    connection
        .write(&post(CHAT, &chain.anna.sign(&claims), &body))
        .unwrap();
    assert_eq!(connection.head().unwrap().status, 200);
    connection.chunk().unwrap();
    let revoked = std::time::Instant::now();
    chain.redact.order(&ToGate::Revoke(Revoke {
        at: None,
        jti: Some(claims.jti),
        sub: None,
    }));
    wait("the server's connection is closed", || {
        chain.server.log().gone.is_some()
    });
    let took = chain.server.log().gone.unwrap().duration_since(revoked);
    eprintln!("revoked at the first gate to closed at the second one's server: {took:?}");
    assert!(took < Duration::from_millis(250), "{took:?}");
}
