//! What surrounds any inference server: caches of compiled code, tools of development, limits on callers.

use crate::cluster::{Exposure, How};
use crate::estate::Estate;
use crate::kubernetes::same_namespace;
use crate::rule::{Case, Check, Group, Rule, Sink};
use crate::workload::{Container, Origin, Resource};

use super::evidence;

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "AI-048",
        title: "a cache of compiled kernels is shared and can be written",
        group: Group::Server,
        severity: crate::rule::Severity::Medium,
        why: "Servers load what they find in these caches as code. Whoever else writes the volume has their code run \
              in this server at its next start, beside its weights and keys.",
        fix: "Give each pod a cache of its own: an `emptyDir` with a size limit.",
        maps: &["AML.T0018.002", "T1574", "NIST 800-190 4.3.4"],
        checks: &[Check::Container(shared_cache)],
    },
    Rule {
        id: "AI-049",
        title: "a tool of development runs beside the model",
        group: Group::Server,
        severity: crate::rule::Severity::High,
        why: "A notebook, a debugger or a reloader runs whatever it is given or finds changed: who reaches it, or \
              writes the source folder, has a shell where the weights and keys are.",
        fix: "Serve from an image and a command without it; debug on a copy that has no real weights.",
        maps: &["T1059", "AML.T0105", "NIST 800-190 4.4.3"],
        checks: &[Check::Container(development)],
    },
    Rule {
        id: "AI-050",
        title: "nothing limits how much callers from outside may ask",
        group: Group::Server,
        severity: crate::rule::Severity::Medium,
        why: "A few callers with long prompts hold the accelerator for hours, and one who may ask without end copies \
              the model's behaviour answer by answer.",
        fix: "Limit rate, size and time per caller at the gate, the ingress or the gateway.",
        maps: &["LLM10", "AML.T0029", "AML.T0034", "AML.M0004"],
        checks: &[Check::Container(unlimited)],
    },
];

/// Variables that say where compiled code is kept.
const CACHE_VARIABLES: &[&str] = &[
    "TRITON_CACHE_DIR",
    "TRITON_HOME",
    "TORCHINDUCTOR_CACHE_DIR",
    "TORCH_EXTENSIONS_DIR",
    "VLLM_CACHE_ROOT",
    "CUDA_CACHE_PATH",
    "NUMBA_CACHE_DIR",
    "SGLANG_CACHE_DIR",
    "FLASHINFER_WORKSPACE_BASE",
    "TRTLLM_ENGINE_CACHE_DIR",
];

/// Parts of the paths at which servers keep compiled code by themselves.
const CACHE_PATHS: &[&str] = &[
    "/.triton",
    "/.cache/vllm",
    "/.cache/flashinfer",
    "/.cache/torch_extensions",
    "/.nv/ComputeCache",
    "/torchinductor_",
    "/torch_compile_cache",
];

fn shared_cache(case: &Case<'_>, sink: &mut Sink<'_>) {
    let container = case.container;
    for name in CACHE_VARIABLES {
        let Some((path, place)) = container.literal(name) else {
            continue;
        };
        let Some(mount) = evidence::mount_of(container, path).filter(|mount| !mount.read_only)
        else {
            continue;
        };
        if let Some(others) = evidence::shared_with(case, mount) {
            let message = format!(
                "`{name}={path}` holds compiled code that this server runs, and {others} can write it"
            );
            sink.find(place, *name, message);
        }
    }
    for mount in container.mounts.iter().filter(|mount| !mount.read_only) {
        if !CACHE_PATHS.iter().any(|part| mount.path.contains(part)) {
            continue;
        }
        let named = CACHE_VARIABLES.iter().any(|name| {
            container
                .literal(name)
                .is_some_and(|(path, _)| path.starts_with(mount.path.as_ref()))
        });
        if named {
            continue;
        }
        if let Some(others) = evidence::shared_with(case, mount) {
            let message = format!(
                "`{}` holds compiled code that this server runs, and {others} can write it",
                mount.path
            );
            sink.find(mount.place, format!("cache {}", mount.path), message);
        }
    }
}

