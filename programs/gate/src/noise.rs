//! Bounds what refusals write: so many events for each reason, and one a second that counts the rest.
//!
//! Whoever is refused pays nothing for it, so without a bound a flood of refusals would push every other
//! event out of the record. Handshakes that fail are only ever counted: nobody knows who they were.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use casemate_core::event::{Outcome, Severity, kind};
use tokio::sync::Notify;

use crate::gate::{Gate, count, lock};

/// Refusals for one reason that get an event each, however close together.
const BURST: u64 = 20;
/// After those, this many a second.
const PER_SECOND: u64 = 5;
/// How often the rest is summed up.
const SUMMARY: Duration = Duration::from_secs(1);
/// The code of a handshake that failed.
const HANDSHAKE: &str = "handshake_failed";

/// What was written and withheld, by the code of the refusal. Codes are ours, so there are few.
#[derive(Debug, Default)]
pub struct Noise {
    codes: Mutex<HashMap<&'static str, Bucket>>,
    withheld: Notify,
}

#[derive(Debug)]
struct Bucket {
    /// Thousandths of an event that may be written.
    room: u64,
    /// When `room` was true, in ticks.
    at: u64,
    withheld: u64,
    /// Why, the first time.
    reason: Option<String>,
}

/// What was withheld for one code.
#[derive(Debug, PartialEq, Eq)]
pub struct Withheld {
    code: &'static str,
    count: u64,
    reason: Option<String>,
}

impl Noise {
    /// Whether this refusal gets an event of its own; it is counted when it gets none.
    pub fn passes(&self, code: &'static str, ticks: u64) -> bool {
        let mut codes = lock(&self.codes);
        let bucket = codes.entry(code).or_insert_with(|| Bucket::full(ticks));
        // One tick is a thousandth of a second.
        let refill = ticks.saturating_sub(bucket.at).saturating_mul(PER_SECOND);
        bucket.room = bucket.room.saturating_add(refill).min(BURST * 1000);
        bucket.at = bucket.at.max(ticks);
        if let Some(left) = bucket.room.checked_sub(1000) {
            bucket.room = left;
            return true;
        }
        bucket.withheld += 1;
        self.withheld.notify_one();
        false
    }

    fn handshake(&self, reason: String, ticks: u64) {
        let mut codes = lock(&self.codes);
        let bucket = codes
            .entry(HANDSHAKE)
            .or_insert_with(|| Bucket::full(ticks));
        bucket.withheld += 1;
        bucket.reason.get_or_insert(reason);
        self.withheld.notify_one();
    }

    /// What was withheld since this was last asked.
    pub fn take(&self) -> Vec<Withheld> {
        let mut codes = lock(&self.codes);
        let held = codes.iter_mut().filter(|(_, bucket)| bucket.withheld > 0);
        held.map(|(code, bucket)| Withheld {
            code,
            count: std::mem::take(&mut bucket.withheld),
            reason: bucket.reason.take(),
        })
        .collect()
    }
}

impl Bucket {
    const fn full(ticks: u64) -> Self {
        Self {
            room: BURST * 1000,
            at: ticks,
            withheld: 0,
            reason: None,
        }
    }
}

impl Gate {
    /// Counts a connection that did not become one.
    pub fn handshake_failed(&self, reason: String) {
        count(&self.counters.handshakes_failed);
        self.noise.handshake(reason, self.ticks());
    }

    /// Records what was withheld until now.
    pub fn sum_up(&self) {
        for Withheld {
            code,
            count,
            reason,
        } in self.noise.take()
        {
            let kind = match code {
                HANDSHAKE => kind::CONNECTION_REFUSED,
                _ => kind::REQUEST_REFUSED,
            };
            let mut event = self
                .event(kind, Severity::Warning)
                .decided(Outcome::Refused, code, &self.by)
                .fact("count", count.to_string());
            if let Some(reason) = reason {
                event = event.fact("reason", reason);
            }
            self.audit.note(event);
        }
    }
}

/// Sums up every second, while there is something to sum up, until the task is dropped.
pub async fn sum_up(gate: Arc<Gate>) {
    loop {
        gate.noise.withheld.notified().await;
        tokio::time::sleep(SUMMARY).await;
        gate.sum_up();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_writes_so_many_events_and_the_rest_is_counted() {
        let noise = Noise::default();
        let written = |code, ticks| (0..1000).filter(|_| noise.passes(code, ticks)).count();
        assert_eq!(written("no_ticket", 0), 20);
        assert_eq!(written("no_flow", 0), 20, "another reason has its own");
        assert_eq!(written("no_ticket", 1000), 5);
        assert_eq!(written("no_ticket", 500), 0, "time does not go back");
        let mut withheld = noise.take();
        withheld.sort_unstable_by_key(|withheld| withheld.code);
        let counts: Vec<_> = withheld
            .iter()
            .map(|held| (held.code, held.count))
            .collect();
        assert_eq!(counts, [("no_flow", 980), ("no_ticket", 980 + 995 + 1000)]);
        assert_eq!(noise.take(), []);
        assert_eq!(written("no_ticket", 1_000_000), 20, "quiet fills it again");
    }

    #[test]
    fn handshakes_are_only_counted() {
        let noise = Noise::default();
        for number in 0..100 {
            noise.handshake(format!("reason {number}"), 0);
        }
        let reason = Some("reason 0".to_owned());
        let (code, count) = (HANDSHAKE, 100);
        assert_eq!(
            noise.take(),
            [Withheld {
                code,
                count,
                reason
            }]
        );
    }
}
