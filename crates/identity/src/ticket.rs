//! Tickets and Transaction Tokens: signed by the issuer, verified by every gate without a call out.
//!
//! A verdict is remembered by the SHA-256 of the *whole* token and the generation of keys and
//! revocations it was reached under; times are asked again at every use, refusals are never
//! remembered. Whether the *peer* may use the ticket (`cnf`) is the gate's admission to decide.

mod cache;
mod revocation;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use casemate_core::control::{Control, in_force};
use casemate_core::spiffe::{SpiffeId, TrustDomain};
use casemate_core::ticket::{
    GRANT_TYPE, MAX_TOKEN_BYTES, TICKET_TYPE, TRANSACTION_TYPE, TicketClaims, TransactionClaims,
};
use casemate_core::time::UnixTime;
use serde::de::DeserializeOwned;

use crate::BACKDATE;
use crate::encoding::sha256;
use crate::jwks::JwkSet;
use crate::jws::{JwsError, SigningKey, VerifyingKeys, sign_es256, verify_es256};
use cache::Cache;
use revocation::Revocations;

/// Why a ticket could not be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignTicketError {
    /// The claims cannot be written as JSON.
    #[error("the claims cannot be written")]
    Claims(#[from] serde_json::Error),
    /// The token would be longer than anybody accepts.
    #[error("the token would have {0} bytes")]
    TooLong(usize),
    /// The library failed to sign.
    #[error("cannot sign the token")]
    Sign(#[from] crate::svid::KeyError),
}

/// Signs tickets and Transaction Tokens with the issuer's key.
#[derive(Debug)]
pub struct TicketSigner {
    key: SigningKey,
}

impl TicketSigner {
    /// Signs with `key`.
    #[must_use]
    pub const fn new(key: SigningKey) -> Self {
        Self { key }
    }

    /// The public half, for verifiers.
    #[must_use]
    pub fn jwks(&self) -> JwkSet {
        JwkSet::of_points([self.key.public_point()])
    }

    /// The `kid` of what this signs.
    #[must_use]
    pub fn key_id(&self) -> &str {
        self.key.id()
    }

    /// Signs a ticket.
    ///
    /// # Errors
    /// When it would be too long, or the library fails.
    pub fn sign_ticket(&self, claims: &TicketClaims) -> Result<String, SignTicketError> {
        self.sign(TICKET_TYPE, &serde_json::to_vec(claims)?)
    }

    /// Signs a Transaction Token.
    ///
    /// # Errors
    /// When it would be too long, or the library fails.
    pub fn sign_transaction(&self, claims: &TransactionClaims) -> Result<String, SignTicketError> {
        self.sign(TRANSACTION_TYPE, &serde_json::to_vec(claims)?)
    }

    fn sign(&self, typ: &str, claims: &[u8]) -> Result<String, SignTicketError> {
        let token = sign_es256(&self.key, typ, claims)?;
        if token.len() > MAX_TOKEN_BYTES {
            return Err(SignTicketError::TooLong(token.len()));
        }
        Ok(token)
    }
}

/// A fresh `jti` or `txn`: 128 random bits.
///
/// # Errors
/// When the operating system gives no randomness.
pub fn fresh_id() -> Result<String, crate::svid::KeyError> {
    crate::encoding::random_id::<16>().map_err(|_| crate::svid::KeyError::Generate)
}

/// Why a token was refused. The codes are those that a gate answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// Not a token of the one profile, or its claims are not what they must be.
    #[error("the token is malformed: {0}")]
    Malformed(&'static str),
    /// Nobody we trust signed it.
    #[error("the token's signature is wrong")]
    Signature,
    /// At or after `exp`.
    #[error("the token has expired")]
    Expired,
    /// Before `iat`: another clock, or ours went back.
    #[error("the token is from the future")]
    NotYetValid,
    /// For another stage or another trust domain, or from another issuer.
    #[error("the token is not for here")]
    WrongAudience,
    /// Revoked by id or by subject.
    #[error("the token was revoked")]
    Revoked,
}

impl TicketError {
    /// The refusal code that a gate answers with.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Malformed(_) => "ticket_malformed",
            Self::Signature => "ticket_signature",
            Self::Expired | Self::NotYetValid => "ticket_expired",
            Self::WrongAudience => "ticket_wrong_audience",
            Self::Revoked => "ticket_revoked",
        }
    }
}

impl From<JwsError> for TicketError {
    fn from(error: JwsError) -> Self {
        match error {
            JwsError::TooLong => Self::Malformed("too long"),
            JwsError::Form => Self::Malformed("not a compact JWS"),
            JwsError::Json => Self::Malformed("not strict JSON"),
            JwsError::Header => Self::Malformed("header members"),
            JwsError::Algorithm => Self::Malformed("algorithm"),
            JwsError::Type => Self::Malformed("type"),
            JwsError::UnknownKey | JwsError::Signature => Self::Signature,
        }
    }
}

/// Proof that a ticket was verified: its signature, issuer, audience, times and revocation.
#[derive(Debug)]
pub struct VerifiedTicket {
    claims: TicketClaims,
}

