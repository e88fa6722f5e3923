//! Who can reach whom: services, ingresses, published ports and network policies, put together.
//!
//! Selectors and target ports are followed as Kubernetes does (labels, names of ports). What a template hides
//! does not match; rules that need it say so.

use crate::estate::Estate;
use crate::kubernetes::{pairs, same_namespace};
use crate::node::Node;
use crate::place::Place;
use crate::workload::{Resource, Workload};

pub(crate) mod index;

/// One way to a port of a workload.
#[derive(Clone, Debug)]
pub struct Exposure<'estate> {
    /// How it is reached.
    pub how: How,
    /// The port inside the container; none when a name could not be followed.
    pub port: Option<u16>,
    /// Where the way is declared: the service's port, the ingress's back end, the published port.
    pub place: Place,
    /// The resource that declares it.
    pub resource: &'estate Resource<'estate>,
}

/// How a port is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum How {
    /// By every pod of the cluster that no policy stops.
    ClusterService,
    /// On a port of every node.
    NodePort,
    /// Through a load balancer, from outside unless it is an internal one.
    LoadBalancer,
    /// Through a load balancer that is marked internal, or that takes listed source ranges only.
    InternalLoadBalancer,
    /// Through an ingress, a route or a gateway.
    Ingress,
    /// On a port of the host that runs it (`hostPort`, compose `ports`, `-p`), on an address that others reach.
    Host,
    /// On a port of the host's loopback.
    Loopback,
    /// In the host's own network: every port the process opens.
    HostNetwork,
}

impl How {
    /// Whether somebody outside the cluster, or on another host, can come this way.
    #[must_use]
    pub const fn is_external(self) -> bool {
        match self {
            Self::NodePort
            | Self::LoadBalancer
            | Self::Ingress
            | Self::Host
            | Self::HostNetwork => true,
            Self::ClusterService | Self::InternalLoadBalancer | Self::Loopback => false,
        }
    }

    /// How it is said in a finding.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClusterService => "a ClusterIP Service",
            Self::NodePort => "a NodePort Service",
            Self::LoadBalancer => "a LoadBalancer Service",
            Self::InternalLoadBalancer => "an internal LoadBalancer Service",
            Self::Ingress => "an Ingress",
            Self::Host => "a published host port",
            Self::Loopback => "a port of the host's loopback",
            Self::HostNetwork => "the host's network",
        }
    }
}

/// Whether a label selector (`matchLabels`, `matchExpressions`) selects `labels`. An empty one selects all.
#[must_use]
pub fn selects(selector: &Node, labels: &[(&str, &str)]) -> bool {
    let value = |key: &str| {
        labels
            .iter()
            .find(|label| label.0 == key)
            .map(|label| label.1)
    };
    let wanted = selector.get("matchLabels").map_or(&[][..], Node::entries);
    let by_labels = wanted
        .iter()
        // A value of nothing is the empty text, which is a value too.
        .map(|entry| (entry.key.as_str(), entry.value.text().unwrap_or("")))
        .all(|(key, wanted)| value(key) == Some(wanted));
    let by_expressions = selector.list("matchExpressions").iter().all(|one| {
        let key = one.text_at("key").unwrap_or("");
        let listed = |found: &str| {
            one.list("values")
                .iter()
                .any(|item| item.text() == Some(found))
        };
        match one.text_at("operator") {
            Some("In") => value(key).is_some_and(listed),
            Some("NotIn") => !value(key).is_some_and(listed),
            Some("Exists") => value(key).is_some(),
            Some("DoesNotExist") => value(key).is_none(),
            _ => false,
        }
    });
    by_labels && by_expressions
}

/// Whether a service selects the pods of a workload.
#[must_use]
pub fn service_selects(service: &Resource<'_>, workload: &Workload<'_>) -> bool {
    let selector = pairs(service.node.at(&["spec", "selector"]));
    !selector.is_empty()
        && same_namespace(service, &workload.resource)
        && selector
            .iter()
            .all(|wanted| workload.labels.contains(wanted))
}

