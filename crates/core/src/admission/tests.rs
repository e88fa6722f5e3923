use super::*;
use crate::json::ScanError;

mod budget;
mod clock;

const NOW: UnixTime = UnixTime(1_000_000);
const CHAT: &str = r#"{"model":"smol@1","messages":[]}"#;

/// A gate of the stage `infer`, a caller with a ticket for it, and the call they make.
struct Scene {
    stage: Stage,
    standing: Standing,
    rates: Rates,
    peer: SpiffeId,
    thumbprint: String,
    peer_expires: UnixTime,
    ticket: TicketClaims,
    method: &'static str,
    path: &'static str,
    query: Option<&'static str>,
    now: UnixTime,
}

fn id(text: &str) -> SpiffeId {
    format!("spiffe://example.internal{text}").parse().unwrap()
}

fn names(names: &[&str]) -> Vec<Name> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

fn profile() -> Profile {
    let route = |method: &str, template: &str, class: &str| serde_json::json!({"method": method, "template": template, "class": class, "verified-on": "b1"});
    let mut chat = route("POST", "/v1/chat/completions", "chat");
    chat["stream"] = "sse".into();
    chat["model"] = "/model".into();
    chat["max-tokens"] = serde_json::json!(["/max_tokens", "/n_predict"]);
    chat["answers"] = "/n".into();
    chat["query"] = serde_json::json!(["user"]);
    chat["forbid"] = serde_json::json!(["/logit_bias"]);
    let mut unverified = route("GET", "/new", "chat");
    unverified["verified-on"] = serde_json::Value::Null;
    serde_json::from_value(serde_json::json!({
        "id": "test", "server": "a test", "source": [],
        "classes": [
            {"name": "chat", "what": "answers", "grant": "by-flow"},
            {"name": "health", "what": "says that it lives", "grant": "by-flow"},
            {"name": "admin", "what": "changes the server", "grant": "never"},
        ],
        "routes": [
            chat, unverified,
            route("GET", "/health", "health"), route("POST", "/slots", "admin"),
            route("POST", "/v1/embed", "chat"),
        ],
    }))
    .unwrap()
}

fn scene() -> Scene {
    let stage = id("/enclosure/chat/stage/infer");
    let user = id("/user/idp/anna");
    let model: ModelVersion = "smol@1".parse().unwrap();
    Scene {
        stage: Stage {
            id: stage.clone(),
            name: "infer".parse().unwrap(),
            profile: profile(),
        },
        standing: Standing {
            door: Door::Open,
            flows: vec![InboundFlow {
                from: Caller::Group("analysts".to_owned()),
                routes: names(&["chat", "health", "admin"]),
                models: vec![model.clone(), "smol@2".parse().unwrap()],
                limits: Limits {
                    max_tokens: Some(256),
                    requests_per_minute: Some(3),
                },
            }],
            revoked: Revocations::default(),
        },
        rates: Rates::default(),
        peer: user.clone(),
        thumbprint: "thumb".to_owned(),
        peer_expires: UnixTime(NOW.0 + 1000),
        ticket: TicketClaims {
            iss: id("/issuer"),
            sub: user.clone(),
            aud: stage,
            client_id: user,
            iat: UnixTime(NOW.0 - 10),
            exp: UnixTime(NOW.0 + 300),
            jti: "j1".to_owned(),
            cnf: crate::ticket::Confirmation {
                thumbprint: "thumb".to_owned(),
            },
            groups: vec!["staff".to_owned(), "analysts".to_owned()],
            authorization_details: vec![Grant {
                kind: GRANT_TYPE.to_owned(),
                stage: "infer".parse().unwrap(),
                routes: names(&["chat", "health", "admin"]),
                models: vec![model],
                limits: Limits::default(),
            }],
        },
        method: "POST",
        path: "/v1/chat/completions",
        query: None,
        now: NOW,
    }
}

impl Scene {
    fn admit(&mut self, body: &str) -> Result<(Permit, String), Refusal> {
        self.admit_at(self.path, body)
    }

