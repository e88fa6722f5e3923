//! Peers that send or hold too much, or too slowly: a clear end, and others are still served.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use http::Request;
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::stand::{CHAT, Client, Connection, get, post, question, wait};
use crate::upstream::Behaviour;
use crate::{Scene, scene, scene_with};

fn still_serves(scene: &Scene) {
    scene.server.behave(crate::upstream::json("{}"));
    assert_eq!(
        scene.ask(&post(CHAT, &scene.ticket, &question())).status,
        200
    );
}

#[test]
fn a_head_of_one_byte_at_a_time_is_refused_in_time() {
    let scene = scene_with(|plan| plan.bounds.header_ms = 400);
    let mut connection = scene.anna.connect(scene.gate.address);
    let start = Instant::now();
    let mut fed = 0;
    for byte in get("/health", &scene.ticket) {
        if start.elapsed() > Duration::from_secs(5) || connection.write(&[byte]).is_err() {
            break;
        }
        fed += 1;
        std::thread::sleep(Duration::from_millis(20));
        if fed > 40 {
            break;
        }
    }
    let reply = connection.read().unwrap();
    assert_eq!((reply.status, reply.code()), (408, "request_timeout"));
    still_serves(&scene);
}

#[test]
fn a_body_that_stalls_is_refused_in_time() {
    let scene = scene_with(|plan| plan.bounds.body_idle_ms = 300);
    let mut connection = scene.anna.connect(scene.gate.address);
    let request = post(CHAT, &scene.ticket, &question());
    let reply = connection.exchange(&request[..request.len() - 5]);
    assert_eq!((reply.status, reply.code()), (408, "request_timeout"));
    still_serves(&scene);
}

#[test]
fn a_body_that_trickles_is_refused_in_time() {
    let scene = scene_with(|plan| plan.bounds.body_total_ms = 500);
    let mut connection = scene.anna.connect(scene.gate.address);
    let request = post(CHAT, &scene.ticket, &question());
    let (head, body) = request.split_at(request.len() - 60);
    connection.write(head).unwrap();
    for byte in &body[..40] {
        if connection.write(&[*byte]).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let reply = connection.read().unwrap();
    assert_eq!((reply.status, reply.code()), (408, "request_timeout"));
    assert!(scene.server.log().requests.is_empty());
}

#[test]
fn a_megabyte_of_headers_is_refused() {
    let scene = scene();
    let filler = format!("X-Filler: {}\r\n", "a".repeat(1000)).repeat(1000);
    let request = format!("GET /health HTTP/1.1\r\nHost: gate\r\n{filler}\r\n");
    let reply = scene.ask(request.as_bytes());
    assert_eq!((reply.status, reply.code()), (431, "headers_too_large"));
    let many = "X: y\r\n".repeat(65);
    let request = format!("GET /health HTTP/1.1\r\nHost: gate\r\n{many}\r\n");
    assert_eq!(scene.ask(request.as_bytes()).code(), "headers_too_large");
    still_serves(&scene);
}

#[test]
fn a_body_beyond_the_bound_is_refused_announced_or_not() {
    let scene = scene_with(|plan| plan.bounds.body_bytes = 64 * 1024);
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nHost: gate\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n",
        scene.ticket
    );
    let announced = format!("{head}Content-Length: 999999999\r\n\r\n{{");
    let reply = scene.ask(announced.as_bytes());
    assert_eq!((reply.status, reply.code()), (413, "body_too_large"));
    let mut connection = scene.anna.connect(scene.gate.address);
    connection
        .write(format!("{head}Transfer-Encoding: chunked\r\n\r\n").as_bytes())
        .unwrap();
    let chunk = format!("1000\r\n{}\r\n", " ".repeat(0x1000));
    for _ in 0..10_000 {
        if connection.write(chunk.as_bytes()).is_err() {
            break;
        }
    }
    let reply = connection.read().unwrap_or_default();
    assert!(
        matches!(
            (reply.status, reply.code()),
            (413, "body_too_large") | (0, "")
        ),
        "{reply:?}"
    );
    assert!(scene.server.log().requests.is_empty());
    still_serves(&scene);
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    let scene = scene_with(|plan| plan.bounds.first_byte_ms = 300);
    scene.server.behave(Behaviour::Silent);
    let reply = scene.ask(&post(CHAT, &scene.ticket, &question()));
    assert_eq!((reply.status, reply.code()), (504, "upstream_timeout"));
    wait("its connection is closed", || {
        scene.server.log().gone.is_some()
    });
    still_serves(&scene);
}

