//! The token endpoint (RFC 8693): a corporate token becomes a ticket at the edge, a ticket becomes a
//! Transaction Token along the chain. Always bound to the certificate of whoever asks, never wider
//! than what was brought, never outliving it.

use std::sync::Arc;
use std::time::Duration;

use casemate_api::issuer::{TokenResponse, names};
use casemate_core::event::{Event, Severity, kind};
use casemate_core::name::Name;
use casemate_core::spiffe::SpiffeId;
use casemate_core::ticket::{Confirmation, Grant, TicketClaims, TransactionClaims};
use casemate_core::time::UnixTime;
use casemate_identity::BACKDATE;
use casemate_identity::oidc::id_token;
use casemate_identity::strict_json;
use casemate_identity::svid::VerifiedPeer;
use casemate_identity::ticket::fresh_id;
use serde::Deserialize;

use crate::answer::Refusal;
use crate::form::{Exchange, Requested, SubjectKind};
use crate::issuer::{Issuer, seconds};
use crate::login;
use crate::policy::Wish;
use crate::rate::Peer;

/// Which door a request came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// TCP: people and their tools.
    Public,
    /// The Unix socket: gates.
    Mesh,
}

/// Handles one exchange, with the event of what came out.
pub(crate) async fn exchange(
    issuer: &Arc<Issuer>,
    door: Door,
    peer: Option<&VerifiedPeer>,
    body: &[u8],
) -> Result<TokenResponse, Refusal> {
    let mut refused_as = kind::TICKET_REFUSED;
    let outcome = decide(issuer, door, peer, body, &mut refused_as).await;
    // Who asks too often must not fill the record as well; the gate records whom it refuses.
    if let Err(refusal) = &outcome
        && *refusal != Refusal::rate()
    {
        let mut event = issuer.event(refused_as, Severity::Warning);
        if let Some(peer) = peer {
            event = event.about(peer.id.to_string());
        }
        issuer.refused(event, *refusal);
    }
    outcome
}

async fn decide(
    issuer: &Arc<Issuer>,
    door: Door,
    peer: Option<&VerifiedPeer>,
    body: &[u8],
    refused_as: &mut &'static str,
) -> Result<TokenResponse, Refusal> {
    let form = Exchange::read(body)?;
    if form.requested == Requested::Transaction {
        *refused_as = kind::TRANSACTION_REFUSED;
    }
    let peer = peer.ok_or(Refusal::client("client_certificate"))?;
    let now = issuer.now();
    // The handshake proved it, but a connection can outlive its certificate.
    if now < peer.not_before || now >= peer.not_after {
        return Err(Refusal::client("certificate_expired"));
    }
    if issuer
        .verifier
        .subject_is_revoked(&peer.id, peer.not_before)
    {
        return Err(Refusal::client("revoked"));
    }
    match (form.requested, form.subject_kind) {
        (Requested::Ticket, SubjectKind::IdToken) => issue_ticket(issuer, peer, &form).await,
        (Requested::Transaction, SubjectKind::Ticket | SubjectKind::Transaction) => {
            // Gates are known by the door that only they can reach, and by the identity of a stage.
            if door != Door::Mesh {
                return Err(Refusal::unauthorized("not_for_this_client"));
            }
            issue_transaction(issuer, peer, &form, now)
        }
        (Requested::Ticket, SubjectKind::Ticket | SubjectKind::Transaction)
        | (Requested::Transaction, SubjectKind::IdToken) => {
            Err(Refusal::request("subject_token_type"))
        }
    }
}

