//! Attacks one stage from inside, with a witness outside, and signs what was found.
//!
//! Used by the launch before anything is admitted, and on demand while the stage serves. What the
//! prober says is believed only as far as the witness does not deny it; what could not be told never
//! counts as held.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use casemate_api::v1::{ProbeLine, ProbeSummary};
use casemate_core::enclosure::{Enclosure, KeySource, Stage};
use casemate_core::event::{Event, Severity, kind};
use casemate_core::finding::{
    Budget, Grants, Limits, ModelGrant, Namespaces, ProbeOrder, Summary, sha256_hex,
};
use casemate_core::receipt::ReceiptKind;
use casemate_isolation::conduct::{self, Conducted};
use casemate_isolation::evidence::{Circumstances, Envelope, Statement};
use casemate_isolation::guard;
use casemate_isolation::report::Standing;
use casemate_isolation::witness::{Witness, WitnessSettings};
use casemate_linux::process::Child;
use casemate_sandbox::stage::{Confirmation, RunStageError};

use crate::board::Board;
use crate::failure::{Code, Failure};
use crate::journal::fact;
use crate::keys::random_hex;
use crate::node::Node;
use crate::view::View;

/// The stage that is attacked, and what it is meant to have.
pub(crate) struct Target<'a> {
    pub(crate) board: &'a Arc<Board>,
    pub(crate) stage: &'a Stage,
    pub(crate) enclosure: &'a Enclosure,
    pub(crate) confirmation: &'a Confirmation,
    pub(crate) views: &'a [View],
    /// The names of the variables that the plan gives to the server.
    pub(crate) environment: Vec<String>,
    /// Whether its limits may be exhausted: only before it serves.
    pub(crate) may_exhaust: bool,
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Report {
    summary: Summary,
    open: Vec<String>,
    untold: Vec<String>,
}

impl Report {
    /// Checks that got through, beyond the argued list; one line each.
    pub(crate) fn open(&self) -> &[String] {
        &self.open
    }

    /// Checks that could not tell; one line each.
    pub(crate) fn untold(&self) -> &[String] {
        &self.untold
    }

    pub(crate) fn summary(&self) -> ProbeSummary {
        let count = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        ProbeSummary {
            checks: count(self.summary.checks),
            blocked: count(self.summary.blocked),
            open: count(self.summary.open),
            expected_open: count(self.summary.open)
                .saturating_sub(u32::try_from(self.open.len()).unwrap_or(u32::MAX)),
            inconclusive: count(self.summary.inconclusive),
            not_applicable: count(self.summary.not_applicable),
        }
    }
}

/// Starts the prober in the sandbox, given where its output goes.
type Start<'a> = &'a dyn Fn(OwnedFd) -> Result<(Child, UnixStream), RunStageError>;

/// Runs the whole catalogue; every finding goes to `line`, then the signed evidence.
pub(crate) fn run(
    node: &Arc<Node>,
    target: &Target<'_>,
    output: OwnedFd,
    start: Start<'_>,
    line: &dyn Fn(ProbeLine),
) -> Result<Report, Failure> {
    // One after the other: two at once would time each other's checks out.
    let _turn = node.probing.lock().unwrap_or_else(PoisonError::into_inner);
    let event = |kind, severity| -> Event {
        node.journal
            .event(kind, severity)
            .at(&target.board.enclosure, Some(&target.board.stage))
            .about(target.board.spiffe_id.to_string())
    };
    let grounds = Grounds::prepare(node, target)?;
    let seed: [u8; 32] = random()?;
    let witness =
        Witness::start(&grounds.settings, &seed).map_err(|error| failed(target, &error))?;
    let order = order(target, &witness)?;
    let started = node.journal.now();
    node.journal
        .add(event(kind::PROBE_STARTED, Severity::Info).fact("nonce", order.nonce.clone()));

    let (child, channel) = start(output).map_err(|error| failed(target, &error))?;
    let conducted = conduct::conduct(&channel, &order, Some(&witness), &mut |finding| {
        if let Ok(finding) = serde_json::to_value(finding) {
            line(ProbeLine::Finding(finding));
        }
    });
    drop(channel);
    end(&child);
    let conducted = conducted.map_err(|error| failed(target, &error))?;

    let programs: BTreeMap<String, String> = node
        .host
        .measure()
        .map_err(|error| failed(target, &error))?
        .into_iter()
        .filter_map(|(name, value)| {
            name.strip_suffix("-sha256")
                .map(|name| (name.to_owned(), value))
        })
        .collect();
    let statement = Statement::of(
        &order,
        &conducted,
        Some(&witness),
        Circumstances {
            stage: format!("{}/{}", target.board.enclosure, target.board.stage),
            plan_sha256: target.confirmation.digest.clone(),
            runtime: node.host.runtime(),
            programs,
            started: started.0,
            finished: node.journal.now().0,
        },
    );
    let bytes = statement.canonical_bytes();
    let envelope = Envelope::seal(&bytes, &node.receipt_key.id(), |message| {
        node.receipt_key.sign(message)
    })
    .map_err(|error| failed(target, &error))?;

    let report = judge(&conducted);
    let summary = report.summary;
    let counts = [
        fact("checks", summary.checks),
        fact("blocked", summary.blocked),
        fact("open", summary.open),
        fact("inconclusive", summary.inconclusive),
        fact("not-applicable", summary.not_applicable),
    ];
    let mut facts: BTreeMap<String, String> = counts.iter().cloned().collect();
    facts.extend([
        fact("plan-digest", &target.confirmation.digest),
        fact("nonce", &order.nonce),
        fact("evidence-sha256", sha256_hex(&bytes)),
        fact("unexpected-open", report.open.len()),
    ]);
    let subject = target.board.spiffe_id.to_string();
    node.journal.record(ReceiptKind::ProbeRun, subject, facts)?;
    target.board.probed(report.summary());
    let finished = counts.into_iter().fold(
        event(kind::PROBE_FINISHED, Severity::Info),
        |event, (name, value)| event.fact(&name, value),
    );
    node.journal.add(finished);
    for open in &report.open {
        node.journal
            .add(event(kind::PROBE_OPEN, Severity::Error).fact("check", open.clone()));
    }
    match serde_json::to_value(&envelope) {
        Ok(envelope) => line(ProbeLine::Evidence(envelope)),
        Err(error) => return Err(failed(target, &error)),
    }
    Ok(report)
}

