//! Decides whether a call may reach a stage: facts and `now` in, a [`Permit`] or a [`Refusal`] out.
//!
//! In two steps, so that nothing of a body is read before the caller is known to be entitled:
//! [`entitle`] looks at the connection, the ticket and the request line and gives an [`Entitled`];
//! [`Entitled::admit`] looks into the body and gives the [`Permit`]. Both have private fields and one
//! maker. Forwarding takes the permit by value, and [`Permit::still_valid`] is asked again and again
//! while the answer runs.
//!
//! A permit cannot be made any other way:
//!
//! ```compile_fail
//! let permit = casemate_core::admission::Permit { max_tokens: None };
//! ```

mod body;
mod permit;
mod rate;
mod refusal;
mod standing;

use serde::{Deserialize, Serialize};

pub use self::permit::{Admitted, Permit};
pub use self::rate::Rates;
pub use self::refusal::{BodyFault, Refusal};
pub use self::standing::{Door, Revocations, Standing};
use crate::control::{Control, in_force};
use crate::name::{ModelVersion, Name};
use crate::profile::{Profile, Route, RouteVerdict};
use crate::route::{CanonicalPath, PathError, check_query};
use crate::spiffe::SpiffeId;
use crate::ticket::{GRANT_TYPE, Grant, Limits, TicketClaims, TransactionClaims};
use crate::time::UnixTime;

/// One allowed edge, seen from the stage it leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct InboundFlow {
    /// Who may call.
    pub from: Caller,
    /// The route classes that may be called.
    pub routes: Vec<Name>,
    /// The model versions that may be named; empty means that the route must name none.
    #[serde(default)]
    pub models: Vec<ModelVersion>,
    /// Bounds on every caller of this flow.
    #[serde(default)]
    pub limits: Limits,
}

/// Who stands at the start of a flow.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Caller {
    /// People whom the corporate login puts into this group.
    Group(String),
    /// The gate of another stage.
    Stage(SpiffeId),
}

/// The stage that is called; fixed while its gate runs.
#[derive(Clone, Debug)]
pub struct Stage {
    /// Its identity, which a ticket must name as its audience.
    pub id: SpiffeId,
    /// Its name, which a grant must name.
    pub name: Name,
    /// What its server answers to.
    pub profile: Profile,
}

/// The certificate behind the connection, verified.
#[derive(Clone, Copy, Debug)]
pub struct Peer<'a> {
    /// Who it names.
    pub id: &'a SpiffeId,
    /// Unpadded base64url of the SHA-256 of its DER.
    pub thumbprint: &'a str,
    /// Refused from this second on, however long the connection has been open.
    pub expires: UnixTime,
}

/// What the caller shows, its signature verified.
#[derive(Clone, Copy, Debug)]
pub enum Credential<'a> {
    /// A ticket, from a caller at the edge.
    Ticket(&'a TicketClaims),
    /// A Transaction Token, from the gate of another stage.
    Transaction(&'a TransactionClaims),
}

/// One request line.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The method, as sent.
    pub method: &'a str,
    /// The path, as sent.
    pub path: &'a str,
    /// What follows the `?`, when there is one.
    pub query: Option<&'a str>,
}

/// The proof that this caller may call this route. What the body may say is still to be seen.
#[derive(Clone, Copy, Debug)]
pub struct Entitled<'a> {
    route: &'a Route,
    /// The flows of the stage, of which [`Self::flows`] are this caller's.
    all_flows: &'a [InboundFlow],
    credential: Credential<'a>,
    grant: &'a Grant,
    subject: &'a SpiffeId,
    token_id: &'a str,
    peer: &'a SpiffeId,
    issued: UnixTime,
    expires: UnixTime,
}

/// Decides on everything but the body, and counts the request against its rate.
///
/// # Errors
/// The reason for the refusal.
pub fn entitle<'a>(
    stage: &'a Stage,
    standing: &'a Standing,
    rates: &mut Rates,
    peer: Peer<'a>,
    credential: Credential<'a>,
    call: Call<'_>,
    now: UnixTime,
) -> Result<Entitled<'a>, Refusal> {
    standing.open()?;
    if peer.expires <= now {
        return Err(Refusal::CertificateExpired);
    }
    let shown = match credential {
        Credential::Ticket(ticket) => shown_by_ticket(stage, peer, ticket)?,
        Credential::Transaction(token) => shown_by_transaction(stage, peer, token)?,
    };
    if shown.expires <= now {
        return Err(Refusal::TicketExpired);
    }
    // What is issued is dated into the past, so a token from the future is not one of ours.
    if shown.issued > now {
        return Err(Refusal::TicketMalformed);
    }
    if standing
        .revoked
        .covers(shown.token_id, shown.subject, peer.id, shown.issued)
    {
        return Err(Refusal::TicketRevoked);
    }
    let route = find_route(&stage.profile, call)?;
    if !shown.grant.routes.contains(&route.class) {
        return Err(Refusal::RouteDenied);
    }
    // A ticket ends what it began. A Transaction Token only begins a call: the gate that admitted the
    // first one cuts the whole chain there, and its certificate may be rotated meanwhile.
    let expires = match credential {
        Credential::Ticket(_) => shown.expires.min(peer.expires),
        Credential::Transaction(_) => UnixTime(u64::MAX),
    };
    let entitled = Entitled {
        route,
        all_flows: &standing.flows,
        credential,
        grant: shown.grant,
        subject: shown.subject,
        token_id: shown.token_id,
        peer: peer.id,
        issued: shown.issued,
        expires,
    };
    let mut per_minute = shown.grant.limits.requests_per_minute;
    let mut flows = entitled.flows().peekable();
    if flows.peek().is_none() {
        return Err(entitled.without_flow());
    }
    // Which flow it will be is known only with the model, so the tightest bound is kept.
    for flow in flows {
        per_minute = tighter(per_minute, flow.limits.requests_per_minute);
    }
    match per_minute {
        Some(most) if !rates.take(shown.subject, most, now) => Err(Refusal::RateLimited),
        Some(_) | None => Ok(entitled),
    }
}

