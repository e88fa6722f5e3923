//! Every parser of input that somebody else wrote.

/// A parser under test.
pub(crate) struct Target {
    /// Also the name of its folder in the corpus.
    pub(crate) name: &'static str,
    /// Panics when an invariant does not hold.
    pub(crate) body: fn(&[u8]),
}

pub(crate) const TARGETS: &[Target] = &[
    Target { name: "enclosure", body: casemate_core::fuzz::fuzz_enclosure },
    Target { name: "profile", body: casemate_core::fuzz::fuzz_profile },
];
