//! A corporate login becomes a certificate: ID token and proof of possession in, SVID out.

use std::sync::Arc;

use casemate_api::issuer::{LoginRequest, LoginResponse};
use casemate_core::event::{Severity, kind};
use casemate_core::spiffe::SpiffeId;
use casemate_identity::BACKDATE;
use casemate_identity::oidc::NoKey;
use casemate_identity::oidc::id_token::{self, Expected, Hint, IdTokenError, VerifiedLogin};
use casemate_identity::svid::CertificateRequest;

use crate::answer::Refusal;
use crate::issuer::{Issuer, seconds};
use crate::policy::Provider;
use crate::provider;
use crate::rate::Peer;

/// Handles one login, with the event of what came out.
pub(crate) async fn login(
    issuer: &Arc<Issuer>,
    from: &Peer,
    request: &LoginRequest,
) -> Result<LoginResponse, Refusal> {
    let mut person = None;
    let outcome = decide(issuer, request, &mut person).await;
    if let Err(refusal) = &outcome {
        let mut event = issuer.event(kind::LOGIN_REFUSED, Severity::Warning);
        if let Some(person) = person {
            event = event.about(person.to_string());
        }
        issuer.refused(event.fact("from", place(from)), *refusal);
    }
    outcome
}

/// Says in `person` whom the ID token proves, whatever is decided then.
async fn decide(
    issuer: &Arc<Issuer>,
    request: &LoginRequest,
    person: &mut Option<SpiffeId>,
) -> Result<LoginResponse, Refusal> {
    let csr = CertificateRequest::from_pem(&request.csr_pem)
        .map_err(|_| Refusal::request("certificate_request"))?;
    let hint = id_token::hint(&request.id_token).map_err(refuse_id_token)?;
    // A login is good for all enclosures; which of them its groups open is decided at exchange.
    let providers = issuer.policy().providers_of(&hint.issuer);
    let nonce = request.nonce.as_deref();
    let login = verify(issuer, &request.id_token, &hint, &providers, nonce).await?;
    let id = login
        .issuer()
        .user(&issuer.trust_domain, login.subject())
        .map_err(|_| Refusal::request("subject"))?;
    *person = Some(id.clone());
    refuse_revoked(issuer, &id, &login)?;
    // What we issue is dated back: right after a revocation it would be born revoked.
    let dated = issuer.now().minus(BACKDATE);
    if issuer.verifier.subject_is_revoked(&id, dated) {
        return Err(Refusal::unavailable("revoked_just_now"));
    }
    issuer.bind(&id, &login, csr.key_thumbprint())?;
    let record = issuer.record()?;
    let svid = issuer
        .authority
        .issue(&csr, &id, seconds(issuer.lifetimes.user_secs), issuer.now())
        .map_err(|_| Refusal::unavailable("authority"))?;
    let event = issuer
        .event(kind::LOGIN_ACCEPTED, Severity::Info)
        .about(id.to_string())
        .fact("provider", login.issuer().as_str())
        .fact("groups", login.groups().join(" "))
        .fact("thumbprint", svid.thumbprint.clone())
        .fact("expires", svid.not_after.rfc3339());
    record.issued(event);
    Ok(LoginResponse {
        svid_pem: svid.chain_pem(),
        bundle_pem: issuer.bundle_pem.clone(),
        spiffe_id: id,
        groups: login.groups().to_vec(),
        expires: svid.not_after,
    })
}

/// A login from before the person was revoked is none: else whoever has its token undoes that.
pub(crate) fn refuse_revoked(
    issuer: &Issuer,
    person: &SpiffeId,
    login: &VerifiedLogin,
) -> Result<(), Refusal> {
    if issuer.verifier.subject_is_revoked(person, login.issued()) {
        Err(Refusal::request("id_token_revoked"))
    } else {
        Ok(())
    }
}

/// Judges an ID token by `providers`, all of the issuer that `hint` names.
pub(crate) async fn verify(
    issuer: &Arc<Issuer>,
    token: &str,
    hint: &Hint,
    providers: &[Provider],
    nonce: Option<&str>,
) -> Result<VerifiedLogin, Refusal> {
    let first = providers
        .first()
        .ok_or(Refusal::request("id_token_issuer"))?;
    let key = provider::key(issuer, &first.issuer, hint.key_id.as_deref())
        .await
        .map_err(refuse_no_key)?;
    let mut refusal = Refusal::request("id_token_issuer");
    for provider in providers {
        let expected = Expected {
            issuer: &provider.issuer,
            audience: &provider.audience,
            groups_claim: &provider.groups_claim,
            nonce,
        };
        match id_token::verify(token, &key, &expected, issuer.now()) {
            Ok(login) => return Ok(login),
            Err(error) => refusal = refuse_id_token(error),
        }
    }
    Err(refusal)
}

/// How events write where a request came from.
pub(crate) fn place(peer: &Peer) -> String {
    match peer {
        Peer::Address(address) => address.to_string(),
        Peer::Gate(id) => id.to_string(),
        Peer::Caller { gate, subject } => format!("{subject} at {gate}"),
    }
}

pub(crate) const fn refuse_id_token(error: IdTokenError) -> Refusal {
    Refusal::request(match error {
        IdTokenError::TooLong | IdTokenError::Form => "id_token_malformed",
        IdTokenError::Algorithm => "id_token_algorithm",
        IdTokenError::Type => "id_token_type",
        IdTokenError::Header(_) => "id_token_header",
        IdTokenError::Signature => "id_token_signature",
        IdTokenError::Claim(_) => "id_token_claims",
        IdTokenError::Issuer => "id_token_issuer",
        IdTokenError::Audience => "id_token_audience",
        IdTokenError::Expired => "id_token_expired",
        IdTokenError::NotYetValid => "id_token_from_the_future",
        IdTokenError::TooOld => "id_token_too_old",
        IdTokenError::Nonce => "id_token_nonce",
    })
}

const fn refuse_no_key(reason: NoKey) -> Refusal {
    match reason {
        NoKey::UnknownIssuer => Refusal::request("id_token_issuer"),
        NoKey::UnknownKey => Refusal::request("id_token_key"),
        NoKey::CoolingDown | NoKey::Budget => Refusal::unavailable("provider_keys"),
    }
}