#[test]
fn a_server_that_answers_for_ever_is_cut() {
    let scene = scene_with(|plan| plan.bounds.stream_total_ms = 500);
    scene.server.behave(Behaviour::Stream {
        chunks: 1_000_000,
        every: Duration::from_millis(5),
    });
    let reply = scene.ask(&post(CHAT, &scene.ticket, &question()));
    assert!(!reply.complete);
    assert_eq!(
        reply.chunks.last().unwrap(),
        b": cut upstream_timeout by gate/infer\n\n"
    );
    let scene = scene_with(|plan| plan.bounds.answer_bytes = 1000);
    scene.server.behave(Behaviour::Stream {
        chunks: 1_000_000,
        every: Duration::ZERO,
    });
    let reply = scene.ask(&post(CHAT, &scene.ticket, &question()));
    assert!(
        !reply.complete && reply.body.len() < 1100,
        "{}",
        reply.body.len()
    );
}

#[test]
fn a_stream_that_pauses_for_too_long_is_cut() {
    let scene = scene_with(|plan| plan.bounds.stream_idle_ms = 200);
    scene.server.behave(Behaviour::Stream {
        chunks: 10,
        every: Duration::from_secs(2),
    });
    let reply = scene.ask(&post(CHAT, &scene.ticket, &question()));
    assert!(!reply.complete);
    assert_eq!(reply.chunks.len(), 2, "one chunk, and the reason");
}

#[test]
fn connections_without_a_request_end() {
    let scene = scene_with(|plan| (plan.bounds.idle_ms, plan.bounds.handshake_ms) = (300, 300));
    let mut silent = TcpStream::connect(scene.gate.address).unwrap();
    let mut idle = scene.anna.connect(scene.gate.address);
    assert_eq!(idle.exchange(&get("/health", &scene.ticket)).status, 200);
    let start = Instant::now();
    let mut byte = [0];
    silent
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    assert_eq!(silent.read(&mut byte).unwrap(), 0, "without a handshake");
    assert!(
        !matches!(idle.stream.read(&mut byte), Ok(1..)),
        "without a request"
    );
    assert!(start.elapsed() < Duration::from_secs(8));
}

/// A connection to the gate of `infer` that comes from another address than all others.
fn connect_from_elsewhere(client: &Client, address: SocketAddr) -> Connection {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, 2], 0))).unwrap();
        socket.connect(address).await.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    client.secure(stream, "infer")
}

#[test]
fn more_connections_than_the_bound_are_closed_and_others_go_on() {
    let scene = scene_with(|plan| plan.bounds.connections = 72);
    let mut held: Vec<_> = (0..9)
        .map(|_| {
            let mut connection = scene.anna.connect(scene.gate.address);
            let reply = connection.exchange(&get("/health", &scene.ticket));
            assert_eq!(reply.status, 200);
            connection
        })
        .collect();
    let silent: Vec<_> = (0..50)
        .map(|_| TcpStream::connect(scene.gate.address).unwrap())
        .collect();
    let mut refused = TcpStream::connect(scene.gate.address).unwrap();
    drop(refused.write_all(b"x"));
    refused
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    assert!(!matches!(refused.read(&mut [0]), Ok(1..)), "one too many");
    for connection in &mut held {
        assert_eq!(
            connection.exchange(&get("/health", &scene.ticket)).status,
            200
        );
    }
    let mut tenth = connect_from_elsewhere(&scene.anna, scene.gate.address);
    let reply = tenth.exchange(&get("/health", &scene.ticket));
    assert_eq!(reply.status, 0, "one client has its share");
    let bert = scene.realm.client("bert");
    let mut other = connect_from_elsewhere(&bert, scene.gate.address);
    let reply = other.exchange(&get("/health", &bert.ticket("infer")));
    assert_eq!(reply.status, 200, "another client from elsewhere");
    drop(silent);
}

#[test]
fn more_requests_at_one_time_than_the_bound_are_told_to_wait() {
    let scene = scene_with(|plan| plan.bounds.requests = 2);
    scene.server.behave(Behaviour::Silent);
    let running: Vec<_> = (1..=2)
        .map(|number| {
            let mut connection = scene.anna.connect(scene.gate.address);
            connection
                .write(&post(CHAT, &scene.ticket, &question()))
                .unwrap();
            wait("it runs", || scene.server.log().requests.len() == number);
            connection
        })
        .collect();
    let reply = scene.ask(&post(CHAT, &scene.ticket, &question()));
    assert_eq!((reply.status, reply.code()), (503, "busy"));
    drop(running);
    wait("they end", || scene.server.log().gone.is_some());
}

