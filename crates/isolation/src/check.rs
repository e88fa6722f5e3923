//! One row of the catalogue: what is asked, how it is tried, and what an answer would mean.

use casemate_core::finding::{Category, Proof};

use crate::trial::Trial;

/// A check. `try_it` runs in a process of its own and reports through the [`Trial`].
pub(crate) struct Check {
    /// Stable id, from the attack catalogue.
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    pub(crate) category: Category,
    /// MITRE ATT&CK (Enterprise) and ATLAS technique ids.
    pub(crate) techniques: &'static [&'static str],
    /// The primitives, in a sentence.
    pub(crate) tries: &'static str,
    /// What OPEN would mean to the owner of the stage.
    pub(crate) open_means: &'static str,
    /// What has to work for the answer to count.
    pub(crate) control: &'static str,
    pub(crate) proof: Proof,
    /// Time for this check when the order's time for one check is too short for it by nature.
    pub(crate) millis: Option<u32>,
    pub(crate) try_it: fn(&mut Trial<'_>),
}

impl Check {
    pub(crate) const fn new(
        category: Category,
        id: &'static str,
        title: &'static str,
        try_it: fn(&mut Trial<'_>),
    ) -> Self {
        Self {
            id,
            title,
            category,
            techniques: &[],
            tries: "",
            open_means: "",
            control: "",
            proof: Proof::Effect,
            millis: None,
            try_it,
        }
    }

    pub(crate) const fn techniques(mut self, techniques: &'static [&'static str]) -> Self {
        self.techniques = techniques;
        self
    }

    pub(crate) const fn tries(mut self, tries: &'static str) -> Self {
        self.tries = tries;
        self
    }

    pub(crate) const fn open_means(mut self, open_means: &'static str) -> Self {
        self.open_means = open_means;
        self
    }

    pub(crate) const fn control(mut self, control: &'static str) -> Self {
        self.control = control;
        self
    }

    /// OPEN means reachable surface, not an effect.
    pub(crate) const fn surface(mut self) -> Self {
        self.proof = Proof::Surface;
        self
    }

    pub(crate) const fn within(mut self, millis: u32) -> Self {
        self.millis = Some(millis);
        self
    }
}

/// Every check, in the order in which they run.
pub(crate) fn all() -> impl Iterator<Item = &'static Check> {
    [
        crate::egress::CHECKS,
        crate::egress::sockets::CHECKS,
        crate::egress::routes::CHECKS,
        crate::lateral::CHECKS,
        crate::lateral::shared::CHECKS,
        crate::escape::namespaces::CHECKS,
        crate::escape::mounts::CHECKS,
        crate::escape::kernel::CHECKS,
        crate::escape::files::CHECKS,
        crate::escape::privilege::CHECKS,
        crate::escape::filter::CHECKS,
        crate::escape::limits::CHECKS,
        crate::memory::CHECKS,
        crate::memory::machine::CHECKS,
        crate::weights::CHECKS,
        crate::weights::copies::CHECKS,
        crate::execution::CHECKS,
        crate::execution::leftovers::CHECKS,
    ]
    .into_iter()
    .flatten()
}
