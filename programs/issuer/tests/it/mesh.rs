use std::time::Duration;

use casemate_api::issuer::{Bounds, FromIssuer, IssueStage, Lifetimes, ToIssuer};
use casemate_core::event::kind;
use casemate_identity::svid::{KeyPair, Svid, make_csr};
use casemate_identity::tls::{Peers, client_config, unused_server_name};
use serde_json::json;

use crate::harness::{
    Issuer, Start, domain, name, now, stage, ticket_form, transaction_form, wait_for,
};
use crate::provider::Provider;
use crate::ticket::gate;

const NEXT: &str = r#"{"stage":"infer"}"#;

/// A ticket of alice for `redact`.
async fn ticket(issuer: &Issuer, provider: &Provider) -> String {
    ticket_of(issuer, provider, "alice").await
}

async fn ticket_of(issuer: &Issuer, provider: &Provider, person: &str) -> String {
    let token = provider.id_token(person);
    let (_, svid) = issuer.login(&token).await;
    let mut client = issuer.connect(Some(svid)).await;
    let redact = stage("redact").to_string();
    let (status, answer) = client.token(&ticket_form(&token, &redact)).await;
    assert_eq!(status, 200, "{answer}");
    answer["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_gate_exchanges_the_ticket_it_admitted_for_a_transaction_token() {
    let provider = Provider::start().await;
    let mut issuer = Start::with(&provider.issuer).start();
    let ticket = ticket(&issuer, &provider).await;
    let redact = issuer.stage_svid(&stage("redact"));
    assert_eq!(
        issuer.event(kind::SVID_ISSUED).subject,
        Some(stage("redact").to_string())
    );
    let mut client = issuer.connect_mesh(Some(redact)).await.unwrap();
    let (status, answer) = client.token(&transaction_form(&ticket, NEXT)).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["token_type"], "N_A");
    assert_eq!(
        answer["issued_token_type"],
        "urn:ietf:params:oauth:token-type:txn_token"
    );
    assert_eq!(answer["expires_in"], 60);
    assert!(answer.get("refresh_token").is_none());
    let token = answer["access_token"].as_str().unwrap();
    let verified = gate(&issuer, "infer")
        .verify_transaction(token, now())
        .unwrap();
    let claims = verified.claims();
    assert_eq!(claims.aud, "example.internal");
    assert_eq!(claims.req_wl, stage("redact"));
    assert_eq!(claims.scope, "chat");
    assert_eq!(claims.tctx.stage, name("infer"));
    assert!(claims.sub.path().ends_with("/alice"));
    assert!(
        gate(&issuer, "redact")
            .verify_transaction(token, now())
            .is_err()
    );
    assert!(gate(&issuer, "infer").verify_ticket(token, now()).is_err());
    let event = issuer.event(kind::TRANSACTION_ISSUED);
    assert_eq!(event.facts["txn"], claims.txn);
}