#[test]
fn a_body_that_is_being_read_takes_a_place() {
    let scene = scene_with(|plan| plan.bounds.requests = 2);
    let request = post(CHAT, &scene.ticket, &question());
    let reading: Vec<_> = (0..2)
        .map(|_| {
            let mut connection = scene.anna.connect(scene.gate.address);
            connection.write(&request[..request.len() - 5]).unwrap();
            connection
        })
        .collect();
    wait("both are read", || scene.ask(&request).code() == "busy");
    drop(reading);
    wait("they give their places back", || {
        scene.ask(&request).status == 200
    });
}

#[test]
fn one_connection_does_not_take_every_place() {
    let scene = scene_with(|plan| plan.bounds.requests = 16);
    scene.server.behave(Behaviour::Silent);
    let (runtime, sender) = http2(&scene);
    let requests: Vec<_> = (0..40)
        .map(|_| {
            let mut sender = sender.clone();
            let request = question2(&scene, CHAT);
            runtime.spawn(async move { sender.send_request(request).await.map(|_| ()) })
        })
        .collect();
    let some_time = || {
        let time = Duration::from_millis(200);
        runtime.block_on(async move { tokio::time::sleep(time).await });
    };
    wait("its share runs", || {
        some_time();
        scene.server.log().requests.len() >= 2
    });
    some_time();
    assert_eq!(scene.server.log().requests.len(), 2);
    still_serves(&scene);
    requests.iter().for_each(tokio::task::JoinHandle::abort);
}

#[test]
fn deadlines_of_connections_are_kept_while_requests_flow() {
    let scene = scene_with(|plan| plan.bounds.header_ms = 300);
    for trial in 0..4 {
        // Each trial finds the sweeper in another phase.
        std::thread::sleep(Duration::from_millis(40 * trial));
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut busy = scene.anna.connect(scene.gate.address);
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    let reply = busy.exchange(&get("/health", &scene.ticket));
                    assert_eq!(reply.status, 200);
                }
            });
            std::thread::sleep(Duration::from_millis(100));
            let mut half = scene.anna.connect(scene.gate.address);
            half.stream
                .sock
                .set_read_timeout(Some(Duration::from_secs(3)))
                .unwrap();
            let reply = half.exchange(b"GET /health HTTP/1.1\r\nHost:");
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            assert_eq!((reply.status, reply.code()), (408, "request_timeout"));
        });
    }
}

/// How many events there are of `code`, and how many refusals they stand for.
fn written(scene: &Scene, code: &str) -> (usize, u64) {
    let said = scene.gate.said();
    let of_code = |event: &&casemate_core::event::Event| {
        let decision = event.decision.as_ref();
        decision.is_some_and(|decision| decision.code == code)
    };
    let events: Vec<_> = said.events.iter().filter(of_code).collect();
    let count = |event: &&casemate_core::event::Event| {
        let count = event.facts.get("count").map_or("1", String::as_str);
        count.parse::<u64>().unwrap()
    };
    (events.len(), events.iter().map(count).sum())
}

#[test]
fn a_flood_of_refusals_is_counted_and_does_not_flood_the_record() {
    let scene = scene();
    let mut connection = scene.anna.connect(scene.gate.address);
    for _ in 0..400 {
        let reply = connection.exchange(&get("/slots", &scene.ticket));
        assert_eq!(reply.code(), "route_denied");
    }
    wait("all are counted", || {
        written(&scene, "route_denied").1 == 400
    });
    let (events, _) = written(&scene, "route_denied");
    assert!(events < 100, "{events} events");
}

#[test]
fn handshakes_that_fail_are_summed_up() {
    let scene = scene();
    for _ in 0..50 {
        let mut stranger = TcpStream::connect(scene.gate.address).unwrap();
        stranger.write_all(b"nonsense").unwrap();
        let limit = Some(Duration::from_secs(5));
        stranger.set_read_timeout(limit).unwrap();
        while matches!(stranger.read(&mut [0; 64]), Ok(1..)) {}
    }
    wait("all are counted", || {
        written(&scene, "handshake_failed").1 == 50
    });
    let (events, _) = written(&scene, "handshake_failed");
    assert!(events < 10, "{events} events");
    still_serves(&scene);
}

fn http2(
    scene: &Scene,
) -> (
    tokio::runtime::Runtime,
    hyper::client::conn::http2::SendRequest<Full<bytes::Bytes>>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let tls = scene.anna.tls("infer", &[b"h2"]);
    let address = scene.gate.address;
    let sender = runtime.block_on(async move {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let name = casemate_identity::tls::unused_server_name();
        let stream = tokio_rustls::TlsConnector::from(tls)
            .connect(name, stream)
            .await
            .unwrap();
        let io = TokioIo::new(stream);
        let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
            .await
            .unwrap();
        tokio::spawn(async move { drop(connection.await) });
        sender
    });
    (runtime, sender)
}