fn development(case: &Case<'_>, sink: &mut Sink<'_>) {
    let container = case.container;
    let serves = case
        .workload
        .containers
        .iter()
        .any(|one| one.server.is_some());
    if !serves {
        return;
    }
    let mut found = false;
    for word in &container.words {
        let name = word.text.rsplit('/').next().unwrap_or("");
        let what = match name {
            "jupyter" | "jupyter-lab" | "jupyter-notebook" | "jupyterlab" | "code-server"
            | "marimo" => "gives a shell in the browser",
            "debugpy" | "pydevd" => "lets whoever connects run code in the server",
            "--reload" if is_reloader(container) => {
                "restarts the server with whatever its source folder holds then"
            }
            _ => continue,
        };
        found = true;
        let message = format!("`{name}` {what}, beside the model and its keys");
        sink.find(word.place, name, message);
        break;
    }
    if found {
        return;
    }
    for port in &container.ports {
        let name = port.name.unwrap_or("");
        let tool = [
            "jupyter",
            "notebook",
            "debug",
            "debugger",
            "debugpy",
            "code-server",
        ]
        .iter()
        .any(|tool| name == *tool || name.strip_suffix("-http").is_some_and(|rest| rest == *tool));
        if tool {
            let message = format!(
                "port {} (`{name}`) is that of a tool of development, beside the model",
                port.number
            );
            sink.find(port.place, format!("port {name}"), message);
        }
    }
}

/// Whether `--reload` belongs to a server of Python applications; other programs mean other things by it.
fn is_reloader(container: &Container<'_>) -> bool {
    container.words.iter().any(|word| {
        let name = word.text.rsplit('/').next().unwrap_or("");
        matches!(
            name,
            "uvicorn" | "gunicorn" | "hypercorn" | "fastapi" | "sanic"
        )
    })
}

fn unlimited(case: &Case<'_>, sink: &mut Sink<'_>) {
    let container = case.container;
    if container.server.is_none() {
        return;
    }
    let alone = case
        .workload
        .containers
        .iter()
        .filter(|one| one.role == container.role)
        .count()
        == 1;
    let ways = crate::cluster::exposures(case.estate, case.workload);
    let mut outside = ways.iter().filter(|way| {
        // The host's own network is another rule's; a way to a sidecar's port is limited there.
        let own = way
            .port
            .is_some_and(|port| container.ports.iter().any(|one| one.number == port));
        let undeclared = container.ports.is_empty() && alone;
        let between = way
            .port
            .is_some_and(|port| super::group::is_internal(container, port));
        way.how.is_external() && way.how != How::HostNetwork && (own || undeclared) && !between
    });
    let behind = |service: &Exposure<'_>| {
        // A service that an ingress limits may still be a node port; only that way is reported.
        service.how == How::Ingress && limits(case.estate, service.resource)
    };
    let Some(way) = outside.find(|way| !behind(way)) else {
        return;
    };
    let message = match way.how {
        How::Ingress => format!(
            "`{}` publishes the model and limits neither rate nor connections of a caller",
            way.resource.title()
        ),
        _ if case.workload.origin == Origin::Kubernetes => format!(
            "{} (`{}`) leads straight to the server: nothing on the way limits a caller",
            way.how.as_str(),
            way.resource.name
        ),
        _ => "the published port leads straight to the server: nothing on the way limits a caller"
            .to_owned(),
    };
    sink.find(
        way.place,
        format!("limits of {}", way.resource.title()),
        message,
    );
}

/// Whether an ingress or route limits its callers: by annotations, by a filter, or by a policy that targets it.
fn limits(estate: &Estate<'_>, ingress: &Resource<'_>) -> bool {
    let by_annotation = evidence::annotations(ingress).iter().any(|(key, value)| {
        let name = key.rsplit('/').next().unwrap_or("");
        let plugin = matches!(name, "router.middlewares" | "plugins");
        name.starts_with("limit-rp")
            || matches!(
                name,
                "limit-connections" | "rate-limit-rpm" | "rate-limit-rps" | "wafv2-acl-arn"
            )
            || name.starts_with("rate-limit")
            || name == "rate_limiting"
            || (plugin && ["limit", "rate"].iter().any(|word| value.contains(word)))
    });
    if by_annotation {
        return true;
    }
    let mut by_filter = false;
    ingress.node.walk(&mut |node| {
        let referred = node
            .at(&["extensionRef", "name"])
            .and_then(crate::node::Node::text);
        by_filter |= referred.is_some_and(|name| name.contains("limit") || name.contains("rate"));
    });
    by_filter
        || estate.resources.iter().any(|policy| {
            let known = matches!(
                policy.kind,
                "BackendTrafficPolicy"
                    | "RateLimitPolicy"
                    | "TokenRateLimitPolicy"
                    | "GCPBackendPolicy"
            );
            known
                && same_namespace(policy, ingress)
                && evidence::names_target(policy.node, ingress.name)
        })
}
