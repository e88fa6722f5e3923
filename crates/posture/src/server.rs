//! Which inference server a container runs, told by evidence: image, words, variables, ports, probes.
//!
//! What speaks for which server is in the profiles; here it is only collected. The name of a workload says
//! nothing.

use casemate_core::profile::{Observed, recognise_one};

use crate::node::{Node, is_unresolved};
use crate::workload::{Container, Image, Server, Workload, shell_words};

/// Fills in the server of every container that shows enough of one.
pub(crate) fn recognise(workloads: &mut [Workload<'_>]) {
    for container in workloads.iter_mut().flat_map(|one| &mut one.containers) {
        if container.server.is_none() {
            container.server = server(container);
        }
    }
}

fn server(container: &Container<'_>) -> Option<Server> {
    let image = container.image.as_ref();
    // The repository alone is enough, and a tag from a template takes nothing away from it.
    let repository = image
        .map(|image| image.repository)
        .filter(|repository| !is_unresolved(repository));
    let observed = Observed {
        image: repository.map(str::to_owned),
        command: command(container),
        environment: container
            .environment
            .iter()
            .map(|variable| variable.name.clone().into_owned())
            .collect(),
        probes: probes(container.node),
        ports: container
            .ports
            .iter()
            .take(MAX_PORTS)
            .map(|port| port.number)
            .collect(),
    };
    let routes = |word: &String| word.contains("vllm_router.app");
    if image.is_some_and(is_client) || observed.command.iter().any(routes) {
        return None;
    }
    let found = recognise_one(&observed)?;
    Some(Server {
        profile: found.profile.id.to_string(),
        because: found.reasons.iter().map(ToString::to_string).collect(),
    })
}

/// Whether the image holds no server: those of Triton with a tag `-sdk` are clients and benchmarks.
fn is_client(image: &Image<'_>) -> bool {
    image.repository.ends_with("/tritonserver")
        && image.tag.is_some_and(|tag| tag.ends_with("-sdk"))
}

/// The command as it is given to the engine: the profiles take a shell's script apart by themselves, and
/// need its lines for that.
fn command(container: &Container<'_>) -> Vec<String> {
    let mut words = Vec::new();
    for key in ["entrypoint", "command", "args"] {
        match container.node.get(key) {
            Some(node) if node.text().is_some() => {
                words.extend(node.text().map(shell_words).unwrap_or_default());
            }
            Some(node) => words.extend(
                node.items()
                    .iter()
                    .filter_map(Node::text)
                    .map(str::to_owned),
            ),
            None => {}
        }
    }
    if words.is_empty() {
        words.extend(
            container
                .words
                .iter()
                .map(|word| word.text.clone().into_owned()),
        );
    }
    words.truncate(MAX_WORDS);
    words
}

/// The paths that a container is probed at: those of a pod, and those of addresses in compose's health check.
fn probes(node: &Node) -> Vec<String> {
    let mut paths: Vec<String> = ["livenessProbe", "readinessProbe", "startupProbe"]
        .iter()
        .filter_map(|key| node.at(&[key, "httpGet", "path"])?.text())
        .map(str::to_owned)
        .collect();
    let Some(test) = node.at(&["healthcheck", "test"]) else {
        return paths;
    };
    for text in std::iter::once(test)
        .chain(test.items())
        .filter_map(Node::text)
    {
        for word in text.split_whitespace() {
            let path = word.split_once("://").and_then(|(_, rest)| {
                Some(rest.get(rest.find('/')?..)?.trim_end_matches(['"', '\'']))
            });
            paths.extend(path.map(str::to_owned));
        }
    }
    paths
}

// What starts a server stands at the front; a command line of a megabyte is not one.
const MAX_WORDS: usize = 2048;
const MAX_PORTS: usize = 256;

#[cfg(test)]
mod tests;
