//! How a server is reached, and what stands in front of it: what several rules ask.

use crate::cluster::{Exposure, How, exposures, policies, selects, service_selects};
use crate::kubernetes::{pairs, same_namespace};
use crate::node::Node;
use crate::node::is_unresolved;
use crate::place::Place;
use crate::rule::{Case, Change};
use crate::workload::{Container, Mount, Origin, Resource, Role};

/// Whether this container serves: one that only prepares the others has no clients.
pub(crate) fn serves(case: &Case<'_>, profiles: &[&str]) -> bool {
    case.container.role == Role::Main && profiles.iter().any(|id| case.container.runs(id))
}

/// The most telling place of a container that lacks something: its image, else its name.
pub(crate) fn identity(container: &Container<'_>) -> Place {
    container
        .image
        .as_ref()
        .map(|image| image.place)
        .or_else(|| container.node.get("name").map(|name| name.place))
        .unwrap_or(container.node.place)
}

/// Every use of the flag `name` with its value, in both of its forms.
pub(crate) fn uses<'look>(container: &'look Container<'_>, name: &str) -> Vec<(&'look str, Place)> {
    let mut found = Vec::new();
    for (at, word) in container.words.iter().enumerate() {
        if let Some(rest) = word.text.strip_prefix(name) {
            if let Some(value) = rest.strip_prefix('=') {
                found.push((value, word.place));
            } else if rest.is_empty()
                && let Some(next) = container.words.get(at + 1)
            {
                found.push((next.text.as_ref(), next.place));
            }
        }
    }
    found
}

/// Whether a flag of a server that reads `true` and `false` as values is switched on.
pub(crate) fn is_true(value: Option<&str>) -> bool {
    value.is_none_or(crate::workload::is_on)
}

/// Whether the flag is there and not followed by a word for "off".
pub(crate) fn switched<'look>(
    container: &'look Container<'_>,
    names: &[&str],
) -> Option<(Option<&'look str>, Place)> {
    let flag = container.flag(names)?;
    let off = flag
        .value
        .is_some_and(|value| matches!(value.to_ascii_lowercase().as_str(), "false" | "0" | "no"));
    (!off).then_some((flag.value, flag.place))
}

/// The number a flag gives, or `default` without the flag; none when it is filled in later.
pub(crate) fn port_of(container: &Container<'_>, names: &[&str], default: u16) -> Option<u16> {
    match container.flag(names).and_then(|flag| flag.value) {
        Some(value) => value.parse().ok(),
        None => Some(default),
    }
}

/// Whether an address is reached from its own pod or host only.
pub(crate) fn is_loopback(address: &str) -> bool {
    address.starts_with("127.") || matches!(address, "localhost" | "::1" | "[::1]")
}

/// The ways to any of `ports`; the host's own network leads to all of them.
pub(crate) fn ways<'look>(case: &Case<'look>, ports: &[u16]) -> Vec<Exposure<'look>> {
    exposures(case.estate, case.workload)
        .into_iter()
        .filter(|way| {
            way.port
                .map_or(way.how == How::HostNetwork, |port| ports.contains(&port))
        })
        .collect()
}

/// The ways to any of `ports` that somebody outside can take. A policy that lets in pods only closes those that
/// lead straight to the pod; what an ingress controller forwards comes from a pod.
pub(crate) fn from_outside<'look>(case: &Case<'look>, ports: &[u16]) -> Vec<Exposure<'look>> {
    let closed = !open_to_addresses(case);
    ways(case, ports)
        .into_iter()
        .filter(|way| {
            way.how.is_external()
                && !(closed && matches!(way.how, How::NodePort | How::LoadBalancer))
        })
        .collect()
}

/// The first of those ways that asks nobody who they are.
pub(crate) fn unguarded<'look>(case: &Case<'look>, ports: &[u16]) -> Option<Exposure<'look>> {
    if mesh_authorizes(case) {
        return None;
    }
    from_outside(case, ports)
        .into_iter()
        .find(|way| !asks_who(case, way))
}

/// Whether some policy restricts who may come in to the pod.
pub(crate) fn has_ingress_policy(case: &Case<'_>) -> bool {
    !policies(case.estate, case.workload).ingress.is_empty()
}

/// Whether some policy restricts where the pod may go.
pub(crate) fn has_egress_policy(case: &Case<'_>) -> bool {
    !policies(case.estate, case.workload).egress.is_empty()
}

