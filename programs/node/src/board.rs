//! What is known of one stage right now, for whoever asks: written by its launch and its gate.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use casemate_api::gate as wire;
use casemate_api::v1::{
    CertificateStatus, GateStatus, LaunchState, Phase, ProbeSummary, StageStatus,
};
use casemate_core::event::{Event, kind};
use casemate_core::name::Name;
use casemate_core::spiffe::SpiffeId;
use casemate_core::time::UnixTime;

use crate::control::ControlError;
use crate::gate::Line;
use crate::recorder::HeldBack;
use crate::stage_log::StageLog;
use crate::store::Revocation;

/// One stage's board. Shared by its owner thread, its gate's reader and the API.
#[derive(Debug)]
pub(crate) struct Board {
    pub(crate) enclosure: Name,
    pub(crate) stage: Name,
    pub(crate) spiffe_id: SpiffeId,
    pub(crate) log: StageLog,
    held_back: HeldBack,
    /// Whether the launch reached the point where the gate may be open. Locked for as long as it takes
    /// to tell the gate, so that what the gate heard last is what is true last.
    admitting: Mutex<bool>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    status: StageStatus,
    not_after: Option<UnixTime>,
    gate: Option<Arc<Line>>,
    /// Open models, each with its root digest.
    opened: BTreeMap<String, String>,
}

/// What the enclosure says of a stage, as the status shows it.
#[derive(Debug, Default)]
pub(crate) struct Declared {
    pub(crate) profile: String,
    pub(crate) listens: Vec<String>,
    pub(crate) models: Vec<String>,
}

impl Board {
    pub(crate) fn new(
        enclosure: Name,
        stage: Name,
        spiffe_id: SpiffeId,
        log: StageLog,
        declared: Declared,
        held_back: HeldBack,
    ) -> Self {
        let Declared {
            profile,
            listens,
            models,
        } = declared;
        let status = StageStatus {
            name: stage.to_string(),
            profile,
            phase: Phase::Fetch,
            state: LaunchState::Requested,
            message: String::new(),
            spiffe_id: spiffe_id.to_string(),
            listens,
            models,
            certificate: None,
            restarts: 0,
            pid: None,
            plan_digest: None,
            gate: GateStatus::default(),
            probe: None,
        };
        let inner = Inner {
            status,
            not_after: None,
            gate: None,
            opened: BTreeMap::new(),
        };
        Self {
            enclosure,
            stage,
            spiffe_id,
            log,
            held_back,
            admitting: Mutex::new(false),
            inner: Mutex::new(inner),
        }
    }

    /// `enclosure.stage`: the name of everything that belongs to the stage.
    pub(crate) fn id(&self) -> String {
        format!("{}.{}", self.enclosure, self.stage)
    }

    /// What `GET /v1/status` shows.
    pub(crate) fn status(&self, now: UnixTime) -> StageStatus {
        let inner = self.inner();
        let mut status = inner.status.clone();
        if let (Some(certificate), Some(not_after)) = (&mut status.certificate, inner.not_after) {
            certificate.seconds_left = now.until(not_after).as_secs();
        }
        status
    }

    /// The launch got this far.
    pub(crate) fn reached(&self, state: LaunchState, phase: Phase, message: &str) {
        let mut inner = self.inner();
        inner.status.state = state;
        inner.status.phase = phase;
        message.clone_into(&mut inner.status.message);
    }

    pub(crate) fn planned(&self, digest: &str) {
        self.inner().status.plan_digest = Some(digest.to_owned());
    }

    /// A model was opened; its contents are the ones with this digest.
    pub(crate) fn opened_model(&self, model: &str, root_digest: &str) {
        self.inner()
            .opened
            .insert(model.to_owned(), root_digest.to_owned());
    }

    /// The stage has none of its models open.
    pub(crate) fn closed_models(&self) {
        self.inner().opened.clear();
    }

    /// The digest of an open model.
    pub(crate) fn opened(&self, model: &str) -> Option<String> {
        self.inner().opened.get(model).cloned()
    }

    pub(crate) fn runs_as(&self, pid: Option<u32>) {
        self.inner().status.pid = pid;
    }

    pub(crate) fn restarted(&self) -> u32 {
        let mut inner = self.inner();
        inner.status.restarts = inner.status.restarts.saturating_add(1);
        inner.status.restarts
    }

