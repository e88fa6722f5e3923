//! What the API lets accounts do: those of inference pods, and the people and pipelines beside them.

use std::collections::BTreeSet;

use crate::estate::Estate;
use crate::kubernetes::pairs;
use crate::node::{Node, is_unresolved};
use crate::place::Place;
use crate::rule::{Check, Group, Rule, Severity, Sink};
use crate::rules::account::account_of;
use crate::rules::subject::{is_inference, is_pod};
use crate::workload::{Resource, Workload};

mod power;

use self::power::{Power, built_in, powers, rules_of};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "AI-115",
        title: "account of an inference pod has power over the cluster",
        group: Group::Hardening,
        severity: Severity::High,
        why: "The account's token is in the pod. With it, code that came in through a model or a prompt reads the \
              registry and hub keys of the namespace, starts pods of its own, or points the serving objects at other \
              weights.",
        fix: "Give the pod an account without roles, and `automountServiceAccountToken: false`.",
        maps: &[
            "CIS 5.1.2",
            "CIS 5.1.4",
            "K03",
            "T1078",
            "T1552.007",
            "AML.T0055",
            "AML.T0012",
        ],
        checks: &[Check::Estate(inference_accounts)],
    },
    Rule {
        id: "AI-116",
        title: "people or pipelines can step into inference pods",
        group: Group::Hardening,
        severity: Severity::High,
        why: "In a running pod the model is in clear: `exec`, `portforward` or an ephemeral container is a copy of the \
              weights and of the prompts that pass. Wildcards, writable webhooks and a namespace below the restricted \
              Pod Security level lead to the same place.",
        fix: "Take the verb out of the role; give it for an hour, by name, when somebody must debug.",
        maps: &[
            "CIS 5.1.3",
            "CIS 5.2.1",
            "K03",
            "T1609",
            "AML.T0035",
            "AML.T0025",
        ],
        checks: &[Check::Estate(people), Check::Estate(pod_security)],
    },
];

/// A binding whose role gives something to an account.
struct Grant<'estate> {
    binding: &'estate Resource<'estate>,
    role_name: &'estate Node,
    /// The role, when it was read.
    role: Option<&'estate Resource<'estate>>,
}

fn grants<'estate>(estate: &'estate Estate<'_>) -> Vec<Grant<'estate>> {
    let bindings = estate
        .resources
        .iter()
        .filter(|one| matches!(one.kind, "RoleBinding" | "ClusterRoleBinding"));
    bindings
        .filter_map(|binding| {
            let reference = binding.node.get("roleRef")?;
            let role_name = reference.get("name")?;
            let kind = reference.text_at("kind").unwrap_or("Role");
            let role = estate.resources.iter().find(|role| {
                role.kind == kind
                    && Some(role.name) == role_name.text()
                    && (kind == "ClusterRole"
                        || role.namespace_or_default() == binding.namespace_or_default())
            });
            Some(Grant {
                binding,
                role_name,
                role,
            })
        })
        .collect()
}

/// Whether a binding's subject is the account `name` of `namespace`, by itself or as one of a group.
fn names_account(subject: &Node, binding: &Resource<'_>, name: &str, namespace: &str) -> bool {
    let subject_name = subject.text_at("name").unwrap_or("");
    match subject.text_at("kind") {
        Some("ServiceAccount") => {
            let home = subject
                .text_at("namespace")
                .unwrap_or_else(|| binding.namespace_or_default());
            subject_name == name && (home == namespace || is_unresolved(home))
        }
        Some("Group") => {
            matches!(
                subject_name,
                "system:serviceaccounts" | "system:authenticated" | "system:unauthenticated"
            ) || subject_name.strip_prefix("system:serviceaccounts:") == Some(namespace)
        }
        Some("User") => {
            let user = subject_name.strip_prefix("system:serviceaccount:");
            user.and_then(|user| user.split_once(':')) == Some((namespace, name))
        }
        _ => false,
    }
}