/// Every way to the ports of a workload that the documents declare.
#[must_use]
pub fn exposures<'estate>(
    estate: &'estate Estate<'_>,
    workload: &'estate Workload<'_>,
) -> Vec<Exposure<'estate>> {
    let mut found = Vec::new();
    if workload.pod.boolean_at("hostNetwork") == Some(true)
        || workload.pod.text_at("network_mode") == Some("host")
    {
        let place = workload
            .pod
            .get("hostNetwork")
            .or_else(|| workload.pod.get("network_mode"))
            .map_or(workload.resource.place, |node| node.place);
        found.push(Exposure {
            how: How::HostNetwork,
            port: None,
            place,
            resource: &workload.resource,
        });
    }
    for port in workload.containers.iter().flat_map(|one| &one.ports) {
        if let Some(published) = &port.published {
            let remote = published.is_remote();
            found.push(Exposure {
                how: if remote { How::Host } else { How::Loopback },
                port: Some(port.number),
                place: port.place,
                resource: &workload.resource,
            });
        }
    }
    let services = estate.index.services(&workload.labels);
    let services = services
        .into_iter()
        .filter_map(|at| estate.resources.get(at));
    for service in services.filter(|service| service_selects(service, workload)) {
        let how = service_kind(service);
        for port in service
            .node
            .at(&["spec", "ports"])
            .map_or(&[][..], Node::items)
        {
            let number = target_port(port, workload);
            found.push(Exposure {
                how,
                port: number,
                place: port
                    .get("targetPort")
                    .or_else(|| port.get("port"))
                    .unwrap_or(port)
                    .place,
                resource: service,
            });
            for (resource, place) in routes_to(estate, service, port) {
                found.push(Exposure {
                    how: How::Ingress,
                    port: number,
                    place,
                    resource,
                });
            }
        }
    }
    made_by_operator(workload, &mut found);
    found
}

/// The service and the ingress that NVIDIA's NIM operator makes by itself.
fn made_by_operator<'estate>(workload: &'estate Workload<'_>, into: &mut Vec<Exposure<'estate>>) {
    if !matches!(workload.resource.kind, "NIMService" | "NIMPipeline") {
        return;
    }
    let Some(expose) = workload.pod.get("expose") else {
        return;
    };
    let service = expose.get("service");
    let how = kind_of_service(
        service,
        pairs(service.and_then(|service| service.get("annotations"))).as_slice(),
    );
    let ingress = [&["ingress"][..], &["router", "ingress"][..]]
        .iter()
        .find_map(|path| expose.at(path))
        .filter(|ingress| {
            ingress.boolean_at("enabled") == Some(true) || ingress.get("enabled").is_none()
        });
    for key in ["port", "grpcPort", "metricsPort"] {
        let Some(port) = service.and_then(|service| service.get(key)) else {
            continue;
        };
        let number = port.integer().and_then(|number| u16::try_from(number).ok());
        into.push(Exposure {
            how,
            port: number,
            place: port.place,
            resource: &workload.resource,
        });
        if let Some(ingress) = ingress.filter(|_| key == "port") {
            into.push(Exposure {
                how: How::Ingress,
                port: number,
                place: ingress.get("enabled").unwrap_or(ingress).place,
                resource: &workload.resource,
            });
        }
    }
}

/// How a service is reached.
#[must_use]
pub fn service_kind(service: &Resource<'_>) -> How {
    let annotations = pairs(service.node.at(&["metadata", "annotations"]));
    kind_of_service(service.node.get("spec"), &annotations)
}

fn kind_of_service(spec: Option<&Node>, annotations: &[(&str, &str)]) -> How {
    match spec.and_then(|spec| spec.text_at("type")) {
        Some("NodePort") => How::NodePort,
        Some("LoadBalancer") => {
            let internal = annotations.iter().any(|(key, value)| {
                (key.contains("load-balancer-internal")
                    || key.contains("load-balancer-scheme")
                    || key.contains("load-balancer-type"))
                    && matches!(
                        value.to_ascii_lowercase().as_str(),
                        "true" | "internal" | "0.0.0.0/0"
                    )
            });
            let ranges = spec.map_or(&[][..], |spec| spec.list("loadBalancerSourceRanges"));
            let narrow = !ranges.is_empty()
                && ranges
                    .iter()
                    .all(|range| !matches!(range.text(), Some("0.0.0.0/0" | "::/0") | None));
            if internal || narrow {
                How::InternalLoadBalancer
            } else {
                How::LoadBalancer
            }
        }
        _ => How::ClusterService,
    }
}

/// The container port that a service's port leads to.
fn target_port(port: &Node, workload: &Workload<'_>) -> Option<u16> {
    let target = port.get("targetPort").or_else(|| port.get("port"))?;
    let text = target.text()?;
    text.parse().ok().or_else(|| {
        workload
            .containers
            .iter()
            .flat_map(|container| &container.ports)
            .find(|own| own.name == Some(text))
            .map(|own| own.number)
    })
}

