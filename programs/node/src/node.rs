//! The node: everything that its parts share, and what the API asks of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use casemate_api::v1;
use casemate_core::event::{Severity, kind};
use casemate_core::name::Name;
use casemate_core::receipt::ReceiptKind;
use casemate_core::spiffe::{SpiffeId, TrustDomain};
use casemate_core::time::UnixTime;

use crate::authority::{AuthorityKeys, OpenAuthorityError};
use crate::board::Board;
use crate::failure::{Code, Failure};
use crate::host::Host;
use crate::issuer::{AskIssuerError, Issuer};
use crate::journal::{ASSURANCE, Journal, fact};
use crate::keys::{NodeKey, ReceiptKey};
use crate::recorder::Recorder;
use crate::running::Running;
use crate::settings::Settings;
use crate::spawner::Spawner;
use crate::store::Revocation;
use crate::users::Slots;

mod last_words;
mod probe;
mod up;

use last_words::LastWords;

/// This host's node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) settings: Settings,
    pub(crate) journal: Journal,
    pub(crate) receipt_key: Arc<ReceiptKey>,
    pub(crate) spawner: Spawner,
    pub(crate) recorder: Recorder,
    pub(crate) host: Host,
    pub(crate) stage_slots: Slots,
    pub(crate) vault_slots: Slots,
    /// Held by whoever attacks a stage.
    pub(crate) probing: Mutex<()>,
    key: NodeKey,
    since: UnixTime,
    stopping: AtomicBool,
    issuer: Mutex<Option<Arc<Issuer>>>,
    enclosures: Mutex<BTreeMap<Name, Arc<Running>>>,
    /// What the stages of enclosures that did not come up had written.
    last_words: Mutex<LastWords>,
    /// Every stage that this daemon ever launched, as `enclosure.stage`.
    launched: Mutex<BTreeSet<String>>,
}

impl Node {
    pub(crate) fn new(
        settings: Settings,
        key: NodeKey,
        receipt_key: Arc<ReceiptKey>,
        journal: Journal,
        spawner: Spawner,
        recorder: Recorder,
        host: Host,
    ) -> Arc<Self> {
        let node = Arc::new(Self {
            settings,
            since: journal.now(),
            journal,
            receipt_key,
            spawner,
            recorder,
            host,
            stage_slots: Slots::default(),
            vault_slots: Slots::default(),
            probing: Mutex::default(),
            key,
            stopping: AtomicBool::new(false),
            issuer: Mutex::default(),
            enclosures: Mutex::default(),
            last_words: Mutex::default(),
            launched: Mutex::default(),
        });
        let weak = Arc::downgrade(&node);
        node.recorder.when_held_back(move || {
            if let Some(node) = weak.upgrade() {
                node.renew_doors();
            }
        });
        node
    }

