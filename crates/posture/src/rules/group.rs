//! Ports that the processes of one server use among themselves.

use crate::cluster::{Exposure, How};
use crate::estate::Estate;
use crate::kubernetes::same_namespace;
use crate::node::Node;
use crate::place::Place;
use crate::rule::{Case, Check, Group, Rule, Severity, Sink};
use crate::rules::reach;
use crate::workload::{Container, Origin, Resource, Role};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "AI-012",
        title: "ports between the server's own processes are reached by others",
        group: Group::Server,
        severity: Severity::Critical,
        why: "The processes of a server that spans nodes talk in plain text and ask for no key: torch.distributed, the \
              transfer of key-value caches, ZeroMQ queues that carry pickles, Ray's control store. One message to such a \
              port runs code in the process that holds the weights.",
        fix: "Take the port out of the Service that others use, let in the group's own pods only by NetworkPolicy, and set \
              `VLLM_HOST_IP` to an address of the group's own network.",
        maps: &["K07", "AML.T0049", "NIST 800-190 4.3.3"],
        checks: &[Check::Container(internal_ports)],
    },
    Rule {
        id: "AI-013",
        title: "the Ray dashboard is reached by others",
        group: Group::Server,
        severity: Severity::Critical,
        why: "Port 8265 is Ray's job interface: one request runs any command on the cluster, and it asks for no key \
              (CVE-2023-48022). Exposed dashboards are looked for and used to mine and to steal models.",
        fix: "Bind it to loopback (`--dashboard-host=127.0.0.1`) and reach it by port forwarding, set \
              `RAY_AUTH_MODE=token`, and let in by policy only what submits jobs.",
        maps: &["K06", "AML.T0049", "T1190"],
        checks: &[
            Check::Container(dashboard),
            Check::Estate(dashboards_of_clusters),
        ],
    },
];

/// Ports that servers use among themselves, with what listens there.
const INTERNAL: &[(u16, &str)] = &[
    (29500, "torch.distributed's store"),
    (29501, "torch.distributed's store"),
    (29550, "the data-parallel coordinator"),
    (14579, "the key-value cache transfer"),
    (5557, "key-value cache events over ZeroMQ"),
    (5558, "key-value cache events over ZeroMQ"),
    (5600, "the NIXL side channel"),
    (6379, "Ray's control store"),
    (10001, "Ray's client port"),
];

/// Flags and variables that move such a port.
const MOVED: &[(&[&str], &str, &str)] = &[
    (&["--kv-port"], "", "the key-value cache transfer"),
    (
        &["--master-port", "--dist-init-port"],
        "MASTER_PORT",
        "torch.distributed's store",
    ),
    (
        &["--data-parallel-rpc-port"],
        "VLLM_DP_MASTER_PORT",
        "the data-parallel coordinator",
    ),
    (
        &["--disaggregation-bootstrap-port"],
        "",
        "the disaggregation bootstrap",
    ),
    (&[], "VLLM_NIXL_SIDE_CHANNEL_PORT", "the NIXL side channel"),
];

/// The ports that a container's processes use among themselves.
fn internal(container: &Container<'_>) -> Vec<(u16, &'static str)> {
    let mut found = INTERNAL.to_vec();
    for (flags, variable, what) in MOVED {
        let flag = container.flag(flags).and_then(|flag| flag.value);
        let moved = flag.or_else(|| container.literal(variable).map(|(text, _)| text));
        if let Some(port) = moved.and_then(|text| text.parse().ok()) {
            found.push((port, what));
        }
    }
    found
}

/// Whether a port of a container is one that its processes use among themselves, and not the one it serves on.
pub(crate) fn is_internal(container: &Container<'_>, port: u16) -> bool {
    let server = ["vllm", "nim", "sglang", "tgi"]
        .iter()
        .any(|id| container.runs(id));
    (server || runs_ray(container))
        && !declared_for_serving(container, port)
        && internal(container).iter().any(|(own, _)| *own == port)
}

