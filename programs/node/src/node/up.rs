//! Bringing an enclosure up, whole or not at all, and taking it down without a trace.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use casemate_api::v1;
use casemate_core::enclosure::{Enclosure, Stage};
use casemate_core::event::{Severity, kind};
use casemate_core::name::Name;
use casemate_linux::socket;

use super::{Node, issuer_failure};
use crate::asker::Asker;
use crate::board::{Board, Declared};
use crate::compile;
use crate::failure::{Code, Failure};
use crate::gate::Listeners;
use crate::issuer::Issuer;
use crate::launch::Ground;
use crate::running::{Owner, Running};
use crate::stage_log::StageLog;
use crate::supervise::{self, Word};
use crate::users;

type Progress<'a> = &'a dyn Fn(v1::UpProgress);

impl Node {
    /// `POST /v1/enclosures`.
    pub(crate) fn up(
        self: &Arc<Self>,
        request: &v1::UpRequest,
        asker: &Asker,
        progress: Progress<'_>,
    ) -> Result<v1::UpDone, Failure> {
        let began = Instant::now();
        let path = Path::new(&request.path);
        if !path.is_absolute() {
            return Err(Failure::new(
                Code::RequestMalformed,
                "`path` must be absolute",
            ));
        }
        let enclosure = casemate_core::enclosure::parse(&request.path, &request.text)
            .map_err(|errors| Failure::new(Code::EnclosureInvalid, errors.to_string()))?;
        let name = enclosure.name.clone();
        let running = self.reserve(enclosure)?;
        self.journal.add(
            self.journal
                .event(kind::ENCLOSURE_REQUESTED, Severity::Info)
                .at(&name, None),
        );
        match self.bring_up(&running, asker, progress) {
            Ok(listens) => {
                running.set_up();
                let up = self
                    .journal
                    .event(kind::ENCLOSURE_UP, Severity::Info)
                    .at(&name, None);
                self.journal.add(up);
                let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                Ok(v1::UpDone {
                    enclosure: name.to_string(),
                    millis,
                    listens,
                })
            }
            Err(failure) => {
                self.journal.add(
                    self.journal
                        .event(kind::ENCLOSURE_FAILED, Severity::Error)
                        .at(&name, None)
                        .fact("code", failure.code().word())
                        .fact("reason", failure.line()),
                );
                // The logs go with the stages, and are what a person looks at next.
                for board in running.boards() {
                    if let Ok((lines, _)) = board.log.tail(LAST_WORDS) {
                        self.last_words()
                            .keep(&board.enclosure, &board.stage, lines);
                    }
                }
                progress(v1::UpProgress {
                    stage: String::new(),
                    phase: "failed".to_owned(),
                    message: "no gate was opened; taking down what was started".to_owned(),
                });
                self.dismantle(&running);
                Err(failure)
            }
        }
    }

    /// `DELETE /v1/enclosures/{name}`.
    pub(crate) fn down(&self, name: &str) -> Result<v1::DownReport, Failure> {
        let running = self.running(name)?;
        if !running.is_up() && !self.stopping() {
            let message = format!("{name} is still being brought up");
            return Err(Failure::new(Code::Busy, message));
        }
        let stopped = self.dismantle(&running);
        let enclosure = &running.enclosure.name;
        self.journal.add(
            self.journal
                .event(kind::ENCLOSURE_DOWN, Severity::Info)
                .at(enclosure, None),
        );
        Ok(v1::DownReport {
            enclosure: name.to_owned(),
            stopped,
            leftovers: self.leftovers(),
        })
    }

    /// Takes the name, so that nobody else brings the same enclosure up meanwhile.
    fn reserve(&self, enclosure: Enclosure) -> Result<Arc<Running>, Failure> {
        if self.stopping() {
            return Err(Failure::new(Code::Stopping, "the daemon is ending"));
        }
        let mut enclosures = self.enclosures();
        if enclosures.contains_key(&enclosure.name) {
            let message = format!("{} is up already", enclosure.name);
            let fix = format!("take it down first: casemate down {}", enclosure.name);
            return Err(Failure::new(Code::AlreadyUp, message).with_fix(fix));
        }
        let name = enclosure.name.clone();
        let running = Arc::new(Running::new(Arc::new(enclosure), self.journal.now()));
        self.last_words().forget(name.as_str());
        enclosures.insert(name, Arc::clone(&running));
        Ok(running)
    }

    fn bring_up(
        self: &Arc<Self>,
        running: &Running,
        asker: &Asker,
        progress: Progress<'_>,
    ) -> Result<Vec<String>, Failure> {
        let enclosure = &running.enclosure;
        let say = |phase: &str, message: String| {
            progress(v1::UpProgress {
                stage: String::new(),
                phase: phase.to_owned(),
                message,
            });
        };
        self.host.ready_for(&self.settings, enclosure)?;
        // Every port before anything runs: a taken one is the commonest mistake.
        let listeners = enclosure
            .stages
            .iter()
            .map(|stage| self.listeners(enclosure, stage))
            .collect::<Result<Vec<_>, _>>()?;
        let issuer = self.issuer_for(&enclosure.trust_domain)?;
        issuer
            .set_enclosure(compile::policy(enclosure))
            .map_err(|error| issuer_failure(&error))?;
        say(
            "issuer",
            format!(
                "the issuer of {} listens at {}",
                enclosure.trust_domain,
                issuer.url()
            ),
        );

        let (words, heard) = sync_channel(WORDS);
        for (stage, listeners) in enclosure.stages.iter().zip(listeners) {
            let words = words.clone();
            running.add(self.own(running, stage, listeners, &issuer, asker, words)?);
        }
        drop(words);
        hear(&heard, enclosure.stages.len(), progress)?;
        Ok(enclosure
            .exposes
            .iter()
            .map(|at| format!("{}={}", at.stage, at.listen))
            .collect())
    }

