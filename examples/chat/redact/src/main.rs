//! A pre-processor: masks personal data in a chat request and passes it to the next stage.
//!
//! It holds no key and no token. Its gate lets requests in on port 8080, and gives the next stage's
//! address in `CASEMATE_FLOW_INFER`. What ties the outgoing call to the incoming one is the header
//! `casemate-transaction`, which is passed on as it came.

mod mask;

use std::convert::Infallible;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};

/// Where the gate expects this stage.
const LISTEN: &str = "127.0.0.1:8080";
const NEXT: &str = "CASEMATE_FLOW_INFER";
/// Set to anything, it has every message logged as it is passed on.
const SHOW: &str = "REDACT_SHOW";
const CHAT: &str = "/v1/chat/completions";
const TRANSACTION: &str = "casemate-transaction";
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// Where requests go from here, and whether the log shows them.
#[derive(Clone, Debug)]
struct Onward {
    next: String,
    show: bool,
}

type Answer = Response<BoxBody<Bytes, hyper::Error>>;

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stderr, reason = "standard error is this program's log")]
async fn main() -> ExitCode {
    let Some(next) = std::env::var(NEXT)
        .ok()
        .and_then(|address| address.strip_prefix("http://").map(str::to_owned))
    else {
        eprintln!(
            "redact: {NEXT} is not set to http://ADDRESS; declare a flow from this stage to `infer`"
        );
        return ExitCode::from(64);
    };
    let onward = Onward {
        next,
        show: std::env::var_os(SHOW).is_some(),
    };
    match serve(&onward).await {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("redact: cannot listen on {LISTEN}: {error}");
            ExitCode::from(70)
        }
    }
}

async fn serve(onward: &Onward) -> io::Result<Infallible> {
    let listener = TcpListener::bind(LISTEN).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let onward = onward.clone();
        tokio::spawn(async move {
            let answer = service_fn(|request| {
                let onward = onward.clone();
                async move { Ok::<_, Infallible>(handle(request, &onward).await) }
            });
            // A connection that breaks off concerns its peer only.
            drop(
                hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(Duration::from_secs(10))
                    .serve_connection(TokioIo::new(stream), answer)
                    .await,
            );
        });
    }
}

async fn handle(request: Request<Incoming>, onward: &Onward) -> Answer {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/health") => say(StatusCode::OK, "{\"status\":\"ok\"}"),
        (&Method::POST, CHAT) => chat(request, onward)
            .await
            .unwrap_or_else(|refused| refused),
        _ => say(StatusCode::NOT_FOUND, "{\"error\":\"no such route\"}"),
    }
}

/// Masks the request, passes it on, and hands the answer through as it comes.
async fn chat(request: Request<Incoming>, onward: &Onward) -> Result<Answer, Answer> {
    let next = onward.next.as_str();
    let transaction = request.headers().get(TRANSACTION).cloned();
    let body = Limited::new(request.into_body(), MAX_BODY_BYTES)
        .collect()
        .await
        .map_err(|_| {
            say(
                StatusCode::PAYLOAD_TOO_LARGE,
                "{\"error\":\"body not read\"}",
            )
        })?
        .to_bytes();
    let mut question: Value = serde_json::from_slice(&body)
        .map_err(|_| say(StatusCode::BAD_REQUEST, "{\"error\":\"body is not JSON\"}"))?;
    mask::mask_request(&mut question);
    if onward.show {
        show(&question);
    }

    let unreachable = |_| {
        say(
            StatusCode::BAD_GATEWAY,
            "{\"error\":\"next stage unreachable\"}",
        )
    };
    let mut onward = Request::post(CHAT)
        .header(header::HOST, next)
        .header(header::CONTENT_TYPE, "application/json");
    if let Some(transaction) = transaction {
        onward = onward.header(TRANSACTION, transaction);
    }
    let onward = onward
        .body(Full::new(Bytes::from(question.to_string())))
        .map_err(|_| {
            say(
                StatusCode::BAD_REQUEST,
                "{\"error\":\"request not understood\"}",
            )
        })?;
    let stream = TcpStream::connect(next).await.map_err(|_| {
        say(
            StatusCode::BAD_GATEWAY,
            "{\"error\":\"next stage unreachable\"}",
        )
    })?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(unreachable)?;
    tokio::spawn(connection);
    let answer = sender.send_request(onward).await.map_err(unreachable)?;

    let mut passed = Response::builder().status(answer.status());
    if let Some(kind) = answer.headers().get(header::CONTENT_TYPE) {
        passed = passed.header(header::CONTENT_TYPE, kind);
    }
    passed.body(answer.into_body().boxed()).map_err(|_| {
        say(
            StatusCode::BAD_GATEWAY,
            "{\"error\":\"answer not understood\"}",
        )
    })
}

/// Logs the messages of a request, one to a line.
#[expect(clippy::print_stderr, reason = "standard error is this program's log")]
fn show(question: &Value) {
    let messages = question.get("messages").and_then(Value::as_array);
    for message in messages.into_iter().flatten() {
        if let Some(content) = message.get("content") {
            eprintln!("passed on: {content}");
        }
    }
}

fn say(status: StatusCode, text: &'static str) -> Answer {
    let body = Full::new(Bytes::from_static(text.as_bytes())).map_err(|never| match never {});
    let mut answer = Response::new(body.boxed());
    *answer.status_mut() = status;
    answer.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("application/json"),
    );
    answer
}
