//! The declared pipeline: models, stages and the flows between them.
//!
//! [`parse`] reads an enclosure file and either gives an [`Enclosure`] in which every reference resolves,
//! or every mistake at once, each with its place and its fix. There is no other way to make one.
//! The text is treated as hostile: size, depth and number of nodes are bounded, aliases and tags refused.

mod check;
mod decode;
mod file;
mod units;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::name::{ModelVersion, Name};
use crate::profile::Profile;
use crate::spiffe::{SpiffeId, TrustDomain};
use crate::ticket::Limits;

pub use self::check::{Expected, Mentioned, Trouble, parse, parse_and_look};
pub use self::file::json_schema;

/// The `apiVersion` that this build reads.
pub const API_VERSION: &str = "casemate.dev/v1alpha1";
/// The `kind` of an enclosure file.
pub const KIND: &str = "Enclosure";

/// A validated enclosure. Relative paths have been joined to the file's directory.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Enclosure {
    /// The enclosure's name.
    pub name: Name,
    /// The realm of its identities.
    pub trust_domain: TrustDomain,
    /// Where people log in.
    pub identity_providers: Vec<IdentityProvider>,
    /// The sealed models.
    pub models: Vec<Model>,
    /// The sandboxed parts.
    pub stages: Vec<Stage>,
    /// The allowed edges; everything else is refused.
    pub flows: Vec<Flow>,
    /// The stages that can be reached from outside.
    pub exposes: Vec<Expose>,
}

impl Enclosure {
    /// The stage named `name`.
    #[must_use]
    pub fn stage(&self, name: &Name) -> Option<&Stage> {
        self.stages.iter().find(|stage| stage.name == *name)
    }

    /// The model with this name and version.
    #[must_use]
    pub fn model(&self, model: &ModelVersion) -> Option<&Model> {
        self.models.iter().find(|known| known.version() == *model)
    }

    /// The identity of the stage named `stage`.
    #[must_use]
    pub fn stage_id(&self, stage: &Name) -> SpiffeId {
        self.trust_domain.stage(&self.name, stage)
    }

    /// The flows that end at `stage`.
    pub fn flows_to<'a>(&'a self, stage: &'a Name) -> impl Iterator<Item = &'a Flow> {
        self.flows.iter().filter(move |flow| flow.to == *stage)
    }

    /// The flows that start at `stage`, each with the loopback port on which the stage calls it.
    pub fn flows_from<'a>(&'a self, stage: &'a Name) -> impl Iterator<Item = (&'a Flow, u16)> {
        self.flows.iter().filter_map(move |flow| match &flow.from {
            Source::Stage { name, at } if name == stage => Some((flow, *at)),
            Source::Stage { .. } | Source::Group { .. } => None,
        })
    }

    /// The listeners of `stage` on the host.
    pub fn exposes_of<'a>(&'a self, stage: &'a Name) -> impl Iterator<Item = &'a Expose> {
        self.exposes
            .iter()
            .filter(move |expose| expose.stage == *stage)
    }
}

/// A corporate login whose tokens are exchanged for tickets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct IdentityProvider {
    /// The issuer URL, compared byte for byte with the token's `iss`.
    pub issuer: String,
    /// The audience that a token must name.
    pub audience: String,
    /// The claim that lists the groups.
    pub groups_claim: String,
}

/// One sealed version of one model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Model {
    /// Its name: also the directory of its view, `/models/<name>`.
    pub name: Name,
    /// Its version, as text.
    pub release: String,
    /// The sealed directory.
    pub sealed: PathBuf,
    /// Public keys, one of which must have signed it.
    pub signers: Vec<PathBuf>,
    /// What unwraps its key.
    pub key: KeySource,
    /// The lowest epoch accepted; an older seal is a rollback.
    pub minimum_epoch: u64,
}

