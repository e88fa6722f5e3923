//! A gate's decision with everything it decides on, each part of which a claim can change.

use casemate_core::admission::{
    Call, Caller, Credential, Door, InboundFlow, Peer, Permit, Rates, Refusal, Revocations, Stage,
    Standing, entitle,
};
use casemate_core::profile;
use casemate_core::spiffe::SpiffeId;
use casemate_core::ticket::{Confirmation, GRANT_TYPE, Grant, Limits, TicketClaims};
use casemate_core::time::UnixTime;

pub(crate) const NOW: UnixTime = UnixTime(1_800_000_000);
pub(crate) const GRANTED: &str = r#"{"model":"smol@1","messages":[]}"#;

/// The gate of llama.cpp's server, and a caller who may ask it.
pub(crate) struct Scene {
    pub(crate) stage: Stage,
    pub(crate) standing: Standing,
    pub(crate) peer: SpiffeId,
    pub(crate) thumbprint: String,
    pub(crate) ticket: TicketClaims,
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) body: String,
    pub(crate) now: UnixTime,
}

pub(crate) fn id(path: &str) -> SpiffeId {
    format!("spiffe://example.internal{path}").parse().unwrap()
}

/// A call that is admitted; the test below shows it.
pub(crate) fn scene() -> Scene {
    let stage = id("/enclosure/chat/stage/infer");
    let anna = id("/user/idp/anna");
    let grant = Grant {
        kind: GRANT_TYPE.to_owned(),
        stage: "infer".parse().unwrap(),
        routes: vec!["chat".parse().unwrap()],
        models: vec!["smol@1".parse().unwrap()],
        limits: Limits::default(),
    };
    Scene {
        stage: Stage {
            id: stage.clone(),
            name: "infer".parse().unwrap(),
            profile: profile::built_in("llama.cpp").unwrap(),
        },
        standing: Standing {
            door: Door::Open,
            flows: vec![InboundFlow {
                from: Caller::Group("analysts".to_owned()),
                routes: grant.routes.clone(),
                models: grant.models.clone(),
                limits: Limits::default(),
            }],
            revoked: Revocations::default(),
        },
        peer: anna.clone(),
        thumbprint: "annas-certificate".to_owned(),
        ticket: TicketClaims {
            iss: id("/issuer"),
            sub: anna.clone(),
            aud: stage,
            client_id: anna,
            iat: UnixTime(NOW.0 - 10),
            exp: UnixTime(NOW.0 + 300),
            jti: "one".to_owned(),
            cnf: Confirmation {
                thumbprint: "annas-certificate".to_owned(),
            },
            groups: vec!["analysts".to_owned()],
            authorization_details: vec![grant],
        },
        method: "POST",
        path: "/v1/chat/completions".to_owned(),
        body: GRANTED.to_owned(),
        now: NOW,
    }
}

impl Scene {
    /// The decision.
    pub(crate) fn decide(&self) -> Result<Permit, Refusal> {
        let peer = Peer {
            id: &self.peer,
            thumbprint: &self.thumbprint,
            expires: UnixTime(NOW.0 + 3600),
        };
        let call = Call {
            method: self.method,
            path: &self.path,
            query: None,
        };
        let mut rates = Rates::default();
        let credential = Credential::Ticket(&self.ticket);
        let entitled = entitle(
            &self.stage,
            &self.standing,
            &mut rates,
            peer,
            credential,
            call,
            self.now,
        )?;
        Ok(entitled.admit(self.body.as_bytes(), 1 << 20)?.permit)
    }

    /// The decision after a change.
    pub(crate) fn with(change: impl FnOnce(&mut Self)) -> Result<Permit, Refusal> {
        let mut scene = scene();
        change(&mut scene);
        scene.decide()
    }
}

#[test]
fn the_unchanged_scene_is_admitted() {
    assert!(scene().decide().is_ok());
}