/// Whether a container runs Ray: by its command, or by its image's name.
fn runs_ray(container: &Container<'_>) -> bool {
    let by_image = container.image.as_ref().is_some_and(|image| {
        let base = image.repository.rsplit('/').next().unwrap_or("");
        base == "ray" || base.starts_with("ray-") || image.repository.starts_with("rayproject/")
    });
    by_image || starts_ray(container).is_some()
}

fn starts_ray(container: &Container<'_>) -> Option<Place> {
    let mut words = container.words.windows(2);
    words.find_map(|pair| match pair {
        [ray, start] if ray.text.rsplit('/').next() == Some("ray") && start.text == "start" => {
            Some(start.place)
        }
        _ => None,
    })
}

/// What shows that a server spans nodes.
fn spans_nodes(container: &Container<'_>) -> Option<(String, Place)> {
    let flags = [
        "--nnodes",
        "--node-rank",
        "--data-parallel-address",
        "--kv-transfer-config",
        "--dist-init-addr",
        "--master-addr",
    ];
    let by_flag = flags
        .iter()
        .find_map(|name| {
            container
                .flag(&[name])
                .map(|flag| ((*name).to_owned(), flag.place))
        })
        .filter(|(name, _)| {
            name != "--nnodes"
                || container.flag(&["--nnodes"]).and_then(|flag| flag.value) != Some("1")
        });
    by_flag
        .or_else(|| {
            let flag = container.flag(&["--distributed-executor-backend"])?;
            (flag.value == Some("ray"))
                .then(|| ("--distributed-executor-backend ray".to_owned(), flag.place))
        })
        .or_else(|| starts_ray(container).map(|place| ("ray start".to_owned(), place)))
}

fn internal_ports(case: &Case<'_>, sink: &mut Sink<'_>) {
    let container = case.container;
    let server = reach::serves(case, &["vllm", "nim", "sglang", "tgi"]);
    if !server && (container.role != Role::Main || !runs_ray(container)) {
        return;
    }
    let guarded = reach::has_ingress_policy(case);
    for (port, what) in internal(container) {
        let ray = matches!(port, 6379 | 10001);
        // Redis and others use the same numbers: Ray's count only where Ray runs.
        if ray && !runs_ray(container) && spans_nodes(container).is_none() {
            continue;
        }
        for way in reach::ways(case, &[port]) {
            if way.how == How::HostNetwork
                || way.how == How::Loopback
                || declared_for_serving(container, port)
            {
                continue;
            }
            reported(sink, &way, port, what, guarded);
        }
    }
    let in_host_network = reach::ways(case, &[29500])
        .into_iter()
        .any(|way| way.how == How::HostNetwork);
    if in_host_network && let Some((name, place)) = spans_nodes(container) {
        let message = format!(
            "`{name}` opens ports for the other nodes, and in the host's network everybody who reaches the node reaches \
             them; no NetworkPolicy applies there"
        );
        sink.find(place, "host network", message)
            .severity(Severity::High)
            .fix("Take the pod out of the host's network; give the group a network of its own for what its nodes exchange.");
    }
}

/// Whether the server's own port was moved to this number. `ray start --port` is not the server's.
fn declared_for_serving(container: &Container<'_>, port: u16) -> bool {
    starts_ray(container).is_none() && reach::port_of(container, &["--port"], 0) == Some(port)
}

fn reported(sink: &mut Sink<'_>, way: &Exposure<'_>, port: u16, what: &str, guarded: bool) {
    let outside = way.how.is_external();
    if !outside && guarded {
        return;
    }
    let who = if outside {
        "anybody outside"
    } else {
        "every pod of the cluster"
    };
    let message = format!(
        "port {port} is {what}, and {} gives it to {who}: it asks for no key",
        way.how.as_str()
    );
    let finding = sink.find(
        way.place,
        format!("port {port} {}", way.resource.title()),
        message,
    );
    if !outside {
        finding.severity(Severity::High);
    }
}

/// Ray's dashboard and job interface.
const DASHBOARD: u16 = 8265;

fn asks_for_token(container: &Container<'_>) -> bool {
    container
        .literal("RAY_AUTH_MODE")
        .is_some_and(|(mode, _)| mode.eq_ignore_ascii_case("token"))
}

