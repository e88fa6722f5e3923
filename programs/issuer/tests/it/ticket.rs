use std::time::Duration;

use casemate_api::issuer::{
    FromIssuer, Lifetimes, RemoveEnclosure, Revocation, Revoke, RevokeAt, ToIssuer,
};
use casemate_core::event::kind;
use casemate_core::spiffe::SpiffeId;
use casemate_core::time::UnixTime;
use casemate_identity::jwks::JwkSet;
use casemate_identity::jws::VerifyingKeys;
use casemate_identity::oidc::IssuerUrl;
use casemate_identity::svid::{KeyPair, make_csr};
use casemate_identity::ticket::{TicketError, TicketVerifier, VerifierSettings};
use serde_json::{Value, json};

use crate::harness::{Issuer, Start, domain, name, now, stage, ticket_form};
use crate::provider::Provider;

/// A verifier as the gate of `redact` has one.
pub(crate) fn gate(issuer: &Issuer, at: &str) -> TicketVerifier {
    let keys = JwkSet::parse(issuer.ready.jwks.to_string().as_bytes()).unwrap();
    let settings = VerifierSettings {
        issuer: domain().issuer(),
        trust_domain: domain(),
        audience: Some(stage(at)),
        max_ticket_lifetime: Duration::from_secs(300),
        max_transaction_lifetime: Duration::from_secs(60),
        cache_entries: 100,
    };
    TicketVerifier::new(settings, VerifyingKeys::from_jwks(&keys))
}

fn text(answer: &Value, name: &str) -> String {
    answer[name]
        .as_str()
        .unwrap_or_else(|| panic!("{name}: {answer}"))
        .to_owned()
}

#[tokio::test]
async fn a_login_is_exchanged_for_a_ticket_that_the_gate_accepts() {
    let provider = Provider::start().await;
    let mut issuer = Start::with(&provider.issuer).start();
    let token = provider.id_token("alice");
    let (login, svid) = issuer.login(&token).await;
    let thumbprint = svid.thumbprint().to_owned();
    let mut client = issuer.connect(Some(svid)).await;
    let audience = stage("redact").to_string();
    let (status, answer) = client.token(&ticket_form(&token, &audience)).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(text(&answer, "token_type"), "Bearer");
    assert_eq!(
        text(&answer, "issued_token_type"),
        "urn:ietf:params:oauth:token-type:access_token"
    );
    assert_eq!(text(&answer, "scope"), "chat");
    assert_eq!(answer["expires_in"], 300);
    let mut members: Vec<_> = answer.as_object().unwrap().keys().cloned().collect();
    members.sort();
    assert_eq!(
        members,
        [
            "access_token",
            "expires_in",
            "issued_token_type",
            "scope",
            "token_type"
        ]
    );
    let ticket = text(&answer, "access_token");
    let verified = gate(&issuer, "redact")
        .verify_ticket(&ticket, now())
        .unwrap();
    let claims = verified.claims();
    assert_eq!(
        (&claims.sub, &claims.aud),
        (&login.spiffe_id, &stage("redact"))
    );
    assert_eq!(claims.cnf.thumbprint, thumbprint);
    assert_eq!(claims.groups, ["analysts"]);
    let grant = &claims.authorization_details[0];
    assert_eq!(grant.routes, [name("chat")]);
    assert_eq!(grant.models[0].to_string(), "smollm2@1");
    assert_eq!(grant.limits.max_tokens, Some(256));
    let elsewhere = gate(&issuer, "infer").verify_ticket(&ticket, now());
    assert_eq!(elsewhere.unwrap_err(), TicketError::WrongAudience);
    let event = issuer.event(kind::TICKET_ISSUED);
    assert_eq!(event.facts["jti"], claims.jti);
    assert!(!issuer.log().contains(&ticket));
}

#[tokio::test]
async fn an_exchange_needs_the_certificate_of_the_same_person() {
    let provider = Provider::start().await;
    let mut issuer = Start::with(&provider.issuer).start();
    let (alice, mallory) = (provider.id_token("alice"), provider.id_token("mallory"));
    let (_, svid) = issuer.login(&mallory).await;
    let audience = stage("redact").to_string();
    let (status, answer) = issuer
        .connect(None)
        .await
        .token(&ticket_form(&alice, &audience))
        .await;
    assert_eq!(
        (status, answer["error"].as_str()),
        (401, Some("invalid_client"))
    );
    let mut client = issuer.connect(Some(svid)).await;
    let (status, answer) = client.token(&ticket_form(&alice, &audience)).await;
    assert_eq!(
        (status, answer["error"].as_str()),
        (400, Some("invalid_request"))
    );
    assert_eq!(answer["error_description"], "subject_token_of_another");
    let event = issuer.event(kind::TICKET_REFUSED);
    assert_eq!(event.decision.unwrap().code, "client_certificate");
}

