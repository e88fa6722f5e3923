//! `casemate render`: writes what other systems enforce, from what the manifests say.

use std::path::PathBuf;

use casemate_posture::estate::Estate;
use casemate_posture::network::{self, Caller, Dialect, Settings};
use casemate_posture::scan::Corpus;
use clap::Subcommand;

use super::Context;
use crate::exit::{Exit, Failure};

/// Writes policies for other systems from what manifests say.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    NetworkPolicy(NetworkPolicy),
}

/// Writes the least network policies that keep the declared flows working.
///
/// Everything is closed in both directions but for what the manifests declare: ports that services and
/// ingresses lead to, from callers that name them; metrics from the monitoring namespace; names; and the
/// addresses that variables and arguments hold. Each opening says what it is there for.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  casemate render network-policy deploy/ > policies.yaml
  casemate render network-policy deploy/ --for cilium --caller tools/app=agent
  casemate scan --network deploy/ policies.yaml     # judge what was written

`--for kubernetes` knows no host names: what leaves by name is opened to every address outside, and says so.")]
struct NetworkPolicy {
    /// Manifests: files, folders, or `-` for standard input.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Whose policies are written.
    #[arg(long = "for", value_enum, default_value_t = For::Kubernetes, value_name = "ENGINE")]
    engine: For,
    #[command(flatten)]
    said: Said,
    /// Where to write; standard output otherwise.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// What manifests do not say and a person does.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Said {
    /// Somebody who may call inference ports though no manifest says so; may be given several times.
    #[arg(long = "caller", value_name = "NAMESPACE[/LABEL=VALUE]", help_heading = NETWORK)]
    callers: Vec<Caller>,
    /// The namespace of the ingress controller.
    #[arg(long, value_name = "NAMESPACE", default_value = "ingress-nginx", help_heading = NETWORK)]
    ingress_namespace: String,
    /// The namespace whose pods scrape metrics.
    #[arg(long, value_name = "NAMESPACE", default_value = "monitoring", help_heading = NETWORK)]
    monitoring_namespace: String,
}

const NETWORK: &str = "What manifests do not say";

impl Said {
    /// The same as the engine takes it.
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            ingress_namespace: self.ingress_namespace.clone(),
            monitoring_namespace: self.monitoring_namespace.clone(),
            callers: self.callers.clone(),
        }
    }
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum For {
    /// `NetworkPolicy` of Kubernetes itself.
    Kubernetes,
    /// `CiliumNetworkPolicy`, which holds host names.
    Cilium,
    /// `NetworkPolicy` of Calico.
    Calico,
}

impl From<For> for Dialect {
    fn from(engine: For) -> Self {
        match engine {
            For::Kubernetes => Self::Kubernetes,
            For::Cilium => Self::Cilium,
            For::Calico => Self::Calico,
        }
    }
}

pub(crate) fn run(context: &Context<'_>, arguments: &Arguments) -> Result<Exit, Failure> {
    let What::NetworkPolicy(policy) = &arguments.what;
    let corpus = super::scan::read(&policy.paths);
    let unread = said_unread(context, &corpus);
    let estate = Estate::of(&corpus.files, &corpus.documents);
    let graph = network::graph(&estate, &policy.said.settings());
    let walls = network::walls(&graph);
    if walls.is_empty() {
        return Err(Failure::new(
            Exit::Unclear,
            "no workload of a cluster is in what was read",
        )
        .fix(
            "give the manifests of the pods that should be walled in, rendered (`helm template`)",
        ));
    }
    for note in walls.iter().flat_map(|one| {
        one.notes
            .iter()
            .map(move |note| format!("{}: {note}", one.title))
    }) {
        context.output.say(&note);
    }
    let text = network::render(&walls, policy.engine.into());
    match &policy.output {
        None => context.output.data(&text)?,
        Some(path) => casemate_posture::report::save(path, &text).map_err(|error| {
            Failure::ours(format_args!("cannot write `{}`", path.display()), error)
        })?,
    }
    Ok(if unread { Exit::Unclear } else { Exit::Held })
}

/// Says what could not be read, and whether there was any: then the answer is not a whole one.
pub(crate) fn said_unread(context: &Context<'_>, corpus: &Corpus) -> bool {
    for error in &corpus.errors {
        context.output.say(&format!(
            "{}:{}: {}",
            error.file, error.place.line, error.message
        ));
    }
    for unknown in &corpus.not_evaluable {
        context.output.say(&format!(
            "{}:{}: not read: {}",
            corpus.files.name(unknown.place.file),
            unknown.place.line,
            unknown.message
        ));
    }
    !corpus.errors.is_empty()
}
