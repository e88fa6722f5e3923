//! What stands between a server and those who call it: keys, gateways, paths, encryption.
//!
//! All of these look at servers that somebody outside reaches. What pods of the same cluster reach is the business
//! of network policies, and of the rule that asks for them.

use crate::cluster::{Exposure, How};
use crate::place::Place;
use crate::rule::{Case, Check, Group, Rule, Severity, Sink};
use crate::rules::reach;
use crate::workload::{Container, Given};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "AI-002",
        title: "a server is reached from outside and asks nobody who they are",
        group: Group::Server,
        severity: Severity::High,
        why: "Without a key and without a gateway that asks for one, everybody who finds the address uses the model, its \
              administrative routes and its GPU time; SGLang's `/update_weights_from_disk` replaces the model. Scanners find \
              port 8000 within hours.",
        fix: "Put a gateway that authenticates in front and publish only that; beside it a key from a Secret: \
              `VLLM_API_KEY`, or `--api-key` of SGLang and TGI.",
        maps: &["K06", "AML.T0040", "LLM10"],
        checks: &[Check::Container(no_authentication)],
    },
    Rule {
        id: "AI-003",
        title: "vLLM's key does not guard the paths that are published",
        group: Group::Server,
        severity: Severity::High,
        why: "The key of vLLM is asked for below `/v1`, `/v2` and `/inference` only. `/invocations`, `/pooling`, \
              `/classify`, `/score` and `/rerank` answer without it, `/pause` stops the service, and `/update_weights` \
              replaces the model, for anybody whom the published port lets through.",
        fix: "Publish the paths below `/v1` that callers need, by an ingress or a gateway, and nothing else.",
        maps: &["K06", "AML.T0049", "LLM10"],
        checks: &[Check::Container(unguarded_paths)],
    },
    Rule {
        id: "AI-015",
        title: "one request may ask for thousands of answers",
        group: Group::Server,
        severity: Severity::Medium,
        why: "vLLM lets one request ask for up to 16,384 answers at once (`n`). A single small request then holds the GPU \
              and its memory for minutes, and no limit on the number of requests sees it.",
        fix: "Set `VLLM_MAX_N_SEQUENCES` to what callers need, such as 64, or refuse larger `n` at the gateway.",
        maps: &["LLM10", "AML.T0029"],
        checks: &[Check::Container(answers_without_bound)],
    },
    Rule {
        id: "AI-022",
        title: "Triton's ports leave the cluster without encryption",
        group: Group::Server,
        severity: Severity::High,
        why: "Triton speaks plain HTTP and plain gRPC unless told otherwise, and asks for no certificate. Whoever is on \
              the way between the caller and the pod reads inputs and outputs and changes them.",
        fix: "Use `--grpc-use-ssl-mutual=true` with `--allow-http=false`, or put the ports behind a gateway or a mesh that \
              encrypts.",
        maps: &["K07", "NIST 800-190 4.3.3"],
        checks: &[Check::Container(plain_triton)],
    },
    Rule {
        id: "AI-023",
        title: "metrics are published beside inference",
        group: Group::Server,
        severity: Severity::Medium,
        why: "Metrics give the names of models, how much each is used and how long the queues are, which tells others what \
              runs here and when a flood would hurt.",
        fix: "Give the metrics port a ClusterIP Service of its own, and let the monitoring namespace in by policy.",
        maps: &["LLM02", "NIST 800-190 4.4.2", "AML.T0007"],
        checks: &[Check::Container(metrics)],
    },
];

/// A server whose only guard of its own is a key.
struct Keyed {
    profile: &'static str,
    name: &'static str,
    port: u16,
    /// Whether it listens for others without being told to.
    open: bool,
    host: &'static [&'static str],
    key: Option<&'static str>,
}

