//! As whom a container runs and what that account may still do: user, capabilities, file system, API token.

use crate::estate::Estate;
use crate::kubernetes::same_namespace;
use crate::node::Node;
use crate::rule::{Case, Change, Check, Finding, Group, Rule, Severity, Sink};
use crate::rules::subject::{
    is_pod, is_spelled_out, is_template, place_of, security, workload_place,
};
use crate::workload::{Origin, Resource, Workload};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "AI-096",
        title: "container may run as root",
        group: Group::Hardening,
        severity: Severity::Medium,
        why: "Images of inference servers start as root unless told otherwise. Root in the container is root of every \
              file it mounts, the weights among them, and one bug in the runtime away from root of the node.",
        fix: "Write `runAsNonRoot: true` and `runAsUser: 1000`; NIM and Triton images are made for it.",
        maps: &[
            "CIS 5.2.7",
            "CIS-Docker 4.1",
            "NIST 800-190 4.1.2",
            "K01",
            "T1611",
        ],
        checks: &[Check::Container(root)],
    },
    Rule {
        id: "AI-097",
        title: "privileges that the restricted profile takes away",
        group: Group::Hardening,
        severity: Severity::Medium,
        why: "With set-uid programs, leftover capabilities and an unfiltered system-call table, code that came in \
              through a model file has what a container escape is built from.",
        fix: "Write `allowPrivilegeEscalation: false`, `capabilities: {drop: [ALL]}` and \
              `seccompProfile: {type: RuntimeDefault}`.",
        maps: &[
            "CIS 5.2.6",
            "CIS 5.2.9",
            "CIS 5.7.2",
            "CIS-Docker 5.3",
            "CIS-Docker 5.25",
            "NIST 800-190 4.4.3",
            "K01",
            "T1611",
            "T1548",
        ],
        checks: &[Check::Container(leftovers)],
    },
    Rule {
        id: "AI-098",
        title: "root file system writable",
        group: Group::Hardening,
        severity: Severity::Medium,
        why: "Who gets to write a file beside the server changes the server: a Python module, a tokenizer, a cached \
              kernel that the next request loads and runs.",
        fix: "Write `readOnlyRootFilesystem: true` and give caches an `emptyDir`.",
        maps: &[
            "CIS-Docker 5.12",
            "NIST 800-190 4.4.4",
            "K01",
            "T1554",
            "AML.T0018.002",
        ],
        checks: &[Check::Container(writable_root)],
    },
    Rule {
        id: "AI-102",
        title: "API token mounted into a server that calls no API",
        group: Group::Hardening,
        severity: Severity::Medium,
        why: "The token at /var/run/secrets/kubernetes.io is the first thing that is read after a takeover. An \
              inference server calls its clients' models, never the cluster.",
        fix: "Write `automountServiceAccountToken: false` in the pod, and give the pod a ServiceAccount of its own.",
        maps: &["CIS 5.1.5", "CIS 5.1.6", "K03", "T1528", "AML.T0055"],
        checks: &[Check::Workload(token)],
    },
];

fn root(case: &Case<'_>, sink: &mut Sink<'_>) {
    let name = case.container.name;
    if case.workload.origin != Origin::Kubernetes {
        match case.container.node.get("user") {
            Some(user) => {
                let Some(text) = sink.known(user) else { return };
                let account = text.split(':').next().unwrap_or(text);
                if matches!(account, "root" | "0") {
                    sink.find(
                        user.place,
                        "user",
                        format!("`user: {text}` runs `{name}` as root"),
                    )
                    .fix("Write `user: \"1000:1000\"`.");
                }
            }
            // NIM images name a user of their own.
            None if case.container.runs("nim") => {}
            None => {
                let message = format!(
                    "`{name}` runs as the image's user, which is root for most inference servers"
                );
                sink.find(place_of(case), "user", message)
                    .fix("Write `user: \"1000:1000\"` (`--user 1000:1000`) and make the caches writable for it.");
            }
        }
        return;
    }
    let non_root = security(case, &["runAsNonRoot"]);
    let user = security(case, &["runAsUser"]);
    if non_root.and_then(Node::boolean) == Some(true) {
        return;
    }
    if let Some(user) = user {
        let Some(text) = sink.known(user) else { return };
        if text == "0" {
            let message = format!("`runAsUser: 0` runs container `{name}` as root");
            sink.find(user.place, "runAsUser", message);
        }
        return;
    }
    match non_root {
        Some(node) if sink.known(node).is_some() => {
            let message = format!("`runAsNonRoot: false` lets container `{name}` run as root");
            sink.find(node.place, "runAsNonRoot", message);
        }
        None if is_spelled_out(case) => {
            let message = format!(
                "nothing keeps container `{name}` from running as root: no `runAsNonRoot`, no `runAsUser`"
            );
            sink.find(place_of(case), "runAsNonRoot", message);
        }
        Some(_) | None => {}
    }
}