    /// `GET /v1/status`.
    pub(crate) fn status(&self) -> Result<v1::Status, Failure> {
        let issuer = self.issuer();
        let now = self.journal.now();
        Ok(v1::Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            since: self.since.0,
            trust_domain: issuer
                .as_ref()
                .map(|issuer| issuer.trust_domain().to_string()),
            issuer_url: self.issuer_url(),
            receipts: self.journal.store().receipt_count()?,
            tickets: self.journal.store().ticket_count()?,
            assurance: ASSURANCE.as_str().to_owned(),
            enclosures: self
                .enclosures()
                .values()
                .map(|running| running.status(now))
                .collect(),
        })
    }

    /// `GET /v1/logs`.
    pub(crate) fn logs(
        &self,
        enclosure: &str,
        stage: &str,
        tail: usize,
    ) -> Result<v1::Logs, Failure> {
        let running = match self.running(enclosure) {
            Ok(running) => running,
            Err(failure) => {
                let lines = self.last_words().of(enclosure, stage).ok_or(failure)?;
                let from = lines.len().saturating_sub(tail);
                return Ok(v1::Logs {
                    lines: lines.get(from..).unwrap_or_default().to_vec(),
                    dropped_bytes: 0,
                });
            }
        };
        let board = running.board(stage).ok_or_else(|| {
            Failure::new(
                Code::NoSuchStage,
                format!("{enclosure} has no stage `{stage}`"),
            )
        })?;
        let (lines, dropped_bytes) = board
            .log
            .tail(tail)
            .map_err(|error| Failure::from_error(Code::Internal, &error))?;
        Ok(v1::Logs {
            lines,
            dropped_bytes,
        })
    }

    /// `GET /v1/trust`.
    pub(crate) fn trust(&self) -> Result<v1::Trust, Failure> {
        let issuer = self.issuer().ok_or_else(|| {
            Failure::new(Code::NoTrustDomain, "this node has no trust domain yet")
        })?;
        let ready = issuer.ready().map_err(|error| issuer_failure(&error))?;
        Ok(v1::Trust {
            trust_domain: issuer.trust_domain().to_string(),
            bundle_pem: ready.bundle_pem,
            issuer_url: issuer.url(),
        })
    }

    /// `POST /v1/revoke`: every gate and the issuer are told before this returns.
    pub(crate) fn revoke(&self, request: &v1::RevokeRequest) -> Result<v1::Revoked, Failure> {
        let malformed = |message: &str| Failure::new(Code::RequestMalformed, message);
        if request.jti.is_none() && request.sub.is_none() {
            return Err(malformed(
                "name a ticket (`jti`), a subject (`sub`), or both",
            ));
        }
        if request.jti.as_ref().is_some_and(|jti| jti.len() > 128) {
            return Err(malformed("`jti` is longer than any ticket's id"));
        }
        let sub: Option<SpiffeId> = request
            .sub
            .as_deref()
            .map(str::parse)
            .transpose()
            .map_err(|error| malformed(&format!("`sub`: {error}")))?;
        let issuer = self
            .issuer()
            .ok_or_else(|| Failure::new(Code::NoTrustDomain, "this node has issued nothing yet"))?;

        // On the disk and in the list first: whoever starts from now on begins with it.
        let revocation = Revocation {
            at: self.journal.now_or_newest()?,
            jti: request.jti.clone(),
            sub,
        };
        self.journal.store().add_revocation(&revocation)?;
        issuer.remember_revoked(revocation.clone());
        // Then the gates: they are what a running answer passes through.
        let told = self
            .boards()
            .iter()
            .filter(|board| board.revoke(&revocation))
            .count();
        issuer
            .revoke(revocation)
            .map_err(|error| issuer_failure(&error))?;

        let subject = request
            .sub
            .clone()
            .or_else(|| request.jti.clone())
            .unwrap_or_default();
        let mut facts = vec![fact("gates", told)];
        facts.extend(request.jti.as_ref().map(|jti| fact("jti", jti)));
        let receipt = self.journal.record(
            ReceiptKind::Revoked,
            subject.clone(),
            facts.into_iter().collect(),
        )?;
        self.journal.add(
            self.journal
                .event(kind::REVOKED, Severity::Warning)
                .about(subject),
        );
        Ok(v1::Revoked {
            gates: u32::try_from(told).unwrap_or(u32::MAX),
            receipt: receipt.seq,
        })
    }

    /// `GET /v1/leftovers`.
    pub(crate) fn leftovers(&self) -> Vec<v1::Leftover> {
        let owned: Vec<String> = self
            .enclosures()
            .values()
            .flat_map(|running| running.boards())
            .map(|board| board.id())
            .collect();
        let launched = self
            .launched
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        crate::leftovers::find(&self.settings, &self.journal, &self.host, &launched, &owned)
    }

    /// Takes everything down, for good.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        let names: Vec<Name> = self.enclosures().keys().cloned().collect();
        for name in names {
            if let Err(failure) = self.down(name.as_str()) {
                tracing::error!(enclosure = %name, reason = failure.message(), "not taken down");
            }
        }
        let issuer = self
            .issuer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(issuer) = issuer {
            issuer.stop();
        }
    }

    /// Whether the daemon is ending: then nothing new is started.
    pub(crate) fn stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    pub(crate) fn issuer(&self) -> Option<Arc<Issuer>> {
        self.issuer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The issuer of `trust_domain`: the running one, or one that is started now.
    fn issuer_for(&self, trust_domain: &TrustDomain) -> Result<Arc<Issuer>, Failure> {
        let mut slot = self.issuer.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = match slot.as_ref() {
            Some(issuer) => {
                if issuer.trust_domain() == trust_domain {
                    return Ok(Arc::clone(issuer));
                }
                let (ours, asked) = (issuer.trust_domain().clone(), trust_domain.clone());
                return Err(authority_failure(&OpenAuthorityError::OtherTrustDomain {
                    ours,
                    asked,
                }));
            }
            None => self
                .authority(trust_domain)
                .map_err(|error| authority_failure(&error))?,
        };
        let issuer = self.start_issuer(keys)?;
        *slot = Some(Arc::clone(&issuer));
        Ok(issuer)
    }

    /// Starts the issuer of an authority that this node already has, so that people can log in.
    pub(crate) fn resume_issuer(&self) -> Result<(), Failure> {
        let keys = AuthorityKeys::open(&self.settings.state, &self.key)
            .map_err(|error| authority_failure(&error))?;
        if let Some(keys) = keys {
            let issuer = self.start_issuer(keys)?;
            *self.issuer.lock().unwrap_or_else(PoisonError::into_inner) = Some(issuer);
        }
        Ok(())
    }

    fn start_issuer(&self, keys: AuthorityKeys) -> Result<Arc<Issuer>, Failure> {
        let issuer = Issuer::start(
            keys,
            &self.settings,
            &self.spawner,
            &self.journal,
            &self.recorder,
        )
        .map_err(|error| issuer_failure(&error))?;
        let ready = issuer.ready().map_err(|error| issuer_failure(&error))?;
        self.publish("trust-bundle.pem", &ready.bundle_pem)?;
        Ok(issuer)
    }

    fn authority(&self, trust_domain: &TrustDomain) -> Result<AuthorityKeys, OpenAuthorityError> {
        match AuthorityKeys::open(&self.settings.state, &self.key)? {
            Some(keys) => keys.serves(trust_domain).map(|()| keys),
            None => {
                let now = self.journal.now();
                AuthorityKeys::create(&self.settings.state, &self.key, trust_domain, now)
            }
        }
    }

    /// Writes a public file into the run directory, whole or not at all.
    pub(crate) fn publish(&self, name: &str, text: &str) -> Result<(), Failure> {
        use std::os::unix::fs::PermissionsExt as _;
        let (path, beside) = (self.settings.run.join(name), self.settings.run.join(".new"));
        std::fs::write(&beside, text)
            .and_then(|()| {
                let mode = std::fs::Permissions::from_mode(0o644);
                std::fs::set_permissions(&beside, mode)
            })
            .and_then(|()| std::fs::rename(&beside, &path))
            .map_err(|error| {
                Failure::new(
                    Code::Internal,
                    format!("cannot write `{}`: {error}", path.display()),
                )
            })
    }

    /// Closes every gate while receipts cannot be written, and opens after those that may be open.
    fn renew_doors(&self) {
        for board in self.boards() {
            if let Err(error) = board.renew_door() {
                tracing::error!(gate = %board.id(), error = %crate::report(&error), "gate ended: not told");
            }
        }
    }

    /// Every stage's board.
    fn boards(&self) -> Vec<Arc<Board>> {
        self.enclosures()
            .values()
            .flat_map(|running| running.boards())
            .collect()
    }

    fn issuer_url(&self) -> String {
        self.settings
            .issuer_url
            .clone()
            .unwrap_or_else(|| format!("https://{}", self.settings.issuer_listen))
    }

    fn last_words(&self) -> MutexGuard<'_, LastWords> {
        self.last_words
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self, enclosure: &str) -> Result<Arc<Running>, Failure> {
        let found = self
            .enclosures()
            .iter()
            .find(|(name, _)| name.as_str() == enclosure)
            .map(|(_, running)| Arc::clone(running));
        found.ok_or_else(|| {
            Failure::new(
                Code::NoSuchEnclosure,
                format!("no enclosure `{enclosure}` is up"),
            )
        })
    }

    fn enclosures(&self) -> MutexGuard<'_, BTreeMap<Name, Arc<Running>>> {
        self.enclosures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn issuer_failure(error: &AskIssuerError) -> Failure {
    let code = match error {
        AskIssuerError::Listen { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse => {
            Code::PortTaken
        }
        AskIssuerError::Listen { .. }
        | AskIssuerError::Start(_)
        | AskIssuerError::Revocations(_)
        | AskIssuerError::NotRunning
        | AskIssuerError::Control(_)
        | AskIssuerError::NoAnswer
        | AskIssuerError::Refused(_)
        | AskIssuerError::OtherAnswer => Code::IssuerFailed,
    };
    Failure::from_error(code, error)
}

fn authority_failure(error: &OpenAuthorityError) -> Failure {
    let code = match error {
        OpenAuthorityError::OtherTrustDomain { .. } => Code::TrustDomainMismatch,
        OpenAuthorityError::Keep(_)
        | OpenAuthorityError::Authority(_)
        | OpenAuthorityError::TicketKey(_)
        | OpenAuthorityError::Form(_)
        | OpenAuthorityError::NotText => Code::IssuerFailed,
    };
    Failure::from_error(code, error)
}
