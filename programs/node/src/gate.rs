//! The gate of one stage as the daemon sees it: started inside the stage's network namespace, given
//! its certificates, opened and closed.
//!
//! It starts closed. Opening it is the last act of a launch (`launch::Admitting`, made by `Probed` alone),
//! and closing it is the first act of everything that goes wrong.

use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use casemate_api::gate as wire;
use casemate_core::event::{Severity, kind};
use casemate_linux::namespace::Kind;
use casemate_linux::process::{Command, Exit, Resource};

use crate::board::Board;
use crate::control::{ControlError, Lines};
use crate::helper::{Helper, Plan, StartHelperError};
use crate::issuer::{AskIssuerError, Issuer};
use crate::journal::Journal;
use crate::settings::Settings;
use crate::spawner::Spawner;
use crate::store::InstanceKind;
use crate::users;

mod line;
mod rate;
mod reports;

pub(crate) use line::Line;
use rate::{Answer, CertificateRate};

/// Why a stage has no gate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartGateError {
    #[error(transparent)]
    Start(#[from] StartHelperError),
    #[error("cannot speak with the gate")]
    Control(#[from] ControlError),
    #[error("cannot learn what the gate needs")]
    Issuer(#[from] AskIssuerError),
    #[error("cannot copy the gate's listeners")]
    Listeners(#[source] io::Error),
    #[error("cannot start a thread for the gate")]
    Thread(#[source] io::Error),
}

/// Why a gate that runs is ended.
#[derive(Debug, thiserror::Error)]
enum Misbehaviour {
    #[error("its control stream is of no use")]
    Control(#[from] ControlError),
    #[error("it reported what no gate reports: {0:?}")]
    Report(String),
    #[error("it asks for certificates without end")]
    Flood,
}

/// Host listeners of a stage. The daemon keeps them, so that they outlive a gate.
#[derive(Debug)]
pub(crate) struct Listeners {
    pub(crate) exposed: Vec<TcpListener>,
    pub(crate) mesh: Option<UnixListener>,
}

/// What a gate is started with.
pub(crate) struct GateRequest<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) spawner: &'a Spawner,
    pub(crate) journal: &'a Journal,
    pub(crate) issuer: &'a Arc<Issuer>,
    pub(crate) board: &'a Arc<Board>,
    pub(crate) stage: &'a casemate_core::enclosure::Stage,
    pub(crate) flows: Vec<casemate_core::admission::InboundFlow>,
    pub(crate) outbound: Vec<wire::Outbound>,
    pub(crate) listeners: &'a Listeners,
    pub(crate) user: u32,
    pub(crate) network: OwnedFd,
}

/// A running gate. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Gate {
    helper: Helper,
    line: Arc<Line>,
    board: Arc<Board>,
}

impl Gate {
    /// Starts a gate and waits until it holds its first certificate. It admits nothing.
    pub(crate) fn start(request: GateRequest<'_>) -> Result<Self, StartGateError> {
        let (listeners, descriptors) =
            copy_listeners(request.listeners).map_err(StartGateError::Listeners)?;
        let trust = request.issuer.ready()?;
        let settings = wire::Settings {
            enclosure: request.board.enclosure.clone(),
            stage: request.board.stage.clone(),
            trust_domain: request.issuer.trust_domain().clone(),
            profile: request.stage.profile.clone(),
            flows: request.flows,
            upstream: crate::compile::loopback(request.stage.serves),
            listeners,
            outbound: request.outbound,
            issuer: Some(request.settings.run_dir("mesh").join("issuer.sock")),
            ticket_keys: trust.jwks,
            bundle_pem: trust.bundle_pem,
            bounds: wire::Bounds::default(),
        };
        let (helper, lines) = Helper::start::<_, wire::FromGate>(
            request.spawner,
            request.journal.store(),
            Plan {
                kind: InstanceKind::Gate,
                name: request.board.id(),
                program: request.settings.program("casemate-gate"),
                uid: request.user,
                gid: request.user,
                groups: vec![users::MESH_GID],
                settings: &settings,
                descriptors,
                adjust: limits,
                network: Some(request.network),
            },
        )?;
        let line = Arc::new(Line::new(helper.control(), helper.killer()));
        let (ready, is_ready) = sync_channel(1);
        let reader = Reader {
            line: Arc::clone(&line),
            board: Arc::clone(request.board),
            issuer: Arc::clone(request.issuer),
            journal: request.journal.clone(),
            ready: Some(ready),
            rate: CertificateRate::new(request.settings.stage_certificate),
        };
        std::thread::Builder::new()
            .name(format!("gate {}", request.board.id()))
            .spawn(move || reader.read(lines))
            .map_err(StartGateError::Thread)?;
        if is_ready.recv_timeout(READY_LIMIT).is_err() {
            return Err(helper.not_ready(READY_LIMIT).into());
        }
        let gate = Self {
            helper,
            line,
            board: Arc::clone(request.board),
        };
        gate.board
            .introduce(&gate.line, || request.issuer.revoked())?;
        Ok(gate)
    }

    /// Lets running answers end, for at most `limit`, takes nothing new, and ends the gate.
    pub(crate) fn drain(self, limit: Duration) {
        match self.line.tell(&wire::ToGate::Drain(wire::Nothing {})) {
            Ok(()) => drop(self.helper.wait_for(limit)),
            Err(error) => tracing::debug!(error = %crate::report(&error), "gate not drained"),
        }
    }

    /// Runs `then` when the gate has ended.
    pub(crate) fn when_ended(&self, then: impl FnOnce(Exit) + Send + 'static) -> io::Result<()> {
        self.helper.when_ended(then)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.board.forget_gate();
    }
}

/// Takes a gate's lines for as long as it lives.
struct Reader {
    line: Arc<Line>,
    board: Arc<Board>,
    issuer: Arc<Issuer>,
    journal: Journal,
    ready: Option<SyncSender<()>>,
    rate: CertificateRate,
}

impl Reader {
    fn read(mut self, mut lines: Lines<wire::FromGate>) {
        loop {
            let taken = match lines.next() {
                Ok(Some(line)) => self.take(line),
                Ok(None) => {
                    // A gate without its control stream ends itself.
                    self.line.close();
                    return;
                }
                Err(error) => Err(error.into()),
            };
            if let Err(error) = taken {
                tracing::error!(
                    gate = %self.board.id(),
                    error = %crate::report(&error),
                    "gate misbehaved"
                );
                // Its owner sees it end, and closes the stage with it.
                self.line.end();
                return;
            }
        }
    }

    fn take(&mut self, line: wire::FromGate) -> Result<(), Misbehaviour> {
        match line {
            wire::FromGate::Csr(csr) => self.certify(csr),
            wire::FromGate::Ready(wire::Nothing {}) => {
                if let Some(ready) = self.ready.take() {
                    // Whoever started it may have given up.
                    ready.send(()).ok();
                }
                Ok(())
            }
            wire::FromGate::Event(report) => {
                let kind = report.kind.to_string();
                let (now, board) = (self.journal.now(), &self.board);
                let event = reports::taken(*report, now, &board.enclosure, &board.stage)
                    .ok_or_else(|| Misbehaviour::Report(kind.chars().take(64).collect()))?;
                self.board.count(&event);
                self.journal.add(event);
                Ok(())
            }
            wire::FromGate::Stats(stats) => {
                self.board.counted(stats);
                Ok(())
            }
        }
    }

    /// Relays a certificate request under the identity that the daemon knows the gate to have.
    fn certify(&mut self, csr: wire::Csr) -> Result<(), Misbehaviour> {
        match self.rate.ask(Instant::now()) {
            Answer::Issue => {}
            Answer::TooSoon => {
                let reason = "it has a new one already".to_owned();
                let refused = wire::SvidRefused { id: csr.id, reason };
                return Ok(self.line.tell(&wire::ToGate::SvidRefused(refused))?);
            }
            Answer::Flood => return Err(Misbehaviour::Flood),
        }
        match self.issuer.issue_stage(&self.board.spiffe_id, csr.csr_pem) {
            Ok(svid) => {
                self.rate.issued(Instant::now());
                let message = wire::Svid {
                    id: csr.id,
                    chain_pem: svid.chain_pem,
                };
                self.line.tell(&wire::ToGate::Svid(message))?;
                self.board.certified(svid.not_after);
                Ok(())
            }
            Err(error) => {
                self.rate.failed(Instant::now());
                let reason = crate::report(&error);
                self.journal.add(
                    self.journal
                        .event(kind::SVID_ROTATION_FAILED, Severity::Error)
                        .at(&self.board.enclosure, Some(&self.board.stage))
                        .about(self.board.spiffe_id.to_string())
                        .fact("reason", reason.clone()),
                );
                let refused = wire::SvidRefused { id: csr.id, reason };
                Ok(self.line.tell(&wire::ToGate::SvidRefused(refused))?)
            }
        }
    }
}

type Copied = (Vec<wire::Listener>, Vec<(u16, OwnedFd)>);

fn copy_listeners(listeners: &Listeners) -> io::Result<Copied> {
    let mut named = Vec::new();
    let mut descriptors = Vec::new();
    let mut add = |copy: OwnedFd, kind| {
        let number = FIRST_LISTENER.saturating_add(u16::try_from(named.len()).unwrap_or(u16::MAX));
        named.push(wire::Listener {
            fd: i32::from(number),
            kind,
        });
        descriptors.push((number, copy));
    };
    for listener in &listeners.exposed {
        add(listener.try_clone()?.into(), wire::ListenerKind::Exposed);
    }
    if let Some(listener) = &listeners.mesh {
        add(listener.try_clone()?.into(), wire::ListenerKind::Mesh);
    }
    Ok((named, descriptors))
}

fn limits(command: &mut Command) {
    command
        .unshare(&[Kind::Ipc, Kind::Uts, Kind::Pid, Kind::Cgroup])
        .limit(Resource::Core, 0)
        .limit_up_to(Resource::Nofile, 8192)
        .limit(Resource::Fsize, 0);
}

const FIRST_LISTENER: u16 = 5;
const READY_LIMIT: Duration = Duration::from_secs(15);
