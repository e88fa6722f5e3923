use std::time::{Duration, Instant};

use casemate_api::issuer::Bounds;
use casemate_linux::process::Exit;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::Start;
use crate::provider::Provider;

fn bounded(provider: &Provider, bounds: Bounds) -> Start {
    let mut start = Start::with(&provider.issuer);
    start.bounds = bounds;
    start
}

fn quick() -> Bounds {
    Bounds {
        handshake_ms: 300,
        header_ms: 300,
        body_ms: 300,
        requests_per_minute: 100_000,
        ..Bounds::default()
    }
}

#[tokio::test]
async fn only_four_paths_exist_and_each_has_one_method() {
    let provider = Provider::start().await;
    let issuer = Start::with(&provider.issuer).start();
    let mut client = issuer.connect(None).await;
    let (status, headers, body) = client.send("GET", "/jwks.json", "", "").await;
    assert_eq!(
        (status, &headers["content-type"]),
        (200, &"application/jwk-set+json".parse().unwrap())
    );
    assert_eq!(
        serde_json::from_slice::<serde_json::Value>(&body).unwrap(),
        issuer.ready.jwks
    );
    let (status, _, body) = client.send("GET", "/bundle.pem", "", "").await;
    assert_eq!(
        (status, &body[..]),
        (200, issuer.ready.bundle_pem.as_bytes())
    );
    for (method, path, expected) in [
        ("GET", "/", 404),
        ("GET", "/jwks.json/", 404),
        ("GET", "//jwks.json", 404),
        ("GET", "/JWKS.json", 404),
        ("GET", "/%6awks.json", 404),
        ("GET", "/../jwks.json", 404),
        ("GET", "/jwks.json?x", 400),
        ("POST", "/token?x=1", 400),
        ("GET", "/token", 405),
        ("PUT", "/token", 405),
        ("POST", "/jwks.json", 405),
        ("GET", "/v1/login", 405),
    ] {
        assert_eq!(
            client.send(method, path, "", "").await.0,
            expected,
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn bodies_of_the_wrong_type_or_size_are_refused() {
    let provider = Provider::start().await;
    let issuer = Start::with(&provider.issuer).start();
    let mut client = issuer.connect(None).await;
    for kind in ["", "text/plain", "application/json"] {
        assert_eq!(
            client.send("POST", "/token", kind, "a=b").await.0,
            400,
            "{kind}"
        );
    }
    for body in [
        "",
        "{}",
        "[]",
        r#"{"id_token":"x","csr_pem":"y","more":1}"#,
        r#"{"id_token":"x","id_token":"z","csr_pem":"y"}"#,
    ] {
        assert_eq!(
            client
                .send("POST", "/v1/login", "application/json", body)
                .await
                .0,
            400
        );
    }
    let deep = "[".repeat(60_000);
    assert_eq!(
        client
            .send("POST", "/v1/login", "application/json", deep)
            .await
            .0,
        400
    );
    let long = vec![b'a'; 70_000];
    let mut client = issuer.connect(None).await;
    assert_eq!(
        client
            .send("POST", "/v1/login", "application/json", long)
            .await
            .0,
        400
    );
}

#[tokio::test]
async fn whoever_says_nothing_or_says_it_slowly_is_cut_off() {
    let provider = Provider::start().await;
    let issuer = bounded(&provider, quick()).start();
    let started = Instant::now();
    // No handshake at all.
    let mut silent = tokio::net::TcpStream::connect(issuer.address)
        .await
        .unwrap();
    assert_eq!(silent.read(&mut [0; 1]).await.unwrap_or(0), 0);
    // A handshake, one byte a moment.
    let mut slow = tokio::net::TcpStream::connect(issuer.address)
        .await
        .unwrap();
    while slow.write_all(&[22]).await.is_ok() && started.elapsed() < Duration::from_secs(8) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(started.elapsed() < Duration::from_secs(5));
    // A connection that is idle after its handshake.
    let mut client = issuer.connect(None).await;
    assert_eq!(client.send("GET", "/jwks.json", "", "").await.0, 200);
}

#[tokio::test]
async fn one_peer_that_asks_too_often_is_refused() {
    let provider = Provider::start().await;
    let bounds = Bounds {
        requests_per_minute: 5,
        ..Bounds::default()
    };
    let issuer = bounded(&provider, bounds).start();
    let mut client = issuer.connect(None).await;
    let mut statuses = Vec::new();
    for _ in 0..10 {
        statuses.push(client.send("GET", "/jwks.json", "", "").await.0);
    }
    assert_eq!(statuses[..4], [200; 4]);
    assert_eq!(statuses[4..], [429; 6]);
}

#[tokio::test]
async fn one_address_cannot_take_all_connections() {
    let provider = Provider::start().await;
    let bounds = Bounds {
        connections: 8,
        requests_per_minute: 100_000,
        ..Bounds::default()
    };
    let issuer = bounded(&provider, bounds).start();
    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(
            tokio::net::TcpStream::connect(issuer.address)
                .await
                .unwrap(),
        );
    }
    let mut cut = 0;
    for stream in &mut held {
        let mut byte = [0; 1];
        let read = tokio::time::timeout(Duration::from_millis(200), stream.read(&mut byte));
        cut += usize::from(matches!(read.await, Ok(Ok(0) | Err(_))));
    }
    assert_eq!(cut, 18, "two of eight may be held by one address");
}

#[tokio::test]
async fn garbage_on_either_door_does_not_stop_it() {
    let provider = Provider::start().await;
    let issuer = bounded(&provider, quick()).start();
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0; 64],
        &[0xff; 2048],
        b"\x16\x03\x01\xff\xff",
    ] {
        let mut tcp = tokio::net::TcpStream::connect(issuer.address)
            .await
            .unwrap();
        tcp.write_all(garbage).await.unwrap();
        let mut mesh = tokio::net::UnixStream::connect(&issuer.mesh).await.unwrap();
        mesh.write_all(garbage).await.unwrap();
    }
    let mut client = issuer.connect(None).await;
    assert_eq!(client.send("GET", "/jwks.json", "", "").await.0, 200);
    assert!(issuer.alive());
}

