//! The rules, by what they look at.

mod hardening;
mod secrets;

use crate::rule::Rule;

/// Every table, in the order of the names in it.
pub(crate) const ALL: &[&[Rule]] = &[hardening::RULES, secrets::RULES];