#[tokio::test]
async fn only_the_stage_that_a_ticket_is_for_may_go_on_with_it_and_only_along_a_flow() {
    let provider = Provider::start().await;
    let mut issuer = Start::with(&provider.issuer).start();
    let ticket = ticket(&issuer, &provider).await;
    let infer = issuer.stage_svid(&stage("infer"));
    let mut client = issuer.connect_mesh(Some(infer)).await.unwrap();
    let (_, answer) = client.token(&transaction_form(&ticket, NEXT)).await;
    assert_eq!(
        answer["error_description"],
        "subject_token_of_another_stage"
    );
    let redact = issuer.stage_svid(&stage("redact"));
    let mut client = issuer.connect_mesh(Some(redact)).await.unwrap();
    for (details, code) in [
        (r#"{"stage":"redact"}"#, "no_flow"),
        (r#"{"stage":"other"}"#, "unknown_stage"),
        (r#"{"stage":"infer","admin":true}"#, "request_details"),
        (r#"{"stage":"infer","stage":"redact"}"#, "request_details"),
        ("infer", "request_details"),
        ("", "request_details"),
    ] {
        let (status, answer) = client.token(&transaction_form(&ticket, details)).await;
        assert_eq!(
            (status, &answer["error_description"]),
            (400, &json!(code)),
            "{details}"
        );
    }
    let mut form = transaction_form(&ticket, NEXT);
    form[4] = (
        "audience",
        "spiffe://example.internal/enclosure/chat/stage/infer",
    );
    let (_, answer) = client.token(&form).await;
    assert_eq!(answer["error"], "invalid_target");
    let mut form = transaction_form(&ticket, NEXT);
    form.push(("scope", "embed"));
    let (_, answer) = client.token(&form).await;
    assert_eq!(answer["error"], "invalid_scope");
    let garbage = format!("{ticket}x");
    let (_, answer) = client.token(&transaction_form(&garbage, NEXT)).await;
    assert!(
        answer["error_description"]
            .as_str()
            .unwrap()
            .starts_with("ticket_"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_person_gets_no_transaction_token_whichever_door_is_tried() {
    let provider = Provider::start().await;
    let mut issuer = Start::with(&provider.issuer).start();
    let ticket = ticket(&issuer, &provider).await;
    let token = provider.id_token("alice");
    let (_, svid) = issuer.login(&token).await;
    let again = Svid::new(svid.chain().to_vec(), svid.key().duplicate().unwrap()).unwrap();
    let mut client = issuer.connect(Some(svid)).await;
    let (_, answer) = client.token(&transaction_form(&ticket, NEXT)).await;
    assert_eq!(answer["error"], "unauthorized_client");
    let mut client = issuer.connect_mesh(Some(again)).await.unwrap();
    let (_, answer) = client.token(&transaction_form(&ticket, NEXT)).await;
    assert_eq!(answer["error"], "invalid_request");
    // And a gate that comes through the door of people is no better off.
    let redact = issuer.stage_svid(&stage("redact"));
    let mut client = issuer.connect(Some(redact)).await;
    let (_, answer) = client.token(&transaction_form(&ticket, NEXT)).await;
    assert_eq!(answer["error"], "unauthorized_client");
}

#[tokio::test]
async fn the_mesh_door_needs_a_certificate() {
    let provider = Provider::start().await;
    let issuer = Start::with(&provider.issuer).start();
    // In TLS 1.3 the client learns of it with the first answer.
    let stream = tokio::net::UnixStream::connect(&issuer.mesh).await.unwrap();
    let clock = std::sync::Arc::new(casemate_core::time::SystemClock);
    let expected = Peers::only(domain().issuer());
    let config = client_config(None, issuer.bundle(), expected, clock, &[b"http/1.1"]).unwrap();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let refused = match connector.connect(unused_server_name(), stream).await {
        Err(error) => error,
        Ok(mut stream) => tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 1])
            .await
            .unwrap_err(),
    };
    assert!(
        refused.to_string().contains("CertificateRequired"),
        "{refused}"
    );
}

#[tokio::test]
async fn certificates_are_issued_to_declared_stages_only() {
    let provider = Provider::start().await;
    let mut issuer = Start::with(&provider.issuer).start();
    let csr_pem = make_csr(&KeyPair::generate().unwrap()).unwrap();
    for id in [
        stage("other"),
        domain().issuer(),
        "spiffe://example.internal/user/idp/alice".parse().unwrap(),
        "spiffe://other.internal/enclosure/chat/stage/redact"
            .parse()
            .unwrap(),
    ] {
        let order = IssueStage {
            id: issuer.number(),
            spiffe_id: id,
            csr_pem: csr_pem.clone(),
        };
        assert!(matches!(
            issuer.order(&ToIssuer::IssueStage(order)),
            FromIssuer::Refused(_)
        ));
    }
    let order = IssueStage {
        id: 99,
        spiffe_id: stage("redact"),
        csr_pem: "x".to_owned(),
    };
    assert!(matches!(
        issuer.order(&ToIssuer::IssueStage(order)),
        FromIssuer::Refused(_)
    ));
}

#[tokio::test]
async fn the_issuers_own_certificate_rotates_while_a_connection_goes_on() {
    let provider = Provider::start().await;
    let mut start = Start::with(&provider.issuer);
    start.lifetimes = Lifetimes {
        stage_secs: 4,
        ..Lifetimes::default()
    };
    let mut issuer = start.start();
    let mut client = issuer.connect(None).await;
    let first = issuer.event(kind::SVID_ROTATED).time;
    let second = issuer.event(kind::SVID_ROTATED).time;
    assert!(second > first);
    // Longer than the first certificate lived, the first connection still answers.
    wait_for(|| now() > first.plus(Duration::from_secs(2))).await;
    let (status, _, _) = client.send("GET", "/jwks.json", "", "").await;
    assert_eq!(status, 200);
    let mut fresh = issuer.connect(None).await;
    assert_eq!(fresh.send("GET", "/bundle.pem", "", "").await.0, 200);
}

#[tokio::test]
async fn a_caller_who_asks_too_often_uses_up_nobody_elses_part_of_the_gate() {
    let provider = Provider::start().await;
    let mut start = Start::with(&provider.issuer);
    // At the door people have much less than a gate.
    start.bounds = Bounds {
        requests_per_minute: 20,
        gate_requests_per_minute: 100,
        caller_requests_per_minute: 25,
        ..start.bounds
    };
    let mut issuer = start.start();
    let alice = ticket_of(&issuer, &provider, "alice").await;
    let bob = ticket_of(&issuer, &provider, "bob").await;
    let redact = issuer.stage_svid(&stage("redact"));
    let mut client = issuer.connect_mesh(Some(redact)).await.unwrap();
    for _ in 0..25 {
        let (status, answer) = client.token(&transaction_form(&alice, NEXT)).await;
        assert_eq!(status, 200, "{answer}");
    }
    let (status, answer) = client.token(&transaction_form(&alice, NEXT)).await;
    assert_eq!(
        (status, &answer["error_description"]),
        (429, &json!("rate_limited"))
    );
    let (status, answer) = client.token(&transaction_form(&bob, NEXT)).await;
    assert_eq!(status, 200, "{answer}");
    // The gate as a whole has an end too, and another gate has its own.
    let mut last = 200;
    for _ in 0..100 {
        last = client.send("GET", "/jwks.json", "", "").await.0;
    }
    assert_eq!(last, 429);
    let infer = issuer.stage_svid(&stage("infer"));
    let mut client = issuer.connect_mesh(Some(infer)).await.unwrap();
    assert_eq!(client.send("GET", "/jwks.json", "", "").await.0, 200);
}