fn inference_pods<'estate, 'tree>(
    estate: &'estate Estate<'tree>,
) -> impl Iterator<Item = &'estate Workload<'tree>> {
    estate
        .workloads
        .iter()
        .filter(|workload| is_pod(workload) || account_of(workload).is_some())
        .filter(|workload| is_inference(workload))
}

fn inference_accounts(estate: &Estate<'_>, sink: &mut Sink<'_>) {
    let all = grants(estate);
    let mut told: BTreeSet<Place> = BTreeSet::new();
    for workload in inference_pods(estate) {
        let account = account_of(workload)
            .and_then(Node::text)
            .unwrap_or("default");
        let namespace = workload.resource.namespace_or_default();
        let title = workload.resource.title();
        for grant in &all {
            let subjects = grant.binding.node.list("subjects");
            if !subjects
                .iter()
                .any(|subject| names_account(subject, grant.binding, account, namespace))
            {
                continue;
            }
            sink.about_resource(grant.role.unwrap_or(grant.binding));
            let name = grant.role_name.text().unwrap_or("");
            let Some(role) = grant.role else {
                if !told.insert(grant.role_name.place) {
                    continue;
                }
                if let Some(may) = built_in(name) {
                    let message =
                        format!("`{name}` is bound to account `{account}` of {title}: it {may}");
                    sink.find(grant.role_name.place, format!("role {name}"), message)
                        .fix("Remove the binding.");
                } else {
                    let message =
                        format!("role `{name}` of account `{account}` ({title}) was not read");
                    sink.cannot_tell(grant.role_name.place, message);
                }
                continue;
            };
            for rule in rules_of(role, estate) {
                for power in powers(rule) {
                    if told.insert(power.place) {
                        let message = format!("account `{account}` of {title} {}", power.may);
                        sink.find(power.place, power.subject(), message);
                    }
                }
            }
        }
    }
}

/// Namespaces and accounts of the platform itself, which need what nobody else does.
fn is_platform(name: &str) -> bool {
    name.starts_with("kube-")
        || name.starts_with("openshift-")
        || matches!(
            name,
            "gpu-operator"
                | "nvidia-gpu-operator"
                | "network-operator"
                | "nvidia-network-operator"
                | "nim-operator"
        )
}

fn people(estate: &Estate<'_>, sink: &mut Sink<'_>) {
    let all = grants(estate);
    let mut told: BTreeSet<Place> = BTreeSet::new();
    for role in estate.resources.iter().filter(|one| {
        matches!(one.kind, "Role" | "ClusterRole") && !one.name.starts_with("system:")
    }) {
        let bound: Vec<&Grant<'_>> = all
            .iter()
            .filter(|grant| grant.role.is_some_and(|one| std::ptr::eq(one, role)))
            .collect();
        if is_platform(role.namespace.unwrap_or(""))
            || (!bound.is_empty() && bound.iter().all(|grant| is_for_pods(grant, estate)))
        {
            continue;
        }
        sink.about_resource(role);
        let who = bound
            .iter()
            .flat_map(|grant| grant.binding.node.list("subjects"))
            .find_map(|subject| subject.text_at("name"))
            .map_or_else(
                || "whoever is bound to this role".to_owned(),
                |name| format!("`{name}`"),
            );
        for rule in rules_of(role, estate) {
            for power in powers(rule).into_iter().filter(Power::steps_in) {
                if told.insert(power.place) {
                    let message = format!("{who} {}", power.may);
                    sink.find(power.place, power.subject(), message);
                }
            }
            if let Some(star) = rule
                .list("verbs")
                .iter()
                .find(|verb| verb.text() == Some("*"))
                && rule.list("resourceNames").is_empty()
                && !powers(rule)
                    .iter()
                    .any(|power| told.contains(&power.place) && power.steps_in())
            {
                let resources: Vec<&str> = rule
                    .list("resources")
                    .iter()
                    .filter_map(Node::text)
                    .collect();
                let message = format!(
                    "`verbs: [\"*\"]` on {}: {who} may also do what is added to the API later",
                    resources.join(", ")
                );
                // Every operator brings such roles for its own kinds, for people to be bound to one day.
                let severity = if bound.is_empty() {
                    Severity::Low
                } else {
                    Severity::Medium
                };
                sink.find(star.place, "verbs *", message)
                    .severity(severity)
                    .fix("List the verbs that are used, such as `[get, list, watch]`.");
            }
        }
    }
    for grant in all.iter().filter(|grant| grant.role.is_none()) {
        let name = grant.role_name.text().unwrap_or("");
        let people: Vec<&str> = grant
            .binding
            .node
            .list("subjects")
            .iter()
            .filter(|subject| subject.text_at("kind") != Some("ServiceAccount"))
            .filter_map(|subject| subject.text_at("name"))
            .filter(|name| !name.starts_with("system:masters"))
            .collect();
        if let Some((who, may)) = people.first().zip(built_in(name)) {
            sink.about_resource(grant.binding);
            let message = format!("`{who}` holds the role `{name}`: it {may}");
            sink.find(grant.role_name.place, format!("role {name}"), message)
                .fix("Bind a role of your own that lists what these people do every day.");
        }
    }
}