/// Capabilities that are most of root.
const STRONG: &[&str] = &[
    "ALL",
    "SYS_ADMIN",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_BOOT",
    "NET_ADMIN",
    "DAC_READ_SEARCH",
    "DAC_OVERRIDE",
    "BPF",
    "PERFMON",
];

fn leftovers(case: &Case<'_>, sink: &mut Sink<'_>) {
    match case.workload.origin {
        Origin::Kubernetes => pod_leftovers(case, sink),
        Origin::Compose | Origin::DockerRun => compose_leftovers(case, sink),
    }
}

fn pod_leftovers(case: &Case<'_>, sink: &mut Sink<'_>) {
    let node = case.container.node;
    let own = |path: &[&str]| node.get("securityContext").and_then(|own| own.at(path));
    let mut missing = Vec::new();
    match own(&["allowPrivilegeEscalation"]) {
        None => missing.push("allowPrivilegeEscalation: false"),
        Some(value) => {
            if sink.known(value).is_some() && value.boolean() == Some(true) {
                let message = "`allowPrivilegeEscalation: true` lets a set-uid program of the image gain root";
                sink.find(value.place, "allowPrivilegeEscalation", message)
                    .change(Change::replace(value, "false"));
            }
        }
    }
    strong_capabilities(own(&["capabilities", "add"]), sink);
    let dropped = own(&["capabilities", "drop"]).map_or(&[][..], Node::items);
    if !dropped.iter().any(is_all) {
        missing.push("capabilities: {drop: [ALL]}");
    }
    match security(case, &["seccompProfile", "type"]) {
        None => missing.push("seccompProfile: {type: RuntimeDefault}"),
        Some(value) => {
            if sink.known(value) == Some("Unconfined") {
                let message =
                    "`Unconfined` opens every system call of the node's kernel to the server";
                sink.find(value.place, "seccompProfile", message)
                    .change(Change::replace(value, "RuntimeDefault"));
            }
        }
    }
    if !missing.is_empty() && is_spelled_out(case) {
        let listed = missing.join(", ");
        let message = format!(
            "container `{}` keeps what the restricted profile takes away; missing: `{listed}`",
            case.container.name
        );
        let finding = sink.find(place_of(case), "restricted", message);
        finding.fix(format!("Write under `securityContext`: `{listed}`."));
        if installs_packages(node) {
            finding.fix(format!(
                "Build an image that has its packages, and write under `securityContext`: `{listed}`."
            ));
        } else {
            add_missing(node, &missing, finding);
        }
    }
}

/// Whether the container's script installs packages when it starts, for which it needs root's capabilities.
fn installs_packages(container: &Node) -> bool {
    const INSTALLERS: &[&str] = &["apt-get ", "apt ", "dnf ", "yum ", "apk add"];
    let mut found = false;
    for script in ["command", "args"]
        .iter()
        .filter_map(|key| container.get(key))
    {
        script.walk(&mut |node| {
            let text = node.text().unwrap_or("");
            found |= INSTALLERS.iter().any(|installer| text.contains(installer));
        });
    }
    found
}

/// Adds what is missing to the container's security context, in one edit where there is none yet.
fn add_missing(container: &Node, missing: &[&str], finding: &mut Finding) {
    if container.get("securityContext").is_none() {
        let text = format!("{{{}}}", missing.join(", "));
        if let Some(change) = Change::set(container, &["securityContext"], &text) {
            finding.change(change);
        }
        return;
    }
    for line in missing {
        let change = match *line {
            "allowPrivilegeEscalation: false" => Change::set(
                container,
                &["securityContext", "allowPrivilegeEscalation"],
                "false",
            ),
            "capabilities: {drop: [ALL]}" => Change::set(
                container,
                &["securityContext", "capabilities", "drop"],
                "[ALL]",
            ),
            _ => Change::set(
                container,
                &["securityContext", "seccompProfile"],
                "{type: RuntimeDefault}",
            ),
        };
        if let Some(change) = change {
            finding.change(change);
        }
    }
}

fn compose_leftovers(case: &Case<'_>, sink: &mut Sink<'_>) {
    let node = case.container.node;
    let mut kept = true;
    for option in node.list("security_opt") {
        let Some(text) = sink.known(option) else {
            continue;
        };
        let (what, value) = text.split_once([':', '=']).unwrap_or((text, ""));
        match (what, value) {
            ("no-new-privileges", "" | "true") => kept = false,
            ("seccomp" | "apparmor" | "systempaths", "unconfined") | ("label", "disable") => {
                let message = format!(
                    "`{text}` takes a wall between the container and the host's kernel away"
                );
                sink.find(option.place, what, message)
                    .fix("Remove the option; the engine's default profile fits inference servers.")
                    .change(Change::remove_item(option));
            }
            _ => {}
        }
    }
    strong_capabilities(node.get("cap_add"), sink);
    let mut missing = Vec::new();
    if kept {
        missing.push("security_opt: [\"no-new-privileges:true\"]");
    }
    if !node.list("cap_drop").iter().any(is_all) {
        missing.push("cap_drop: [ALL]");
    }
    if !missing.is_empty() {
        let listed = missing.join("`, `");
        let message = format!(
            "`{}` keeps set-uid programs or the engine's capabilities; missing: `{listed}`",
            case.container.name
        );
        sink.find(place_of(case), "restricted", message)
            .fix(format!(
                "Write `{listed}` (`--security-opt no-new-privileges --cap-drop ALL`)."
            ));
    }
}