fn judge(conducted: &Conducted) -> Report {
    let (mut open, mut untold) = (Vec::new(), Vec::new());
    for finding in &conducted.findings {
        let said = finding
            .evidence
            .steps
            .iter()
            .filter(|step| step.verdict == finding.verdict);
        let steps: Vec<String> = said
            .map(|step| format!("{} {}", step.tried, step.detail).trim().to_owned())
            .chain(finding.evidence.ended.clone())
            .chain(
                finding
                    .control
                    .iter()
                    .filter(|control| !control.worked)
                    .map(|control| {
                        format!("control `{}` failed: {}", control.tried, control.detail)
                    }),
            )
            .collect();
        let text = format!("{} {}: {}", finding.check, finding.title, steps.join("; "));
        match Standing::of(finding) {
            Standing::Held | Standing::ExpectedOpen => {}
            Standing::Open => open.push(text),
            Standing::Unknown => untold.push(text),
        }
    }
    Report {
        summary: conducted.summary(),
        open,
        untold,
    }
}

/// Where the witness stands; taken away afterwards.
struct Grounds {
    settings: WitnessSettings,
    directory: PathBuf,
}

impl Grounds {
    fn prepare(node: &Node, target: &Target<'_>) -> Result<Self, Failure> {
        let directory = node.settings.run_dir("witness").join(target.board.id());
        // Left by a daemon that was killed during a probe.
        std::fs::remove_dir_all(&directory).ok();
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&directory)
            .map_err(|error| failed(target, &error))?;
        let mut settings = WitnessSettings::in_directory(directory.clone());
        let hidden = [
            node.settings.state.clone(),
            node.settings.socket(),
            node.settings.run_dir("mesh"),
            node.settings.run_dir("views"),
        ];
        let models = target.enclosure.models.iter().flat_map(|model| {
            let KeySource::File(key) = &model.key;
            [model.sealed.clone(), key.clone()]
        });
        settings.hidden_paths = hidden
            .into_iter()
            .chain(models)
            .map(|path| path.display().to_string())
            .collect();
        Ok(Self {
            settings,
            directory,
        })
    }
}

impl Drop for Grounds {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.directory) {
            tracing::warn!(path = %self.directory.display(), error = %error, "witness not removed");
        }
    }
}

fn order(target: &Target<'_>, witness: &Witness) -> Result<ProbeOrder, Failure> {
    let found = target.confirmation.namespaces;
    let resources = target.stage.resources;
    Ok(ProbeOrder {
        nonce: random_hex::<32>().map_err(|error| failed(target, &error))?,
        expected: Namespaces {
            net: found.network,
            mnt: found.mount,
            pid: found.pid,
            user: found.user,
            ipc: found.ipc,
        },
        host: guard::namespaces().map_err(|error| failed(target, &error))?,
        links: vec!["lo".to_owned()],
        canaries: witness.canaries().clone(),
        grants: Grants {
            serves: Some(target.stage.serves),
            connects: target
                .enclosure
                .flows_from(&target.stage.name)
                .map(|(_, port)| port)
                .collect(),
            scratch: "/tmp".to_owned(),
            models: target
                .stage
                .models
                .iter()
                .zip(target.views)
                .map(|(model, view)| ModelGrant {
                    path: format!("/models/{}", model.name),
                    bytes: view.bytes(),
                })
                .collect(),
            limits: Limits {
                memory_bytes: Some(resources.memory),
                pids: Some(resources.pids),
                scratch_bytes: Some(resources.scratch),
            },
            environment: target.environment.clone(),
            may_exhaust: target.may_exhaust,
        },
        budget: Budget::default(),
        identity: "stage".to_owned(),
        only: Vec::new(),
    })
}

fn random() -> Result<[u8; 32], Failure> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| Failure::new(Code::Internal, "the random number generator failed"))?;
    Ok(bytes)
}

/// The prober ends by itself; one that does not is ended.
fn end(child: &Child) {
    match child.wait_for(LONGEST_END) {
        Ok(Some(_)) => {}
        Ok(None) | Err(_) => {
            // Already waited for is what is wanted.
            drop(child.kill());
        }
    }
}

fn failed(target: &Target<'_>, error: &dyn std::error::Error) -> Failure {
    let message = format!(
        "the probe of stage `{}` could not be carried out: {}",
        target.board.stage,
        crate::report(error)
    );
    Failure::new(Code::ProbeFailed, message)
}

const LONGEST_END: Duration = Duration::from_secs(5);
