//! Inference ports that others than the cluster reach: without encryption, without a list of who may come.

use std::collections::BTreeSet;

use crate::cluster::{Exposure, How, exposures};
use crate::estate::Estate;
use crate::kubernetes::{pairs, same_namespace};
use crate::node::Node;
use crate::rule::{Check, Group, Rule, Severity, Sink};
use crate::rules::group;
use crate::rules::subject::is_inference;
use crate::workload::{Origin, Resource, Workload};

pub(crate) const RULES: &[Rule] = &[Rule {
    id: "AI-105",
    title: "inference port open to the outside",
    group: Group::Hardening,
    severity: Severity::High,
    why: "Inference servers speak plain HTTP and most ask nobody for a key: on a node port, a load balancer without \
          source ranges or an Ingress without TLS, prompts and answers can be read on the way, and anybody who finds \
          the address spends the GPU.",
    fix: "Keep the Service a ClusterIP, and let an authenticating gateway with TLS be the only way in.",
    maps: &[
        "NIST 800-190 4.3.3",
        "NIST 800-190 4.3.1",
        "K07",
        "T1190",
        "T1040",
        "AML.T0040",
        "AML.T0049",
    ],
    checks: &[Check::Workload(open), Check::Workload(custom)],
}];

fn open(workload: &Workload<'_>, estate: &Estate<'_>, sink: &mut Sink<'_>) {
    if !is_inference(workload) || encrypts(workload) {
        return;
    }
    let mut told = BTreeSet::new();
    // Those that an operator makes have a look of their own.
    let declared = |exposure: &Exposure<'_>| !exposure.resource.kind.starts_with("NIM");
    for exposure in exposures(estate, workload).into_iter().filter(declared) {
        match exposure.how {
            How::NodePort | How::LoadBalancer => service(workload, &exposure, &mut told, sink),
            How::Ingress => route(workload, &exposure, estate, sink),
            How::Host
                if workload.origin != Origin::Kubernetes
                    && !is_between_processes(workload, &exposure) =>
            {
                published(&exposure, &mut told, sink)
            }
            // Ports of the node have a rule of their own.
            How::Host
            | How::HostNetwork
            | How::Loopback
            | How::ClusterService
            | How::InternalLoadBalancer => {}
        }
    }
}

/// Whether the server is given a certificate of its own.
fn encrypts(workload: &Workload<'_>) -> bool {
    workload.containers.iter().any(|container| {
        let flags: &[&str] = &[
            "--ssl-certfile",
            "--ssl-cert-file",
            "--grpc-use-ssl",
            "--grpc-use-ssl-mutual",
        ];
        container.flag(flags).is_some()
            || container.literal("NIM_SSL_MODE").is_some_and(|(mode, _)| {
                matches!(mode.to_ascii_uppercase().as_str(), "TLS" | "MTLS")
            })
    })
}

fn service(
    workload: &Workload<'_>,
    exposure: &Exposure<'_>,
    told: &mut BTreeSet<String>,
    sink: &mut Sink<'_>,
) {
    let service = exposure.resource;
    if !told.insert(service.title()) || ends_tls(service) {
        return;
    }
    let spec = service.node.get("spec");
    let place = spec
        .and_then(|spec| spec.get("type"))
        .map_or(exposure.place, |node| node.place);
    let message = match exposure.how {
        How::NodePort => format!(
            "Service `{}` opens `{}` on a port of every node, in plain HTTP",
            service.name, workload.resource.name
        ),
        _ => format!(
            "Service `{}` puts `{}` behind a load balancer without TLS and without `loadBalancerSourceRanges`",
            service.name, workload.resource.name
        ),
    };
    sink.find(place, format!("service {}", service.name), message)
        .fix("Write `type: ClusterIP`; if it must be a load balancer, an internal one with `loadBalancerSourceRanges`.");
}

/// Whether the load balancer is given a certificate.
fn ends_tls(service: &Resource<'_>) -> bool {
    pairs(service.node.at(&["metadata", "annotations"]))
        .iter()
        .any(|(key, value)| {
            let named = ["ssl-cert", "tls-secret", "app-protocols", "certificate-id"]
                .iter()
                .any(|part| key.contains(part));
            named && !value.is_empty()
        })
}

