//! What was revoked: by token id, by subject, and, when there is too much of either, by date.

use std::collections::HashMap;
use std::time::Duration;

use casemate_core::spiffe::SpiffeId;
use casemate_core::time::UnixTime;

/// Revocations known to one verifier. Never grows beyond [`MAX_ENTRIES`] of each kind.
#[derive(Clone, Debug, Default)]
pub(super) struct Revocations {
    ids: HashMap<String, UnixTime>,
    subjects: HashMap<SpiffeId, UnixTime>,
    /// Everything issued until then is refused: the answer to more revocations than we can hold.
    everything_until: Option<UnixTime>,
}

impl Revocations {
    pub(super) fn add_id(&mut self, id: &str, now: UnixTime) {
        self.make_room(now);
        let at = self.ids.entry(id.to_owned()).or_insert(now);
        *at = (*at).max(now);
    }

    pub(super) fn add_subject(&mut self, subject: &SpiffeId, now: UnixTime) {
        self.make_room(now);
        let at = self.subjects.entry(subject.clone()).or_insert(now);
        *at = (*at).max(now);
    }

    pub(super) fn covers(&self, id: Option<&str>, subject: &SpiffeId, issued: UnixTime) -> bool {
        self.everything_until.is_some_and(|until| issued <= until)
            || id.is_some_and(|id| self.ids.contains_key(id))
            || self
                .subjects
                .get(subject)
                .is_some_and(|until| issued <= *until)
    }

    /// Forgets what is a day old: no ticket lives that long, and a clock that goes back further
    /// than a day has worse consequences. When that is not enough, refuses by date and starts anew.
    fn make_room(&mut self, now: UnixTime) {
        if self.ids.len().max(self.subjects.len()) < MAX_ENTRIES {
            return;
        }
        let keep = now.minus(RETENTION);
        self.ids.retain(|_, at| *at >= keep);
        self.subjects.retain(|_, at| *at >= keep);
        if self.ids.len().max(self.subjects.len()) >= MAX_ENTRIES {
            // Revocations need not come in the order of their times: the date covers all of them.
            let times = self.ids.values().chain(self.subjects.values()).copied();
            let last = times.chain(self.everything_until).max();
            self.everything_until = Some(last.map_or(now, |last| last.max(now)));
            self.ids.clear();
            self.subjects.clear();
        }
    }
}

const RETENTION: Duration = Duration::from_secs(24 * 60 * 60);
const MAX_ENTRIES: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_by_date_covers_revocations_that_came_out_of_order() {
        let mut revocations = Revocations::default();
        let subject: SpiffeId = "spiffe://a/user/b/c".parse().unwrap();
        revocations.add_subject(&subject, UnixTime(1_000_100));
        for number in 0..=MAX_ENTRIES {
            revocations.add_id(&number.to_string(), UnixTime(1_000_000));
        }
        assert!(revocations.subjects.is_empty());
        assert!(revocations.covers(None, &subject, UnixTime(1_000_100)));
        assert!(!revocations.covers(None, &subject, UnixTime(1_000_101)));
    }

    #[test]
    fn too_many_revocations_refuse_by_date_instead_of_forgetting() {
        let mut revocations = Revocations::default();
        let subject: SpiffeId = "spiffe://a/user/b/c".parse().unwrap();
        revocations.add_id("first", UnixTime(1_000_000));
        for number in 0..MAX_ENTRIES {
            revocations.add_id(&number.to_string(), UnixTime(1_000_001));
        }
        assert!(revocations.ids.len() <= MAX_ENTRIES);
        assert!(revocations.covers(Some("first"), &subject, UnixTime(999_999)));
        assert!(revocations.covers(Some("any other"), &subject, UnixTime(1_000_001)));
        assert!(!revocations.covers(Some("any other"), &subject, UnixTime(1_000_002)));
    }
}
