//! What may change while a gate runs: whether it admits, its flows, and what was revoked.

use std::collections::HashMap;

use super::{InboundFlow, Refusal};
use crate::control::{Control, in_force};
use crate::spiffe::SpiffeId;
use crate::time::UnixTime;

/// A revocation is kept this long. No ticket lives longer.
const REVOCATION_SECONDS: u64 = 24 * 3600;
/// The most revocations of one kind that are kept. One more, and everything is taken as revoked.
const MAX_REVOCATIONS: usize = 65_536;

/// Whether the gate lets anything in at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Door {
    /// The launch has not reached `Admitting`, or was taken back.
    #[default]
    Closed,
    /// Calls are admitted.
    Open,
    /// Running answers may end; nothing new is admitted.
    Draining,
}

/// What holds right now. It starts closed, with no flow.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// Whether the gate lets anything in at all.
    pub door: Door,
    /// Who may call.
    pub flows: Vec<InboundFlow>,
    /// What was revoked.
    pub revoked: Revocations,
}

impl Standing {
    /// Whether a new call may be looked at.
    pub(super) const fn open(&self) -> Result<(), Refusal> {
        match self.door {
            Door::Open => Ok(()),
            Door::Closed => Err(Refusal::NotAdmitting),
            Door::Draining => Err(Refusal::Draining),
        }
    }
}

/// Tokens and subjects that are refused although they would still be valid.
#[derive(Clone, Debug, Default)]
pub struct Revocations {
    tokens: HashMap<String, UnixTime>,
    subjects: HashMap<SpiffeId, UnixTime>,
    overflown: bool,
}

impl Revocations {
    /// Refuses the token `id` from now on.
    pub fn revoke_token(&mut self, id: String, now: UnixTime) {
        if self.tokens.len() >= MAX_REVOCATIONS {
            self.tokens
                .retain(|_, revoked| revoked.0.saturating_add(REVOCATION_SECONDS) > now.0);
        }
        self.overflown |= self.tokens.len() >= MAX_REVOCATIONS;
        if !self.overflown {
            self.tokens.insert(id, now);
        }
    }

    /// Refuses every token that was issued to `subject`, or to a chain through it, until `now`. A clock
    /// that went back takes nothing of an earlier revocation away.
    pub fn revoke_subject(&mut self, subject: SpiffeId, now: UnixTime) {
        self.overflown |= self.subjects.len() >= MAX_REVOCATIONS;
        if !self.overflown {
            let until = self.subjects.entry(subject).or_insert(now);
            *until = (*until).max(now);
        }
    }

    /// Whether the token `id` of `subject`, shown by `peer`, is refused.
    #[must_use]
    pub fn covers(&self, id: &str, subject: &SpiffeId, peer: &SpiffeId, issued: UnixTime) -> bool {
        let before = |who: &SpiffeId| self.subjects.get(who).is_some_and(|at| issued <= *at);
        if !in_force(Control::Revocation) {
            return false;
        }
        self.overflown || self.tokens.contains_key(id) || before(subject) || before(peer)
    }
}