/// Whether packets from any address are let in, as they are without a policy.
fn open_to_addresses(case: &Case<'_>) -> bool {
    let found = policies(case.estate, case.workload);
    found.ingress.is_empty()
        || found.ingress.iter().any(|policy| {
            policy
                .node
                .at(&["spec", "ingress"])
                .map_or(&[][..], Node::items)
                .iter()
                .any(lets_in_addresses)
        })
}

fn lets_in_addresses(rule: &Node) -> bool {
    // Cilium and Calico name their peers otherwise; only what says "anybody" opens.
    let entities = rule.list("fromEntities");
    if !entities.is_empty() {
        return entities
            .iter()
            .any(|one| matches!(one.text(), Some("world" | "all")));
    }
    if rule.get("fromEndpoints").is_some()
        || rule.get("fromCIDR").is_some()
        || rule.get("fromCIDRSet").is_some()
        || rule.get("source").is_some()
    {
        return false;
    }
    let from = rule.list("from");
    from.is_empty()
        || from.iter().any(|peer| {
            peer.at(&["ipBlock", "cidr"])
                .and_then(Node::text)
                .is_some_and(|cidr| cidr.ends_with("/0"))
        })
}

/// Whether a service mesh lets in named callers only.
pub(crate) fn mesh_authorizes(case: &Case<'_>) -> bool {
    case.estate.resources.iter().any(|policy| {
        if !same_namespace(policy, &case.workload.resource) {
            return false;
        }
        let spec = policy.node.get("spec");
        match policy.kind {
            "AuthorizationPolicy" if policy.api_version.starts_with("policy.linkerd.io") => true,
            "ServerAuthorization" => {
                spec.and_then(|spec| spec.at(&["client", "unauthenticated"]))
                    .and_then(Node::boolean)
                    != Some(true)
            }
            "AuthorizationPolicy" => {
                let selected = spec
                    .and_then(|spec| spec.get("selector"))
                    .is_none_or(|selector| selects(selector, &case.workload.labels));
                let rules = spec.map_or(&[][..], |spec| spec.list("rules"));
                let allows = !matches!(
                    spec.and_then(|spec| spec.text_at("action")),
                    Some("DENY" | "AUDIT")
                );
                selected
                    && allows
                    && rules
                        .iter()
                        .all(|rule| rule.get("from").is_some() || rule.get("when").is_some())
            }
            _ => false,
        }
    })
}

/// Whether a mesh makes every connection to the pod one with certificates on both sides.
pub(crate) fn mesh_encrypts(case: &Case<'_>) -> bool {
    let annotated = |key: &str, value: &str| {
        let both = case
            .workload
            .annotations
            .iter()
            .chain(&case.workload.labels);
        both.copied()
            .any(|(found, text)| found == key && text == value)
    };
    annotated("linkerd.io/inject", "enabled")
        || case.estate.of_kind("PeerAuthentication").any(|policy| {
            same_namespace(policy, &case.workload.resource)
                && policy
                    .node
                    .at(&["spec", "mtls", "mode"])
                    .and_then(Node::text)
                    == Some("STRICT")
                && policy
                    .node
                    .at(&["spec", "selector"])
                    .is_none_or(|selector| selects(selector, &case.workload.labels))
        })
}

/// Whether what is in front of this way asks callers who they are.
fn asks_who(case: &Case<'_>, way: &Exposure<'_>) -> bool {
    let front = way.resource;
    let annotated = pairs(front.node.at(&["metadata", "annotations"]))
        .iter()
        .any(|(key, value)| is_authentication(key, value));
    let policy = case.estate.of_kind("SecurityPolicy").any(|policy| {
        let spec = policy.node.get("spec");
        let targets = spec.map_or(&[][..], |spec| spec.list("targetRefs"));
        let target = spec.and_then(|spec| spec.get("targetRef"));
        let asks = ["jwt", "oidc", "basicAuth", "apiKeyAuth", "extAuth"]
            .iter()
            .any(|key| spec.is_some_and(|spec| spec.get(key).is_some()));
        asks && targets
            .iter()
            .chain(target)
            .any(|one| one.text_at("name") == Some(front.name))
    });
    annotated || policy
}

fn is_authentication(key: &str, value: &str) -> bool {
    let names = [
        "/auth-url",
        "/auth-type",
        "/auth-secret",
        "/auth-tls-secret",
        "/auth-signin",
        "/auth-realm",
        "/oauth",
    ];
    let words = ["auth", "jwt", "oidc", "openid", "mtls"];
    if names.iter().any(|name| key.contains(name)) {
        return !matches!(value, "none" | "off" | "false" | "");
    }
    (key.contains("router.middlewares") || key.starts_with("konghq.com/plugins"))
        && words.iter().any(|word| value.contains(word))
}