    pub(crate) fn probed(&self, summary: ProbeSummary) {
        self.inner().status.probe = Some(summary);
    }

    /// The gate has a new certificate.
    pub(crate) fn certified(&self, not_after: UnixTime) {
        let mut inner = self.inner();
        inner.not_after = Some(not_after);
        let rotations = inner
            .status
            .certificate
            .as_ref()
            .map_or(0, |held| held.rotations.saturating_add(1));
        inner.status.certificate = Some(CertificateStatus {
            not_after: not_after.0,
            seconds_left: 0,
            rotations,
        });
    }

    /// Counts along with the gate's events, so that the numbers are of now and not of a minute ago.
    pub(crate) fn count(&self, event: &Event) {
        let mut inner = self.inner();
        let gate = &mut inner.status.gate;
        match event.kind.as_ref() {
            kind::REQUEST_ADMITTED => {
                gate.admitted = gate.admitted.saturating_add(1);
                gate.in_flight = gate.in_flight.saturating_add(1);
            }
            kind::REQUEST_REFUSED => gate.refused = gate.refused.saturating_add(1),
            kind::REQUEST_FINISHED | kind::REQUEST_CUT => {
                gate.in_flight = gate.in_flight.saturating_sub(1);
            }
            _ => {}
        }
    }

    /// What the gate itself counted; its word is the last.
    pub(crate) fn counted(&self, stats: wire::Stats) {
        self.inner().status.gate = GateStatus {
            admitted: stats.admitted,
            refused: stats.refused,
            in_flight: stats.running,
        };
    }

    /// Makes a new gate known, then tells it what is revoked: in this order, because whoever revokes
    /// adds to the list first and asks for the gates after. So the gate hears of each at least once.
    pub(crate) fn introduce(
        &self,
        gate: &Arc<Line>,
        revoked: impl FnOnce() -> Vec<Revocation>,
    ) -> Result<(), ControlError> {
        self.inner().gate = Some(Arc::clone(gate));
        for revocation in revoked() {
            gate.tell(&revoke(revocation))?;
        }
        Ok(())
    }

    /// The gate has ended.
    pub(crate) fn forget_gate(&self) {
        let mut inner = self.inner();
        inner.status.certificate = None;
        inner.status.gate.in_flight = 0;
        inner.not_after = None;
        inner.gate = None;
    }

    /// Tells the gate of a revocation, if it runs; says whether it was told. One that cannot be told
    /// is ended.
    pub(crate) fn revoke(&self, revocation: &Revocation) -> bool {
        let gate = self.inner().gate.clone();
        let Some(gate) = gate else {
            return false;
        };
        match gate.tell(&revoke(revocation.clone())) {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(
                    gate = %self.id(),
                    error = %crate::report(&error),
                    "gate ended: it could not be told of a revocation"
                );
                false
            }
        }
    }

    /// Whether the launch lets the gate be open from now on; the gate is told what follows.
    pub(crate) fn set_admitting(&self, admitting: bool) -> Result<(), ControlError> {
        let mut held = self.admitting();
        *held = admitting;
        self.tell_door(*held)
    }

    /// Never opens the gate again, and lets running answers end.
    pub(crate) fn admit_no_more(&self) {
        *self.admitting() = false;
    }

    /// Tells the gate anew whether it is open, after receipts could not be written or can be again.
    pub(crate) fn renew_door(&self) -> Result<(), ControlError> {
        let admitting = self.admitting();
        self.tell_door(*admitting)
    }

    /// The one place that says whether a gate is open. Called with `admitting` locked.
    fn tell_door(&self, admitting: bool) -> Result<(), ControlError> {
        let gate = self.inner().gate.clone();
        let open = admitting && !self.held_back.now();
        gate.map_or(Ok(()), |gate| gate.tell(&wire::ToGate::Admit(open)))
    }

    fn admitting(&self) -> MutexGuard<'_, bool> {
        self.admitting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn revoke(revocation: Revocation) -> wire::ToGate {
    wire::ToGate::Revoke(wire::Revoke {
        at: Some(revocation.at),
        jti: revocation.jti,
        sub: revocation.sub,
    })
}

#[cfg(test)]
mod tests;
