use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use casemate_core::spiffe::SpiffeId;
use casemate_identity::tls::{ClientAuth, Peers};
use clap::Parser as _;
use http::Response;
use http_body_util::Full;

use super::*;
use crate::arguments::{self, Command};
use crate::commands::ticket;
use crate::scene::{Scene, Seen};

const ID_TOKEN: &str = "head.claims.signature";

fn json(status: u16, value: &serde_json::Value) -> Response<Full<Bytes>> {
    let body = Full::new(Bytes::from(value.to_string()));
    Response::builder()
        .status(status)
        .body(body)
        .expect("an answer")
}

/// What an issuer does with a login: reads the request, gives a certificate of `id`.
fn issuer(scene: &Arc<Scene>, id: &SpiffeId, seen: &Seen) -> Response<Full<Bytes>> {
    match seen.head.uri.path() {
        "/v1/login" => {
            let request: LoginRequest = serde_json::from_slice(&seen.body).expect("a request");
            assert_eq!(request.id_token, ID_TOKEN);
            let answer = LoginResponse {
                svid_pem: scene.chain_pem(id, &request.csr_pem),
                bundle_pem: scene.bundle_pem(),
                spiffe_id: scene.domain.user("idp", "ada").expect("an id"),
                groups: vec!["analysts".to_owned()],
                expires: UnixTime(now().0 + 3600),
            };
            json(200, &serde_json::to_value(answer).expect("writes"))
        }
        "/token" => {
            let form: HashMap<String, String> = url::form_urlencoded::parse(&seen.body)
                .into_owned()
                .collect();
            assert_eq!(form["audience"], scene.stage().to_string());
            assert_eq!(form["subject_token"], ID_TOKEN);
            assert_eq!(form["scope"], "chat");
            assert_eq!(form["resource"], "m@1");
            assert_eq!(form["requested_lifetime"], "9");
            json(
                403,
                &serde_json::json!({ "error": "invalid_target", "error_description": "no_flow" }),
            )
        }
        other => panic!("{other}"),
    }
}

async fn serve(scene: &Arc<Scene>, id: SpiffeId) -> String {
    let shared = Arc::clone(scene);
    let clients = ClientAuth::Optional(Peers::Members);
    let answer = move |seen: Seen| issuer(&shared, &id, &seen);
    format!(
        "https://{}",
        scene.serve(&scene.domain.issuer(), clients, answer).await
    )
}

async fn log_in(scene: &Scene, issuer: &str) -> Result<Exit, Failure> {
    let (token, bundle) = (scene.path("token"), scene.path("bundle.pem"));
    std::fs::write(&token, format!("{ID_TOKEN}\n")).expect("is written");
    std::fs::write(&bundle, scene.bundle_pem()).expect("is written");
    let arguments = Arguments {
        token_file: Some(token),
        issuer: Some(issuer.to_owned()),
        bundle: Some(bundle),
        export: None,
    };
    Box::pin(run(&scene.context(), arguments)).await
}

#[tokio::test]
async fn a_login_keeps_a_certificate_for_a_key_made_here() {
    let scene = Arc::new(Scene::new());
    let url = serve(&scene, scene.domain.user("idp", "ada").expect("an id")).await;
    assert_eq!(log_in(&scene, &url).await.expect("is accepted"), Exit::Held);
    let login = scene.home.login(now()).expect("is kept");
    assert_eq!(login.trust_domain, scene.domain);
    assert_eq!(login.id_token.expose(), ID_TOKEN);
    let key = KeyPair::from_pem(login.key_pem.expose()).expect("a key");
    assert!(Svid::from_pem(&login.chain_pem, key).is_ok());
}

#[tokio::test]
async fn an_exported_login_is_what_was_kept_and_private() {
    use std::os::unix::fs::MetadataExt as _;

    let scene = Arc::new(Scene::new());
    let url = serve(&scene, scene.domain.user("idp", "ada").expect("an id")).await;
    log_in(&scene, &url).await.expect("is accepted");
    let directory = scene.path("pem");
    let arguments = Arguments {
        token_file: None,
        issuer: None,
        bundle: None,
        export: Some(directory.clone()),
    };
    let exit = Box::pin(run(&scene.context(), arguments)).await;
    assert_eq!(exit.expect("is written"), Exit::Held);
    let read = |name: &str| std::fs::read_to_string(directory.join(name)).expect("is there");
    let key = KeyPair::from_pem(&read("key.pem")).expect("a key");
    assert!(Svid::from_pem(&read("chain.pem"), key).is_ok());
    assert_eq!(read("trust-bundle.pem"), scene.bundle_pem());
    let mode = |name: &str| {
        let found = std::fs::metadata(directory.join(name)).expect("is there");
        found.mode() & 0o777
    };
    assert_eq!((mode("key.pem"), mode("")), (0o600, 0o700));
}

#[tokio::test]
async fn a_certificate_of_another_identity_is_not_kept() {
    let scene = Arc::new(Scene::new());
    let url = serve(&scene, scene.domain.user("idp", "bob").expect("an id")).await;
    assert!(log_in(&scene, &url).await.is_err());
    assert!(scene.home.login(now()).is_err());
}

#[tokio::test]
async fn an_issuer_with_another_identity_does_not_see_the_token() {
    let scene = Arc::new(Scene::new());
    let clients = ClientAuth::Optional(Peers::Members);
    let address = scene
        .serve(&scene.stage(), clients, |_| panic!("was asked"))
        .await;
    let failure = log_in(&scene, &format!("https://{address}"))
        .await
        .expect_err("is refused");
    assert_eq!(failure.exit(), Exit::Found);
}

#[tokio::test]
async fn a_file_that_holds_no_token_is_a_mistake() {
    let scene = Scene::new();
    let token_file = scene.path("token");
    std::fs::write(&token_file, "not a token").expect("is written");
    let arguments = Arguments {
        token_file: Some(token_file),
        issuer: None,
        bundle: None,
        export: None,
    };
    let failure = Box::pin(run(&scene.context(), arguments))
        .await
        .expect_err("is refused");
    assert_eq!(failure.exit(), Exit::Usage);
    assert!(
        !failure.to_string().contains("not a token"),
        "the text is not shown back"
    );
}

#[tokio::test]
async fn an_exchange_asks_for_what_was_said_and_shows_why_it_was_refused() {
    let scene = Arc::new(Scene::new());
    let url = serve(&scene, scene.domain.user("idp", "ada").expect("an id")).await;
    log_in(&scene, &url).await.expect("is accepted");
    let words = [
        "casemate",
        "ticket",
        "exchange",
        "--stage",
        "chat/redact",
        "--model",
        "m@1",
        "--routes",
        "chat",
        "--lifetime",
        "9",
    ];
    let parsed = arguments::Arguments::try_parse_from(words).expect("reads");
    let Command::Ticket(exchange) = parsed.command else {
        panic!("a ticket")
    };
    let failure = Box::pin(ticket::run(&scene.context(), exchange))
        .await
        .expect_err("is refused");
    assert_eq!(failure.exit(), Exit::Found);
    assert_eq!(
        failure.to_string(),
        "the exchange was refused: 403 invalid_target by issuer: no_flow\n  fix: no flow grants your \
         groups this: compare them with the flows of the enclosure file"
    );
}