const KEYED: &[Keyed] = &[
    Keyed {
        profile: "vllm",
        name: "vLLM",
        port: 8000,
        open: true,
        host: &["--host"],
        key: Some("VLLM_API_KEY"),
    },
    Keyed {
        profile: "sglang",
        name: "SGLang",
        port: 30000,
        open: false,
        host: &["--host"],
        key: None,
    },
    Keyed {
        profile: "tgi",
        name: "TGI",
        port: 80,
        open: true,
        host: &["--hostname"],
        key: Some("API_KEY"),
    },
];

/// What is known of a server's key.
enum Key {
    Given,
    Missing,
    Unknown(Place, String),
}

fn key(container: &Container<'_>, variable: Option<&str>) -> Key {
    if let Some(flag) = container.flag(&["--api-key"]) {
        return match flag.value {
            Some("") => Key::Missing,
            _ => Key::Given,
        };
    }
    match variable
        .and_then(|name| container.variable(name))
        .map(|variable| &variable.value)
    {
        Some(Given::Literal { text, .. }) if text.is_empty() => Key::Missing,
        Some(_) => Key::Given,
        None => {
            if let Some((name, from)) = variable.zip(reach::unseen_environment(container)) {
                let what = format!("the environment that is taken in here may hold `{name}`");
                Key::Unknown(from, what)
            } else if let Some(file) = container.flag(&["--config"]) {
                let what = "the configuration file that is named here may hold `api-key`";
                Key::Unknown(file.place, what.to_owned())
            } else {
                Key::Missing
            }
        }
    }
}

/// The port on which a server serves; none when it listens to its own pod only, or on a port that is filled in later.
fn port(case: &Case<'_>, server: &Keyed) -> Option<u16> {
    let container = case.container;
    if !reach::serves(case, &[server.profile]) {
        return None;
    }
    let host = container.flag(server.host).and_then(|flag| flag.value);
    if host.map_or(!server.open, reach::is_loopback) || container.flag(&["--uds"]).is_some() {
        return None;
    }
    match container.literal("PORT") {
        Some((port, _))
            if server.profile == "tgi" && container.flag(&["--port", "-p"]).is_none() =>
        {
            port.parse().ok()
        }
        _ => reach::port_of(container, &["--port", "-p"], server.port),
    }
}

fn vllm_port(case: &Case<'_>) -> Option<u16> {
    port(case, KEYED.first()?)
}

fn vllm_key(container: &Container<'_>) -> Key {
    key(container, Some("VLLM_API_KEY"))
}

fn no_authentication(case: &Case<'_>, sink: &mut Sink<'_>) {
    for server in KEYED {
        if let Some(port) = port(case, server) {
            asks_nobody(case, server, port, sink);
        }
    }
}

fn asks_nobody(case: &Case<'_>, server: &Keyed, port: u16, sink: &mut Sink<'_>) {
    let Some(way) = reach::unguarded(case, &[port]) else {
        return;
    };
    match key(case.container, server.key) {
        Key::Given => {}
        Key::Unknown(place, what) => sink.cannot_tell(place, what),
        Key::Missing => {
            let message = format!(
                "port {port} is reached through {} ({}), and neither {} nor anything in front of it asks for a key",
                way.how.as_str(),
                way.resource.title(),
                server.name
            );
            sink.find(reach::identity(case.container), "--api-key", message);
        }
    }
}

/// The paths that vLLM's key guards, and those that give away nothing.
const GUARDED: &[&str] = &["/v1", "/v2", "/inference/v1", "/health", "/ping"];

fn unguarded_paths(case: &Case<'_>, sink: &mut Sink<'_>) {
    let Some(port) = vllm_port(case) else { return };
    if !matches!(vllm_key(case.container), Key::Given) {
        return;
    }
    let open =
        reach::unguarded(case, &[port]).filter(|way| reach::lets_through_all(case, way, GUARDED));
    if let Some(way) = open {
        let message = format!(
            "{} leads to all of port {port}: `/invocations`, `/pooling`, `/score`, `/pause` and `/update_weights` answer \
             without the key",
            way.how.as_str()
        );
        // The host's network has a rule of its own for that line.
        let place = match way.how {
            How::HostNetwork => reach::identity(case.container),
            _ => way.place,
        };
        sink.find(place, format!("paths {}", way.resource.title()), message);
    }
}