#[tokio::test]
async fn it_ends_when_the_daemon_is_gone() {
    let provider = Provider::start().await;
    let issuer = Start::with(&provider.issuer).start();
    assert_eq!(issuer.stop(), Exit::Status(0));
}

#[tokio::test]
async fn it_is_confined_before_it_answers() {
    let provider = Provider::start().await;
    let issuer = Start::with(&provider.issuer).start();
    assert!(issuer.ready.landlock_abi >= 4);
    let status = issuer.process_status();
    let line = |name: &str| {
        let found = status.lines().find(|line| line.starts_with(name)).unwrap();
        found.split_whitespace().nth(1).unwrap().to_owned()
    };
    assert_eq!(line("Seccomp:"), "2");
    assert_eq!(line("NoNewPrivs:"), "1");
    assert_eq!(line("CapEff:"), "0000000000000000");
}

#[tokio::test]
async fn http2_is_answered_and_bounded() {
    let provider = Provider::start().await;
    let bounds = Bounds {
        streams_per_connection: 4,
        requests_per_minute: 100_000,
        ..quick()
    };
    let issuer = bounded(&provider, bounds).start();
    let stream = issuer.raw_h2().await;
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (sender, connection) = hyper::client::conn::http2::handshake(executor, io)
        .await
        .unwrap();
    tokio::spawn(connection);
    let ask = |mut sender: hyper::client::conn::http2::SendRequest<_>| async move {
        sender.ready().await?;
        let body = http_body_util::Empty::<bytes::Bytes>::new();
        let request = hyper::Request::get("https://issuer/jwks.json")
            .body(body)
            .unwrap();
        sender
            .send_request(request)
            .await
            .map(|answer| answer.status().as_u16())
    };
    // After the first answer the client knows the limit and keeps to it.
    assert_eq!(ask(sender.clone()).await.unwrap(), 200);
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..50 {
        asked.spawn(ask(sender.clone()));
    }
    for answer in asked.join_all().await {
        assert_eq!(answer.unwrap(), 200);
    }
    let large = "x".repeat(100_000);
    let body = http_body_util::Empty::<bytes::Bytes>::new();
    let request = hyper::Request::get("https://issuer/jwks.json").header("x", large);
    let answer = sender
        .clone()
        .send_request(request.body(body).unwrap())
        .await;
    assert!(answer.is_err() || answer.unwrap().status().as_u16() == 431);
    let mut client = issuer.connect(None).await;
    assert_eq!(client.send("GET", "/jwks.json", "", "").await.0, 200);
}