fn route(
    workload: &Workload<'_>,
    exposure: &Exposure<'_>,
    estate: &Estate<'_>,
    sink: &mut Sink<'_>,
) {
    let resource = exposure.resource;
    let encrypted = match resource.kind {
        "Ingress" | "Route" => Some(has_tls(resource)),
        _ => gateway_tls(resource, estate),
    };
    let name = resource.name;
    match encrypted {
        Some(true) => {}
        Some(false) => {
            let message = format!(
                "{} `{name}` leads to `{}` without TLS: prompts, answers and keys are readable on the way",
                resource.kind, workload.resource.name
            );
            sink.find(exposure.place, format!("route {name}"), message)
                .fix("Write `tls:` with the host and the secret of its certificate.");
        }
        None => {
            let message =
                format!("the Gateway of `{name}` was not read: whether it ends TLS is not known");
            sink.cannot_tell(exposure.place, message);
        }
    }
}

fn has_tls(resource: &Resource<'_>) -> bool {
    let written = resource
        .node
        .at(&["spec", "tls"])
        .is_some_and(|tls| !tls.items().is_empty() || !tls.entries().is_empty());
    // Controllers that take the certificate from an annotation.
    let annotated = pairs(resource.node.at(&["metadata", "annotations"]))
        .iter()
        .any(|(key, value)| {
            let certificate = key.contains("certificate-arn")
                || key.ends_with("pre-shared-cert")
                || key.ends_with("managed-certificates")
                || key.ends_with("appgw-ssl-certificate");
            certificate && !value.is_empty()
        });
    written || annotated
}

/// Whether all listeners of the gateways that a route belongs to end TLS; none when they were not read.
fn gateway_tls(route: &Resource<'_>, estate: &Estate<'_>) -> Option<bool> {
    let spec = route.node.get("spec")?;
    let mut names: Vec<&str> = spec
        .list("parentRefs")
        .iter()
        .filter_map(|parent| parent.text_at("name"))
        .collect();
    names.extend(spec.list("gateways").iter().filter_map(Node::text));
    let mut known = None;
    for gateway in estate.of_kind("Gateway") {
        let named = names
            .iter()
            .any(|name| name.rsplit('/').next() == Some(gateway.name));
        if !named || !(same_namespace(gateway, route) || gateway.namespace.is_some()) {
            continue;
        }
        let listeners = gateway
            .node
            .at(&["spec", "listeners"])
            .map_or(&[][..], Node::items);
        let servers = gateway
            .node
            .at(&["spec", "servers"])
            .map_or(&[][..], Node::items);
        let secure = listeners
            .iter()
            .all(|one| matches!(one.text_at("protocol"), Some("HTTPS" | "TLS")))
            && servers.iter().all(|one| one.get("tls").is_some());
        known = Some(known.unwrap_or(true) && secure);
    }
    known
}

/// Whether this way leads to a port that a rule of its own is about.
fn is_between_processes(workload: &Workload<'_>, exposure: &Exposure<'_>) -> bool {
    let internal = |port| {
        workload
            .containers
            .iter()
            .any(|container| group::is_internal(container, port))
    };
    exposure.port.is_some_and(internal)
}

fn published(exposure: &Exposure<'_>, told: &mut BTreeSet<String>, sink: &mut Sink<'_>) {
    let port = exposure
        .port
        .map_or_else(|| "?".to_owned(), |port| port.to_string());
    if !told.insert(port.clone()) {
        return;
    }
    let message = format!(
        "port {port} of the server is published on every address of the host, in plain HTTP"
    );
    sink.find(exposure.place, format!("port {port}"), message)
        .fix(format!("Publish it on the loopback, `127.0.0.1:{port}:{port}`, behind a proxy with TLS and a login."));
}

/// Kinds that make the Service or the Ingress themselves.
fn custom(workload: &Workload<'_>, _: &Estate<'_>, sink: &mut Sink<'_>) {
    let resource = &workload.resource;
    if resource.kind != "NIMService" || encrypts(workload) {
        return;
    }
    let Some(expose) = resource.node.at(&["spec", "expose"]) else {
        return;
    };
    if let Some(kind) = expose.at(&["service", "type"])
        && let Some(text @ ("NodePort" | "LoadBalancer")) = sink.known(kind)
    {
        let message = format!(
            "the operator makes a {text} Service for this NIM: its port is reachable in plain HTTP"
        );
        sink.find(kind.place, "service", message)
            .fix("Write `type: ClusterIP`, and put an authenticating gateway in front.");
    }
    let ingress = expose
        .get("ingress")
        .or_else(|| expose.at(&["router", "ingress"]));
    if let Some(ingress) = ingress
        && let Some(enabled) = ingress
            .get("enabled")
            .filter(|node| node.boolean() == Some(true))
        && ingress
            .at(&["spec", "tls"])
            .is_none_or(|tls| tls.items().is_empty())
    {
        let message = "the operator makes an Ingress without TLS for this NIM";
        sink.find(enabled.place, "ingress", message).fix(
            "Write `spec.tls` of the Ingress with the host and the secret of its certificate.",
        );
    }
}