#[tokio::test]
async fn what_the_policy_does_not_say_is_not_granted() {
    let provider = Provider::start().await;
    let issuer = Start::with(&provider.issuer).start();
    let token = provider.id_token("alice");
    let (_, svid) = issuer.login(&token).await;
    let mut client = issuer.connect(Some(svid)).await;
    let redact = stage("redact").to_string();
    let infer = stage("infer").to_string();
    for (audience, extra, error, code) in [
        (infer.as_str(), None, "invalid_target", "no_flow"),
        (
            "spiffe://example.internal/enclosure/chat/stage/other",
            None,
            "invalid_target",
            "unknown_stage",
        ),
        ("https://redact.example", None, "invalid_target", "audience"),
        (&redact, Some(("scope", "admin")), "invalid_scope", "routes"),
        (
            &redact,
            Some(("scope", "chat admin")),
            "invalid_scope",
            "routes",
        ),
        (
            &redact,
            Some(("resource", "smollm2@2")),
            "invalid_target",
            "models",
        ),
        (
            &redact,
            Some(("resource", "other@1")),
            "invalid_target",
            "models",
        ),
        (
            &redact,
            Some(("requested_lifetime", "0")),
            "invalid_request",
            "requested_lifetime",
        ),
        (
            &redact,
            Some(("actor_token", "x")),
            "invalid_request",
            "actor_token",
        ),
        (
            &redact,
            Some(("grant_type", "password")),
            "invalid_request",
            "repeated_parameter",
        ),
    ] {
        let mut form = ticket_form(&token, audience);
        form.extend(extra);
        let (status, answer) = client.token(&form).await;
        assert_eq!(status, 400, "{extra:?} {answer}");
        assert_eq!(answer["error"], error, "{extra:?}");
        assert_eq!(answer["error_description"], code, "{extra:?}");
    }
    let mut claims = provider.claims("alice");
    claims["groups"] = json!(["visitors"]);
    let visitor = provider.sign(&claims);
    let (_, answer) = client.token(&ticket_form(&visitor, &redact)).await;
    assert_eq!(answer["error_description"], "no_flow");
}

#[tokio::test]
async fn a_ticket_never_outlives_its_certificate_its_login_or_what_was_asked_for() {
    let provider = Provider::start().await;
    let mut start = Start::with(&provider.issuer);
    start.lifetimes = Lifetimes {
        user_secs: 100,
        ..Lifetimes::default()
    };
    let issuer = start.start();
    let token = provider.id_token("alice");
    let (login, svid) = issuer.login(&token).await;
    let mut client = issuer.connect(Some(svid)).await;
    let redact = stage("redact").to_string();
    let verifier = gate(&issuer, "redact");
    let (_, answer) = client.token(&ticket_form(&token, &redact)).await;
    let ticket = verifier
        .verify_ticket(&text(&answer, "access_token"), now())
        .unwrap();
    assert_eq!(ticket.claims().exp, login.expires);

    let mut claims = provider.claims("alice");
    claims["exp"] = json!(now().0 + 50);
    let (_, answer) = client
        .token(&ticket_form(&provider.sign(&claims), &redact))
        .await;
    assert!(
        (48..=50).contains(&answer["expires_in"].as_u64().unwrap()),
        "{answer}"
    );

    let mut form = ticket_form(&token, &redact);
    form.push(("requested_lifetime", "1"));
    let (_, answer) = client.token(&form).await;
    assert_eq!(answer["expires_in"], 1);
    let short = text(&answer, "access_token");
    let issued = verifier.verify_ticket(&short, now());
    let expires = issued.map(|ticket| ticket.claims().exp).unwrap_or(now());
    assert_eq!(
        verifier.verify_ticket(&short, expires).unwrap_err(),
        TicketError::Expired
    );
    form.pop();
    form.push(("requested_lifetime", "100000"));
    let (_, answer) = client.token(&form).await;
    assert!(
        answer["expires_in"].as_u64().unwrap() <= 100,
        "it may only shorten: {answer}"
    );
}

#[tokio::test]
async fn a_revoked_person_gets_nothing_until_the_next_login() {
    let provider = Provider::start().await;
    let mut issuer = Start::with(&provider.issuer).start();
    let token = provider.id_token("alice");
    let (login, svid) = issuer.login(&token).await;
    let mut client = issuer.connect(Some(svid)).await;
    let redact = stage("redact").to_string();
    assert_eq!(client.token(&ticket_form(&token, &redact)).await.0, 200);
    let order = Revoke {
        id: issuer.number(),
        jti: None,
        sub: Some(login.spiffe_id),
    };
    assert!(matches!(
        issuer.order(&ToIssuer::Revoke(order)),
        FromIssuer::Done(_)
    ));
    let (status, answer) = client.token(&ticket_form(&token, &redact)).await;
    assert_eq!(
        (status, &answer["error_description"]),
        (401, &json!("revoked"))
    );
    // The login from before does not bring anything back.
    let csr_pem = make_csr(&KeyPair::generate().unwrap()).unwrap();
    let body = json!({ "id_token": token, "csr_pem": csr_pem });
    let (status, answer) = issuer.connect(None).await.login(&body).await;
    assert_eq!(
        (status, &answer["error_description"]),
        (400, &json!("id_token_revoked"))
    );
    let nothing = Revoke {
        id: issuer.number(),
        jti: None,
        sub: None,
    };
    assert!(matches!(
        issuer.order(&ToIssuer::Revoke(nothing)),
        FromIssuer::Refused(_)
    ));
}