fn strong_capabilities(added: Option<&Node>, sink: &mut Sink<'_>) {
    for capability in added.map_or(&[][..], Node::items) {
        let Some(text) = sink.known(capability) else {
            continue;
        };
        let plain = text.trim_start_matches("CAP_").to_ascii_uppercase();
        if STRONG.contains(&plain.as_str()) {
            let message =
                format!("the added capability `{text}` is most of what root of the node may do");
            sink.find(capability.place, format!("capability {plain}"), message)
                .severity(Severity::High)
                .fix(format!("Remove `{text}`."))
                .change(Change::remove_item(capability));
        }
    }
}

fn is_all(capability: &Node) -> bool {
    capability
        .text()
        .is_some_and(|text| text.eq_ignore_ascii_case("ALL"))
}

fn writable_root(case: &Case<'_>, sink: &mut Sink<'_>) {
    let (node, key) = match case.workload.origin {
        Origin::Kubernetes => (
            case.container
                .node
                .at(&["securityContext", "readOnlyRootFilesystem"]),
            "readOnlyRootFilesystem",
        ),
        Origin::Compose | Origin::DockerRun => (case.container.node.get("read_only"), "read_only"),
    };
    let name = case.container.name;
    match node {
        Some(node) if sink.known(node).is_some() && node.boolean() == Some(false) => {
            let message = format!("`{key}: false` lets `{name}` change its own program files");
            sink.find(node.place, key, message);
        }
        None if is_spelled_out(case) => {
            let message = format!("`{name}` can change its own program files: `{key}` is not set");
            sink.find(place_of(case), key, message)
                .fix(format!("Write `{key}: true`, and mount scratch space where the server caches (/tmp, ~/.cache)."));
        }
        Some(_) | None => {}
    }
}

fn token(workload: &Workload<'_>, estate: &Estate<'_>, sink: &mut Sink<'_>) {
    if !is_pod(workload) || is_template(workload) {
        return;
    }
    let pod = workload.pod;
    if let Some(mounted) = pod.get("automountServiceAccountToken") {
        if sink.known(mounted).is_some()
            && mounted.boolean() == Some(true)
            && !is_bound(workload, estate)
        {
            let message = "`automountServiceAccountToken: true` hands the API token to every container of this pod";
            sink.find(mounted.place, "token", message)
                .change(Change::replace(mounted, "false"));
        }
        return;
    }
    let account = account_of(workload);
    let declared = estate.of_kind("ServiceAccount").find(|resource| {
        resource.name == account.map_or("default", |node| node.text().unwrap_or("default"))
            && same_namespace(resource, &workload.resource)
    });
    if declared.is_some_and(|account| {
        account.node.boolean_at("automountServiceAccountToken") == Some(false)
    }) || is_bound(workload, estate)
    {
        return;
    }
    if let Some(account) = account
        && sink.known(account).is_none()
    {
        return;
    }
    let place = account.map_or_else(|| workload_place(workload), |node| node.place);
    let named = account.and_then(Node::text).unwrap_or("default");
    let message = format!(
        "the API token of ServiceAccount `{named}` is mounted into every container of this pod"
    );
    let finding = sink.find(place, "token", message);
    if let Some(change) = Change::set(pod, &["automountServiceAccountToken"], "false") {
        finding.change(change);
    }
}

/// The name of the pod's ServiceAccount, where it is written.
pub(crate) fn account_of<'tree>(workload: &Workload<'tree>) -> Option<&'tree Node> {
    workload
        .pod
        .get("serviceAccountName")
        .or_else(|| workload.pod.get("serviceAccount"))
}

/// Whether a role is bound to the pod's own account: then it does call the API, and another rule says what for.
fn is_bound(workload: &Workload<'_>, estate: &Estate<'_>) -> bool {
    let Some(account) = account_of(workload).and_then(Node::text) else {
        return false;
    };
    let names = |binding: &Resource<'_>| {
        binding.node.list("subjects").iter().any(|subject| {
            subject.text_at("kind") == Some("ServiceAccount")
                && subject.text_at("name") == Some(account)
                && subject
                    .text_at("namespace")
                    .is_none_or(|namespace| namespace == workload.resource.namespace_or_default())
        })
    };
    account != "default"
        && (estate.of_kind("RoleBinding").any(names)
            || estate.of_kind("ClusterRoleBinding").any(names))
}
