use std::sync::atomic::Ordering;

use casemate_api::issuer::Bounds;
use casemate_core::event::kind;
use casemate_identity::jws::{SigningKey, sign_es256};
use casemate_identity::svid::{KeyPair, make_csr, verify_leaf};
use serde_json::{Value, json};

use crate::harness::{Issuer, Start, domain, now, wait_for};
use crate::provider::{Provider, web_tls};

async fn refused(issuer: &Issuer, token: &str) -> (u16, String) {
    let csr = make_csr(&KeyPair::generate().unwrap()).unwrap();
    let mut client = issuer.connect(None).await;
    let (status, answer) = client
        .login(&json!({ "id_token": token, "csr_pem": csr }))
        .await;
    assert!(answer["svid_pem"].is_null());
    (
        status,
        answer["error_description"].as_str().unwrap().to_owned(),
    )
}

#[tokio::test]
async fn a_corporate_login_becomes_a_certificate_for_the_callers_own_key() {
    let provider = Provider::start().await;
    let mut issuer = Start::with(&provider.issuer).start();
    let token = provider.id_token("alice");
    let (response, svid) = issuer.login(&token).await;
    assert_eq!(response.groups, ["analysts"]);
    assert_eq!(*svid.id(), response.spiffe_id);
    assert!(response.spiffe_id.path().starts_with("/user/127.0.0.1-"));
    assert!(response.spiffe_id.path().ends_with("/alice"));
    let life = response.expires.0 - now().0;
    assert!((8 * 3600 - 5..=8 * 3600).contains(&life), "{life}");
    let peer = verify_leaf(svid.chain(), &issuer.bundle().current(), now()).unwrap();
    assert_eq!(peer.id, response.spiffe_id);
    let event = issuer.event(kind::LOGIN_ACCEPTED);
    assert_eq!(event.subject, Some(response.spiffe_id.to_string()));
    assert_eq!(event.facts["thumbprint"], svid.thumbprint());
    let log = issuer.log();
    assert!(!log.contains(&token) && !log.contains("PRIVATE"), "{log}");
    let signature = token.rsplit('.').next().unwrap();
    assert!(
        !log.contains(signature) && !serde_json::to_string(&event).unwrap().contains(signature)
    );
}