async fn issue_ticket(
    issuer: &Arc<Issuer>,
    peer: &VerifiedPeer,
    form: &Exchange,
) -> Result<TokenResponse, Refusal> {
    let audience: SpiffeId = form
        .audience
        .parse()
        .map_err(|_| Refusal::target("audience"))?;
    let policy = issuer.policy();
    if !policy.has_stage(&audience) {
        return Err(Refusal::target("unknown_stage"));
    }
    let hint = id_token::hint(&form.subject_token).map_err(login::refuse_id_token)?;
    let providers = policy.providers_for(&audience, &hint.issuer);
    let login = login::verify(issuer, &form.subject_token, &hint, &providers, None).await?;
    // A stolen corporate token is worth nothing without the certificate of the same person.
    let person = login.issuer().user(&issuer.trust_domain, login.subject());
    if person.as_ref() != Ok(&peer.id) {
        return Err(Refusal::request("subject_token_of_another"));
    }
    login::refuse_revoked(issuer, &peer.id, &login)?;
    let wish = Wish {
        routes: form.scope.as_deref(),
        models: &form.resources,
    };
    let grant = policy.grant_person(&audience, login.groups(), wish)?;
    // Verifying may have waited for the provider: the time counts from now.
    let now = issuer.now();
    let ends = [
        now.plus(seconds(issuer.lifetimes.ticket_secs)),
        peer.not_after,
        login.expires(),
    ];
    let exp = end(now, &ends, form.lifetime)?;
    let scope = join(&grant.routes);
    let claims = TicketClaims {
        iss: issuer.trust_domain.issuer(),
        sub: peer.id.clone(),
        aud: audience.clone(),
        client_id: peer.id.clone(),
        iat: now.minus(BACKDATE),
        exp,
        jti: fresh_id().map_err(|_| Refusal::unavailable("randomness"))?,
        cnf: Confirmation {
            thumbprint: peer.thumbprint.clone(),
        },
        groups: login.groups().to_vec(),
        authorization_details: vec![grant],
    };
    let record = issuer.record()?;
    let token = issuer
        .signer
        .sign_ticket(&claims)
        .map_err(|_| Refusal::unavailable("cannot_sign"))?;
    let event = at_stage(issuer.event(kind::TICKET_ISSUED, Severity::Info), &audience)
        .about(peer.id.to_string())
        .fact("jti", claims.jti.clone())
        .fact("thumbprint", peer.thumbprint.clone())
        .fact("expires", exp.rfc3339());
    record.issued(with_grant(event, claims.authorization_details.first()));
    Ok(TokenResponse {
        access_token: token,
        issued_token_type: names::ACCESS_TOKEN.to_owned(),
        token_type: "Bearer".to_owned(),
        expires_in: now.until(exp).as_secs(),
        scope: Some(scope),
    })
}

fn issue_transaction(
    issuer: &Issuer,
    peer: &VerifiedPeer,
    form: &Exchange,
    now: UnixTime,
) -> Result<TokenResponse, Refusal> {
    if form.audience != issuer.trust_domain.as_str() {
        return Err(Refusal::target("audience"));
    }
    let details = form
        .details
        .as_deref()
        .ok_or(Refusal::request("request_details"))?;
    let Details { stage: next } = strict_json::parse_as(details.as_bytes())
        .map_err(|_| Refusal::request("request_details"))?;
    let subject = Subject::verify(issuer, peer, form, now)?;
    // The gate itself was counted at the door, generously: no caller may use up another's part.
    let caller = Peer::Caller {
        gate: peer.id.clone(),
        subject: subject.sub.clone(),
    };
    if !issuer.may_ask(&caller) {
        return Err(Refusal::rate());
    }
    let wish = Wish {
        routes: form.scope.as_deref(),
        models: &form.resources,
    };
    let grant = issuer
        .policy()
        .grant_chain(&peer.id, &next, &subject.grant, wish)?;
    let ends = [
        now.plus(seconds(issuer.lifetimes.transaction_secs)),
        peer.not_after,
        subject.expires,
    ];
    let exp = end(now, &ends, form.lifetime)?;
    let scope = join(&grant.routes);
    let txn = match subject.txn {
        Some(txn) => txn,
        None => fresh_id().map_err(|_| Refusal::unavailable("randomness"))?,
    };
    let claims = TransactionClaims {
        iss: issuer.trust_domain.issuer(),
        aud: issuer.trust_domain.as_str().to_owned(),
        iat: now.minus(BACKDATE),
        exp,
        txn,
        sub: subject.sub,
        scope: scope.clone(),
        req_wl: peer.id.clone(),
        tctx: grant,
    };
    let record = issuer.record()?;
    let token = issuer
        .signer
        .sign_transaction(&claims)
        .map_err(|_| Refusal::unavailable("cannot_sign"))?;
    let event = at_stage(
        issuer.event(kind::TRANSACTION_ISSUED, Severity::Info),
        &peer.id,
    )
    .about(claims.sub.to_string())
    .fact("txn", claims.txn.clone())
    .fact("requested_by", peer.id.to_string())
    .fact("next", next.to_string())
    .fact("expires", exp.rfc3339());
    let event = match subject.jti {
        Some(jti) => event.fact("jti", jti),
        None => event,
    };
    record.issued(with_grant(event, Some(&claims.tctx)));
    Ok(TokenResponse {
        access_token: token,
        issued_token_type: names::TRANSACTION_TOKEN.to_owned(),
        token_type: "N_A".to_owned(),
        expires_in: now.until(exp).as_secs(),
        scope: Some(scope),
    })
}