impl VerifiedTicket {
    /// What it says.
    #[must_use]
    pub const fn claims(&self) -> &TicketClaims {
        &self.claims
    }
}

/// Proof that a Transaction Token was verified.
#[derive(Debug)]
pub struct VerifiedTransaction {
    claims: TransactionClaims,
}

impl VerifiedTransaction {
    /// What it says.
    #[must_use]
    pub const fn claims(&self) -> &TransactionClaims {
        &self.claims
    }
}

/// Whose tokens are accepted, for whom, and how many verdicts are remembered.
#[derive(Clone, Debug)]
pub struct VerifierSettings {
    /// The one issuer.
    pub issuer: SpiffeId,
    /// The trust domain that Transaction Tokens must be for.
    pub trust_domain: TrustDomain,
    /// The stage that tickets must be for; nothing at the issuer, which accepts any stage's.
    pub audience: Option<SpiffeId>,
    /// The longest lifetime a ticket may have, before [`BACKDATE`].
    pub max_ticket_lifetime: Duration,
    /// The longest lifetime a Transaction Token may have, before [`BACKDATE`].
    pub max_transaction_lifetime: Duration,
    /// How many verdicts of each kind are remembered.
    pub cache_entries: usize,
}

/// What was revoked before a verifier was made.
#[derive(Clone, Copy, Debug)]
pub struct Revoked<'a> {
    /// When.
    pub at: UnixTime,
    /// A token, by its id.
    pub id: Option<&'a str>,
    /// A subject: what it was issued until then.
    pub subject: Option<&'a SpiffeId>,
}

/// Keys and their generation, replaced together.
#[derive(Debug)]
struct Keys {
    keys: VerifyingKeys,
    generation: u64,
}

/// Verifies tickets and Transaction Tokens. Shared by all connections of a gate.
#[derive(Debug)]
pub struct TicketVerifier {
    settings: VerifierSettings,
    keys: ArcSwap<Keys>,
    revocations: ArcSwap<Revocations>,
    // Writers only; readers never wait.
    changing: Mutex<u64>,
    tickets: Cache<VerifiedTicket>,
    transactions: Cache<VerifiedTransaction>,
}

impl TicketVerifier {
    /// A verifier that knows `keys` and no revocation.
    #[must_use]
    pub fn new(settings: VerifierSettings, keys: VerifyingKeys) -> Self {
        Self {
            keys: ArcSwap::from_pointee(Keys {
                keys,
                generation: 0,
            }),
            revocations: ArcSwap::from_pointee(Revocations::default()),
            changing: Mutex::new(0),
            tickets: Cache::new(settings.cache_entries),
            transactions: Cache::new(settings.cache_entries),
            settings,
        }
    }

    /// Replaces the keys. Every remembered verdict is void.
    pub fn replace_keys(&self, keys: VerifyingKeys) {
        let mut generation = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        *generation += 1;
        self.keys.store(Arc::new(Keys {
            keys,
            generation: *generation,
        }));
        drop(generation);
        self.tickets.clear();
        self.transactions.clear();
    }

    /// Refuses the ticket with this id from now on.
    pub fn revoke_id(&self, id: &str, now: UnixTime) {
        self.revoke(|revocations| revocations.add_id(id, now));
    }

    /// Refuses every token of this subject that was issued until `now`.
    pub fn revoke_subject(&self, subject: &SpiffeId, now: UnixTime) {
        self.revoke(|revocations| revocations.add_subject(subject, now));
    }

