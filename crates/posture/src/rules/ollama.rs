//! Ollama: it asks nobody who they are, and whoever reaches it manages its library.

use std::collections::BTreeSet;

use crate::cluster::{Exposure, How};
use crate::node::Node;
use crate::place::Place;
use crate::rule::{Case, Check, Group, Rule, Severity, Sink};
use crate::workload::Source;

use super::evidence;

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "AI-031",
        title: "Ollama listens on every address and is published without a gate",
        group: Group::Server,
        severity: Severity::Critical,
        why: "Ollama has no authentication of its own. Whoever reaches its port uses the model, reads what is \
              loaded, pulls and deletes models, and in releases before 0.17.1 reads the server's memory.",
        fix: "Bind 127.0.0.1 beside a gate that asks callers who they are, or keep the Service a ClusterIP and \
              let a NetworkPolicy admit the callers.",
        maps: &["AML.T0040", "AML.T0049", "K06", "NIST 800-190 4.3.3"],
        checks: &[Check::Container(published)],
    },
    Rule {
        id: "AI-032",
        title: "Ollama answers pages of every origin",
        group: Group::Server,
        severity: Severity::High,
        why: "Any web page that somebody in reach of the server opens can call it from their browser: use the \
              model, and pull or delete others, past every firewall that the browser is behind.",
        fix: "Name the origins of your own pages in `OLLAMA_ORIGINS`, or leave it out: local pages are allowed.",
        maps: &["AML.T0049", "K06", "T1189"],
        checks: &[Check::Container(origins)],
    },
    Rule {
        id: "AI-033",
        title: "Ollama's management routes are in reach of its clients",
        group: Group::Server,
        severity: Severity::High,
        why: "`/api/pull`, `/api/create`, `/api/push`, `/api/copy` and `/api/delete` are on the port of `/api/chat`: \
              a client can replace a model, send one out, or make the server fetch from a host of its choice.",
        fix: "Publish only `/api/chat`, `/api/generate`, `/api/embed` and `/v1/`, by a gate or the paths of the \
              ingress, and keep everything else from the port with a NetworkPolicy.",
        maps: &["AML.T0018", "AML.T0035", "AML.M0019", "K06"],
        checks: &[Check::Container(managed)],
    },
    Rule {
        id: "AI-034",
        title: "Ollama logs prompts, or keeps unused layers on a volume that others write",
        group: Group::Server,
        severity: Severity::Low,
        why: "Debug logs of Ollama have prompts in them, readable by whoever reads logs. Without pruning, layers \
              of models that were deleted stay on a shared volume, for others to read.",
        fix: "Leave `OLLAMA_DEBUG` out; give Ollama a volume of its own when `OLLAMA_NOPRUNE` is wanted.",
        maps: &["LLM02", "AML.M0024", "NIST 800-190 4.4.3"],
        checks: &[Check::Container(careless)],
    },
];

/// Where Ollama listens: whether other machines can reach it, on which port, and where that is said.
struct Listens {
    openly: bool,
    port: u16,
    place: Place,
    said: String,
}

fn listens(case: &Case<'_>) -> Option<Listens> {
    let container = case.container;
    let variable = container.variable("OLLAMA_HOST");
    let place = evidence::place_of(container);
    let Some((text, place)) = container.literal("OLLAMA_HOST") else {
        // The image sets all addresses; a program that is built into another image takes the loopback.
        let by_image = container
            .image
            .as_ref()
            .is_some_and(|image| image.repository.ends_with("ollama/ollama"));
        return (variable.is_none() && by_image).then(|| Listens {
            openly: true,
            port: PORT,
            place,
            said: "the image listens on every address".to_owned(),
        });
    };
    let address = text.split_once("://").map_or(text, |(_, rest)| rest);
    let address = address.split('/').next().unwrap_or(address);
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(':') && !port.ends_with(']') => (host, port),
        _ => (address, ""),
    };
    Some(Listens {
        openly: !evidence::is_loopback(host),
        port: port.parse().unwrap_or(PORT),
        place,
        said: format!("`OLLAMA_HOST={text}` listens on every address"),
    })
}

fn published(case: &Case<'_>, sink: &mut Sink<'_>) {
    let Some(listens) = own(case, sink).filter(|listens| listens.openly) else {
        return;
    };
    let ways = evidence::open_ways(case.estate, case.workload, listens.port);
    let outside = ways.iter().find(|way| way.how.is_external());
    let inside = || {
        let strangers = evidence::strangers_reach(case.estate, case.workload);
        ways.first().filter(|_| strangers)
    };
    if let Some(way) = outside {
        let message = format!(
            "{} and {} leads to port {}: whoever reaches it runs, replaces and deletes models without being asked who \
             they are",
            listens.said,
            named(way),
            listens.port
        );
        sink.find(listens.place, "OLLAMA_HOST", message);
    } else if let Some(way) = inside() {
        let message = format!(
            "{} and {} leads to port {}: every pod of the cluster runs, replaces and deletes models, since no \
             NetworkPolicy admits callers by name",
            listens.said,
            named(way),
            listens.port
        );
        sink.find(listens.place, "OLLAMA_HOST", message)
            .severity(Severity::High);
    }
}

/// Where an Ollama listens; none for other servers. An address that is filled in later is said.
fn own(case: &Case<'_>, sink: &mut Sink<'_>) -> Option<Listens> {
    if !case.container.runs("ollama") {
        return None;
    }
    let found = listens(case);
    let said = case.container.variable("OLLAMA_HOST").is_some();
    if !said && !evidence::surely_absent(case.container, "OLLAMA_HOST", sink) {
        return None;
    }
    if found.is_none()
        && let Some(variable) = case.container.variable("OLLAMA_HOST")
    {
        sink.cannot_tell(
            variable.place,
            "where Ollama listens is filled in later: `OLLAMA_HOST` has no value here",
        );
    }
    found
}