#[tokio::test]
async fn logins_that_prove_nothing_are_refused_and_recorded() {
    let provider = Provider::start().await;
    let mut issuer = Start::with(&provider.issuer).start();
    let with = |name: &str, value: Value| {
        let mut claims = provider.claims("alice");
        claims[name] = value;
        provider.sign(&claims)
    };
    let other = SigningKey::generate().unwrap();
    let claims = provider.claims("alice").to_string();
    let cases = [
        (
            with("iss", json!("https://evil.example")),
            "id_token_issuer",
        ),
        (with("aud", json!("somebody-else")), "id_token_audience"),
        (with("exp", json!(now().0)), "id_token_expired"),
        (with("exp", json!("1900000000")), "id_token_claims"),
        (
            with("iat", json!(now().0 + 3600)),
            "id_token_from_the_future",
        ),
        (
            sign_es256(&provider.key, "at+jwt", claims.as_bytes()).unwrap(),
            "id_token_type",
        ),
        (
            sign_es256(&other, "JWT", claims.as_bytes()).unwrap(),
            "provider_keys",
        ),
        ("a.b.c".to_owned(), "id_token_malformed"),
    ];
    // The keys are known first, so that only one fetch happened before the unknown key is asked for.
    issuer.login(&provider.id_token("bob")).await;
    for (token, code) in cases {
        assert_eq!(refused(&issuer, &token).await.1, code);
        let event = issuer.event(kind::LOGIN_REFUSED);
        assert_eq!(event.decision.unwrap().code, code);
    }
    assert_eq!(provider.state.key_sets.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_request_that_is_not_signed_by_its_own_key_is_refused() {
    let provider = Provider::start().await;
    let issuer = Start::with(&provider.issuer).start();
    let csr = make_csr(&KeyPair::generate().unwrap()).unwrap();
    let other = make_csr(&KeyPair::generate().unwrap()).unwrap();
    // The body of one and the end of another.
    let (a, b): (Vec<_>, Vec<_>) = (csr.lines().collect(), other.lines().collect());
    let mixed = [&a[..a.len() - 2], &b[b.len() - 2..]].concat().join("\n");
    let mut client = issuer.connect(None).await;
    let token = provider.id_token("alice");
    let (status, answer) = client
        .login(&json!({ "id_token": token, "csr_pem": mixed }))
        .await;
    assert_eq!(
        (status, &answer["error_description"]),
        (400, &json!("certificate_request"))
    );
}

#[tokio::test]
async fn a_flood_of_unknown_keys_fetches_once_and_known_people_still_log_in() {
    let provider = Provider::start().await;
    let issuer = Start::with(&provider.issuer).start();
    issuer.login(&provider.id_token("alice")).await;
    for _ in 0..50 {
        let stranger = SigningKey::generate().unwrap();
        let claims = provider.claims("mallory").to_string();
        let token = sign_es256(&stranger, "JWT", claims.as_bytes()).unwrap();
        assert_eq!(
            refused(&issuer, &token).await,
            (503, "provider_keys".to_owned())
        );
    }
    assert_eq!(provider.state.discoveries.load(Ordering::SeqCst), 1);
    assert_eq!(provider.state.key_sets.load(Ordering::SeqCst), 1);
    issuer.login(&provider.id_token("alice")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_first_logins_at_once_cause_one_fetch() {
    let provider = Provider::start().await;
    let issuer = std::sync::Arc::new(Start::with(&provider.issuer).start());
    let mut logins = tokio::task::JoinSet::new();
    for number in 0..20 {
        let (issuer, token) = (issuer.clone(), provider.id_token(&format!("user{number}")));
        logins.spawn(async move { issuer.login(&token).await.0.spiffe_id });
    }
    let people: std::collections::BTreeSet<_> = logins.join_all().await.into_iter().collect();
    assert_eq!(people.len(), 20);
    assert_eq!(provider.state.key_sets.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_provider_that_is_down_or_lies_gives_no_login_and_an_event() {
    let documents: [(&str, Option<String>, Option<String>); 5] = [
        (
            "wrong issuer",
            Some(
                r#"{"issuer":"https://evil.example","jwks_uri":"http://127.0.0.1:1/"}"#.to_owned(),
            ),
            None,
        ),
        ("not JSON", Some("<html>".to_owned()), None),
        ("no keys", None, Some(r#"{"keys":[]}"#.to_owned())),
        (
            "private key",
            None,
            Some(r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"a","d":"AQ"}]}"#.to_owned()),
        ),
        (
            "endless",
            None,
            Some(format!(r#"{{"keys":[],"x":"{}"}}"#, "x".repeat(1_000_000))),
        ),
    ];
    for (what, discovery, jwks) in documents {
        let provider = Provider::start().await;
        *provider.state.discovery.lock().unwrap() = discovery;
        *provider.state.jwks.lock().unwrap() = jwks;
        let mut issuer = Start::with(&provider.issuer).start();
        assert_eq!(
            refused(&issuer, &provider.id_token("alice")).await.0,
            503,
            "{what}"
        );
        let event = issuer.event(kind::PROVIDER_UNAVAILABLE);
        assert_eq!(
            event.subject.as_deref(),
            Some(provider.issuer.as_str()),
            "{what}"
        );
    }
    let provider = Provider::start().await;
    provider.state.down.store(true, Ordering::SeqCst);
    let issuer = Start::with(&provider.issuer).start();
    assert_eq!(refused(&issuer, &provider.id_token("alice")).await.0, 503);
}

#[tokio::test]
async fn keys_that_lead_off_this_host_are_not_fetched() {
    let provider = Provider::start().await;
    let target = tokio::net::TcpListener::bind("127.0.0.2:0").await.unwrap();
    // A redirecting discovery document, by another scheme and by another place.
    for uri in [
        "http://169.254.169.254/latest",
        "file:///etc/passwd",
        "http://example.org/keys",
    ] {
        let document = json!({ "issuer": provider.issuer, "jwks_uri": uri }).to_string();
        *provider.state.discovery.lock().unwrap() = Some(document);
        let mut issuer = Start::with(&provider.issuer).start();
        assert_eq!(
            refused(&issuer, &provider.id_token("alice")).await.0,
            503,
            "{uri}"
        );
        let reason = issuer.event(kind::PROVIDER_UNAVAILABLE).facts["reason"].clone();
        assert!(reason.contains("not allowed"), "{reason}");
    }
    drop(target);
}

#[tokio::test]
async fn a_provider_that_hangs_is_given_up_on_and_the_issuer_goes_on() {
    let provider = Provider::start().await;
    provider.state.hang.store(true, Ordering::SeqCst);
    let mut start = Start::with(&provider.issuer);
    start.bounds = Bounds {
        provider_ms: 300,
        ..start.bounds
    };
    let mut issuer = start.start();
    assert_eq!(refused(&issuer, &provider.id_token("alice")).await.0, 503);
    let reason = issuer.event(kind::PROVIDER_UNAVAILABLE).facts["reason"].clone();
    assert!(reason.contains("too long"), "{reason}");
    wait_for(|| issuer.alive()).await;
    assert_eq!(issuer.ready.bundle_pem, issuer.authority.certificate_pem());
    assert_eq!(*issuer.authority.trust_domain(), domain());
}

#[tokio::test]
async fn a_provider_is_found_by_name_from_inside_the_confinement() {
    let provider = Provider::start_at("http://localhost", None).await;
    let issuer = Start::with(&provider.issuer).start();
    issuer.login(&provider.id_token("alice")).await;
}

#[tokio::test]
async fn a_provider_with_https_is_believed_under_the_configured_roots_only() {
    let (tls, root) = web_tls("localhost");
    let provider = Provider::start_at("https://localhost", Some(tls)).await;
    let mut start = Start::with(&provider.issuer);
    start.roots_pem = Some(root);
    start.start().login(&provider.id_token("alice")).await;

    // The system's roots do not know it, another root does not either, and the name must fit.
    let mut issuer = Start::with(&provider.issuer).start();
    assert_eq!(refused(&issuer, &provider.id_token("alice")).await.0, 503);
    issuer.event(kind::PROVIDER_UNAVAILABLE);
    let mut start = Start::with(&provider.issuer);
    start.roots_pem = Some(web_tls("localhost").1);
    assert_eq!(
        refused(&start.start(), &provider.id_token("alice")).await.0,
        503
    );
    let (tls, root) = web_tls("other.example");
    let provider = Provider::start_at("https://localhost", Some(tls)).await;
    let mut start = Start::with(&provider.issuer);
    start.roots_pem = Some(root);
    assert_eq!(
        refused(&start.start(), &provider.id_token("alice")).await.0,
        503
    );
}

/// The answer to a login with `token` and a certificate request of `key`.
async fn login_with(issuer: &Issuer, token: &str, key: &KeyPair) -> (u16, Value) {
    let body = json!({ "id_token": token, "csr_pem": make_csr(key).unwrap() });
    issuer.connect(None).await.login(&body).await
}

#[tokio::test]
async fn a_stolen_id_token_is_no_login_for_another_key() {
    let provider = Provider::start().await;
    let mut issuer = Start::with(&provider.issuer).start();
    let token = provider.id_token("alice");
    let (owner, thief) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let (status, answer) = login_with(&issuer, &token, &owner).await;
    assert_eq!(status, 200, "{answer}");
    let alice = answer["spiffe_id"].as_str().unwrap().to_owned();
    let (status, answer) = login_with(&issuer, &token, &thief).await;
    assert_eq!(
        (status, &answer["error_description"]),
        (400, &json!("id_token_of_another_key"))
    );
    let event = issuer.event(kind::LOGIN_REFUSED);
    assert_eq!(event.decision.unwrap().code, "id_token_of_another_key");
    assert_eq!(event.subject, Some(alice));
    // Its owner may come back with it, and another login of the same person is another token.
    assert_eq!(login_with(&issuer, &token, &owner).await.0, 200);
    let other = provider.id_token("alice");
    assert_eq!(login_with(&issuer, &other, &thief).await.0, 200);
}