/// What a gate brings along: the verified ticket or Transaction Token that its own stage was
/// called with.
struct Subject {
    sub: SpiffeId,
    grant: Grant,
    expires: UnixTime,
    txn: Option<String>,
    jti: Option<String>,
}

impl Subject {
    fn verify(
        issuer: &Issuer,
        peer: &VerifiedPeer,
        form: &Exchange,
        now: UnixTime,
    ) -> Result<Self, Refusal> {
        if form.subject_kind == SubjectKind::Ticket {
            let ticket = issuer
                .verifier
                .verify_ticket(&form.subject_token, now)
                .map_err(|error| Refusal::request(error.code()))?;
            let claims = ticket.claims();
            // Only the stage that a ticket is for may go on with it.
            if claims.aud != peer.id {
                return Err(Refusal::request("subject_token_of_another_stage"));
            }
            let grant = claims.authorization_details.first().cloned();
            return Ok(Self {
                sub: claims.sub.clone(),
                grant: grant.ok_or(Refusal::request("ticket_malformed"))?,
                expires: claims.exp,
                txn: None,
                jti: Some(claims.jti.clone()),
            });
        }
        let token = issuer
            .verifier
            .verify_transaction(&form.subject_token, now)
            .map_err(|error| Refusal::request(error.code()))?;
        let claims = token.claims();
        // The same trust domain has several enclosures, and stages of one name in each.
        let enclosure = |id: &SpiffeId| id.as_stage().map(|(enclosure, _)| enclosure);
        if enclosure(&claims.req_wl).is_none() || enclosure(&claims.req_wl) != enclosure(&peer.id) {
            return Err(Refusal::request("subject_token_of_another_stage"));
        }
        Ok(Self {
            sub: claims.sub.clone(),
            grant: claims.tctx.clone(),
            expires: claims.exp,
            txn: Some(claims.txn.clone()),
            jti: None,
        })
    }
}

/// `request_details` of a gate: which stage is to be called.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Details {
    stage: Name,
}

/// The earliest of `ends`, or less when less is wanted.
fn end(now: UnixTime, ends: &[UnixTime], wanted: Option<u32>) -> Result<UnixTime, Refusal> {
    let wanted = wanted.map(|count| now.plus(Duration::from_secs(u64::from(count))));
    let earliest = ends.iter().copied().chain(wanted).min().unwrap_or(now);
    if earliest > now {
        Ok(earliest)
    } else {
        Err(Refusal::request("nothing_left"))
    }
}

fn join(routes: &[Name]) -> String {
    routes
        .iter()
        .map(Name::as_str)
        .collect::<Vec<_>>()
        .join(" ")
}

fn at_stage(event: Event, id: &SpiffeId) -> Event {
    match id.as_stage() {
        Some((enclosure, stage)) => event.at(&enclosure, Some(&stage)),
        None => event,
    }
}

fn with_grant(event: Event, grant: Option<&Grant>) -> Event {
    let Some(grant) = grant else { return event };
    let models: Vec<String> = grant.models.iter().map(ToString::to_string).collect();
    event
        .fact("routes", join(&grant.routes))
        .fact("models", models.join(" "))
}