    /// Takes over all of `earlier` at once.
    pub fn revoke_all<'a>(&self, earlier: impl IntoIterator<Item = Revoked<'a>>) {
        self.revoke(|revocations| {
            for Revoked { at, id, subject } in earlier {
                if let Some(id) = id {
                    revocations.add_id(id, at);
                }
                if let Some(subject) = subject {
                    revocations.add_subject(subject, at);
                }
            }
        });
    }

    /// Whether what `subject` was issued at `issued`, a certificate for instance, was revoked since.
    #[must_use]
    pub fn subject_is_revoked(&self, subject: &SpiffeId, issued: UnixTime) -> bool {
        self.revocations.load().covers(None, subject, issued)
    }

    fn revoke(&self, add: impl FnOnce(&mut Revocations)) {
        let generation = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = Revocations::clone(&self.revocations.load());
        add(&mut next);
        self.revocations.store(Arc::new(next));
        drop(generation);
    }

    /// Whether a running answer must be cut: its ticket was revoked or has expired.
    ///
    /// # Errors
    /// The reason why it must be.
    pub fn recheck(&self, ticket: &VerifiedTicket, now: UnixTime) -> Result<(), TicketError> {
        self.check_ticket(&ticket.claims, now)
    }

    /// As [`TicketVerifier::recheck`], for a Transaction Token.
    ///
    /// # Errors
    /// The reason why it must be.
    pub fn recheck_transaction(
        &self,
        token: &VerifiedTransaction,
        now: UnixTime,
    ) -> Result<(), TicketError> {
        self.check_transaction(&token.claims, now)
    }

    /// Verifies a ticket for this verifier's audience.
    ///
    /// # Errors
    /// The reason to refuse it.
    pub fn verify_ticket(
        &self,
        token: &str,
        now: UnixTime,
    ) -> Result<Arc<VerifiedTicket>, TicketError> {
        self.verify(
            TICKET_TYPE,
            &self.tickets,
            token,
            |claims| VerifiedTicket { claims },
            |proof| self.check_ticket(&proof.claims, now),
        )
    }

    /// Verifies a Transaction Token of this verifier's trust domain.
    ///
    /// # Errors
    /// The reason to refuse it.
    pub fn verify_transaction(
        &self,
        token: &str,
        now: UnixTime,
    ) -> Result<Arc<VerifiedTransaction>, TicketError> {
        let prove = |claims| VerifiedTransaction { claims };
        self.verify(
            TRANSACTION_TYPE,
            &self.transactions,
            token,
            prove,
            |proof| self.check_transaction(&proof.claims, now),
        )
    }

    fn verify<Claims: DeserializeOwned, Proof>(
        &self,
        typ: &str,
        cache: &Cache<Proof>,
        token: &str,
        prove: impl FnOnce(Claims) -> Proof,
        check: impl Fn(&Proof) -> Result<(), TicketError>,
    ) -> Result<Arc<Proof>, TicketError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TicketError::Malformed("too long"));
        }
        let digest = sha256(token.as_bytes());
        // One snapshot: a verdict reached with these keys is stored under these keys' generation,
        // so a replacement in between cannot make it look newer than it is.
        let keys = self.keys.load();
        if let Some(proof) = cache.find(&digest, keys.generation) {
            // Time, audience and revocation are facts of now, not of then.
            return match check(&proof) {
                Ok(()) => Ok(proof),
                Err(refusal) => {
                    cache.remove(&digest);
                    Err(refusal)
                }
            };
        }
        let claims = verify_es256(typ, token, &keys.keys)?;
        let claims = Claims::deserialize(claims).map_err(|_| TicketError::Malformed("claims"))?;
        let proof = Arc::new(prove(claims));
        check(&proof)?;
        cache.insert(digest, keys.generation, Arc::clone(&proof));
        Ok(proof)
    }

    fn check_ticket(&self, claims: &TicketClaims, now: UnixTime) -> Result<(), TicketError> {
        let TicketClaims {
            iss,
            sub,
            aud,
            client_id,
            iat,
            exp,
            jti,
            authorization_details,
            ..
        } = claims;
        let elsewhere = self
            .settings
            .audience
            .as_ref()
            .is_some_and(|expected| expected != aud);
        if *iss != self.settings.issuer
            || elsewhere
            || *aud.trust_domain() != self.settings.trust_domain
        {
            return Err(TicketError::WrongAudience);
        }
        let [grant] = authorization_details.as_slice() else {
            return Err(TicketError::Malformed("not exactly one grant"));
        };
        if grant.kind != GRANT_TYPE || client_id != sub || jti.is_empty() {
            return Err(TicketError::Malformed("claims"));
        }
        // The grant is for the stage that the audience names: one token, one stage.
        if aud.as_stage().is_none_or(|(_, stage)| stage != grant.stage) {
            return Err(TicketError::Malformed("grant for another stage"));
        }
        check_times(*iat, *exp, self.settings.max_ticket_lifetime, now)?;
        if self.revocations.load().covers(Some(jti), sub, *iat) {
            return Err(TicketError::Revoked);
        }
        Ok(())
    }

    fn check_transaction(
        &self,
        claims: &TransactionClaims,
        now: UnixTime,
    ) -> Result<(), TicketError> {
        let TransactionClaims {
            iss,
            aud,
            iat,
            exp,
            txn,
            sub,
            scope,
            req_wl,
            tctx,
        } = claims;
        if *iss != self.settings.issuer || aud != self.settings.trust_domain.as_str() {
            return Err(TicketError::WrongAudience);
        }
        let same_domain = *req_wl.trust_domain() == self.settings.trust_domain;
        if tctx.kind != GRANT_TYPE || txn.is_empty() || scope.is_empty() || !same_domain {
            return Err(TicketError::Malformed("claims"));
        }
        // A Transaction Token is for a realm; the stage it may be used at is inside the context.
        let here = self.settings.audience.as_ref().and_then(SpiffeId::as_stage);
        if here.is_some_and(|(_, stage)| stage != tctx.stage) {
            return Err(TicketError::WrongAudience);
        }
        check_times(*iat, *exp, self.settings.max_transaction_lifetime, now)?;
        if self.revocations.load().covers(Some(txn), sub, *iat) {
            return Err(TicketError::Revoked);
        }
        Ok(())
    }
}

/// No leeway: what is issued is dated back instead.
fn check_times(
    iat: UnixTime,
    exp: UnixTime,
    longest: Duration,
    now: UnixTime,
) -> Result<(), TicketError> {
    if exp <= iat || exp > iat.plus(longest).plus(BACKDATE) {
        return Err(TicketError::Malformed("lifetime"));
    }
    if now < iat {
        return Err(TicketError::NotYetValid);
    }
    if now >= exp && in_force(Control::TokenExpiry) {
        return Err(TicketError::Expired);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
