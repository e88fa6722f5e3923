//! The flows that documents declare.

use std::collections::BTreeMap;

use casemate_core::profile::{self, Phase, PortClass};

use super::mentions::{Address, addresses, is_local, names_service};
use super::{Flow, Party, Protocol, Purpose, Settings, Standing, in_cluster, only_fetches};
use crate::cluster::{How, exposures, service_selects};
use crate::estate::Estate;
use crate::kubernetes::pairs;
use crate::node::is_unresolved;
use crate::place::Place;
use crate::workload::{Container, Given, Role, Workload};

/// Every declared flow, each once, standing still to be told.
pub(super) fn flows(estate: &Estate<'_>, settings: &Settings) -> Vec<Flow> {
    let mut all = Vec::new();
    for (number, workload) in estate.workloads.iter().enumerate() {
        let us = Party::Workload(number);
        from_outside(estate, workload, &us, &mut all);
        scraped(estate, workload, &us, &mut all);
        named_callers(workload, &us, settings, &mut all);
        let before = all.len();
        called(estate, workload, &us, &mut all);
        fetched(workload, &us, &mut all);
        let by_name = all
            .get(before..)
            .unwrap_or(&[])
            .iter()
            .any(|flow| match &flow.to {
                Party::Host(host) => !super::mentions::is_ip(host),
                _ => true,
            });
        if by_name && in_cluster(workload) {
            for protocol in [Protocol::Udp, Protocol::Tcp] {
                let evidence = "it calls others by name".to_owned();
                all.push(Flow {
                    protocol,
                    ..flow(
                        us.clone(),
                        Party::Dns,
                        Some(53),
                        Purpose::Names,
                        evidence,
                        workload.resource.place,
                    )
                });
            }
        }
    }
    let mut unique: Vec<Flow> = Vec::new();
    for flow in all {
        let same = |known: &Flow| {
            (&known.from, &known.to, known.port, known.protocol)
                == (&flow.from, &flow.to, flow.port, flow.protocol)
        };
        if !unique.iter().any(same) {
            unique.push(flow);
        }
    }
    unique
}

fn flow(
    from: Party,
    to: Party,
    port: Option<u16>,
    purpose: Purpose,
    evidence: String,
    place: Place,
) -> Flow {
    Flow {
        from,
        to,
        port,
        protocol: Protocol::Tcp,
        purpose,
        evidence,
        place,
        standing: Standing::Open,
    }
}

/// Through load balancers, node ports, ingresses and published ports.
fn from_outside(estate: &Estate<'_>, workload: &Workload<'_>, us: &Party, into: &mut Vec<Flow>) {
    for exposure in exposures(estate, workload) {
        let from = match exposure.how {
            How::Ingress => Party::Ingress,
            How::LoadBalancer | How::InternalLoadBalancer | How::NodePort | How::Host => {
                Party::Anywhere
            }
            How::ClusterService | How::Loopback | How::HostNetwork => continue,
        };
        let purpose = exposure
            .port
            .map_or(Purpose::Service, |port| purpose_of(workload, port));
        let evidence = format!("{} `{}`", exposure.how.as_str(), exposure.resource.name);
        into.push(flow(
            from,
            us.clone(),
            exposure.port,
            purpose,
            evidence,
            exposure.place,
        ));
    }
}