/// The largest `n` that is still a bound for a public server.
const MANY: i64 = 1024;

fn answers_without_bound(case: &Case<'_>, sink: &mut Sink<'_>) {
    let Some(port) = vllm_port(case) else { return };
    let ways = reach::from_outside(case, &[port]);
    let Some(way) = ways.first() else { return };
    let container = case.container;
    if let Some((text, place)) = container.literal("VLLM_MAX_N_SEQUENCES") {
        if text.trim().parse::<i64>().is_ok_and(|bound| bound > MANY) {
            let message = format!(
                "one request may ask for {text} answers, through {} ({})",
                way.how.as_str(),
                way.resource.title()
            );
            let finding = sink.find(place, "env VLLM_MAX_N_SEQUENCES", message);
            if let Some(change) = reach::set_variable(case, place, "64") {
                finding.change(change);
            }
        }
        return;
    }
    if container.variable("VLLM_MAX_N_SEQUENCES").is_some()
        || reach::unseen_environment(container).is_some()
    {
        return;
    }
    let asked =
        matches!(vllm_key(container), Key::Given) || reach::unguarded(case, &[port]).is_none();
    let message = format!(
        "one request may ask for 16,384 answers, and port {port} is reached through {} ({})",
        way.how.as_str(),
        way.resource.title()
    );
    let finding = sink.find(
        reach::identity(container),
        "env VLLM_MAX_N_SEQUENCES",
        message,
    );
    if asked {
        finding.severity(Severity::Low);
    }
    if let Some(change) = reach::add_variable(case, "VLLM_MAX_N_SEQUENCES", "64") {
        finding.change(change);
    }
}

/// Triton's ports that others can reach, with whether callers encrypt: HTTP never, gRPC when it is told to.
struct TritonPorts {
    http: Option<u16>,
    grpc: Option<u16>,
    grpc_encrypts: bool,
}

fn triton_ports(container: &Container<'_>) -> TritonPorts {
    let open = |allow: &str, address: &str| {
        let allowed = container
            .flag(&[allow])
            .is_none_or(|flag| reach::is_true(flag.value));
        let bound = container.flag(&[address]).and_then(|flag| flag.value);
        allowed && !bound.is_some_and(reach::is_loopback)
    };
    let told = |name: &str| {
        container
            .flag(&[name])
            .is_some_and(|flag| reach::is_true(flag.value))
    };
    TritonPorts {
        http: open("--allow-http", "--http-address")
            .then(|| reach::port_of(container, &["--http-port"], 8000))
            .flatten(),
        grpc: open("--allow-grpc", "--grpc-address")
            .then(|| reach::port_of(container, &["--grpc-port"], 8001))
            .flatten(),
        grpc_encrypts: told("--grpc-use-ssl") || told("--grpc-use-ssl-mutual"),
    }
}

/// The ports on which Triton takes requests.
pub(crate) fn triton_serving(container: &Container<'_>) -> Vec<u16> {
    let ports = triton_ports(container);
    ports.http.into_iter().chain(ports.grpc).collect()
}

fn plain_triton(case: &Case<'_>, sink: &mut Sink<'_>) {
    if !reach::serves(case, &["triton"]) || reach::mesh_encrypts(case) {
        return;
    }
    let ports = triton_ports(case.container);
    let plain = [
        ports.http.map(|port| ("HTTP", port)),
        ports
            .grpc
            .filter(|_| !ports.grpc_encrypts)
            .map(|port| ("gRPC", port)),
    ];
    let mut said = Vec::new();
    let mut through: Option<Exposure<'_>> = None;
    for (name, port) in plain.into_iter().flatten() {
        // What an ingress or a route takes in, it can encrypt; that is asked of it by another rule.
        let way = reach::from_outside(case, &[port])
            .into_iter()
            .find(|way| way.how != How::Ingress);
        if let Some(way) = way {
            said.push(format!("{name} on {port}"));
            through.get_or_insert(way);
        }
    }
    if let Some(way) = through {
        let message = format!(
            "{} goes in plain text through {} ({})",
            said.join(" and "),
            way.how.as_str(),
            way.resource.title()
        );
        sink.find(
            reach::identity(case.container),
            "--grpc-use-ssl-mutual",
            message,
        );
    }
}

