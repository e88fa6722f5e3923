//! Places among the requests that run: one is taken before a byte of a body is read, and kept to the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use casemate_core::admission::Refusal;

/// How many places a holder has: a connection, or an admitted request for the calls made under it.
#[derive(Clone, Debug, Default)]
pub struct Tally(Arc<AtomicUsize>);

impl Tally {
    fn enter(&self, most: usize) -> bool {
        let next = |count: usize| (count < most).then_some(count + 1);
        let entered = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        entered.is_ok()
    }

    fn leave(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// All places of a gate.
#[derive(Debug)]
pub struct Places {
    all: Tally,
    most: usize,
}

impl Places {
    /// `most` places, of which nobody has one.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            all: Tally::default(),
            most,
        }
    }

    /// The most places one holder has, so that one cannot have them all.
    fn share(&self) -> usize {
        (self.most / 8).max(1)
    }

    /// One place for `holder`, given back when it is dropped.
    ///
    /// # Errors
    /// [`Refusal::Busy`] when all are taken, or the holder has its share.
    pub fn take(&self, holder: &Tally) -> Result<Place, Refusal> {
        if !holder.enter(self.share()) {
            return Err(Refusal::Busy);
        }
        if !self.all.enter(self.most) {
            holder.leave();
            return Err(Refusal::Busy);
        }
        Ok(Place {
            all: self.all.clone(),
            holder: holder.clone(),
        })
    }
}

/// One place.
#[derive(Debug)]
pub struct Place {
    all: Tally,
    holder: Tally,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.all.leave();
        self.holder.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_holder_has_more_than_its_share_and_all_together_no_more_than_there_are() {
        let places = Places::new(16);
        let greedy = Tally::default();
        let mut held: Vec<Place> = (0..2).map(|_| places.take(&greedy).unwrap()).collect();
        assert_eq!(places.take(&greedy).err(), Some(Refusal::Busy));
        let others: Vec<Tally> = (0..14).map(|_| Tally::default()).collect();
        held.extend(others.iter().map(|other| places.take(other).unwrap()));
        let last = Tally::default();
        assert_eq!(places.take(&last).err(), Some(Refusal::Busy));
        held.pop();
        let place = places.take(&last).unwrap();
        drop((place, held));
        assert_eq!(places.all.0.load(Ordering::Relaxed), 0);
        assert_eq!(greedy.0.load(Ordering::Relaxed), 0);
        assert_eq!(last.0.load(Ordering::Relaxed), 0);
    }
}
