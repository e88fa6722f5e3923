//! The issuer as the daemon sees it: started, asked, watched, and started again when it dies.
//!
//! What it must know (policies, revocations) is kept here and told again after each start. Its
//! listeners stay open in the daemon, so that a client sees a delay and not a refused connection.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use casemate_api::issuer as wire;
use casemate_core::name::Name;
use casemate_core::spiffe::{SpiffeId, TrustDomain};
use casemate_linux::process::{Command, Resource};
use casemate_linux::socket;

use crate::authority::AuthorityKeys;
use crate::control::{ControlError, Lines, Sender};
use crate::helper::{Helper, Plan, StartHelperError};
use crate::journal::Journal;
use crate::recorder::Recorder;
use crate::settings::Settings;
use crate::spawner::Spawner;
use crate::store::{InstanceKind, Revocation, StoreError};
use crate::users;

/// Why the issuer did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskIssuerError {
    #[error("cannot listen for the issuer at `{address}`")]
    Listen { address: String, source: io::Error },
    #[error("cannot start the issuer")]
    Start(#[from] StartHelperError),
    #[error("the issuer is not running")]
    NotRunning,
    #[error("cannot read what was revoked, and nothing is issued without it")]
    Revocations(#[source] StoreError),
    #[error("cannot speak with the issuer")]
    Control(#[from] ControlError),
    #[error("the issuer did not answer within {} seconds", ANSWER_LIMIT.as_secs())]
    NoAnswer,
    #[error("the issuer refused: {0}")]
    Refused(String),
    #[error("the issuer answered something else")]
    OtherAnswer,
}

/// The running issuer of this node.
#[derive(Debug)]
pub(crate) struct Issuer {
    keys: AuthorityKeys,
    settings: Settings,
    spawner: Spawner,
    journal: Journal,
    recorder: Recorder,
    tcp: TcpListener,
    mesh: UnixListener,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: Option<Running>,
    /// What is told again after a restart.
    policies: BTreeMap<Name, wire::EnclosurePolicy>,
    revoked: Vec<Revocation>,
    pending: HashMap<u64, SyncSender<Result<wire::FromIssuer, String>>>,
    next_id: u64,
    restarts: u32,
    stopping: bool,
}

#[derive(Debug)]
struct Running {
    helper: Helper,
    control: Arc<Sender>,
    ready: wire::Ready,
}

impl Issuer {
    /// Opens the listeners and starts the issuer.
    pub(crate) fn start(
        keys: AuthorityKeys,
        settings: &Settings,
        spawner: &Spawner,
        journal: &Journal,
        recorder: &Recorder,
    ) -> Result<Arc<Self>, AskIssuerError> {
        let revoked = journal
            .store()
            .revocations()
            .map_err(AskIssuerError::Revocations)?;
        let address = settings.issuer_listen;
        let tcp = socket::listen_tcp(address).map_err(|source| AskIssuerError::Listen {
            address: address.to_string(),
            source,
        })?;
        let path = settings.run_dir("mesh").join("issuer.sock");
        let mesh =
            socket::listen_unix(&path, 0o660, Some((0, users::MESH_GID))).map_err(|source| {
                AskIssuerError::Listen {
                    address: path.display().to_string(),
                    source,
                }
            })?;
        let issuer = Arc::new(Self {
            keys,
            settings: settings.clone(),
            spawner: spawner.clone(),
            journal: journal.clone(),
            recorder: recorder.clone(),
            tcp,
            mesh,
            state: Mutex::default(),
        });
        issuer.state().revoked = revoked;
        issuer.launch()?;
        Ok(issuer)
    }

    pub(crate) const fn trust_domain(&self) -> &TrustDomain {
        self.keys.trust_domain()
    }

    /// What it said when it was ready: ticket keys and trust bundle, for gates and clients.
    pub(crate) fn ready(&self) -> Result<wire::Ready, AskIssuerError> {
        let state = self.state();
        state
            .running
            .as_ref()
            .map(|running| running.ready.clone())
            .ok_or(AskIssuerError::NotRunning)
    }

    /// Where clients find it.
    pub(crate) fn url(&self) -> String {
        self.settings
            .issuer_url
            .clone()
            .unwrap_or_else(|| format!("https://{}", self.settings.issuer_listen))
    }

    /// Every revocation that still counts, for a gate that starts.
    pub(crate) fn revoked(&self) -> Vec<Revocation> {
        self.state().revoked.clone()
    }

    /// Has a stage's certificate signed.
    pub(crate) fn issue_stage(
        &self,
        spiffe_id: &SpiffeId,
        csr_pem: String,
    ) -> Result<wire::Svid, AskIssuerError> {
        let spiffe_id = spiffe_id.clone();
        let ask = |id| {
            wire::ToIssuer::IssueStage(wire::IssueStage {
                id,
                spiffe_id,
                csr_pem,
            })
        };
        match self.ask(ask)? {
            wire::FromIssuer::Svid(svid) => Ok(svid),
            wire::FromIssuer::Ready(_)
            | wire::FromIssuer::Done(_)
            | wire::FromIssuer::Refused(_)
            | wire::FromIssuer::Event(_) => Err(AskIssuerError::OtherAnswer),
        }
    }

    /// Adds or replaces an enclosure's policy.
    pub(crate) fn set_enclosure(
        &self,
        policy: wire::EnclosurePolicy,
    ) -> Result<(), AskIssuerError> {
        self.state()
            .policies
            .insert(policy.enclosure.clone(), policy.clone());
        self.ask(|id| wire::ToIssuer::Enclosure(wire::SetEnclosure { id, policy }))
            .map(drop)
    }

    /// Forgets an enclosure.
    pub(crate) fn remove_enclosure(&self, enclosure: &Name) -> Result<(), AskIssuerError> {
        self.state().policies.remove(enclosure);
        let enclosure = enclosure.clone();
        self.ask(|id| wire::ToIssuer::RemoveEnclosure(wire::RemoveEnclosure { id, enclosure }))
            .map(drop)
    }

    /// Whoever starts from now on, gate or issuer, begins with this.
    pub(crate) fn remember_revoked(&self, revocation: Revocation) {
        let mut state = self.state();
        let now = revocation.at;
        state.revoked.retain(|earlier| !earlier.is_over(now));
        state.revoked.push(revocation);
    }

    /// Refuses a token or a subject that is remembered as revoked. An issuer that cannot be told is
    /// ended: its next start begins with the list.
    pub(crate) fn revoke(&self, revocation: Revocation) -> Result<(), AskIssuerError> {
        let revocation = on_the_wire(revocation);
        let asked = self.ask(|id| wire::ToIssuer::RevokeAt(wire::RevokeAt { id, revocation }));
        match asked {
            Ok(_) => Ok(()),
            Err(error @ AskIssuerError::Refused(_)) => Err(error),
            Err(error) => {
                tracing::error!(error = %crate::report(&error), "issuer ended: it could not be told of a revocation");
                if let Some(running) = &self.state().running {
                    running.helper.kill();
                }
                Ok(())
            }
        }
    }

    /// Ends it for good.
    pub(crate) fn stop(&self) {
        let running = {
            let mut state = self.state();
            state.stopping = true;
            state.running.take()
        };
        drop(running);
        // Absent is what is wanted.
        std::fs::remove_file(self.settings.run_dir("mesh").join("issuer.sock")).ok();
    }

    fn ask(
        &self,
        question: impl FnOnce(u64) -> wire::ToIssuer,
    ) -> Result<wire::FromIssuer, AskIssuerError> {
        let (reply, answer) = sync_channel(1);
        let (id, control) = {
            let mut state = self.state();
            let control = state
                .running
                .as_ref()
                .map(|running| Arc::clone(&running.control));
            state.next_id += 1;
            let id = state.next_id;
            state.pending.insert(id, reply);
            (id, control.ok_or(AskIssuerError::NotRunning)?)
        };
        let sent = control.send(&question(id));
        let answer = match sent {
            Ok(()) => answer.recv_timeout(ANSWER_LIMIT),
            Err(error) => {
                self.state().pending.remove(&id);
                return Err(error.into());
            }
        };
        self.state().pending.remove(&id);
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(reason)) => Err(AskIssuerError::Refused(reason)),
            Err(RecvTimeoutError::Timeout) => Err(AskIssuerError::NoAnswer),
            Err(RecvTimeoutError::Disconnected) => Err(AskIssuerError::NotRunning),
        }
    }

    /// Starts the process, tells it what it must know, and takes over watching it.
    fn launch(self: &Arc<Self>) -> Result<(), AskIssuerError> {
        let told = self.revoked();
        let settings = wire::Startup {
            settings: self.wire_settings(),
            revocations: told.iter().cloned().map(on_the_wire).collect(),
        };
        let listener = |copied: io::Result<OwnedFd>| {
            copied.map_err(|source| AskIssuerError::Listen {
                address: self.settings.issuer_listen.to_string(),
                source,
            })
        };
        let (helper, mut lines) = Helper::start::<_, wire::FromIssuer>(
            &self.spawner,
            self.journal.store(),
            Plan {
                kind: InstanceKind::Issuer,
                name: "issuer".to_owned(),
                program: self.settings.program("casemate-issuer"),
                uid: users::ISSUER,
                gid: users::ISSUER,
                groups: vec![users::MESH_GID],
                settings: &settings,
                descriptors: vec![
                    (5, listener(self.tcp.try_clone().map(OwnedFd::from))?),
                    (6, listener(self.mesh.try_clone().map(OwnedFd::from))?),
                ],
                adjust: limits,
                network: None,
            },
        )?;
        lines.set_deadline(Some(READY_LIMIT))?;
        let Ok(Some(wire::FromIssuer::Ready(ready))) = lines.next() else {
            return Err(helper.not_ready(READY_LIMIT).into());
        };
        lines.set_deadline(None)?;
        let control = helper.control();
        let weak = Arc::downgrade(self);
        helper
            .when_ended({
                let weak = Weak::clone(&weak);
                move |exit| restart(&weak, exit)
            })
            .map_err(|source| AskIssuerError::Listen {
                address: "a thread".to_owned(),
                source,
            })?;
        std::thread::Builder::new()
            .name("issuer lines".to_owned())
            .spawn(move || read(&weak, lines))
            .map_err(|source| AskIssuerError::Listen {
                address: "a thread".to_owned(),
                source,
            })?;

        let revoked = {
            let mut state = self.state();
            state.running = Some(Running {
                helper,
                control: Arc::clone(&control),
                ready,
            });
            state.revoked.clone()
        };
        // What was revoked while it started.
        for revocation in revoked {
            if !told.contains(&revocation) {
                self.revoke(revocation)?;
            }
        }
        Ok(())
    }

    fn wire_settings(&self) -> wire::Settings {
        let seconds = self.settings.stage_certificate.as_secs();
        wire::Settings {
            trust_domain: self.keys.trust_domain().clone(),
            authority_pem: self.keys.pems.certificate.clone(),
            authority_key_pem: self.keys.pems.key.clone(),
            ticket_key_pem: self.keys.pems.ticket_key.clone(),
            tcp_fd: 5,
            mesh_fd: 6,
            provider_roots_pem: None,
            lifetimes: wire::Lifetimes {
                stage_secs: u32::try_from(seconds).unwrap_or(u32::MAX),
                ..wire::Lifetimes::default()
            },
            bounds: wire::Bounds::default(),
            enclosures: self.state().policies.values().cloned().collect(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn on_the_wire(revocation: Revocation) -> wire::Revocation {
    let Revocation { at, jti, sub } = revocation;
    wire::Revocation { at, jti, sub }
}

/// Takes the issuer's lines until its stream ends, or until one of them is not of its protocol.
fn read(issuer: &Weak<Issuer>, mut lines: Lines<wire::FromIssuer>) {
    loop {
        let line = match lines.next() {
            Ok(Some(line)) => line,
            Ok(None) => break,
            Err(error) => {
                tracing::error!(error = %crate::report(&error), "issuer misbehaved");
                break;
            }
        };
        let Some(issuer) = issuer.upgrade() else {
            return;
        };
        match line {
            wire::FromIssuer::Event(event) => issuer.recorder.issuer_event(*event),
            wire::FromIssuer::Svid(ref svid) => issuer.answer(svid.id, Ok(line)),
            wire::FromIssuer::Done(done) => issuer.answer(done.id, Ok(line)),
            wire::FromIssuer::Refused(refused) => {
                issuer.answer(refused.id, Err(refused.reason));
            }
            wire::FromIssuer::Ready(_) => {
                tracing::error!("issuer misbehaved: ready twice");
                break;
            }
        }
    }
    if let Some(issuer) = issuer.upgrade() {
        let mut state = issuer.state();
        state.pending.clear();
        if let Some(running) = &state.running {
            // Its end is seen by the watcher, which starts it again.
            running.control.close();
            running.helper.kill();
        }
    }
}

impl Issuer {
    fn answer(&self, id: u64, answer: Result<wire::FromIssuer, String>) {
        let waiting = self.state().pending.remove(&id);
        match waiting {
            // Whoever asked may have given up.
            Some(waiting) => drop(waiting.send(answer)),
            None => tracing::warn!(id, "issuer answered what nobody asks any more"),
        }
    }
}

/// Starts the issuer again after it died, with a growing wait.
fn restart(issuer: &Weak<Issuer>, exit: casemate_linux::process::Exit) {
    loop {
        let Some(issuer) = issuer.upgrade() else {
            return;
        };
        let (wait, ended) = {
            let mut state = issuer.state();
            state.pending.clear();
            let ended = state.running.take();
            if state.stopping {
                return;
            }
            state.restarts += 1;
            (BACK_OFF * (1 << state.restarts.min(6)), ended)
        };
        drop(ended);
        tracing::error!(exit = %exit, wait_ms = wait.as_millis(), "issuer ended");
        std::thread::sleep(wait);
        if issuer.state().stopping {
            return;
        }
        match issuer.launch() {
            Ok(()) => return,
            Err(error) => {
                tracing::error!(error = %crate::report(&error), "issuer not started again");
            }
        }
    }
}

fn limits(command: &mut Command) {
    command
        .limit(Resource::Core, 0)
        .limit_up_to(Resource::Nofile, 2048)
        .limit(Resource::Fsize, 0);
}

const READY_LIMIT: Duration = Duration::from_secs(15);
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
const BACK_OFF: Duration = Duration::from_millis(100);