/// By `ServiceMonitor`, `PodMonitor` and the scrape annotations.
fn scraped(estate: &Estate<'_>, workload: &Workload<'_>, us: &Party, into: &mut Vec<Flow>) {
    let annotation = |key: &str| {
        workload
            .annotations
            .iter()
            .find(|annotation| annotation.0 == key)
            .map(|annotation| annotation.1)
    };
    let mut add = |port: Option<u16>, evidence: String, place: Place| {
        into.push(flow(
            Party::Monitoring,
            us.clone(),
            port,
            Purpose::Metrics,
            evidence,
            place,
        ));
    };
    if annotation("prometheus.io/scrape") == Some("true") {
        let port = annotation("prometheus.io/port").and_then(|port| port.parse().ok());
        let declared = || {
            workload
                .containers
                .iter()
                .flat_map(|container| &container.ports)
                .map(|port| port.number)
                .next()
        };
        add(
            port.or_else(declared),
            "annotation prometheus.io/scrape".to_owned(),
            workload.resource.place,
        );
    }
    for monitor in &estate.resources {
        let list = match monitor.kind {
            "ServiceMonitor" => "endpoints",
            "PodMonitor" => "podMetricsEndpoints",
            _ => continue,
        };
        let Some(selector) = monitor.node.at(&["spec", "selector"]) else {
            continue;
        };
        let endpoints = monitor
            .node
            .get("spec")
            .map_or(&[][..], |spec| spec.list(list));
        if monitor.kind == "PodMonitor" {
            if crate::cluster::selects(selector, &workload.labels) {
                for endpoint in endpoints {
                    let port = endpoint
                        .text_at("port")
                        .and_then(|name| named_port(workload, name));
                    add(
                        port,
                        format!("PodMonitor `{}`", monitor.name),
                        endpoint.place,
                    );
                }
            }
            continue;
        }
        for service in estate.of_kind("Service") {
            let labels = pairs(service.node.at(&["metadata", "labels"]));
            if !service_selects(service, workload) || !crate::cluster::selects(selector, &labels) {
                continue;
            }
            let ports = service
                .node
                .get("spec")
                .map_or(&[][..], |spec| spec.list("ports"));
            for endpoint in endpoints {
                let of_service = ports.iter().find(|port| {
                    endpoint.text_at("port").is_some()
                        && port.text_at("name") == endpoint.text_at("port")
                });
                let port = of_service.and_then(|port| {
                    let target = port
                        .text_at("targetPort")
                        .or_else(|| port.text_at("port"))?;
                    target.parse().ok().or_else(|| named_port(workload, target))
                });
                if port.is_some() {
                    add(
                        port,
                        format!("ServiceMonitor `{}`", monitor.name),
                        endpoint.place,
                    );
                }
            }
        }
    }
}

fn named_port(workload: &Workload<'_>, name: &str) -> Option<u16> {
    workload
        .containers
        .iter()
        .flat_map(|container| &container.ports)
        .find(|port| port.name == Some(name))
        .map(|port| port.number)
}

/// By callers that a person named: to every inference port.
fn named_callers(workload: &Workload<'_>, us: &Party, settings: &Settings, into: &mut Vec<Flow>) {
    for number in 0..settings.callers.len() {
        for (port, place) in served_ports(workload) {
            if purpose_of(workload, port) == Purpose::Inference {
                let evidence = "a caller that was named".to_owned();
                into.push(flow(
                    Party::Caller(number),
                    us.clone(),
                    Some(port),
                    Purpose::Inference,
                    evidence,
                    place,
                ));
            }
        }
    }
}

/// The ports of a recognised server, declared or its own.
pub(super) fn served_ports(workload: &Workload<'_>) -> Vec<(u16, Place)> {
    let mut ports = Vec::new();
    for container in workload
        .containers
        .iter()
        .filter(|one| one.server.is_some())
    {
        ports.extend(container.ports.iter().map(|port| (port.number, port.place)));
        if container.ports.is_empty() {
            let serves = profile_of(container).and_then(|profile| profile.ports.serves);
            let place = container
                .image
                .as_ref()
                .map_or(container.node.place, |image| image.place);
            ports.extend(serves.map(|port| (port, place)));
        }
    }
    ports
}