/// Whether every subject of a grant is the account of an inference pod that was read, or of the platform. Another rule tells
/// what the first can do; the second needs it.
fn is_for_pods(grant: &Grant<'_>, estate: &Estate<'_>) -> bool {
    let subjects = grant.binding.node.list("subjects");
    !subjects.is_empty()
        && subjects.iter().all(|subject| {
            subject.text_at("kind") == Some("ServiceAccount")
                && (is_platform(subject.text_at("namespace").unwrap_or(""))
                    || inference_pods(estate).any(|workload| {
                        let account = account_of(workload)
                            .and_then(Node::text)
                            .unwrap_or("default");
                        let namespace = workload.resource.namespace_or_default();
                        names_account(subject, grant.binding, account, namespace)
                    }))
        })
}

fn pod_security(estate: &Estate<'_>, sink: &mut Sink<'_>) {
    const ENFORCE: &str = "pod-security.kubernetes.io/enforce";
    for namespace in estate
        .of_kind("Namespace")
        .filter(|one| !is_platform(one.name))
    {
        sink.about_resource(namespace);
        let mut workloads = estate
            .workloads
            .iter()
            .filter(|workload| workload.resource.namespace == Some(namespace.name))
            .peekable();
        let (any, serves) = (workloads.peek().is_some(), workloads.any(is_inference));
        if any && !serves {
            continue;
        }
        let labels = namespace.node.at(&["metadata", "labels"]);
        match labels.and_then(|labels| labels.get(ENFORCE)) {
            Some(level) => match sink.known(level) {
                Some("privileged") => {
                    let message =
                        "Pod Security is off in this namespace: any pod in it may be privileged";
                    sink.find(level.place, ENFORCE, message)
                        .fix(format!("Write `{ENFORCE}: restricted`."));
                }
                Some("baseline") if serves => {
                    let message = "the baseline level lets pods of this namespace run as root with the default capabilities";
                    sink.find(level.place, ENFORCE, message)
                        .severity(Severity::Medium)
                        .fix(format!("Write `{ENFORCE}: restricted`."));
                }
                _ => {}
            },
            None if serves && !pairs(labels).iter().any(|label| label.0 == ENFORCE) => {
                let place = namespace
                    .node
                    .at(&["metadata", "name"])
                    .map_or(namespace.place, |name| name.place);
                let message = "nothing enforces a Pod Security level in this namespace: any pod in it may be privileged";
                sink.find(place, ENFORCE, message)
                    .severity(Severity::Medium)
                    .fix(format!("Add the label `{ENFORCE}: restricted`."));
            }
            None => {}
        }
    }
}