/// Whether a way lets through paths that none of `prefixes` starts. A way without paths does.
pub(crate) fn lets_through_all(case: &Case<'_>, way: &Exposure<'_>, prefixes: &[&str]) -> bool {
    if way.how != How::Ingress {
        return true;
    }
    let services: Vec<&str> = case
        .estate
        .of_kind("Service")
        .filter(|service| service_selects(service, case.workload))
        .map(|service| service.name)
        .collect();
    paths(way.resource, &services)
        .iter()
        .any(|path| !prefixes.iter().any(|prefix| path.starts_with(prefix)))
}

/// The paths on which an ingress or a route leads to one of `services`.
fn paths<'tree>(front: &Resource<'tree>, services: &[&str]) -> Vec<&'tree str> {
    let leads = |node: &Node| {
        let mut found = false;
        node.walk(&mut |one| {
            let name = one.text_at("name").or_else(|| one.text_at("host"));
            found |= name
                .map(|name| name.split('.').next().unwrap_or(name))
                .is_some_and(|name| services.contains(&name));
        });
        found
    };
    let mut found = Vec::new();
    let spec = front.node.get("spec");
    let list = |key: &str| spec.map_or(&[][..], |spec| spec.list(key));
    match front.kind {
        "Ingress" => {
            if spec
                .and_then(|spec| spec.get("defaultBackend"))
                .is_some_and(leads)
            {
                found.push("/");
            }
            for path in list("rules")
                .iter()
                .flat_map(|rule| rule.at(&["http", "paths"]).map_or(&[][..], Node::items))
                .filter(|path| leads(path))
            {
                found.push(path.text_at("path").unwrap_or("/"));
            }
        }
        "Route" => found.push(spec.and_then(|spec| spec.text_at("path")).unwrap_or("/")),
        kind => {
            let (rules, matches) = match kind {
                "VirtualService" => (list("http"), "match"),
                _ => (list("rules"), "matches"),
            };
            for rule in rules.iter().filter(|rule| leads(rule)) {
                let matches = rule.list(matches);
                if matches.is_empty() {
                    found.push("/");
                }
                for one in matches {
                    let uri = one.get("uri");
                    let path = one
                        .at(&["path", "value"])
                        .or_else(|| uri.and_then(|uri| uri.get("prefix")))
                        .or_else(|| uri.and_then(|uri| uri.get("exact")));
                    found.push(path.and_then(Node::text).unwrap_or("/"));
                }
            }
        }
    }
    found
}

/// The mount that holds `path`, the deepest one.
pub(crate) fn mount_of<'look, 'tree>(
    container: &'look Container<'tree>,
    path: &str,
) -> Option<&'look Mount<'tree>> {
    container
        .mounts
        .iter()
        .filter(|mount| is_within(path, &mount.path))
        .max_by_key(|mount| mount.path.len())
}

/// Whether `path` is `folder` or something in it.
pub(crate) fn is_within(path: &str, folder: &str) -> bool {
    let folder = folder.trim_end_matches('/');
    path.trim_end_matches('/')
        .strip_prefix(folder)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The edit that gives a variable another value: only where its value is a node of its own.
pub(crate) fn set_variable(case: &Case<'_>, place: Place, value: &str) -> Option<Change> {
    (case.workload.origin == Origin::Kubernetes).then(|| Change::Replace {
        place,
        text: format!("\"{value}\""),
    })
}

/// The edit that adds a variable to a container of Kubernetes that has none of this name.
pub(crate) fn add_variable(case: &Case<'_>, name: &str, value: &str) -> Option<Change> {
    if case.workload.origin != Origin::Kubernetes || case.container.node.get("image").is_none() {
        return None;
    }
    let entry = format!("{{ name: {name}, value: \"{value}\" }}");
    match case.container.node.get("env") {
        Some(list) => Change::append(list, &entry),
        None => Change::set(case.container.node, &["env"], &format!("[{entry}]")),
    }
}

/// What was not read of a container's environment: a secret or a config map that is taken in whole, or a file.
pub(crate) fn unseen_environment(container: &Container<'_>) -> Option<Place> {
    let files = || {
        let files = container.node.get("env_file")?;
        let read = container
            .node
            .get(crate::compose::resolve::FROM_FILES)
            .is_some();
        (!read).then_some(files.place)
    };
    container
        .variable("*")
        .map(|bundle| bundle.place)
        .or_else(files)
}

/// Whether a word of a command line is filled in later.
pub(crate) fn is_later(value: &str) -> bool {
    is_unresolved(value) || (value.contains("$(") && value.contains(')'))
}
