//! The proof that a request was allowed.

use std::borrow::Cow;

use super::{Caller, Door, InboundFlow, Refusal, Standing};
use crate::name::{ModelVersion, Name};
use crate::spiffe::SpiffeId;
use crate::time::UnixTime;

/// The proof that one request may be forwarded. It has one maker, [`super::Entitled::admit`], is not
/// `Clone`, and is consumed by forwarding.
#[derive(Debug)]
pub struct Permit {
    pub(super) subject: SpiffeId,
    pub(super) peer: SpiffeId,
    pub(super) token_id: String,
    pub(super) class: Name,
    pub(super) model: Option<ModelVersion>,
    pub(super) from: Caller,
    pub(super) issued: UnixTime,
    pub(super) expires: UnixTime,
    pub(super) streams: bool,
}

/// A permit, with the body that it is for.
#[derive(Debug)]
pub struct Admitted<'b> {
    /// The proof.
    pub permit: Permit,
    /// The body to forward: the caller's own bytes, or those with a missing bound written in.
    pub body: Cow<'b, [u8]>,
}

impl Permit {
    /// Who the call speaks for.
    #[must_use]
    pub const fn subject(&self) -> &SpiffeId {
        &self.subject
    }

    /// The id of the ticket, or of the call chain.
    #[must_use]
    pub fn token_id(&self) -> &str {
        &self.token_id
    }

    /// The class of the route.
    #[must_use]
    pub const fn class(&self) -> &Name {
        &self.class
    }

    /// The model version that the body names, when the route names one.
    #[must_use]
    pub const fn model(&self) -> Option<&ModelVersion> {
        self.model.as_ref()
    }

    /// When the permission ends by itself.
    #[must_use]
    pub const fn expires(&self) -> UnixTime {
        self.expires
    }

    /// Whether the caller asked for the answer in pieces.
    #[must_use]
    pub const fn streams(&self) -> bool {
        self.streams
    }

    /// Asked again while the answer runs: whether it may go on.
    ///
    /// # Errors
    /// Why the answer must be cut.
    pub fn still_valid(&self, standing: &Standing, now: UnixTime) -> Result<(), Refusal> {
        match standing.door {
            Door::Open | Door::Draining => {}
            Door::Closed => return Err(Refusal::NotAdmitting),
        }
        if self.expires <= now {
            return Err(Refusal::TicketExpired);
        }
        if standing
            .revoked
            .covers(&self.token_id, &self.subject, &self.peer, self.issued)
        {
            return Err(Refusal::TicketRevoked);
        }
        let carries = |flow: &InboundFlow| {
            flow.from == self.from
                && flow.routes.contains(&self.class)
                && self
                    .model
                    .as_ref()
                    .is_none_or(|model| flow.models.contains(model))
        };
        if standing.flows.iter().any(carries) {
            Ok(())
        } else {
            Err(Refusal::FlowWithdrawn)
        }
    }
}
