//! A small pre-processor: masks e-mail addresses and card numbers before a prompt reaches the model.
//!
//! It knows nothing of identities or tickets. It answers `POST /v1/chat/completions` on
//! `127.0.0.1:8080`, passes the masked request on to `$CASEMATE_FLOW_INFER`, and the answer back as it
//! comes. The one thing it owes its gate is to pass on the `casemate-transaction` field, as one would
//! pass on a trace id.

mod mask;
mod serve;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

const LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&format!("cannot start: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<(), Box<dyn std::error::Error>> {
    let next = std::env::var("CASEMATE_FLOW_INFER")
        .map_err(|_| "CASEMATE_FLOW_INFER does not say where the next stage is")?;
    let next = Arc::new(serve::Next::parse(&next)?);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(LISTEN).await?;
        tell(&format!(
            "listening on {LISTEN}, passing on to {}",
            next.authority()
        ));
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let next = Arc::clone(&next);
            tokio::spawn(async move {
                let service = service_fn(move |request| serve::serve(Arc::clone(&next), request));
                let served = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .serve_connection(TokioIo::new(stream), service);
                if let Err(error) = served.await {
                    tell(&format!("a connection ended: {error}"));
                }
            });
        }
    })
}

#[expect(clippy::print_stderr, reason = "a stage's standard error is its log")]
fn tell(line: &str) {
    eprintln!("redact: {line}");
}
