//! Selectors that select nothing: policies that protect no pod, services that wait for a taker.

use std::collections::HashMap;

use crate::cluster::{selects, service_selects};
use crate::estate::Estate;
use crate::kubernetes::pairs;
use crate::node::{Node, is_unresolved};
use crate::place::Place;
use crate::rule::{Check, Group, Rule, Severity, Sink};
use crate::rules::network::selector_of;
use crate::rules::subject::is_custom;
use crate::workload::{Origin, Resource, Workload};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "AI-117",
        title: "network policy that selects nothing",
        group: Group::Hardening,
        severity: Severity::Medium,
        why: "A policy with a mistyped label protects no pod and looks as if it did: reviews pass, and the server stays \
              open to the whole cluster.",
        fix: "Write the labels of the pod template into `podSelector`.",
        maps: &["CIS 5.3.2", "NIST 800-190 4.3.3", "K07", "AML.T0049"],
        checks: &[Check::Estate(idle_policies)],
    },
    Rule {
        id: "AI-118",
        title: "service that selects nothing",
        group: Group::Hardening,
        severity: Severity::Medium,
        why: "A Service whose selector matches no pod is a name that waits for a taker: whoever may create a pod with \
              these labels in the namespace receives the prompts that are sent to it.",
        fix: "Write the labels of the pod template into `selector`.",
        maps: &["NIST 800-190 4.3.3", "K07", "T1557"],
        checks: &[Check::Estate(idle_services)],
    },
];

/// Workloads by their namespace. Those whose namespace is filled in later may be in any, and are in `anywhere`.
struct Neighbors<'estate, 'tree> {
    by_namespace: HashMap<&'estate str, Vec<&'estate Workload<'tree>>>,
    anywhere: Vec<&'estate Workload<'tree>>,
    all: Vec<&'estate Workload<'tree>>,
}

impl<'estate, 'tree> Neighbors<'estate, 'tree> {
    fn of(estate: &'estate Estate<'tree>) -> Self {
        let mut found = Self {
            by_namespace: HashMap::new(),
            anywhere: Vec::new(),
            all: Vec::new(),
        };
        let own = |workload: &&Workload<'_>| workload.origin == Origin::Kubernetes;
        for workload in estate.workloads.iter().filter(own) {
            let namespace = workload.resource.namespace_or_default();
            found.all.push(workload);
            if is_unresolved(namespace) {
                found.anywhere.push(workload);
            } else {
                found
                    .by_namespace
                    .entry(namespace)
                    .or_default()
                    .push(workload);
            }
        }
        found
    }

    /// Those that may be in the namespace of `resource`.
    fn near(&self, resource: &Resource<'_>) -> impl Iterator<Item = &'estate Workload<'tree>> {
        let namespace = resource.namespace_or_default();
        let (some, more) = if is_unresolved(namespace) {
            (self.all.as_slice(), &[][..])
        } else {
            let there = self
                .by_namespace
                .get(namespace)
                .map_or(&[][..], Vec::as_slice);
            (there, self.anywhere.as_slice())
        };
        some.iter().chain(more).copied()
    }
}

fn idle_policies(estate: &Estate<'_>, sink: &mut Sink<'_>) {
    let neighbors = Neighbors::of(estate);
    for policy in estate
        .of_kind("NetworkPolicy")
        .chain(estate.of_kind("CiliumNetworkPolicy"))
    {
        let Some(selector) = selector_of(policy) else {
            continue;
        };
        let labels = pairs(selector.get("matchLabels"));
        let hidden = labels
            .iter()
            .any(|label| is_unresolved(label.0) || is_unresolved(label.1));
        let empty = labels.is_empty() && selector.list("matchExpressions").is_empty();
        if empty {
            continue;
        }
        sink.about_resource(policy);
        judge_selector(policy, selector, hidden, &neighbors, sink, &|workload| {
            selects(selector, &workload.labels)
        });
    }
}

