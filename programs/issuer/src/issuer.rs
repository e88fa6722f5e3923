//! What the issuer holds while it serves, shared by all of its tasks.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use casemate_api::issuer::{Bounds, FromIssuer, Lifetimes, Revocation, Settings};
use casemate_core::event::{Event, Outcome, Severity};
use casemate_core::spiffe::{SpiffeId, TrustDomain};
use casemate_core::time::{Clock, SystemClock, UnixTime};
use casemate_identity::authority::{Authority, AuthorityError};
use casemate_identity::bundle::ReadBundleError;
use casemate_identity::jws::{SigningKey, VerifyingKeys};
use casemate_identity::oidc::Tick;
use casemate_identity::oidc::id_token::VerifiedLogin;
use casemate_identity::svid::KeyError;
use casemate_identity::ticket::{Revoked, TicketSigner, TicketVerifier, VerifierSettings};
use casemate_identity::tls::{BundleSource, SvidSource};
use tokio::sync::mpsc;
use zeroize::Zeroize as _;

use crate::answer::Refusal;
use crate::policy::{Policy, TakePolicyError};
use crate::provider::Providers;
use crate::rate::{Budgets, Peer};
use crate::seen::{Moment, SeenTokens};

/// Why the issuer cannot be put together from its settings.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// The authority's certificate or key.
    #[error("the authority cannot be used")]
    Authority(#[from] AuthorityError),
    /// The authority is of another trust domain than the settings say.
    #[error("the authority is of the trust domain `{0}`")]
    OtherDomain(TrustDomain),
    /// The authority's certificate as a trust bundle.
    #[error("the authority's certificate is no trust bundle")]
    Bundle(#[from] ReadBundleError),
    /// The key for tickets.
    #[error("the ticket key cannot be used")]
    TicketKey(#[from] KeyError),
    /// An enclosure's policy.
    #[error("an enclosure's policy cannot be used: {0}")]
    Policy(String),
    /// A revocation that names neither a token nor a subject.
    #[error("a revocation names nothing")]
    Revocation,
}

impl From<TakePolicyError> for AssembleError {
    fn from(error: TakePolicyError) -> Self {
        Self::Policy(error.to_string())
    }
}

/// The issuer.
pub(crate) struct Issuer {
    pub(crate) trust_domain: TrustDomain,
    pub(crate) authority: Authority,
    pub(crate) bundle: Arc<BundleSource>,
    pub(crate) bundle_pem: String,
    pub(crate) svids: Arc<SvidSource>,
    pub(crate) signer: TicketSigner,
    pub(crate) jwks: String,
    pub(crate) verifier: TicketVerifier,
    pub(crate) providers: Providers,
    pub(crate) lifetimes: Lifetimes,
    pub(crate) bounds: Bounds,
    policy: ArcSwap<Policy>,
    budgets: Mutex<Budgets>,
    seen: Mutex<SeenTokens>,
    outbox: mpsc::Sender<FromIssuer>,
    started: Instant,
}

impl Issuer {
    /// Puts the issuer together; what it decides goes to `outbox`.
    pub(crate) fn assemble(
        mut settings: Settings,
        revocations: &[Revocation],
        roots_pem: &str,
        outbox: mpsc::Sender<FromIssuer>,
    ) -> Result<Self, AssembleError> {
        let authority = Authority::from_pem(&settings.authority_pem, &settings.authority_key_pem);
        let ticket_key = SigningKey::from_pem(&settings.ticket_key_pem);
        settings.authority_key_pem.zeroize();
        settings.ticket_key_pem.zeroize();
        let authority = authority?;
        if *authority.trust_domain() != settings.trust_domain {
            return Err(AssembleError::OtherDomain(authority.trust_domain().clone()));
        }
        let bundle = authority.bundle()?;
        let signer = TicketSigner::new(ticket_key?);
        let keys = signer.jwks();
        let lifetimes = settings.lifetimes;
        let verifier = TicketVerifier::new(
            VerifierSettings {
                issuer: settings.trust_domain.issuer(),
                trust_domain: settings.trust_domain.clone(),
                audience: None,
                max_ticket_lifetime: seconds(lifetimes.ticket_secs),
                max_transaction_lifetime: seconds(lifetimes.transaction_secs),
                cache_entries: CACHE_ENTRIES,
            },
            VerifyingKeys::from_jwks(&keys),
        );
        if revocations.iter().any(names_nothing) {
            return Err(AssembleError::Revocation);
        }
        verifier.revoke_all(revocations.iter().map(|revocation| Revoked {
            at: revocation.at,
            id: revocation.jti.as_deref(),
            subject: revocation.sub.as_ref(),
        }));
        let mut policy = Policy::new(settings.trust_domain.clone());
        for enclosure in settings.enclosures {
            policy = policy.with(enclosure)?;
        }
        let issuer = Self {
            bundle_pem: bundle.to_pem(),
            bundle: BundleSource::new(bundle),
            svids: SvidSource::empty(),
            jwks: keys.to_json(),
            signer,
            verifier,
            providers: Providers::new(roots_pem, settings.bounds.provider_ms),
            lifetimes,
            bounds: settings.bounds,
            policy: ArcSwap::from_pointee(Policy::new(settings.trust_domain.clone())),
            budgets: Mutex::new(Budgets::new(&settings.bounds)),
            seen: Mutex::default(),
            outbox,
            started: Instant::now(),
            trust_domain: settings.trust_domain,
            authority,
        };
        issuer.set_policy(policy);
        Ok(issuer)
    }

    /// The time by the wall clock, which alone judges validity.
    pub(crate) fn now(&self) -> UnixTime {
        SystemClock.now()
    }

    /// The time by the clock that never jumps, for rates and cooldowns.
    pub(crate) fn tick(&self) -> Tick {
        Tick(self.started.elapsed())
    }

    pub(crate) fn policy(&self) -> Arc<Policy> {
        self.policy.load_full()
    }

    /// Only the control task calls this once the issuer serves.
    pub(crate) fn set_policy(&self, policy: Policy) {
        self.providers.configure(policy.issuers(), self.tick());
        self.policy.store(Arc::new(policy));
    }

    pub(crate) fn may_ask(&self, peer: &Peer) -> bool {
        let mut budgets = self.budgets.lock().unwrap_or_else(PoisonError::into_inner);
        budgets.take(peer, self.tick())
    }

    /// Binds an ID token to the key that it was first brought with.
    pub(crate) fn bind(
        &self,
        person: &SpiffeId,
        login: &VerifiedLogin,
        key: &str,
    ) -> Result<(), Refusal> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Moment {
            wall: self.now(),
            tick: self.tick(),
        };
        seen.bind(person, login.digest(), key, login.expires(), now)
    }

    /// Room for the event of something about to be issued: without a record nothing is.
    pub(crate) fn record(&self) -> Result<Record<'_>, Refusal> {
        match self.outbox.try_reserve() {
            Ok(place) => Ok(Record { place }),
            Err(_) => Err(Refusal::unavailable("audit_full")),
        }
    }

    /// Tells of a refusal. When the daemon does not listen the log still has it.
    pub(crate) fn refused(&self, event: Event, refusal: Refusal) {
        let event = event.decided(Outcome::Refused, refusal.code, DECIDER);
        self.tell(event);
    }

    /// Tells of something that is no decision.
    pub(crate) fn tell(&self, event: Event) {
        log(&event);
        if self
            .outbox
            .try_send(FromIssuer::Event(Box::new(event)))
            .is_err()
        {
            tracing::warn!("an event was only logged: the daemon does not read");
        }
    }

    pub(crate) fn event(&self, kind: &'static str, severity: Severity) -> Event {
        Event::new(self.now(), kind, severity)
    }
}