/// What the workload calls: addresses in variables, words and mounted config maps.
fn called(estate: &Estate<'_>, workload: &Workload<'_>, us: &Party, into: &mut Vec<Flow>) {
    for container in &workload.containers {
        for variable in &container.environment {
            let Given::Literal { text, place } = &variable.value else {
                continue;
            };
            let purpose = purpose_of_call(workload, container, &variable.name);
            let evidence = format!("variable {}", variable.name);
            for address in addresses(text) {
                call(
                    estate,
                    workload,
                    us,
                    &address,
                    (purpose, &evidence, *place),
                    into,
                );
            }
            // A bare name in a variable such as REDIS_HOST.
            let asks_for_host = [
                "_HOST",
                "_HOSTNAME",
                "_ADDR",
                "_ADDRESS",
                "_SERVER",
                "_SERVICE",
            ]
            .iter()
            .any(|end| variable.name.ends_with(end));
            let single = !text.contains(['/', ':', ' ']) && !is_unresolved(text);
            if asks_for_host && single && !text.is_empty() {
                let address = Address {
                    scheme: "",
                    host: text,
                    port: None,
                };
                call(
                    estate,
                    workload,
                    us,
                    &address,
                    (purpose, &evidence, *place),
                    into,
                );
            }
        }
        let purpose = purpose_of_call(workload, container, "");
        for word in &container.words {
            for address in addresses(&word.text) {
                call(
                    estate,
                    workload,
                    us,
                    &address,
                    (purpose, "argument", word.place),
                    into,
                );
            }
        }
        for mount in &container.mounts {
            let crate::workload::Source::ConfigMap(name) = mount.source else {
                continue;
            };
            let maps = estate.of_kind("ConfigMap").filter(|map| {
                map.name == name && crate::kubernetes::same_namespace(map, &workload.resource)
            });
            for map in maps {
                let evidence = format!("ConfigMap `{name}`");
                for entry in map.node.get("data").map_or(&[][..], |data| data.entries()) {
                    for address in entry.value.text().map(addresses).unwrap_or_default() {
                        call(
                            estate,
                            workload,
                            us,
                            &address,
                            (purpose, &evidence, entry.place),
                            into,
                        );
                    }
                }
            }
        }
    }
}

fn call(
    estate: &Estate<'_>,
    workload: &Workload<'_>,
    us: &Party,
    address: &Address<'_>,
    (purpose, evidence, place): (Purpose, &str, Place),
    into: &mut Vec<Flow>,
) {
    if is_local(address.host) || is_unresolved(address.host) {
        return;
    }
    let from = workload.resource.namespace_or_default();
    for service in estate.of_kind("Service") {
        if !names_service(
            address.host,
            service.name,
            service.namespace_or_default(),
            from,
        ) {
            continue;
        }
        for (number, target) in estate.workloads.iter().enumerate() {
            if !service_selects(service, target) || Party::Workload(number) == *us {
                continue;
            }
            let ports = service
                .node
                .get("spec")
                .map_or(&[][..], |spec| spec.list("ports"));
            for port in ports {
                let own = port.get("port").and_then(|port| port.integer());
                let asked = address.port.map(i64::from);
                if asked.is_some() && own != asked && ports.len() > 1 {
                    continue;
                }
                let text = port
                    .text_at("targetPort")
                    .or_else(|| port.text_at("port"))
                    .unwrap_or("");
                let number_of = text.parse().ok().or_else(|| named_port(target, text));
                let purpose = number_of.map_or(Purpose::Service, |port| purpose_of(target, port));
                let evidence = format!("{evidence} names Service `{}`", service.name);
                into.push(flow(
                    us.clone(),
                    Party::Workload(number),
                    number_of,
                    purpose,
                    evidence,
                    place,
                ));
            }
        }
        return;
    }
    // Compose: a service is reached by its own name.
    if !in_cluster(workload) {
        let other = estate.workloads.iter().enumerate().find(|(_, other)| {
            !in_cluster(other)
                && other.resource.name == address.host
                && other.resource.place.file == workload.resource.place.file
        });
        if let Some((number, target)) = other {
            let purpose = address
                .port
                .map_or(Purpose::Service, |port| purpose_of(target, port));
            let evidence = format!("{evidence} names service `{}`", target.resource.name);
            into.push(flow(
                us.clone(),
                Party::Workload(number),
                address.port,
                purpose,
                evidence,
                place,
            ));
            return;
        }
    }
    let cluster_name = address.host.ends_with(".svc") || address.host.contains(".svc.");
    let host = match address.scheme {
        "hf" => "huggingface.co",
        "s3" => "s3.amazonaws.com",
        "gs" => "storage.googleapis.com",
        "ngc" => "api.ngc.nvidia.com",
        _ => address.host,
    };
    // A word without a dot may be a name that is not among what was read; only names outside are sure.
    if host.contains(['.', ':']) && !cluster_name && address.port.is_some() {
        into.push(flow(
            us.clone(),
            Party::Host(host.to_owned()),
            address.port,
            purpose,
            evidence.to_owned(),
            place,
        ));
    }
}

