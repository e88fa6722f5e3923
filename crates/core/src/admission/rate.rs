//! Counts requests per subject: never more than the bound in any 60 seconds.

use std::collections::HashMap;

use crate::spiffe::SpiffeId;
use crate::time::UnixTime;

/// The most subjects that are counted at one time. One more is refused.
const MAX_SUBJECTS: usize = 4096;

/// Any 60 seconds touch at most 61 whole ones, so a sum over 61 never counts too few.
const SECONDS: usize = 61;

/// The requests of the last minute, per subject.
#[derive(Debug, Default)]
pub struct Rates {
    subjects: HashMap<SpiffeId, Box<Window>>,
}

#[derive(Debug)]
struct Window {
    /// The second that `counts` ends with.
    latest: u64,
    /// Requests in each second, at its number modulo [`SECONDS`].
    counts: [u32; SECONDS],
    total: u32,
}

impl Rates {
    /// Counts one request of `subject` and says whether it is within `per_minute`. A refused request
    /// does not count.
    pub fn take(&mut self, subject: &SpiffeId, per_minute: u32, now: UnixTime) -> bool {
        if let Some(window) = self.subjects.get_mut(subject) {
            return window.take(per_minute, now.0);
        }
        if self.subjects.len() >= MAX_SUBJECTS {
            self.subjects.retain(|_, window| {
                window.advance(now.0);
                window.total > 0
            });
            if self.subjects.len() >= MAX_SUBJECTS {
                return false;
            }
        }
        let mut window = Box::new(Window {
            latest: now.0,
            counts: [0; SECONDS],
            total: 0,
        });
        let taken = window.take(per_minute, now.0);
        self.subjects.insert(subject.clone(), window);
        taken
    }
}

impl Window {
    fn take(&mut self, per_minute: u32, now: u64) -> bool {
        self.advance(now);
        if self.total >= per_minute {
            return false;
        }
        let slot = slot(self.latest);
        if let Some(count) = self.counts.get_mut(slot) {
            *count += 1;
            self.total += 1;
        }
        true
    }

    /// Forgets what is older than a minute. A clock that goes back a little counts into the latest second;
    /// one that goes back further starts anew with what was counted as if it were of now, so that nobody
    /// gets more than the bound and nobody waits for a time that was never real.
    fn advance(&mut self, now: u64) {
        let back = self.latest.saturating_sub(now) >= SECONDS as u64;
        if back || now.saturating_sub(self.latest) >= SECONDS as u64 {
            self.counts = [0; SECONDS];
            self.latest = now;
            self.total = if back { self.total } else { 0 };
            if let Some(count) = self.counts.get_mut(slot(now)) {
                *count = self.total;
            }
            return;
        }
        while self.latest < now {
            self.latest += 1;
            if let Some(count) = self.counts.get_mut(slot(self.latest)) {
                self.total -= *count;
                *count = 0;
            }
        }
    }
}

fn slot(second: u64) -> usize {
    usize::try_from(second % SECONDS as u64).unwrap_or_default()
}