fn dashboard(case: &Case<'_>, sink: &mut Sink<'_>) {
    let container = case.container;
    if container.role != Role::Main
        || !runs_ray(container) && !reach::serves(case, &["vllm"])
        || asks_for_token(container)
    {
        return;
    }
    let port = reach::port_of(container, &["--dashboard-port"], DASHBOARD).unwrap_or(DASHBOARD);
    let host = container.flag(&["--dashboard-host"]);
    // `ray start` binds the dashboard to loopback unless it is told otherwise.
    let bound = match &host {
        Some(flag) => flag.value.is_some_and(reach::is_loopback),
        None => starts_ray(container).is_some(),
    };
    if bound {
        return;
    }
    let outside: Vec<Exposure<'_>> = reach::from_outside(case, &[port])
        .into_iter()
        .filter(|way| way.how != How::HostNetwork || starts_ray(container).is_some())
        .collect();
    if !outside.is_empty() {
        if let Some(way) = reach::unguarded(case, &[port]) {
            let message = format!(
                "Ray's job interface on port {port} runs any command for whoever comes through {}",
                way.how.as_str()
            );
            sink.find(
                way.place,
                format!("dashboard {}", way.resource.title()),
                message,
            );
        }
        return;
    }
    if case.workload.origin == Origin::Kubernetes
        && !reach::has_ingress_policy(case)
        && let Some(flag) = host
        && flag.value.is_some_and(is_any_address)
    {
        let message = format!(
            "Ray's job interface listens on every address, and no policy keeps other pods from port {port}"
        );
        sink.find(flag.place, "--dashboard-host", message)
            .severity(Severity::High);
    }
}

fn is_any_address(address: &str) -> bool {
    matches!(address, "0.0.0.0" | "::" | "[::]" | "*")
}

/// `rayStartParams` of KubeRay's kinds, which become words of `ray start`.
fn dashboards_of_clusters(estate: &Estate<'_>, sink: &mut Sink<'_>) {
    for resource in &estate.resources {
        if !matches!(resource.kind, "RayCluster" | "RayService" | "RayJob") || has_token(resource) {
            continue;
        }
        if estate
            .of_kind("NetworkPolicy")
            .any(|policy| lets_in_less(policy, resource))
        {
            continue;
        }
        let mut places = Vec::new();
        resource.node.walk(&mut |node| {
            let host = node
                .get("rayStartParams")
                .and_then(|given| given.get("dashboard-host"));
            if let Some(host) = host.filter(|host| host.text().is_some_and(is_any_address)) {
                places.push(host.place);
            }
        });
        sink.about_resource(resource);
        for place in places {
            let message = format!(
                "Ray's job interface listens on every address of the head pod, and no policy keeps other pods from port {DASHBOARD}"
            );
            sink.find(place, "dashboard-host", message)
                .severity(Severity::High)
                .fix(
                    "Select `ray.io/node-type: head` with a NetworkPolicy that lets in the operator and what submits jobs, \
                     and set `RAY_AUTH_MODE=token`.",
                );
        }
    }
}

fn has_token(resource: &Resource<'_>) -> bool {
    let mut found = resource
        .node
        .at(&["spec", "authOptions", "mode"])
        .and_then(Node::text)
        == Some("token");
    resource.node.walk(&mut |node| {
        found |=
            node.text_at("name") == Some("RAY_AUTH_MODE") && node.text_at("value") == Some("token");
    });
    found
}

/// Whether a policy restricts who comes in to pods that carry Ray's labels, which the operator puts on them.
fn lets_in_less(policy: &Resource<'_>, resource: &Resource<'_>) -> bool {
    let selector = policy.node.at(&["spec", "podSelector"]);
    let of_ray = selector.is_some_and(|selector| {
        let labels = selector.get("matchLabels").map_or(&[][..], Node::entries);
        let expressions = selector.list("matchExpressions");
        (labels.is_empty() && expressions.is_empty())
            || labels.iter().any(|label| label.key.starts_with("ray.io/"))
    });
    let types = policy
        .node
        .at(&["spec", "policyTypes"])
        .map_or(&[][..], Node::items);
    let ingress = types.is_empty() || types.iter().any(|one| one.text() == Some("Ingress"));
    of_ray && ingress && same_namespace(policy, resource)
}