/// Ingresses, OpenShift routes and gateway routes that lead to a port of a service.
fn routes_to<'estate>(
    estate: &'estate Estate<'_>,
    service: &Resource<'_>,
    port: &Node,
) -> Vec<(&'estate Resource<'estate>, Place)> {
    let mut found: Vec<(&'estate Resource<'estate>, Place)> = Vec::new();
    let mut last = None;
    for (at, back_end) in estate.index.routes(service.name) {
        let Some(resource) = estate.resources.get(*at) else {
            continue;
        };
        // A route is named once, at the first of its back ends that leads here.
        if last != Some(*at) && same_namespace(resource, service) && leads_to(back_end, port) {
            found.push((resource, back_end.place));
            last = Some(*at);
        }
    }
    found
}

/// Whether a back end names this port of the service; one that names none leads to all.
fn leads_to(back_end: &Node, port: &Node) -> bool {
    let Some(named) = back_end.get("port") else {
        return true;
    };
    let wanted = named
        .text()
        .or_else(|| named.text_at("number"))
        .or_else(|| named.text_at("name"));
    wanted.is_none() || wanted == port.text_at("port") || wanted == port.text_at("name")
}

const POLICIES: &[&str] = &[
    "NetworkPolicy",
    "CiliumNetworkPolicy",
    "CiliumClusterwideNetworkPolicy",
    "GlobalNetworkPolicy",
];

/// Which directions of a workload's traffic some `NetworkPolicy` restricts.
#[derive(Clone, Debug, Default)]
pub struct Policies<'estate> {
    /// Policies that select it and restrict what comes in.
    pub ingress: Vec<&'estate Resource<'estate>>,
    /// Policies that select it and restrict what goes out.
    pub egress: Vec<&'estate Resource<'estate>>,
}

/// Whether policies of this kind hold pods of every namespace.
fn is_cluster_wide(kind: &str) -> bool {
    matches!(
        kind,
        "CiliumClusterwideNetworkPolicy" | "GlobalNetworkPolicy"
    )
}

/// The Kubernetes, Cilium and Calico policies that select a workload.
#[must_use]
pub fn policies<'estate>(
    estate: &'estate Estate<'_>,
    workload: &Workload<'_>,
) -> Policies<'estate> {
    let mut found = Policies::default();
    let near = estate
        .index
        .policies(workload.resource.namespace_or_default());
    for policy in near.into_iter().filter_map(|at| estate.resources.get(at)) {
        let Some(spec) = policy.node.get("spec") else {
            continue;
        };
        let selected = match spec
            .get("podSelector")
            .or_else(|| spec.get("endpointSelector"))
        {
            Some(selector) => selects(selector, &workload.labels),
            // Calico's selectors are expressions; one that is absent selects all.
            None => spec.get("selector").is_none_or(|selector| {
                matches!(selector.text(), Some("all()" | ""))
                    || calico_selects(selector, &workload.labels)
            }),
        };
        if !selected {
            continue;
        }
        let types: Vec<&str> = spec
            .list("policyTypes")
            .iter()
            .chain(spec.list("types"))
            .filter_map(Node::text)
            .collect();
        // A list without rules restricts nothing by itself: only `policyTypes` makes it "nothing at all".
        let has = |key: &str| !spec.list(key).is_empty();
        // Without types a policy restricts what comes in, and what goes out when it says anything about it.
        let ingress = if types.is_empty() {
            policy.kind == "NetworkPolicy" || has("ingress")
        } else {
            types.contains(&"Ingress")
        };
        let egress = if types.is_empty() {
            has("egress")
        } else {
            types.contains(&"Egress")
        };
        if ingress {
            found.ingress.push(policy);
        }
        if egress {
            found.egress.push(policy);
        }
    }
    found
}

/// The simplest of Calico's expressions: `key == 'value'` joined by `&&`.
fn calico_selects(selector: &Node, labels: &[(&str, &str)]) -> bool {
    selector.text().is_some_and(|text| {
        text.split("&&").all(|part| {
            part.split_once("==").is_some_and(|(key, value)| {
                let value = value.trim().trim_matches(['\'', '"']);
                labels.contains(&(key.trim(), value))
            })
        })
    })
}