fn named(way: &Exposure<'_>) -> String {
    match way.how {
        How::HostNetwork | How::Host => way.how.as_str().to_owned(),
        _ => format!("{} (`{}`)", way.how.as_str(), way.resource.name),
    }
}

fn origins(case: &Case<'_>, sink: &mut Sink<'_>) {
    if !case.container.runs("ollama") {
        return;
    }
    let Some((text, place)) = case.container.literal("OLLAMA_ORIGINS") else {
        return;
    };
    let everybody = text
        .split(',')
        .map(|origin| origin.trim().trim_end_matches('/'))
        .find(|origin| matches!(*origin, "*" | "http://*" | "https://*" | "*://*"));
    if let Some(origin) = everybody {
        let message = format!(
            "`OLLAMA_ORIGINS` allows `{origin}`: every web page that a browser in reach opens can call this server"
        );
        sink.find(place, "OLLAMA_ORIGINS", message);
    }
}

fn managed(case: &Case<'_>, sink: &mut Sink<'_>) {
    if !case.container.runs("ollama") {
        return;
    }
    let Some(listens) = listens(case).filter(|listens| listens.openly) else {
        return;
    };
    let ways = evidence::ways(case.estate, case.workload, listens.port);
    let mut seen = BTreeSet::new();
    let mut found = false;
    for way in ways.iter().filter(|way| way.how.is_external()) {
        let (place, what) = if way.how == How::Ingress {
            let Some((place, path)) = wide_path(way.resource.node, way.place) else {
                continue;
            };
            (place, format!("path `{path}` of {}", named(way)))
        } else {
            (way.place, named(way))
        };
        found = true;
        if seen.insert(place) {
            let message = format!(
                "{what} publishes all of Ollama: `/api/pull`, `/api/create`, `/api/push` and `/api/delete` beside \
                 `/api/chat`"
            );
            sink.find(
                place,
                format!("management by {}", way.resource.title()),
                message,
            );
        }
    }
    let inside = ways.iter().find(|way| way.how == How::ClusterService);
    if let (false, Some(way)) = (found, inside)
        && evidence::strangers_reach(case.estate, case.workload)
    {
        let message = format!(
            "{} gives every pod of the cluster `/api/pull`, `/api/create`, `/api/push` and `/api/delete` beside \
             `/api/chat`",
            named(way)
        );
        sink.find(
            way.place,
            format!("management by {}", way.resource.title()),
            message,
        )
        .severity(Severity::Medium);
    }
}

/// A path of an ingress or route that a management route lies under. An ingress without paths has all of them.
fn wide_path(ingress: &Node, back_end: Place) -> Option<(Place, String)> {
    let mut paths = Vec::new();
    ingress.walk(&mut |node| {
        let Some(path) = node.get("path") else { return };
        let (value, kind) = match path.get("value") {
            Some(value) => (value, path.text_at("type")),
            None => (path, node.text_at("pathType")),
        };
        if let Some(text) = value.text() {
            paths.push((value.place, text, kind == Some("Exact")));
        }
    });
    if paths.is_empty() {
        return Some((back_end, "/".to_owned()));
    }
    paths
        .into_iter()
        .find(|(_, path, exact)| covers_management(path, *exact))
        .map(|(place, path, _)| (place, path.to_owned()))
}

fn covers_management(path: &str, exact: bool) -> bool {
    // An expression is judged by what stands before its first choice, and by the names it chooses from.
    let (prefix, choice) = match path.find(['(', '*', '[', '.']) {
        Some(at) => (path.get(..at).unwrap_or(path), path.get(at..).unwrap_or("")),
        None => (path, ""),
    };
    let listed = choice.starts_with('(') && !choice.contains(".*");
    MANAGEMENT.iter().any(|route| {
        let last = route.rsplit('/').next().unwrap_or(route);
        let under = route.starts_with(prefix) || prefix.starts_with(route);
        if exact {
            path.trim_end_matches('/') == *route
        } else {
            under && (!listed || choice.contains(last) || choice.contains("(/|$)"))
        }
    })
}

fn careless(case: &Case<'_>, sink: &mut Sink<'_>) {
    let container = case.container;
    if !container.runs("ollama") {
        return;
    }
    if let Some((text, place)) = container.literal("OLLAMA_DEBUG")
        && !matches!(
            text.trim(),
            "" | "0" | "false" | "False" | "FALSE" | "f" | "F"
        )
    {
        let message = format!("`OLLAMA_DEBUG={text}` writes prompts to the log of the container");
        sink.find(place, "OLLAMA_DEBUG", message);
    }
    let Some(place) = container.switched_on("OLLAMA_NOPRUNE") else {
        return;
    };
    let models = container
        .literal("OLLAMA_MODELS")
        .map_or("/root/.ollama/models", |(path, _)| path);
    let shared = evidence::mount_of(container, models)
        .filter(|mount| !mount.read_only && !matches!(mount.source, Source::Scratch))
        .and_then(|mount| evidence::shared_with(case, mount));
    if let Some(others) = shared {
        let message = format!(
            "`OLLAMA_NOPRUNE` keeps layers of deleted models under `{models}`, which is shared with {others}"
        );
        sink.find(place, "OLLAMA_NOPRUNE", message);
    }
}

const PORT: u16 = 11434;
const MANAGEMENT: [&str; 6] = [
    "/api/pull",
    "/api/create",
    "/api/push",
    "/api/copy",
    "/api/delete",
    "/api/blobs",
];

#[cfg(test)]
mod tests;