fn question2(scene: &Scene, path: &str) -> Request<Full<bytes::Bytes>> {
    Request::post(format!("https://gate{path}"))
        .header("authorization", format!("Bearer {}", scene.ticket))
        .header("content-type", "application/json")
        .body(Full::new(question().into()))
        .unwrap()
}

#[test]
fn http2_is_held_to_the_same_rules() {
    let scene = scene();
    let (runtime, mut sender) = http2(&scene);
    let mut status = |request| {
        let response = runtime.block_on(sender.send_request(request)).unwrap();
        let code = response
            .headers()
            .get("casemate-refusal")
            .map(|code| code.to_str().unwrap().to_owned());
        (response.status().as_u16(), code.unwrap_or_default())
    };
    assert_eq!(status(question2(&scene, CHAT)), (200, String::new()));
    for path in [
        "//v1/chat/completions",
        "/v1/%2e%2e/slots",
        "/V1/chat/completions",
        "/v1/chat/completions;x",
    ] {
        assert_eq!(
            status(question2(&scene, path)),
            (400, "path_not_canonical".to_owned()),
            "{path}"
        );
    }
    assert_eq!(status(question2(&scene, "/slots")).0, 403);
    for field in [
        "authorization",
        "content-type",
        "accept",
        "txn-token",
        "content-encoding",
        "host",
    ] {
        let mut twice = question2(&scene, CHAT);
        for value in ["one", "two"] {
            twice.headers_mut().append(field, value.parse().unwrap());
        }
        assert_eq!(status(twice).1, "request_malformed", "{field}");
    }
    let mut many = question2(&scene, CHAT);
    for number in 0..70 {
        many.headers_mut().append(
            http::HeaderName::try_from(format!("x-{number}")).unwrap(),
            "y".parse().unwrap(),
        );
    }
    assert_eq!(status(many), (431, "headers_too_large".to_owned()));
    let mut connect = question2(&scene, CHAT);
    *connect.method_mut() = http::Method::CONNECT;
    *connect.uri_mut() = "127.0.0.1:8000".parse().unwrap();
    let refused = runtime.block_on(sender.send_request(connect));
    assert!(refused.is_err() || refused.is_ok_and(|response| response.status().is_client_error()));
    let seen = scene.server.log().requests.clone();
    assert_eq!(seen.len(), 1);
    assert!(
        seen[0].starts_with("POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n"),
        "{}",
        seen[0]
    );
}

#[test]
fn ten_thousand_streams_are_bounded_and_others_are_served() {
    let scene = scene();
    scene.server.behave(Behaviour::Silent);
    let (runtime, sender) = http2(&scene);
    let requests: Vec<_> = (0..10_000)
        .map(|_| {
            let mut sender = sender.clone();
            let request = question2(&scene, CHAT);
            runtime.spawn(async move { sender.send_request(request).await.map(|_| ()) })
        })
        .collect();
    runtime.block_on(async { tokio::time::sleep(Duration::from_millis(800)).await });
    let running = scene.server.log().requests.len();
    assert!(
        (1..=128).contains(&running),
        "{running} streams reached the server"
    );
    eprintln!(
        "10,000 streams: {running} run, {} KiB resident",
        scene.gate.resident_kib()
    );
    assert!(scene.gate.resident_kib() < 64 * 1024);
    still_serves(&scene);
    requests.iter().for_each(tokio::task::JoinHandle::abort);
}

#[test]
fn a_stream_of_resets_ends_the_connection_and_not_the_gate() {
    let scene = scene();
    scene.server.behave(Behaviour::Silent);
    let (runtime, mut sender) = http2(&scene);
    runtime.block_on(async {
        for _ in 0..5000 {
            let request = sender.send_request(question2(&scene, CHAT));
            // Dropped at once: the stream is opened and reset.
            drop(tokio::time::timeout(Duration::from_micros(50), request).await);
            if sender.is_closed() {
                break;
            }
        }
    });
    still_serves(&scene);
}

#[test]
fn an_idle_gate_is_small() {
    let scene = scene();
    let idle = scene.gate.resident_kib();
    eprintln!("idle: {idle} KiB resident");
    assert!(idle <= 16 * 1024, "{idle} KiB");
    assert_eq!(scene.ask(&get("/health", &scene.ticket)).status, 200);
}
