//! Why a call does not get through, in words that reveal nothing about the server behind.

use crate::json::{ScanError, WrongForm};
use crate::route::{PathError, QueryError};

/// Why a call was refused, or a running answer cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The stage's launch has not reached `Admitting`.
    NotAdmitting,
    /// The stage is being stopped.
    Draining,
    /// As many calls are running as the gate takes at one time.
    Busy,
    /// The decision could not be recorded, so it is not carried out.
    AuditFull,
    /// The request breaks the grammar of HTTP, or says one thing twice.
    RequestMalformed(&'static str),
    /// The request did not arrive in time.
    RequestTimeout,
    /// More header bytes or fields than are read.
    HeadersTooLarge,
    /// No ticket was shown.
    NoTicket,
    /// What was shown is no ticket.
    TicketMalformed,
    /// The ticket has expired.
    TicketExpired,
    /// The ticket was not signed by our issuer.
    TicketSignature,
    /// The ticket is for another stage.
    TicketWrongAudience,
    /// The ticket belongs to another certificate.
    NotHolder,
    /// The ticket, or its holder, was revoked.
    TicketRevoked,
    /// The certificate expired while the connection was open.
    CertificateExpired,
    /// No flow leads from this caller to this stage.
    NoFlow,
    /// The flow was taken away while the answer was running.
    FlowWithdrawn,
    /// The route does not exist, cannot be granted, or was not.
    RouteDenied,
    /// The route exists, but not with this method.
    MethodDenied,
    /// The path is not in its one canonical spelling.
    PathNotCanonical(PathError),
    /// The query has something that the route does not allow.
    QueryNotAllowed(QueryError),
    /// The body names no model, and the route needs one.
    ModelMissing,
    /// The body names a model version that was not granted.
    ModelNotGranted,
    /// The body has a member that the route forbids.
    ParameterForbidden,
    /// The body asks for more tokens than were granted.
    TokensOverLimit,
    /// The body is not one that every parser reads alike.
    BodyMalformed(BodyFault),
    /// The body is longer than is read.
    BodyTooLarge,
    /// More requests in a minute than were granted.
    RateLimited,
    /// The stage called another one outside any admitted request.
    NoTransaction,
    /// The server behind cannot be reached.
    UpstreamUnavailable,
    /// The server behind did not answer in time.
    UpstreamTimeout,
    /// The server behind failed; what it said is kept from the caller.
    UpstreamError,
}

/// What is wrong with a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFault {
    /// There is one, on a route that takes none.
    Unexpected,
    /// It is not labelled `application/json`, or is compressed.
    MediaType,
    /// It broke off, or its chunks break the grammar.
    Framing,
    /// It is not JSON that every parser reads alike.
    Json(ScanError),
    /// A deciding member has another form than it must have.
    Form,
}

impl Refusal {
    /// The stable code: in the problem document, in the `casemate-refusal` header and in the event.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        self.words().0
    }

    /// The HTTP status.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.words().1
    }

    /// One sentence for the caller.
    #[must_use]
    pub const fn title(&self) -> &'static str {
        self.words().2
    }

    /// What exactly was wrong, where there is more to say than [`Self::title`].
    #[must_use]
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::PathNotCanonical(error) => Some(error.to_string()),
            Self::QueryNotAllowed(error) => Some(error.to_string()),
            Self::RequestMalformed(what) => Some((*what).to_owned()),
            Self::BodyMalformed(fault) => Some(match fault {
                BodyFault::Unexpected => "this route takes no body".to_owned(),
                BodyFault::MediaType => {
                    "send `content-type: application/json` without compression".to_owned()
                }
                BodyFault::Framing => "the body broke off".to_owned(),
                BodyFault::Json(error) => error.to_string(),
                BodyFault::Form => WrongForm.to_string(),
            }),
            _ => None,
        }
    }

    pub(super) const fn form(_: WrongForm) -> Self {
        Self::BodyMalformed(BodyFault::Form)
    }

    const fn words(&self) -> (&'static str, u16, &'static str) {
        match self {
            Self::NotAdmitting => ("not_admitting", 503, "the stage admits no calls"),
            Self::Draining => ("draining", 503, "the stage is being stopped"),
            Self::Busy => ("busy", 503, "the stage takes no more calls at the moment"),
            Self::AuditFull => ("audit_full", 503, "the decision could not be recorded"),
            Self::RequestMalformed(_) => ("request_malformed", 400, "the request is malformed"),
            Self::RequestTimeout => ("request_timeout", 408, "the request came too slowly"),
            Self::HeadersTooLarge => ("headers_too_large", 431, "the request has too many headers"),
            Self::NoTicket => ("no_ticket", 401, "a ticket is required"),
            Self::TicketMalformed => ("ticket_malformed", 401, "that is no ticket"),
            Self::TicketExpired => ("ticket_expired", 401, "the ticket has expired"),
            Self::TicketSignature => (
                "ticket_signature",
                401,
                "the ticket was not signed by this trust domain's issuer",
            ),
            Self::TicketWrongAudience => (
                "ticket_wrong_audience",
                401,
                "the ticket is for another stage",
            ),
            Self::NotHolder => (
                "not_holder",
                401,
                "the ticket belongs to another certificate",
            ),
            Self::TicketRevoked => ("ticket_revoked", 401, "the ticket was revoked"),
            Self::CertificateExpired => (
                "certificate_expired",
                401,
                "the client certificate has expired",
            ),
            Self::NoFlow => (
                "no_flow",
                403,
                "no flow leads from this caller to this stage",
            ),
            Self::FlowWithdrawn => ("flow_withdrawn", 403, "the flow was withdrawn"),
            Self::RouteDenied => ("route_denied", 403, "the route is not granted"),
            Self::MethodDenied => ("method_denied", 403, "the route does not take this method"),
            Self::PathNotCanonical(_) => (
                "path_not_canonical",
                400,
                "the path is not in its canonical spelling",
            ),
            Self::QueryNotAllowed(_) => (
                "query_not_allowed",
                400,
                "the route does not take this query",
            ),
            Self::ModelMissing => ("model_missing", 400, "the body names no model"),
            Self::ModelNotGranted => ("model_not_granted", 403, "the model version is not granted"),
            Self::ParameterForbidden => (
                "parameter_forbidden",
                403,
                "the body has a member that this route forbids",
            ),
            Self::TokensOverLimit => (
                "tokens_over_limit",
                403,
                "the body asks for more tokens than are granted",
            ),
            Self::BodyMalformed(_) => ("body_malformed", 400, "the body is malformed"),
            Self::BodyTooLarge => ("body_too_large", 413, "the body is too large"),
            Self::RateLimited => (
                "rate_limited",
                429,
                "more requests in a minute than granted",
            ),
            Self::NoTransaction => (
                "no_transaction",
                403,
                "the call does not belong to an admitted request",
            ),
            Self::UpstreamUnavailable => {
                ("upstream_unavailable", 502, "the server cannot be reached")
            }
            Self::UpstreamTimeout => ("upstream_timeout", 504, "the server did not answer in time"),
            Self::UpstreamError => ("upstream_error", 502, "the server failed"),
        }
    }
}
