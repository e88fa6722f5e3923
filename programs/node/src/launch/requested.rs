//! `Requested`: a stage is declared and nothing of it exists. The way on is to be measured.

use casemate_api::v1::{LaunchState, Phase};
use casemate_core::enclosure::Run;
use casemate_core::event::{Severity, kind};
use casemate_core::receipt::ReceiptKind;
use casemate_sandbox::host;
use casemate_sandbox::plan::{
    FlowPort, ModelView, Plan, RootFileSystem, StageLimits, StageRequest, plan,
};

use super::{Attestation, Attested, Ground};
use crate::failure::{Code, Failure};
use crate::journal::fact;

/// A stage that was asked for.
#[derive(Debug)]
pub(crate) struct Requested(());

impl Requested {
    /// Every launch begins here.
    pub(crate) fn new(ground: &Ground) -> Self {
        ground.reached(
            LaunchState::Requested,
            Phase::Fetch,
            "measuring host and plan",
        );
        Self(())
    }

    /// Decides the whole sandbox, measures what it will be made of, and records both.
    ///
    /// What is measured is software: our programs, the runtime, the image and the plan. The receipt
    /// says so by its grade.
    pub(crate) fn attest(self, ground: &Ground) -> Result<Attested, Failure> {
        ground.go_on()?;
        let root = root(ground)?;
        let source = match &root {
            RootFileSystem::Image(image) => image.digest.clone(),
            RootFileSystem::HostDirectories(directories) => directories
                .iter()
                .map(|path| path.display().to_string())
                .collect::<Vec<_>>()
                .join(","),
        };
        let plan = stage_plan(ground, root)?;
        let server = &plan.confinement.server;
        if let Some(forbidden) = ground
            .stage
            .forbidden(&server.arguments, &server.environment)
        {
            let (stage, profile) = (&ground.stage.name, &ground.stage.profile.id);
            return Err(Failure::new(
                Code::ImageRefused,
                format!(
                    "stage `{stage}` would run with `{forbidden}`, which the profile `{profile}` forbids"
                ),
            ));
        }
        host::check(&plan).map_err(|error| Failure::from_error(Code::SandboxFailed, &error))?;
        ground.board.planned(&plan.digest);
        let host = &ground.node.host;
        let measured = host.measure().map_err(|error| {
            Failure::new(
                Code::SandboxFailed,
                format!("cannot measure this host: {error}"),
            )
        })?;
        let mut facts = vec![
            fact("plan-digest", &plan.digest),
            fact("root", source),
            fact("profile", &ground.stage.profile.id),
            fact(
                "models",
                ground
                    .stage
                    .models
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(","),
            ),
        ];
        facts.extend(measured);
        let receipt = ground.record(ReceiptKind::StageAttested, facts.into_iter().collect())?;
        let event = ground.event(kind::STAGE_ATTESTED, Severity::Info);
        ground
            .node
            .journal
            .add(event.fact("plan-digest", plan.digest.clone()));
        ground.reached(
            LaunchState::Attested,
            Phase::Fetch,
            "host and plan are measured",
        );
        let attestation = Attestation::of(&plan, receipt);
        Ok(Attested::new(attestation, plan))
    }
}

fn root(ground: &Ground) -> Result<RootFileSystem, Failure> {
    match &ground.stage.run {
        Run::Host { directories, .. } => {
            let ours = ground.node.settings.own_directories();
            for directory in directories {
                ground
                    .asker
                    .check_host_directory(&ours, directory)
                    .map_err(|error| Failure::from_error(Code::FileRefused, &error))?;
            }
            Ok(RootFileSystem::HostDirectories(directories.clone()))
        }
        Run::Image { path, .. } => super::image::unpack(ground, path).map(RootFileSystem::Image),
    }
}

fn stage_plan(ground: &Ground, root: RootFileSystem) -> Result<Plan, Failure> {
    let (node, stage) = (&ground.node, &ground.stage);
    let resources = stage.resources;
    let command = match &stage.run {
        Run::Image { command, .. } => command.clone().unwrap_or_default(),
        Run::Host { command, .. } => command.clone(),
    };
    let request = StageRequest {
        id: ground.board.id(),
        slot: ground.slot.number(),
        root,
        kept: vec![node.settings.state.clone(), node.settings.run.clone()],
        command,
        environment: environment(ground),
        directory: None,
        models: stage
            .models
            .iter()
            .map(|model| ModelView {
                name: model.name.to_string(),
                view: super::weights_ready::view_path(ground, &model.name),
            })
            .collect(),
        programs: node.host.programs().to_owned(),
        network: super::weights_ready::network_path(ground),
        serves: stage.serves,
        flows: ground
            .enclosure
            .flows_from(&stage.name)
            .map(|(flow, port)| FlowPort {
                stage: flow.to.to_string(),
                port,
            })
            .collect(),
        // Every stage has these two anyway.
        writable: stage
            .profile
            .writable
            .iter()
            .filter(|path| !matches!(path.as_str(), "/tmp" | "/dev/shm"))
            .cloned()
            .collect(),
        limits: StageLimits {
            memory_bytes: resources.memory,
            milli_cpus: u64::from(resources.millicpus),
            processes: u64::from(resources.pids),
            scratch_bytes: resources.scratch,
            // Both together must stay too small to keep a copy of a small model.
            shared_memory_bytes: resources.scratch / 4,
            ..StageLimits::default()
        },
        host: node.host.facts()?,
    };
    plan(&request).map_err(|error| {
        Failure::new(
            Code::SandboxFailed,
            format!(
                "stage `{}` cannot be planned: {}",
                stage.name,
                crate::report(&error)
            ),
        )
    })
}

/// The profile's defaults, then the enclosure's own, then what the profile insists on.
fn environment(ground: &Ground) -> Vec<(String, String)> {
    let profile = &ground.stage.profile.environment;
    let mut all = profile.default.clone();
    all.extend(ground.stage.environment.clone());
    all.extend(profile.require.clone());
    all.into_iter().collect()
}