/// What a recognised server fetches by itself: nothing when it is told to stay offline, or when it is given a path.
fn fetched(workload: &Workload<'_>, us: &Party, into: &mut Vec<Flow>) {
    for container in &workload.containers {
        let Some(profile) = profile_of(container) else {
            continue;
        };
        let offline = [
            "HF_HUB_OFFLINE",
            "TRANSFORMERS_OFFLINE",
            "NIM_DISABLE_MODEL_DOWNLOAD",
        ]
        .iter()
        .any(|name| container.switched_on(name).is_some());
        let local = container
            .flag(&[
                "--model",
                "--model-path",
                "--model-id",
                "-m",
                "--model-repository",
            ])
            .and_then(|flag| flag.value)
            .or_else(|| served_model(container))
            .is_some_and(|model| model.starts_with(['/', '.']));
        if offline || local {
            continue;
        }
        let (command, environment) = process(container);
        for outbound in &profile.outbound {
            let fetches = matches!(outbound.phase, Phase::Fetch | Phase::Start);
            if !fetches
                || outbound.host.contains('*')
                || !outbound.is_wanted(&command, &environment)
            {
                continue;
            }
            let evidence = format!("{}: {}", profile.id, outbound.purpose);
            let place = container
                .image
                .as_ref()
                .map_or(container.node.place, |image| image.place);
            into.push(flow(
                us.clone(),
                Party::Host(outbound.host.clone()),
                Some(443),
                Purpose::Fetch,
                evidence,
                place,
            ));
        }
    }
}

/// The model behind `vllm serve MODEL`.
fn served_model<'container>(container: &'container Container<'_>) -> Option<&'container str> {
    let at = container
        .words
        .iter()
        .position(|word| word.text == "serve")?;
    let model = container.words.get(at + 1)?;
    (!model.text.starts_with('-')).then_some(model.text.as_ref())
}

fn profile_of(container: &Container<'_>) -> Option<&'static profile::Profile> {
    let server = container.server.as_ref()?;
    profile::all()
        .iter()
        .find(|profile| profile.id.as_str() == server.profile)
}

/// What a port of a workload is for, by the profile of the server behind it.
pub(super) fn purpose_of(workload: &Workload<'_>, port: u16) -> Purpose {
    for container in &workload.containers {
        let Some(profile) = profile_of(container) else {
            continue;
        };
        let (command, environment) = process(container);
        match profile.port_class(port, &command, &environment) {
            Some(PortClass::Inference | PortClass::Health) => return Purpose::Inference,
            Some(PortClass::Metrics) => return Purpose::Metrics,
            Some(PortClass::Management | PortClass::Internal) => return Purpose::Management,
            None => {}
        }
        // The only port of a server that was moved is where it serves.
        if container.ports.len() == 1 && container.ports.iter().any(|own| own.number == port) {
            return Purpose::Inference;
        }
    }
    Purpose::Service
}

/// The command line and the variables, as profiles take them.
fn process(container: &Container<'_>) -> (Vec<String>, BTreeMap<String, String>) {
    let command = container
        .words
        .iter()
        .map(|word| word.text.to_string())
        .collect();
    let environment = container
        .environment
        .iter()
        .map(|variable| {
            let text = match &variable.value {
                Given::Literal { text, .. } => text.to_string(),
                // Given, and not known: profiles take an empty text for that.
                Given::Secret(_) | Given::ConfigMap(_) | Given::Elsewhere => String::new(),
            };
            (variable.name.to_string(), text)
        })
        .collect();
    (command, environment)
}

fn purpose_of_call(workload: &Workload<'_>, container: &Container<'_>, variable: &str) -> Purpose {
    let telemetry = ["OTEL_", "OTLP", "TELEMETRY", "SENTRY", "WANDB", "STATS"]
        .iter()
        .any(|part| variable.contains(part));
    if telemetry {
        Purpose::Telemetry
    } else if container.role == Role::Init || only_fetches(workload) {
        Purpose::Fetch
    } else {
        Purpose::Call
    }
}
