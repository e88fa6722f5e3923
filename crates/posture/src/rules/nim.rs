//! NVIDIA NIM: what it tells, who may call it, and whose code it loads.

use crate::cluster::{self, How};
use crate::rule::{Case, Check, Group, Rule, Severity, Sink};
use crate::workload::{Given, Origin, Resource, is_on};

use super::evidence;

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "AI-037",
        title: "NIM's telemetry is on, or not switched off while it can reach out",
        group: Group::Server,
        severity: Severity::Medium,
        why: "What runs, how much and on which hardware leaves the network, on a way that nobody watches and that \
              somebody inside can use as well.",
        fix: "Write `NIM_TELEMETRY_MODE: \"0\"` and give the pod a NetworkPolicy for what goes out.",
        maps: &["LLM02", "AML.T0025", "NIST 800-190 4.4.2"],
        checks: &[Check::Container(telemetry)],
    },
    Rule {
        id: "AI-039",
        title: "NIM answers every origin, or loads middleware that can be written",
        group: Group::Server,
        severity: Severity::Medium,
        why: "With every origin allowed, any web page uses the model through a visitor's browser. Middleware and proxy \
              settings are code of the server: whoever writes the volume they lie on runs code beside the weights.",
        fix: "Name your own origins in `NIM_CORS_ALLOW_ORIGINS`; mount middleware from a config map or read-only.",
        maps: &["K06", "AML.T0018.002", "NIST 800-190 4.4.3"],
        checks: &[Check::Container(origins), Check::Container(middleware)],
    },
    Rule {
        id: "AI-042",
        title: "NIM is reached from outside without TLS",
        group: Group::Server,
        severity: Severity::Medium,
        why: "Prompts, answers and whatever key the caller sends cross the network in the clear; who sits between \
              reads and changes them.",
        fix: "End TLS at the ingress (`spec.tls`) or set `NIM_SSL_MODE` to `TLS` with `NIM_SSL_KEY_PATH` and \
              `NIM_SSL_CERTS_PATH`; leave the health port inside.",
        maps: &["K07", "NIST 800-190 4.3.3", "T1040"],
        checks: &[Check::Container(clear_text)],
    },
];

/// Whether a container serves a NIM; what only fills a cache does not.
fn is_served(case: &Case<'_>) -> bool {
    case.container.runs("nim") && case.workload.resource.kind != "NIMCache"
}

fn telemetry(case: &Case<'_>, sink: &mut Sink<'_>) {
    let container = case.container;
    if !is_served(case) {
        return;
    }
    if let Some(variable) = container.variable("NIM_TELEMETRY_MODE") {
        match container.literal("NIM_TELEMETRY_MODE") {
            Some((text, place)) if !matches!(text.trim(), "0" | "false" | "off") => {
                let message =
                    format!("`NIM_TELEMETRY_MODE={text}` has NIM send usage data out of your network");
                sink.find(place, "NIM_TELEMETRY_MODE", message);
            }
            Some(_) => {}
            None => sink.cannot_tell(
                variable.place,
                "whether telemetry is off is filled in later: `NIM_TELEMETRY_MODE` has no value here",
            ),
        }
        return;
    }
    if !evidence::surely_absent(container, "NIM_TELEMETRY_MODE", sink) {
        return;
    }
    let (severity, open) = match case.workload.origin {
        Origin::Kubernetes => {
            let policies = cluster::policies(case.estate, case.workload);
            (Severity::Medium, policies.egress.is_empty())
        }
        // Which of compose's networks reach out is not always in the file.
        Origin::Compose | Origin::DockerRun => {
            let network = case.workload.pod.text_at("network_mode");
            (Severity::Low, network != Some("none"))
        }
    };
    if open {
        let place = evidence::place_of(container);
        let message = "`NIM_TELEMETRY_MODE` is not set and nothing restricts what leaves the container: what the image's \
                       default is decides what is told";
        sink.find(place, "NIM_TELEMETRY_MODE", message)
            .severity(severity);
    }
}

