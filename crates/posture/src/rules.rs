//! The rules, by what they look at.

mod account;
mod bounds;
mod enclosure;
mod evidence;
mod exposure;
mod front;
mod gpu;
mod gpu_drivers;
mod gpu_node;
mod gpu_versions;
mod group;
mod hardening;
mod images;
mod keys;
mod kserve;
mod llama_cpp;
mod model_files;
mod models;
mod network;
mod nim;
mod ollama;
mod packages;
mod provenance;
mod rbac;
mod reach;
mod requests;
mod secrets;
mod selectors;
mod serving;
mod signatures;
mod subject;
mod telemetry;
mod toolkit;
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
    gpu::RULES,
    gpu_drivers::RULES,
    gpu_node::RULES,
    gpu_versions::RULES,
    group::RULES,
    hardening::RULES,
    images::RULES,
    keys::RULES,
    kserve::RULES,
    llama_cpp::RULES,
    models::RULES,
    network::RULES,
    nim::RULES,
    ollama::RULES,
    provenance::RULES,
    rbac::RULES,
    requests::RULES,
    model_files::RULES,
    secrets::RULES,
    signatures::RULES,
    selectors::RULES,
    serving::RULES,
    telemetry::RULES,
    toolkit::RULES,
    triton::RULES,
    triton_repository::RULES,
    versions::RULES,
    vllm::RULES,
    volumes::RULES,
    weights::RULES,
];