/// A reserved place for one event.
pub(crate) struct Record<'a> {
    place: mpsc::Permit<'a, FromIssuer>,
}

impl Record<'_> {
    /// Tells of what was issued.
    pub(crate) fn issued(self, event: Event) {
        let event = event.decided(Outcome::Allowed, "issued", DECIDER);
        log(&event);
        self.place.send(FromIssuer::Event(Box::new(event)));
    }
}

fn log(event: &Event) {
    let subject = event.subject.as_deref().unwrap_or("-");
    let code = event
        .decision
        .as_ref()
        .map_or("-", |decision| decision.code.as_str());
    match event.severity {
        Severity::Info => tracing::info!(kind = %event.kind, subject, code, "decided"),
        Severity::Warning => tracing::warn!(kind = %event.kind, subject, code, "decided"),
        Severity::Error => tracing::error!(kind = %event.kind, subject, code, "decided"),
    }
}

pub(crate) const fn names_nothing(revocation: &Revocation) -> bool {
    revocation.jti.is_none() && revocation.sub.is_none()
}

pub(crate) fn seconds(count: u32) -> Duration {
    Duration::from_secs(u64::from(count))
}

/// How events name this program.
const DECIDER: &str = "issuer";
const CACHE_ENTRIES: usize = 4096;