    /// Starts the thread that launches and then owns one stage.
    fn own(
        self: &Arc<Self>,
        running: &Running,
        stage: &Stage,
        listeners: Listeners,
        issuer: &Arc<Issuer>,
        asker: &Asker,
        words: SyncSender<Word>,
    ) -> Result<Owner, Failure> {
        let enclosure = &running.enclosure;
        let internal = |error: std::io::Error| Failure::from_error(Code::Internal, &error);
        let slot = self
            .stage_slots
            .take()
            .ok_or_else(|| Failure::new(Code::SandboxFailed, "this host has no stage slot left"))?;
        let id = format!("{}.{}", enclosure.name, stage.name);
        self.launched
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id.clone());
        let log = self.settings.run_dir("logs").join(format!("{id}.log"));
        let listens = enclosure
            .exposes_of(&stage.name)
            .map(|at| at.listen.to_string())
            .collect();
        let board = Arc::new(Board::new(
            enclosure.name.clone(),
            stage.name.clone(),
            enclosure.stage_id(&stage.name),
            StageLog::create(&log).map_err(internal)?,
            Declared {
                profile: stage.profile.id.to_string(),
                listens,
                models: stage.models.iter().map(ToString::to_string).collect(),
            },
            self.recorder.held_back(),
        ));
        let (orders, taken) = sync_channel(ORDERS);
        let ground = Ground {
            node: Arc::clone(self),
            asker: asker.clone(),
            enclosure: Arc::clone(enclosure),
            stage: stage.clone(),
            board: Arc::clone(&board),
            issuer: Arc::clone(issuer),
            slot,
            listeners,
            opening: Arc::clone(&running.opening),
            words,
            orders: orders.clone(),
        };
        let thread = std::thread::Builder::new()
            .name(id)
            .spawn(move || supervise::own(&ground, &taken))
            .map_err(internal)?;
        Ok(Owner {
            board,
            orders,
            thread,
        })
    }

    fn listeners(&self, enclosure: &Enclosure, stage: &Stage) -> Result<Listeners, Failure> {
        let exposed = enclosure
            .exposes_of(&stage.name)
            .map(|at| {
                socket::listen_tcp(at.listen)
                    .map_err(|error| port_failure(&stage.name, at.listen, &error))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let mesh = compile::is_called_by_stages(enclosure, &stage.name).then(|| {
            let mesh = self.settings.run_dir("mesh");
            let path = compile::mesh_socket(&mesh, &enclosure.name, &stage.name);
            socket::listen_unix(&path, 0o660, Some((0, users::MESH_GID))).map_err(|error| {
                Failure::new(
                    Code::Internal,
                    format!("cannot listen at `{}`: {error}", path.display()),
                )
            })
        });
        Ok(Listeners {
            exposed,
            mesh: mesh.transpose()?,
        })
    }

    /// Stops every stage, forgets the enclosure and removes its sockets.
    fn dismantle(&self, running: &Running) -> Vec<String> {
        let stopped = running.stop();
        let enclosure = &running.enclosure;
        if let Some(issuer) = self.issuer()
            && let Err(error) = issuer.remove_enclosure(&enclosure.name)
        {
            tracing::warn!(enclosure = %enclosure.name, error = %crate::report(&error), "issuer not told");
        }
        let mesh = self.settings.run_dir("mesh");
        for stage in &enclosure.stages {
            // Absent is what is wanted; one that stays is found by the leftover report.
            std::fs::remove_file(compile::mesh_socket(&mesh, &enclosure.name, &stage.name)).ok();
        }
        let mut enclosures = self.enclosures();
        enclosures.remove(&enclosure.name);
        if enclosures.is_empty() {
            crate::leftovers::remove_group();
        }
        stopped
    }
}

/// Passes progress on until every stage admits, or the first one fails.
fn hear(heard: &Receiver<Word>, stages: usize, progress: Progress<'_>) -> Result<(), Failure> {
    let mut missing = stages;
    while missing > 0 {
        match heard.recv() {
            Ok(Word::Progress(step)) => progress(step),
            Ok(Word::Started(Ok(()))) => missing -= 1,
            Ok(Word::Started(Err(failure))) => return Err(failure),
            Err(_) => return Err(Failure::new(Code::Internal, "a stage's thread ended early")),
        }
    }
    Ok(())
}

fn port_failure(stage: &Name, address: SocketAddr, error: &std::io::Error) -> Failure {
    let message = format!("cannot listen at {address} for stage `{stage}`: {error}");
    Failure::new(Code::PortTaken, message)
}

/// Lines that are kept of each stage of an enclosure that did not come up.
const LAST_WORDS: usize = 200;
const WORDS: usize = 64;
const ORDERS: usize = 64;