fn metrics(case: &Case<'_>, sink: &mut Sink<'_>) {
    let container = case.container;
    let switched_off = container
        .flag(&["--allow-metrics"])
        .is_some_and(|flag| !reach::is_true(flag.value));
    let own_port = if reach::serves(case, &["triton"]) && !switched_off {
        reach::port_of(container, &["--metrics-port"], 8002)
    } else if reach::serves(case, &["tgi"]) {
        reach::port_of(container, &["--prometheus-port"], 9000)
    } else if reach::serves(case, &["nim"]) {
        container
            .literal("NIM_TRITON_METRICS_PORT")
            .and_then(|(port, _)| port.parse().ok())
    } else {
        None
    };
    if let Some(port) = own_port {
        metrics_port(case, sink, port);
    }
    shared_port(case, sink);
}

/// A port that carries metrics and nothing else.
fn metrics_port(case: &Case<'_>, sink: &mut Sink<'_>, port: u16) {
    let outside: Vec<Exposure<'_>> = reach::from_outside(case, &[port])
        .into_iter()
        .filter(|way| way.how != How::HostNetwork)
        .collect();
    for way in &outside {
        let message = format!(
            "the metrics port {port} is published through {}",
            way.how.as_str()
        );
        sink.find(
            way.place,
            format!("metrics {}", way.resource.title()),
            message,
        );
    }
    if !outside.is_empty() || reach::has_ingress_policy(case) {
        return;
    }
    // Whoever may call the model then reads what others do with it.
    let serving = triton_serving(case.container);
    let inference = reach::ways(case, &serving);
    for way in reach::ways(case, &[port]) {
        let beside = inference
            .iter()
            .any(|other| other.resource.name == way.resource.name && other.how == way.how);
        if way.how == How::ClusterService && beside && case.container.runs("triton") {
            let message = format!(
                "the Service that callers use carries the metrics port {port} too, and no policy tells them apart"
            );
            sink.find(
                way.place,
                format!("metrics {}", way.resource.title()),
                message,
            )
            .severity(Severity::Low);
        }
    }
}

/// Servers that answer `/metrics` on the port that they serve on, behind an ingress that lets all paths through.
fn shared_port(case: &Case<'_>, sink: &mut Sink<'_>) {
    let port = if reach::serves(case, &["nim"]) {
        let named = ["NIM_SERVER_PORT", "NIM_HTTP_API_PORT"]
            .iter()
            .find_map(|name| case.container.literal(name));
        named.map_or(Some(8000), |(port, _)| port.parse().ok())
    } else if matches!(vllm_key(case.container), Key::Missing) {
        vllm_port(case)
    } else {
        // With a key, the rule about the paths that it does not guard says it.
        None
    };
    let Some(port) = port else { return };
    let safe = &[
        "/v1/chat",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/models",
        "/v1/responses",
        "/v1/ranking",
        "/v1/infer",
    ];
    let vllm_safe = &["/v1", "/v2", "/inference/v1", "/health"];
    let prefixes: &[&str] = if case.container.runs("nim") {
        safe
    } else {
        vllm_safe
    };
    for way in reach::from_outside(case, &[port]) {
        if way.how == How::Ingress && reach::lets_through_all(case, &way, prefixes) {
            let path = if case.container.runs("nim") {
                "/v1/metrics"
            } else {
                "/metrics"
            };
            let message = format!(
                "{} lets `{path}` through with everything else on port {port}",
                way.how.as_str()
            );
            sink.find(way.place, format!("metrics {}", way.resource.title()), message)
                .fix("Let the paths through that callers need, such as `/v1/chat/completions` and `/v1/models`.");
        }
    }
}
