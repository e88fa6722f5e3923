use bytes::Bytes;
use casemate_core::time::UnixTime;
use casemate_identity::tls::{ClientAuth, Peers};
use clap::{Args as _, FromArgMatches as _};
use http::Response;
use http_body_util::Full;

use super::*;
use crate::home::SavedTicket;
use crate::scene::{Scene, Seen, members};

fn arguments(words: &[&str]) -> Arguments {
    let command = Arguments::augment_args(clap::Command::new("call"));
    let matches = command.try_get_matches_from(words).expect("reads");
    Arguments::from_arg_matches(&matches).expect("reads")
}

fn keep_ticket(scene: &Scene, expires: u64) {
    let ticket = SavedTicket {
        stage_id: scene.stage(),
        ticket: SecretText::new("the.saved.ticket".to_owned()),
        expires: UnixTime(expires),
        models: Vec::new(),
    };
    scene.home.keep_ticket(&ticket).expect("is kept");
}

fn scene() -> Scene {
    let scene = Scene::new();
    scene.log_in("https://127.0.0.1:1");
    keep_ticket(&scene, now().0 + 60);
    scene
}

fn ok(content_type: &str, body: &str) -> Response<Full<Bytes>> {
    Response::builder()
        .header("content-type", content_type)
        .body(Full::new(Bytes::from(body.to_owned())))
        .expect("an answer")
}

async fn call(scene: &Scene, url: &str, more: &[&str]) -> Result<Exit, Failure> {
    let mut words = vec!["call", "redact", "/v1/chat/completions", "--url", url];
    words.extend(more);
    Box::pin(run(&scene.context(), arguments(&words))).await
}

fn checked(seen: &Seen) -> Response<Full<Bytes>> {
    assert_eq!(seen.head.uri.path(), "/v1/chat/completions");
    assert_eq!(seen.head.method, "POST");
    let authorization = seen.head.headers.get("authorization").expect("a ticket");
    assert_eq!(authorization, "Bearer the.saved.ticket");
    assert_eq!(&seen.body[..], b"{}");
    ok("application/json", "{\"answer\":42}")
}

#[tokio::test]
async fn a_call_shows_ticket_and_identity_in_both_versions_of_http() {
    let scene = scene();
    let address = scene
        .serve(&scene.stage(), members(), |seen| checked(&seen))
        .await;
    let url = format!("https://{address}");
    for version in [&["-d", "{}"][..], &["-d", "{}", "--http2"]] {
        assert_eq!(
            call(&scene, &url, version).await.expect("is answered"),
            Exit::Held
        );
    }
}

#[tokio::test]
async fn a_server_with_another_identity_gets_nothing() {
    let scene = scene();
    let other = "spiffe://example.internal/enclosure/chat/stage/infer"
        .parse()
        .expect("an id");
    let address = scene
        .serve(&other, members(), |_| panic!("was asked"))
        .await;
    let failure = call(&scene, &format!("https://{address}"), &[])
        .await
        .expect_err("is refused");
    assert_eq!(failure.exit(), Exit::Found);
    assert!(
        failure.to_string().contains("is not `spiffe://"),
        "{failure}"
    );
}

#[tokio::test]
async fn a_gate_that_does_not_accept_the_certificate_is_a_refusal() {
    let scene = scene();
    let nobody = ClientAuth::Required(Peers::Nobody);
    let address = scene
        .serve(&scene.stage(), nobody, |_| panic!("was asked"))
        .await;
    let failure = call(&scene, &format!("https://{address}"), &[])
        .await
        .expect_err("is refused");
    assert_eq!(failure.exit(), Exit::Found);
    assert!(
        failure.to_string().contains("refused the TLS handshake"),
        "{failure}"
    );
}

#[tokio::test]
async fn a_refusal_of_the_gate_exits_with_one() {
    let scene = scene();
    let address = scene
        .serve(&scene.stage(), members(), |_| {
            let mut answer = ok(
                "application/problem+json",
                "{\"by\":\"gate/redact\",\"detail\":\"no\"}",
            );
            *answer.status_mut() = http::StatusCode::FORBIDDEN;
            let code = http::HeaderValue::from_static("no_flow");
            answer.headers_mut().insert("casemate-refusal", code);
            answer
        })
        .await;
    let exit = call(&scene, &format!("https://{address}"), &[])
        .await
        .expect("is answered");
    assert_eq!(exit, Exit::Found);
}

#[tokio::test]
async fn a_stream_without_its_end_leaves_the_question_open() {
    let scene = scene();
    let token = "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n";
    for (text, expected) in [
        (format!("{token}data: [DONE]\n\n"), Exit::Held),
        (token.to_owned(), Exit::Unclear),
        (
            format!("{token}data: {{\"error\":{{\"message\":\"cut\"}}}}\n\n"),
            Exit::Found,
        ),
    ] {
        let answer = move |_| ok("text/event-stream; charset=utf-8", &text);
        let address = scene.serve(&scene.stage(), members(), answer).await;
        let exit = call(&scene, &format!("https://{address}"), &["--stream"]).await;
        assert_eq!(exit.expect("is answered"), expected);
    }
}

#[tokio::test]
async fn without_login_ticket_or_server_it_says_what_to_do() {
    let bare = Scene::new();
    let failure = call(&bare, "https://127.0.0.1:1", &[])
        .await
        .expect_err("is refused");
    assert!(failure.to_string().contains("casemate login"), "{failure}");

    let scene = scene();
    keep_ticket(&scene, 1);
    let failure = call(&scene, "https://127.0.0.1:1", &[])
        .await
        .expect_err("is refused");
    assert!(
        failure
            .to_string()
            .contains("casemate ticket exchange --stage redact"),
        "{failure}"
    );

    keep_ticket(&scene, now().0 + 60);
    let failure = call(&scene, "https://127.0.0.1:1", &[])
        .await
        .expect_err("is refused");
    assert_eq!(failure.exit(), Exit::Unclear);
    let failure = call(&scene, "http://127.0.0.1:1", &[])
        .await
        .expect_err("is refused");
    assert_eq!(failure.exit(), Exit::Usage);
}