impl Model {
    /// Name and version together.
    #[must_use]
    pub fn version(&self) -> ModelVersion {
        ModelVersion {
            name: self.name.clone(),
            version: self.release.clone(),
        }
    }
}

/// Where a model's key is unwrapped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeySource {
    /// An age identity file.
    File(PathBuf),
}

/// One sandboxed part of the pipeline.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stage {
    /// Its name.
    pub name: Name,
    /// What is known of its server.
    pub profile: Profile,
    /// What runs in it.
    pub run: Run,
    /// Variables of its process, without those the profile adds.
    pub environment: BTreeMap<String, String>,
    /// The models it may open.
    pub models: Vec<ModelVersion>,
    /// The loopback port on which its server answers.
    pub serves: u16,
    /// What it may use up.
    pub resources: Resources,
}

impl Stage {
    /// The first word or variable that the profile forbids, in the command and the environment that
    /// will be executed, whoever gave them: an image brings its own.
    #[must_use]
    pub fn forbidden<'command>(
        &self,
        arguments: &'command [String],
        environment: &'command [String],
    ) -> Option<&'command str> {
        let rules = &self.profile.environment;
        let variable = |variable: &'command String| {
            let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
            let own = [&rules.require, &rules.default];
            let given = own
                .iter()
                .any(|own| own.get(name).is_some_and(|own| own == value));
            (rules.forbids(name) && !given).then_some(name)
        };
        self.profile
            .flags
            .forbidden_in(arguments)
            .or_else(|| environment.iter().find_map(variable))
    }
}

/// Root file system and command of a stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Run {
    /// An OCI image: a layout directory or an archive of one.
    Image {
        /// Where it lies.
        path: PathBuf,
        /// Replaces the image's own entry point and arguments.
        command: Option<Vec<String>>,
    },
    /// Directories of the host, read-only, at the same place inside.
    Host {
        /// The directories.
        directories: Vec<PathBuf>,
        /// The server and its arguments.
        command: Vec<String>,
    },
}

/// Upper bounds on what a stage uses; there is always one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Resources {
    /// Bytes of memory, with page cache and scratch space.
    pub memory: u64,
    /// Thousandths of a processor.
    pub millicpus: u32,
    /// Processes and threads.
    pub pids: u32,
    /// Bytes of `/tmp`, and a quarter of it of `/dev/shm`.
    pub scratch: u64,
}

impl Default for Resources {
    fn default() -> Self {
        Self {
            memory: 1 << 30,
            millicpus: 1000,
            pids: 256,
            scratch: 32 << 20,
        }
    }
}

/// One allowed edge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Flow {
    /// Who may call.
    pub from: Source,
    /// The stage that may be called.
    pub to: Name,
    /// The route classes that may be called, all grantable in the target's profile.
    pub routes: Vec<Name>,
    /// The model versions that may be named, all of the target.
    pub models: Vec<ModelVersion>,
    /// Upper bounds on one caller.
    pub limits: Limits,
}

/// The start of a flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// People of this group.
    Group {
        /// The group, as the login's claim spells it.
        name: String,
    },
    /// A stage of the same enclosure.
    Stage {
        /// The stage.
        name: Name,
        /// The loopback port in the caller's namespace on which its gate takes the call.
        at: u16,
    },
}

/// A stage that can be reached from outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Expose {
    /// The stage.
    pub stage: Name,
    /// The host's address.
    pub listen: SocketAddr,
}

/// The name of the variable that tells a stage where to call the stage `to`.
#[must_use]
pub fn flow_variable(to: &Name) -> String {
    let upper = to.as_str().to_ascii_uppercase();
    format!("CASEMATE_FLOW_{}", upper.replace(['-', '.'], "_"))
}

fn join(directory: &Path, declared: &str) -> PathBuf {
    // `./` says "beside this file" and would only make paths in messages longer.
    directory.join(declared.strip_prefix("./").unwrap_or(declared))
}

#[cfg(test)]
mod tests;