fn idle_services(estate: &Estate<'_>, sink: &mut Sink<'_>) {
    let neighbors = Neighbors::of(estate);
    for service in estate.of_kind("Service") {
        let Some(selector) = service.node.at(&["spec", "selector"]) else {
            continue;
        };
        let labels = pairs(Some(selector));
        if labels.is_empty() || !matches!(service.api_version, "v1" | "") {
            continue;
        }
        let hidden = labels
            .iter()
            .any(|label| is_unresolved(label.0) || is_unresolved(label.1));
        sink.about_resource(service);
        judge_selector(service, selector, hidden, &neighbors, sink, &|workload| {
            service_selects(service, workload)
        });
    }
}

fn judge_selector(
    resource: &Resource<'_>,
    selector: &Node,
    hidden: bool,
    neighbors: &Neighbors<'_, '_>,
    sink: &mut Sink<'_>,
    matches: &dyn Fn(&Workload<'_>) -> bool,
) {
    let (place, text) = first_value(selector);
    if hidden {
        sink.cannot_tell(place, "the selector is filled in later; render it first");
        return;
    }
    let mut near = neighbors.near(resource).peekable();
    if near.peek().is_none() {
        sink.cannot_tell(
            place,
            "no workload of this namespace was read, so nothing shows what the selector selects",
        );
        return;
    }
    let mut generated = names_generated_flat(selector);
    for workload in near {
        if matches(workload) {
            return;
        }
        // The pods of these carry labels that the document does not show.
        generated |=
            is_custom(workload) || workload.labels.iter().any(|label| is_unresolved(label.1));
    }
    if generated {
        sink.cannot_tell(
            place,
            "a controller gives the pods their labels; scan the pods it makes",
        );
        return;
    }
    let kind = resource.kind;
    let (place, text) = missed(selector, neighbors, resource).unwrap_or((place, text));
    let message =
        format!("no workload that was read has the label `{text}`: this {kind} selects nothing");
    sink.find(place, "selector", message);
}

fn names_generated_flat(selector: &Node) -> bool {
    let by_job = |key: &str| {
        matches!(key, "job-name" | "controller-uid")
            || key.starts_with("batch.kubernetes.io/")
            || key.starts_with("statefulset.kubernetes.io/")
            || key.starts_with("apps.kubernetes.io/")
    };
    let flat = selector.entries().iter().any(|entry| by_job(&entry.key));
    flat || selector
        .get("matchLabels")
        .is_some_and(|labels| labels.entries().iter().any(|entry| by_job(&entry.key)))
}

/// The first label of a selector that no workload has.
fn missed(
    selector: &Node,
    neighbors: &Neighbors<'_, '_>,
    resource: &Resource<'_>,
) -> Option<(Place, String)> {
    let flat = selector.get("matchLabels").unwrap_or(selector);
    flat.entries().iter().find_map(|entry| {
        let value = entry.value.text()?;
        let label = (entry.key.as_str(), value);
        let has = |workload: &Workload<'_>| workload.labels.contains(&label);
        let text = || format!("{}: {value}", entry.key);
        (!neighbors.near(resource).any(has)).then(|| (entry.value.place, text()))
    })
}

/// The first label of a selector: what a person would look at.
fn first_value(selector: &Node) -> (Place, String) {
    let flat = selector.get("matchLabels").unwrap_or(selector);
    let labelled = flat
        .entries()
        .iter()
        .find(|entry| entry.value.text().is_some())
        .map(|entry| {
            (
                entry.value.place,
                format!("{}: {}", entry.key, entry.value.text().unwrap_or("")),
            )
        });
    let expressed = || {
        let key = selector.list("matchExpressions").first()?.get("key")?;
        Some((key.place, key.text().unwrap_or("").to_owned()))
    };
    labelled
        .or_else(expressed)
        .unwrap_or_else(|| (selector.place, String::new()))
}