/// What both kinds of token say.
struct Shown<'a> {
    subject: &'a SpiffeId,
    token_id: &'a str,
    issued: UnixTime,
    expires: UnixTime,
    grant: &'a Grant,
}

/// What `ticket` says, once it is the one its holder may show here.
fn shown_by_ticket<'a>(
    stage: &Stage,
    peer: Peer<'_>,
    ticket: &'a TicketClaims,
) -> Result<Shown<'a>, Refusal> {
    if ticket.iss != stage.id.trust_domain().issuer() {
        return Err(Refusal::TicketSignature);
    }
    let held = ticket.cnf.thumbprint == peer.thumbprint
        && ticket.sub == *peer.id
        && ticket.client_id == *peer.id;
    if !held && in_force(Control::TicketHolder) {
        return Err(Refusal::NotHolder);
    }
    let [grant] = ticket.authorization_details.as_slice() else {
        return Err(Refusal::TicketMalformed);
    };
    if ticket.aud != stage.id {
        return Err(Refusal::TicketWrongAudience);
    }
    check_grant(stage, grant)?;
    Ok(Shown {
        subject: &ticket.sub,
        token_id: &ticket.jti,
        issued: ticket.iat,
        expires: ticket.exp,
        grant,
    })
}

/// What `token` says, once it is the one that this gate may show here.
fn shown_by_transaction<'a>(
    stage: &Stage,
    peer: Peer<'_>,
    token: &'a TransactionClaims,
) -> Result<Shown<'a>, Refusal> {
    if token.iss != stage.id.trust_domain().issuer() {
        return Err(Refusal::TicketSignature);
    }
    if token.req_wl != *peer.id {
        return Err(Refusal::NotHolder);
    }
    if token.aud != stage.id.trust_domain().as_str() {
        return Err(Refusal::TicketWrongAudience);
    }
    check_grant(stage, &token.tctx)?;
    let scoped = |class: &Name| token.scope.split(' ').any(|scope| scope == class.as_str());
    if !token.tctx.routes.iter().all(scoped) {
        return Err(Refusal::TicketMalformed);
    }
    Ok(Shown {
        subject: &token.sub,
        token_id: &token.txn,
        issued: token.iat,
        expires: token.exp,
        grant: &token.tctx,
    })
}

fn check_grant(stage: &Stage, grant: &Grant) -> Result<(), Refusal> {
    if grant.kind != GRANT_TYPE {
        return Err(Refusal::TicketMalformed);
    }
    if grant.stage != stage.name {
        return Err(Refusal::TicketWrongAudience);
    }
    Ok(())
}

/// The profile's row for `call`, when it is one that can be granted at all.
fn find_route<'a>(profile: &'a Profile, call: Call<'_>) -> Result<&'a Route, Refusal> {
    let path = CanonicalPath::parse(call.path).map_err(Refusal::PathNotCanonical)?;
    let route = match profile.route(call.method, path.as_str()) {
        RouteVerdict::Known(route) => route,
        RouteVerdict::OtherMethod => return Err(Refusal::MethodDenied),
        RouteVerdict::UnknownPath => {
            let mut known = profile.routes.iter().map(|route| route.template.as_str());
            return Err(if known.any(|route| path.is_disguise_of(route)) {
                Refusal::PathNotCanonical(PathError::Case)
            } else {
                Refusal::RouteDenied
            });
        }
        RouteVerdict::Unverified(_) | RouteVerdict::Ungrantable(_) => {
            return Err(Refusal::RouteDenied);
        }
    };
    if let Some(query) = call.query {
        check_query(query, &route.query).map_err(Refusal::QueryNotAllowed)?;
    }
    Ok(route)
}

impl<'a> Entitled<'a> {
    /// The flows that lead from this caller to this class of routes. One of them must carry the whole
    /// call: what two of them hold is not added up.
    fn flows(&self) -> impl Iterator<Item = &'a InboundFlow> + use<'a> {
        let (class, this) = (&self.route.class, *self);
        self.all_flows
            .iter()
            .filter(move |flow| this.leads_from_caller(flow) && flow.routes.contains(class))
    }

    fn leads_from_caller(&self, flow: &InboundFlow) -> bool {
        match (&flow.from, self.credential) {
            (Caller::Group(group), Credential::Ticket(ticket)) => ticket.groups.contains(group),
            (Caller::Stage(id), Credential::Transaction(_)) => id == self.peer,
            (Caller::Group(_), Credential::Transaction(_))
            | (Caller::Stage(_), Credential::Ticket(_)) => false,
        }
    }

    /// Why there is no flow: none leads from this caller, or none to this class.
    fn without_flow(&self) -> Refusal {
        if self
            .all_flows
            .iter()
            .any(|flow| self.leads_from_caller(flow))
        {
            Refusal::RouteDenied
        } else {
            Refusal::NoFlow
        }
    }
}

/// The tighter of two bounds, either of which may be absent.
fn tighter(one: Option<u32>, other: Option<u32>) -> Option<u32> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests;
