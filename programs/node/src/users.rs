//! Which numeric users and groups the parts of the node run under. None has a name on the host.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

mod taken;

pub(crate) use taken::{Files, Taken, taken};

/// The issuer's user and group.
pub(crate) const ISSUER: u32 = 520_001;
/// The group whose members may reach the sockets between gates and issuer.
pub(crate) const MESH_GID: u32 = 520_000;
const GATES: u32 = 521_000;
const VAULTS: u32 = 522_000;
/// Slots on one host; the ranges of gates and vaults are far enough apart for it.
const MOST: u16 = 500;

/// Hands out slots: small numbers that no other running part has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slots(Arc<Mutex<BTreeSet<u16>>>);

/// A number that is nobody else's while this value lives.
#[derive(Debug)]
pub(crate) struct Slot {
    number: u16,
    slots: Slots,
}

impl Slots {
    /// The lowest free slot, or nothing when the host is full.
    pub(crate) fn take(&self) -> Option<Slot> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = (0..MOST).find(|number| !taken.contains(number))?;
        taken.insert(number);
        Some(Slot {
            number,
            slots: self.clone(),
        })
    }
}

impl Slot {
    /// The user and group of a gate.
    pub(crate) const fn gate(&self) -> u32 {
        GATES + self.number as u32
    }

    /// The user and group of a vault.
    pub(crate) const fn vault(&self) -> u32 {
        VAULTS + self.number as u32
    }

    /// The number itself; the plan derives the stage's range of ids from it.
    pub(crate) const fn number(&self) -> u16 {
        self.number
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_parts_never_share_a_slot_and_a_freed_one_is_used_again() {
        let slots = Slots::default();
        let (first, second) = (slots.take().unwrap(), slots.take().unwrap());
        assert_ne!(first.gate(), second.gate());
        let freed = first.gate();
        drop(first);
        assert_eq!(slots.take().unwrap().gate(), freed);
    }

    #[test]
    fn a_full_host_gives_no_slot() {
        let slots = Slots::default();
        let held: Vec<_> = (0..MOST).map(|_| slots.take().unwrap()).collect();
        assert!(slots.take().is_none());
        drop(held);
    }
}
