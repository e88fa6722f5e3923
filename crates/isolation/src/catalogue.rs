//! The catalogue: what is asked of a sandbox, and which check turns open when which control is gone.
//!
//! Each main control of the sandbox has checks that are blocked with it and open without it, everything
//! else being equal. The tests of this crate and the claims hold it to that:
//!
//! | control that is removed | checks that turn open |
//! |---|---|
//! | network namespace of its own | EG-01 EG-02 EG-03 EG-08 EG-12 EG-21 EG-32 LA-01 |
//! | system call filter | EG-09 EG-10 EG-11 EG-19 EG-33 ES-01 ES-02 ES-18 ES-19 ES-20 ES-24 ES-25 ES-26 ES-48 LA-08 LA-15 ME-01 ME-02 ME-05 ME-06 (EG-09 and EG-10 where the kernel has the families) |
//! | inert memory files (`vm.memfd_noexec`) | PX-03 |
//! | no capabilities | ES-46 ES-47 ES-52 |
//! | read-only root | PX-01 LA-06 |
//! | noexec scratch | PX-02 |
//! | nosuid scratch | ES-52 |
//! | Landlock | ES-38 |
//! | user namespace | ES-23 LA-07 |
//! | masked and read-only paths | ES-10 ES-29 (as root of the host) |
//! | limit of processes | ES-36 |
//! | limit of memory | ES-54 |
//! | size of scratch | ES-55 WT-03 |
//! | core limit of zero | ES-51 ME-08 |
//! | `no_new_privs` | ES-22 |
//! | IPC namespace of its own | LA-04 LA-05 (where the filter lets them through) |
//! | process namespace of its own | the prober refuses to run |
//! | read-only view | WT-02 WT-08 |
//! | noexec view | WT-08 WT-20 |
//! | mount namespace without the host's tree | LA-02 ES-50 EG-22 |
//! | only granted devices | ES-13 |
//! | no inherited descriptors | PX-10 |
//!
//! The table is about one wall at a time. In the full sandbox many checks meet a second one: without a
//! network namespace of its own, Landlock still refuses EG-01, EG-02, EG-08 and LA-01, while EG-03 and
//! EG-12 open; without a read-only root, Landlock still refuses PX-01.
//!
//! Every check is seen open in a weak sandbox at least once where this kernel has what it attacks; that
//! is the positive control of those whose whole call a filter refuses.

use casemate_core::finding::{Category, Proof};
use serde::Serialize;

use crate::check;

/// One row of the catalogue, for documents and reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The stable id.
    pub id: &'static str,
    /// What is asked, in a few words.
    pub title: &'static str,
    /// What kind of attack it is.
    pub category: Category,
    /// MITRE ATT&CK and ATLAS technique ids.
    pub techniques: &'static [&'static str],
    /// The primitives that are tried.
    pub tries: &'static str,
    /// What OPEN would mean.
    pub open_means: &'static str,
    /// What has to work for the answer to count.
    pub control: &'static str,
    /// Whether OPEN is an effect or reachable surface.
    pub proof: Proof,
}

/// Every check, in the order in which they run.
#[must_use]
pub fn entries() -> Vec<Entry> {
    check::all()
        .map(|check| Entry {
            id: check.id,
            title: check.title,
            category: check.category,
            techniques: check.techniques,
            tries: check.tries,
            open_means: check.open_means,
            control: check.control,
            proof: check.proof,
        })
        .collect()
}

/// The entry of one check.
#[must_use]
pub fn entry(id: &str) -> Option<Entry> {
    entries().into_iter().find(|entry| entry.id == id)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn there_are_at_least_sixty_checks_with_ids_of_their_own() {
        let entries = entries();
        let ids: BTreeSet<_> = entries.iter().map(|entry| entry.id).collect();
        assert_eq!(ids.len(), entries.len());
        assert!(entries.len() >= 60, "{}", entries.len());
    }

    #[test]
    fn every_row_is_filled_in() {
        for entry in entries() {
            assert!(
                !entry.techniques.is_empty(),
                "{} maps to no technique",
                entry.id
            );
            for text in [entry.tries, entry.open_means, entry.control] {
                assert!(text.len() > 10, "{} has an empty column", entry.id);
            }
        }
    }

    #[test]
    fn every_category_has_checks() {
        for category in Category::ALL {
            assert!(entries().iter().any(|entry| entry.category == category));
        }
    }

    #[test]
    fn ids_carry_their_category() {
        for entry in entries() {
            let prefix = match entry.category {
                Category::Egress => "EG-",
                Category::Lateral => "LA-",
                Category::Escape => "ES-",
                Category::Memory => "ME-",
                Category::Weights => "WT-",
                Category::Execution => "PX-",
            };
            assert!(entry.id.starts_with(prefix), "{}", entry.id);
        }
    }
}