fn origins(case: &Case<'_>, sink: &mut Sink<'_>) {
    let container = case.container;
    if !is_served(case) {
        return;
    }
    if let Some((text, place)) = container.literal("NIM_CORS_ALLOW_ORIGINS") {
        let words = text.split([',', ' ', '[', ']', '"', '\'']);
        if words.map(str::trim).any(|origin| origin == "*") {
            let message = "`NIM_CORS_ALLOW_ORIGINS` allows every origin: any web page uses the model through the \
                           browser of whoever opens it";
            sink.find(place, "NIM_CORS_ALLOW_ORIGINS", message);
        }
    }
}

fn middleware(case: &Case<'_>, sink: &mut Sink<'_>) {
    let container = case.container;
    if !is_served(case) {
        return;
    }
    for name in ["NIM_MIDDLEWARE_CONFIG_PATH", "NIM_NGINX_DIR"] {
        let Some((path, place)) = container.literal(name) else {
            continue;
        };
        let writable = evidence::mount_of(container, path).filter(|mount| !mount.read_only);
        if let Some(mount) = writable {
            let message = format!(
                "`{name}={path}` is code of the server, and `{}` is mounted so that it can be written",
                mount.path
            );
            sink.find(place, name, message);
        }
    }
}

fn clear_text(case: &Case<'_>, sink: &mut Sink<'_>) {
    let container = case.container;
    if !is_served(case) {
        return;
    }
    if let Some(variable) = container.variable("NIM_SSL_MODE")
        && container.literal("NIM_SSL_MODE").is_none()
        && !matches!(variable.value, Given::Literal { .. })
    {
        sink.cannot_tell(variable.place, "`NIM_SSL_MODE` is filled in later");
        return;
    }
    let mode = container.literal("NIM_SSL_MODE");
    let encrypts = mode.is_some_and(|(text, _)| {
        matches!(text.trim().to_ascii_lowercase().as_str(), "tls" | "mtls") || is_on(text)
    });
    let number = |name: &str| {
        container
            .literal(name)
            .and_then(|(text, _)| text.trim().parse().ok())
    };
    let health: Option<u16> = number("NIM_HEALTH_PORT");
    let serves: u16 = number("NIM_SERVER_PORT")
        .or_else(|| number("NIM_HTTP_API_PORT"))
        .unwrap_or(8000);
    // Where nothing is said about TLS, the rule about open ports speaks of all servers alike.
    if let Some((text, place)) = mode.filter(|_| !encrypts) {
        let way = evidence::ways(case.estate, case.workload, serves)
            .into_iter()
            .find(|way| {
                let tls = way.how == How::Ingress && has_tls(way.resource);
                way.how.is_external() && way.how != How::HostNetwork && !tls
            });
        if let Some(way) = way {
            let message = format!(
                "`NIM_SSL_MODE={text}` switches TLS off, and {} leads to port {serves}: prompts, answers and keys can be \
                 read on the way",
                way.how.as_str()
            );
            sink.find(place, "clear text", message);
        }
    }
    let published = health.filter(|port| *port != serves).and_then(|port| {
        let ways = evidence::ways(case.estate, case.workload, port);
        ways.into_iter()
            .find(|way| way.how.is_external() && way.how != How::HostNetwork)
    });
    if let Some(way) = published {
        let message = format!(
            "{} publishes the port for probes, which has no TLS and tells anybody whether the model is up",
            way.how.as_str()
        );
        sink.find(way.place, "health port", message);
    }
}

/// Whether an ingress or route ends TLS itself. A gateway's listener does it in another document.
fn has_tls(ingress: &Resource<'_>) -> bool {
    let mut ends = false;
    let keys: &[&str] = if evidence::is_operated(ingress) {
        &["tls", "httpRoute", "gateway", "grpcRoute"]
    } else {
        &["tls"]
    };
    ingress
        .node
        .walk(&mut |node| ends |= keys.iter().any(|key| node.get(key).is_some()));
    let routed = !matches!(ingress.kind, "Ingress" | "Route") && !evidence::is_operated(ingress);
    ends || routed
}
