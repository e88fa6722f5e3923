//! The rules, by what they look at.

mod account;
mod bounds;
mod enclosure;
mod exposure;
mod front;
mod group;
mod hardening;
mod network;
mod provenance;
mod rbac;
mod reach;
mod requests;
mod secrets;
mod subject;
mod triton;
mod triton_repository;
mod versions;
mod vllm;
mod volumes;
mod weights;

use crate::rule::Rule;

/// Every table, in the order of the names in it.
pub(crate) const ALL: &[&[Rule]] = &[
    account::RULES,
    bounds::RULES,
    enclosure::RULES,
    exposure::RULES,
    front::RULES,
    group::RULES,
    hardening::RULES,
    network::RULES,
    provenance::RULES,
    rbac::RULES,
    requests::RULES,
    secrets::RULES,
    triton::RULES,
    triton_repository::RULES,
    versions::RULES,
    vllm::RULES,
    volumes::RULES,
    weights::RULES,
];
