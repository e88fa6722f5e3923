//! Every rule there is.

use crate::rule::Rule;
use crate::rules;

/// Every rule.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    rules::ALL.iter().flat_map(|rules| rules.iter())
}

/// The rule named `id`, in any case.
#[must_use]
pub fn find(id: &str) -> Option<&'static Rule> {
    all().find(|rule| rule.id.eq_ignore_ascii_case(id))
}