    fn admit_at(&mut self, path: &str, body: &str) -> Result<(Permit, String), Refusal> {
        let peer = Peer {
            id: &self.peer,
            thumbprint: &self.thumbprint,
            expires: self.peer_expires,
        };
        let call = Call {
            method: self.method,
            path,
            query: self.query,
        };
        let credential = Credential::Ticket(&self.ticket);
        let (stage, standing, rates) = (&self.stage, &self.standing, &mut self.rates);
        let entitled = entitle(stage, standing, rates, peer, credential, call, self.now)?;
        let admitted = entitled.admit(body.as_bytes(), 4096)?;
        Ok((
            admitted.permit,
            String::from_utf8(admitted.body.into_owned()).unwrap(),
        ))
    }

    fn grant(&mut self) -> &mut Grant {
        &mut self.ticket.authorization_details[0]
    }
}

fn refused(change: impl FnOnce(&mut Scene)) -> Refusal {
    let mut scene = scene();
    change(&mut scene);
    scene.admit(CHAT).unwrap_err()
}

#[test]
fn a_holder_with_a_flow_and_a_grant_is_admitted_and_bounded() {
    let (permit, body) = scene().admit(CHAT).unwrap();
    assert_eq!(permit.class().as_str(), "chat");
    assert_eq!(permit.model().unwrap().to_string(), "smol@1");
    assert_eq!(permit.expires(), UnixTime(NOW.0 + 300));
    assert_eq!(body, r#"{"max_tokens":256,"model":"smol@1","messages":[]}"#);
}

#[test]
fn a_closed_door_refuses_before_anything_else() {
    assert_eq!(
        refused(|scene| scene.standing.door = Door::Closed),
        Refusal::NotAdmitting
    );
    assert_eq!(
        refused(|scene| scene.standing.door = Door::Draining),
        Refusal::Draining
    );
    assert_eq!(Standing::default().door, Door::Closed);
}

#[test]
fn a_ticket_is_for_its_holder_here_and_now() {
    assert_eq!(
        refused(|scene| scene.now = UnixTime(NOW.0 + 300)),
        Refusal::TicketExpired
    );
    assert_eq!(
        refused(|scene| scene.ticket.iat = UnixTime(NOW.0 + 1)),
        Refusal::TicketMalformed
    );
    assert_eq!(
        refused(|scene| scene.thumbprint = "other".to_owned()),
        Refusal::NotHolder
    );
    assert_eq!(
        refused(|scene| scene.peer = id("/user/idp/berta")),
        Refusal::NotHolder
    );
    assert_eq!(
        refused(|scene| scene.ticket.client_id = id("/user/idp/b")),
        Refusal::NotHolder
    );
    assert_eq!(
        refused(|scene| scene.peer_expires = NOW),
        Refusal::CertificateExpired
    );
    assert_eq!(
        refused(|scene| scene.ticket.aud = id("/enclosure/chat/stage/redact")),
        Refusal::TicketWrongAudience
    );
    assert_eq!(
        refused(|scene| scene.grant().stage = "redact".parse().unwrap()),
        Refusal::TicketWrongAudience
    );
    assert_eq!(
        refused(|scene| scene.ticket.iss = id("/other")),
        Refusal::TicketSignature
    );
    assert_eq!(
        refused(|scene| scene.ticket.authorization_details.clear()),
        Refusal::TicketMalformed
    );
    assert_eq!(
        refused(|scene| scene.grant().kind = "x".to_owned()),
        Refusal::TicketMalformed
    );
}

#[test]
fn what_was_revoked_is_refused() {
    let token = |scene: &mut Scene| scene.standing.revoked.revoke_token("j1".to_owned(), NOW);
    assert_eq!(refused(token), Refusal::TicketRevoked);
    let subject = |scene: &mut Scene| {
        scene
            .standing
            .revoked
            .revoke_subject(id("/user/idp/anna"), NOW);
    };
    assert_eq!(refused(subject), Refusal::TicketRevoked);
    let mut later = scene();
    later
        .standing
        .revoked
        .revoke_subject(id("/user/idp/anna"), UnixTime(NOW.0 - 20));
    assert!(
        later.admit(CHAT).is_ok(),
        "a ticket that was issued after the revocation"
    );
}

#[test]
fn only_a_flow_from_the_callers_group_to_the_routes_class_lets_in() {
    assert_eq!(
        refused(|scene| scene.standing.flows.clear()),
        Refusal::NoFlow
    );
    assert_eq!(
        refused(|scene| scene.ticket.groups.clear()),
        Refusal::NoFlow
    );
    assert_eq!(
        refused(|scene| scene.standing.flows[0].routes = names(&["health"])),
        Refusal::RouteDenied
    );
    assert_eq!(
        refused(|scene| scene.grant().routes = names(&["health"])),
        Refusal::RouteDenied
    );
    let by_stage = |scene: &mut Scene| {
        scene.standing.flows[0].from = Caller::Stage(scene.peer.clone());
    };
    assert_eq!(refused(by_stage), Refusal::NoFlow);
}

#[test]
fn routes_are_denied_unless_known_verified_and_grantable() {
    assert_eq!(refused(|scene| scene.path = "/props"), Refusal::RouteDenied);
    assert_eq!(refused(|scene| scene.path = "/slots"), Refusal::RouteDenied);
    assert_eq!(
        refused(|scene| (scene.method, scene.path) = ("GET", "/new")),
        Refusal::RouteDenied
    );
    assert_eq!(
        refused(|scene| scene.method = "DELETE"),
        Refusal::MethodDenied
    );
    assert_eq!(
        refused(|scene| scene.method = "post"),
        Refusal::MethodDenied
    );
    assert_eq!(
        refused(|scene| scene.path = "/V1/chat/completions"),
        Refusal::PathNotCanonical(PathError::Case)
    );
    assert_eq!(
        refused(|scene| scene.path = "//v1/chat/completions"),
        Refusal::PathNotCanonical(PathError::EmptySegment)
    );
    assert_eq!(
        refused(|scene| scene.query = Some("x=1")).code(),
        "query_not_allowed"
    );
    assert_eq!(
        refused(|scene| scene.query = Some("")).code(),
        "query_not_allowed"
    );
}

#[test]
fn the_model_must_be_named_granted_and_of_the_flow() {
    let said = |body: &str| scene().admit(body).map(|_| ()).unwrap_err();
    assert_eq!(said(r#"{"messages":[]}"#), Refusal::ModelMissing);
    assert_eq!(said(r#"{"model":null}"#), Refusal::ModelMissing);
    assert_eq!(said(r#"{"model":"smol@2"}"#), Refusal::ModelNotGranted);
    assert_eq!(said(r#"{"model":"SMOL@1"}"#), Refusal::ModelNotGranted);
    assert_eq!(said(r#"{"model":""}"#), Refusal::ModelNotGranted);
    assert_eq!(
        said(r#"{"model":["smol@1"]}"#),
        Refusal::BodyMalformed(BodyFault::Form)
    );
    assert!(scene().admit(r#"{"model":"smol"}"#).is_ok());
    let mut both = scene();
    both.grant().models.push("smol@2".parse().unwrap());
    assert_eq!(
        both.admit(r#"{"model":"smol"}"#).unwrap_err(),
        Refusal::ModelNotGranted
    );
    assert!(both.admit(r#"{"model":"smol@2"}"#).is_ok());
    let mut without = scene();
    without.standing.flows[0].models.clear();
    assert_eq!(without.admit(CHAT).unwrap_err(), Refusal::ModelNotGranted);
    without.grant().models.clear();
    assert_eq!(without.admit(CHAT).unwrap_err(), Refusal::ModelNotGranted);
    assert!(
        without.admit("{}").is_ok(),
        "where no model is granted, none may be named"
    );
}

#[test]
fn one_of_several_flows_must_hold_the_model_and_its_own_bound_counts() {
    let mut scene = scene();
    let mut second = scene.standing.flows[0].clone();
    second.from = Caller::Group("staff".to_owned());
    second.models = vec!["other@1".parse().unwrap()];
    second.limits.max_tokens = Some(8);
    scene.standing.flows.push(second);
    scene.standing.flows[0].limits.requests_per_minute = None;
    scene.grant().models.push("other@1".parse().unwrap());
    let (permit, body) = scene.admit(r#"{"model":"other"}"#).unwrap();
    assert_eq!(body, r#"{"max_tokens":8,"model":"other"}"#);
    permit.still_valid(&scene.standing, scene.now).unwrap();
    let (_, body) = scene.admit(r#"{"model":"smol@1"}"#).unwrap();
    assert_eq!(body, r#"{"max_tokens":256,"model":"smol@1"}"#);
    let unheld = scene.admit(r#"{"model":"smol@2"}"#).map(drop);
    assert_eq!(unheld, Err(Refusal::ModelNotGranted), "the flow alone");
    let fourth = scene.admit(r#"{"model":"smol@1"}"#).map(drop);
    assert_eq!(
        fourth,
        Err(Refusal::RateLimited),
        "the tightest of the flows"
    );
    scene.standing.flows.pop();
    let withdrawn = permit.still_valid(&scene.standing, scene.now);
    assert_eq!(withdrawn, Err(Refusal::FlowWithdrawn));
}

#[test]
fn tokens_are_bounded_by_the_tighter_of_flow_and_grant() {
    let said = |value: &str| {
        let mut scene = scene();
        scene.grant().limits.max_tokens = Some(100);
        scene
            .admit(&format!(r#"{{"model":"smol",{value}}}"#))
            .map(|(_, body)| body)
    };
    assert!(said(r#""max_tokens":100"#).is_ok());
    assert_eq!(said(r#""max_tokens":101"#), Err(Refusal::TokensOverLimit));
    assert_eq!(
        said(r#""max_tokens":1,"n_predict":101"#),
        Err(Refusal::TokensOverLimit)
    );
    assert_eq!(said(r#""n_predict":-1"#), Err(Refusal::TokensOverLimit));
    assert_eq!(
        said(r#""max_tokens":51,"n":2"#),
        Err(Refusal::TokensOverLimit)
    );
    assert!(said(r#""max_tokens":50,"n":2"#).is_ok());
    assert_eq!(said(r#""n":2"#), Err(Refusal::TokensOverLimit));
    assert_eq!(
        said(r#""max_tokens":1,"n":-1"#),
        Err(Refusal::TokensOverLimit)
    );
    assert_eq!(
        said(r#""max_tokens":"1""#),
        Err(Refusal::BodyMalformed(BodyFault::Form))
    );
    assert_eq!(
        said(r#""n_predict":7"#).unwrap(),
        r#"{"model":"smol","n_predict":7}"#
    );
    assert_eq!(
        said(r#""max_tokens":null"#).unwrap(),
        r#"{"model":"smol","max_tokens":100}"#
    );
}

#[test]
fn a_body_that_two_parsers_could_read_differently_is_refused() {
    let said = |body: &str| scene().admit(body).map(|_| ()).unwrap_err();
    assert!(matches!(
        said(r#"{"model":"smol@1","model":"smol@2"}"#),
        Refusal::BodyMalformed(BodyFault::Json(ScanError::Duplicate(_)))
    ));
    assert_eq!(
        said(r#"{"model":"smol","logit_bias":{}}"#),
        Refusal::ParameterForbidden
    );
    assert_eq!(
        said(&format!(r#"{{"model":"{}"}}"#, "x".repeat(4096))),
        Refusal::BodyTooLarge
    );
    let mut health = scene();
    (health.method, health.path) = ("GET", "/health");
    assert_eq!(
        health.admit("{}").unwrap_err(),
        Refusal::BodyMalformed(BodyFault::Unexpected)
    );
    assert!(health.admit("").is_ok());
    let mut plain = scene();
    plain.path = "/v1/embed";
    assert_eq!(
        plain.admit(r#"{"stream":true}"#).unwrap_err(),
        Refusal::ParameterForbidden
    );
}

#[test]
fn no_more_than_the_bound_in_any_sixty_seconds() {
    let mut scene = scene();
    for second in [0, 30, 59] {
        scene.now = UnixTime(NOW.0 + second);
        assert!(scene.admit(CHAT).is_ok());
    }
    assert_eq!(scene.admit(CHAT).unwrap_err(), Refusal::RateLimited);
    scene.now = UnixTime(NOW.0 + 60);
    assert_eq!(scene.admit(CHAT).unwrap_err(), Refusal::RateLimited);
    scene.now = UnixTime(NOW.0 + 61);
    assert!(scene.admit(CHAT).is_ok());
    scene.now = UnixTime(NOW.0);
    assert_eq!(
        scene.admit(CHAT).unwrap_err(),
        Refusal::RateLimited,
        "a clock that goes back"
    );
}

#[test]
fn a_running_answer_loses_its_permit_with_its_ticket_its_flow_or_its_door() {
    let mut scene = scene();
    let (permit, _) = scene.admit(CHAT).unwrap();
    let standing = &mut scene.standing;
    assert_eq!(permit.still_valid(standing, UnixTime(NOW.0 + 299)), Ok(()));
    assert_eq!(
        permit.still_valid(standing, UnixTime(NOW.0 + 300)),
        Err(Refusal::TicketExpired)
    );
    standing.door = Door::Draining;
    assert_eq!(permit.still_valid(standing, NOW), Ok(()));
    standing.flows[0].models.remove(0);
    assert_eq!(
        permit.still_valid(standing, NOW),
        Err(Refusal::FlowWithdrawn)
    );
    standing.revoked.revoke_token("j1".to_owned(), NOW);
    assert_eq!(
        permit.still_valid(standing, NOW),
        Err(Refusal::TicketRevoked)
    );
    standing.door = Door::Closed;
    assert_eq!(
        permit.still_valid(standing, NOW),
        Err(Refusal::NotAdmitting)
    );
}

#[test]
fn a_transaction_token_is_for_the_gate_that_asked_for_it() {
    let redact = id("/enclosure/chat/stage/redact");
    let mut scene = scene();
    scene.standing.flows[0].from = Caller::Stage(redact.clone());
    let token = TransactionClaims {
        iss: id("/issuer"),
        aud: "example.internal".to_owned(),
        iat: NOW,
        exp: UnixTime(NOW.0 + 60),
        txn: "t1".to_owned(),
        sub: id("/user/idp/anna"),
        scope: "chat health admin".to_owned(),
        req_wl: redact.clone(),
        tctx: scene.ticket.authorization_details[0].clone(),
    };
    let mut decide = |token: &TransactionClaims, peer: &SpiffeId| {
        let peer = Peer {
            id: peer,
            thumbprint: "x",
            expires: UnixTime(NOW.0 + 1),
        };
        let call = Call {
            method: "POST",
            path: "/v1/chat/completions",
            query: None,
        };
        let credential = Credential::Transaction(token);
        entitle(
            &scene.stage,
            &scene.standing,
            &mut scene.rates,
            peer,
            credential,
            call,
            NOW,
        )
        .and_then(|entitled| Ok(entitled.admit(CHAT.as_bytes(), 4096)?.permit.expires()))
    };
    let never = UnixTime(u64::MAX);
    assert_eq!(
        decide(&token, &redact),
        Ok(never),
        "it begins a call and does not end it"
    );
    assert_eq!(
        decide(&token, &id("/enclosure/chat/stage/other")),
        Err(Refusal::NotHolder)
    );
    let foreign = TransactionClaims {
        aud: "other".to_owned(),
        ..token.clone()
    };
    assert_eq!(decide(&foreign, &redact), Err(Refusal::TicketWrongAudience));
    let narrow = TransactionClaims {
        scope: "health".to_owned(),
        ..token.clone()
    };
    assert_eq!(decide(&narrow, &redact), Err(Refusal::TicketMalformed));
    let over = TransactionClaims { exp: NOW, ..token };
    assert_eq!(decide(&over, &redact), Err(Refusal::TicketExpired));
}

#[test]
fn every_refusal_has_its_own_code() {
    let all = [
        Refusal::NotAdmitting,
        Refusal::Draining,
        Refusal::Busy,
        Refusal::AuditFull,
        Refusal::RequestMalformed(""),
        Refusal::RequestTimeout,
        Refusal::HeadersTooLarge,
        Refusal::NoTicket,
        Refusal::TicketMalformed,
        Refusal::TicketExpired,
        Refusal::TicketSignature,
        Refusal::TicketWrongAudience,
        Refusal::NotHolder,
        Refusal::TicketRevoked,
        Refusal::CertificateExpired,
        Refusal::NoFlow,
        Refusal::FlowWithdrawn,
        Refusal::RouteDenied,
        Refusal::MethodDenied,
        Refusal::PathNotCanonical(PathError::Case),
        Refusal::ModelMissing,
        Refusal::ModelNotGranted,
        Refusal::ParameterForbidden,
        Refusal::TokensOverLimit,
        Refusal::BodyMalformed(BodyFault::Form),
        Refusal::BodyTooLarge,
        Refusal::RateLimited,
        Refusal::NoTransaction,
        Refusal::UpstreamUnavailable,
        Refusal::UpstreamTimeout,
        Refusal::UpstreamError,
    ];
    let codes: std::collections::BTreeSet<_> = all.iter().map(Refusal::code).collect();
    assert_eq!(codes.len(), all.len());
    assert!(
        all.iter()
            .all(|refusal| (400..600).contains(&refusal.status()))
    );
}
