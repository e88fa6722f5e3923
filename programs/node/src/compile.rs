//! From the declared enclosure to what each part is told: flows for gates, policy for the issuer.
//!
//! Pure: nothing here opens, asks or starts anything.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use casemate_api::gate::Outbound;
use casemate_api::issuer::{EnclosurePolicy, StagePolicy};
use casemate_core::admission::{Caller, InboundFlow};
use casemate_core::enclosure::{Enclosure, Flow, Source};
use casemate_core::name::Name;

/// The flows that lead to `stage`, as its gate checks them.
pub(crate) fn inbound(enclosure: &Enclosure, stage: &Name) -> Vec<InboundFlow> {
    enclosure
        .flows_to(stage)
        .map(|flow| inbound_flow(enclosure, flow))
        .collect()
}

/// The stages that `stage` may call, each with the loopback port on which its gate takes the call.
pub(crate) fn outbound(enclosure: &Enclosure, stage: &Name, mesh: &Path) -> Vec<Outbound> {
    enclosure
        .flows_from(stage)
        .map(|(flow, port)| Outbound {
            to: flow.to.clone(),
            listen: loopback(port),
            socket: mesh_socket(mesh, &enclosure.name, &flow.to),
        })
        .collect()
}

/// What the issuer may issue for the enclosure.
pub(crate) fn policy(enclosure: &Enclosure) -> EnclosurePolicy {
    EnclosurePolicy {
        enclosure: enclosure.name.clone(),
        identity_providers: enclosure.identity_providers.clone(),
        stages: enclosure
            .stages
            .iter()
            .map(|stage| StagePolicy {
                stage: stage.name.clone(),
                flows: inbound(enclosure, &stage.name),
            })
            .collect(),
    }
}

/// Whether another stage calls `stage`, so that its gate needs a listener for gates.
pub(crate) fn is_called_by_stages(enclosure: &Enclosure, stage: &Name) -> bool {
    enclosure.flows_to(stage).any(|flow| match flow.from {
        Source::Stage { .. } => true,
        Source::Group { .. } => false,
    })
}

/// Where the gate of a stage listens for other gates.
pub(crate) fn mesh_socket(mesh: &Path, enclosure: &Name, stage: &Name) -> std::path::PathBuf {
    mesh.join(format!("{enclosure}.{stage}.sock"))
}

/// A port on the loopback of a stage's own network namespace.
pub(crate) const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

fn inbound_flow(enclosure: &Enclosure, flow: &Flow) -> InboundFlow {
    InboundFlow {
        from: match &flow.from {
            Source::Group { name } => Caller::Group(name.clone()),
            Source::Stage { name, .. } => Caller::Stage(enclosure.stage_id(name)),
        },
        routes: flow.routes.clone(),
        models: flow.models.clone(),
        limits: flow.limits,
    }
}