#[tokio::test]
async fn a_removed_enclosure_issues_nothing_any_more() {
    let provider = Provider::start().await;
    let mut issuer = Start::with(&provider.issuer).start();
    let token = provider.id_token("alice");
    let (_, svid) = issuer.login(&token).await;
    let mut client = issuer.connect(Some(svid)).await;
    let order = RemoveEnclosure {
        id: issuer.number(),
        enclosure: name("chat"),
    };
    assert!(matches!(
        issuer.order(&ToIssuer::RemoveEnclosure(order)),
        FromIssuer::Done(_)
    ));
    let redact = stage("redact").to_string();
    let (_, answer) = client.token(&ticket_form(&token, &redact)).await;
    assert_eq!(answer["error_description"], "unknown_stage");
}

#[tokio::test]
async fn an_id_token_is_no_ticket_and_a_ticket_is_no_id_token() {
    let provider = Provider::start().await;
    let issuer = Start::with(&provider.issuer).start();
    let token = provider.id_token("alice");
    let (_, svid) = issuer.login(&token).await;
    let mut client = issuer.connect(Some(svid)).await;
    let redact = stage("redact").to_string();
    let (_, answer) = client.token(&ticket_form(&token, &redact)).await;
    let ticket = text(&answer, "access_token");
    assert!(
        gate(&issuer, "redact")
            .verify_ticket(&token, now())
            .is_err()
    );
    let (status, answer) = client.token(&ticket_form(&ticket, &redact)).await;
    assert_eq!(
        (status, &answer["error_description"]),
        (400, &json!("id_token_type"))
    );
}

fn revoked(sub: Option<SpiffeId>, at: UnixTime) -> Revocation {
    Revocation { at, jti: None, sub }
}

#[tokio::test]
async fn what_was_revoked_before_the_start_is_refused_from_the_start_and_since_its_own_time() {
    let provider = Provider::start().await;
    let url = IssuerUrl::parse(&provider.issuer).unwrap();
    let person = |name: &str| url.user(&domain(), name).unwrap();
    let mut start = Start::with(&provider.issuer);
    start.revocations = vec![
        revoked(Some(person("alice")), now()),
        revoked(Some(person("bob")), now().minus(Duration::from_secs(30))),
    ];
    let issuer = start.start();
    let csr_pem = make_csr(&KeyPair::generate().unwrap()).unwrap();
    let body = json!({ "id_token": provider.id_token("alice"), "csr_pem": csr_pem });
    let (status, answer) = issuer.connect(None).await.login(&body).await;
    assert_eq!(
        (status, &answer["error_description"]),
        (400, &json!("id_token_revoked"))
    );
    // A login since the revocation counts, whenever the issuer was started.
    let token = provider.id_token("bob");
    let (_, svid) = issuer.login(&token).await;
    let mut client = issuer.connect(Some(svid)).await;
    let redact = stage("redact").to_string();
    let (status, answer) = client.token(&ticket_form(&token, &redact)).await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test]
async fn a_revocation_with_its_time_refuses_what_is_older_and_nothing_else() {
    let provider = Provider::start().await;
    let mut issuer = Start::with(&provider.issuer).start();
    let token = provider.id_token("alice");
    let (login, svid) = issuer.login(&token).await;
    let mut client = issuer.connect(Some(svid)).await;
    let redact = stage("redact").to_string();
    let before = now().minus(Duration::from_secs(30));
    for (at, expected) in [(before, 200), (now(), 401), (before, 401)] {
        let order = RevokeAt {
            id: issuer.number(),
            revocation: revoked(Some(login.spiffe_id.clone()), at),
        };
        let answer = issuer.order(&ToIssuer::RevokeAt(order));
        assert!(matches!(answer, FromIssuer::Done(_)));
        let (status, answer) = client.token(&ticket_form(&token, &redact)).await;
        assert_eq!(status, expected, "{answer}");
    }
    assert_eq!(issuer.event(kind::REVOKED).facts["at"], before.rfc3339());
    let order = RevokeAt {
        id: issuer.number(),
        revocation: revoked(None, now()),
    };
    let answer = issuer.order(&ToIssuer::RevokeAt(order));
    assert!(matches!(answer, FromIssuer::Refused(_)));
}
