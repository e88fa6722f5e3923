//! The rules, by what they look at.

mod account;
mod bounds;
mod enclosure;
mod exposure;
mod hardening;
mod network;
mod provenance;
mod rbac;
mod keys;
mod secrets;
mod subject;
mod volumes;
mod weights;

use crate::rule::Rule;

/// Every table, in the order of the names in it.
pub(crate) const ALL: &[&[Rule]] = &[
    account::RULES,
    bounds::RULES,
    enclosure::RULES,
    exposure::RULES,
    hardening::RULES,
    network::RULES,
    provenance::RULES,
    rbac::RULES,
    keys::RULES,
    secrets::RULES,
    volumes::RULES,
    weights::RULES,
];
