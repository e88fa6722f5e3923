use std::path::PathBuf;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

use super::*;

/// A daemon that answers one request with fixed bytes.
async fn answering(name: &str, answer: &'static str) -> Client {
    let socket: PathBuf =
        std::env::temp_dir().join(format!("casemate-api-{}-{name}.sock", std::process::id()));
    std::fs::remove_file(&socket).ok();
    let listener = UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut seen = vec![0; 4096];
        let _read = stream.read(&mut seen).await.unwrap();
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
    });
    Client::new(socket)
}

#[tokio::test]
async fn a_refusal_keeps_the_daemons_code_and_fix() {
    let client = answering(
        "refusal",
        "HTTP/1.1 409 Conflict\r\nconnection: close\r\n\r\n\
         {\"code\":\"port-taken\",\"message\":\"8443 is taken\",\"fix\":\"choose another\"}",
    )
    .await;
    let error = client.status().await.unwrap_err();
    assert_eq!(
        error.refusal().map(|refusal| refusal.code.as_str()),
        Some("port-taken")
    );
}

#[tokio::test]
async fn progress_is_seen_before_the_end() {
    let client = answering(
        "progress",
        "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n\
         {\"progress\":{\"stage\":\"infer\",\"phase\":\"attested\",\"message\":\"\"}}\n\
         {\"done\":{\"enclosure\":\"chat\",\"millis\":1,\"listens\":[]}}\n",
    )
    .await;
    let mut seen = Vec::new();
    let request = v1::UpRequest {
        path: "/e.yaml".to_owned(),
        text: String::new(),
    };
    let done = client
        .up(&request, |step| seen.push(step.phase))
        .await
        .unwrap();
    assert_eq!(
        (seen, done.enclosure.as_str()),
        (vec!["attested".to_owned()], "chat")
    );
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_a_success() {
    let client = answering(
        "unfinished",
        "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n\
         {\"progress\":{\"stage\":\"\",\"phase\":\"x\",\"message\":\"\"}}\n",
    )
    .await;
    let request = v1::UpRequest {
        path: "/e.yaml".to_owned(),
        text: String::new(),
    };
    let error = client.up(&request, |_| {}).await.unwrap_err();
    assert!(
        matches!(error, CallDaemonError::Unfinished { .. }),
        "{error}"
    );
}

#[test]
fn a_name_cannot_leave_its_path_segment() {
    assert_eq!(segment("../x?y"), "..%2Fx%3Fy");
}
