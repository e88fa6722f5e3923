//! How often one peer may ask, in any 60 seconds. Bounded: a flood of peers is a full table, and then
//! newcomers are counted together with their neighbours instead of forgetting who was counted.
//!
//! Addresses, gates and the callers behind gates have a table each: strangers outside cannot use up
//! the room of those inside, and no caller the budget of another.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use casemate_api::issuer::Bounds;
use casemate_core::spiffe::SpiffeId;
use casemate_identity::oidc::Tick;

/// Who is counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Peer {
    /// By address; of an IPv6 address the network half, which is what one subscriber gets.
    Address(IpAddr),
    /// A gate, for everything that it asks for.
    Gate(SpiffeId),
    /// A caller, for what one gate asks for on their behalf.
    Caller { gate: SpiffeId, subject: SpiffeId },
}

impl Peer {
    pub(crate) fn at(address: IpAddr) -> Self {
        Self::network(address.to_canonical(), 32, 64)
    }

    fn network(address: IpAddr, bits_of_v4: u32, bits_of_v6: u32) -> Self {
        Self::Address(match address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32 - bits_of_v4).unwrap_or(0);
                IpAddr::V4((u32::from(v4) & mask).into())
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128 - bits_of_v6).unwrap_or(0);
                IpAddr::V6((u128::from(v6) & mask).into())
            }
        })
    }

    /// With whom it is counted together when `level` finer tables are full.
    fn together(&self, level: usize) -> Option<Self> {
        match (self, level) {
            (_, 0) => Some(self.clone()),
            // What one site gets, and then what a registry hands on.
            (Self::Address(address), 1) => Some(Self::network(*address, 24, 48)),
            (Self::Address(address), 2) => Some(Self::network(*address, 8, 16)),
            (Self::Caller { gate, .. }, 1) => Some(Self::Gate(gate.clone())),
            (Self::Address(_) | Self::Gate(_) | Self::Caller { .. }, _) => None,
        }
    }
}

/// What is counted, each in its own tables.
#[derive(Debug)]
pub(crate) struct Budgets {
    addresses: Rates,
    gates: Rates,
    callers: Rates,
}

impl Budgets {
    pub(crate) fn new(bounds: &Bounds) -> Self {
        Self {
            addresses: Rates::new(bounds.requests_per_minute),
            gates: Rates::new(bounds.gate_requests_per_minute),
            callers: Rates::new(bounds.caller_requests_per_minute),
        }
    }

    /// Whether `peer` may ask once more now; counts it when it may.
    pub(crate) fn take(&mut self, peer: &Peer, now: Tick) -> bool {
        match peer {
            Peer::Address(_) => self.addresses.take(peer, now),
            Peer::Gate(_) => self.gates.take(peer, now),
            Peer::Caller { .. } => self.callers.take(peer, now),
        }
    }
}

/// A token bucket for each peer, refilled evenly over a minute.
#[derive(Debug)]
struct Rates {
    per_minute: u32,
    /// One by one, then by coarser and coarser neighbourhoods.
    levels: [Table; LEVELS],
}

#[derive(Debug, Default)]
struct Table {
    buckets: HashMap<Peer, Bucket>,
    swept: Tick,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// In 60,000ths of a request, so that a millisecond refills `per_minute` of them.
    left: u64,
    counted: Tick,
}

impl Rates {
    fn new(per_minute: u32) -> Self {
        Self {
            per_minute,
            levels: Default::default(),
        }
    }

    fn take(&mut self, peer: &Peer, now: Tick) -> bool {
        for (level, table) in self.levels.iter_mut().enumerate() {
            let Some(peer) = peer.together(level) else {
                return false;
            };
            if table.has_room(&peer, now) {
                return table.take(peer, self.per_minute, now);
            }
        }
        false
    }
}

impl Table {
    fn has_room(&mut self, peer: &Peer, now: Tick) -> bool {
        if self.buckets.len() < MAX_PEERS || self.buckets.contains_key(peer) {
            return true;
        }
        // Not for each newcomer of a flood.
        if now.0.saturating_sub(self.swept.0) < SWEEP {
            return false;
        }
        self.swept = now;
        // Whoever was silent for a minute has a full bucket again: forgetting changes nothing.
        self.buckets
            .retain(|_, bucket| now.0.saturating_sub(bucket.counted.0) < MINUTE);
        self.buckets.len() < MAX_PEERS
    }

    fn take(&mut self, peer: Peer, per_minute: u32, now: Tick) -> bool {
        let full = u64::from(per_minute) * REQUEST;
        let bucket = self.buckets.entry(peer).or_insert(Bucket {
            left: full,
            counted: now,
        });
        let passed = now.0.saturating_sub(bucket.counted.0).min(MINUTE);
        let passed = u64::try_from(passed.as_millis()).unwrap_or(0);
        if passed > 0 {
            bucket.left = (bucket.left + passed * u64::from(per_minute)).min(full);
            bucket.counted = now;
        }
        match bucket.left.checked_sub(REQUEST) {
            Some(left) => {
                bucket.left = left;
                true
            }
            None => false,
        }
    }
}

const MINUTE: Duration = Duration::from_secs(60);
const SWEEP: Duration = Duration::from_secs(1);
const REQUEST: u64 = 60_000;
const MAX_PEERS: usize = 8192;
const LEVELS: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Tick {
        Tick(Duration::from_millis(milliseconds))
    }

    #[test]
    fn a_peer_is_refused_beyond_its_rate_and_others_are_not() {
        let mut rates = Rates::new(60);
        let (one, other) = (
            Peer::at([192, 0, 2, 1].into()),
            Peer::at([192, 0, 2, 2].into()),
        );
        assert!((0..60).all(|_| rates.take(&one, at(0))));
        assert!(!rates.take(&one, at(999)));
        assert!(rates.take(&other, at(999)));
        assert!(rates.take(&one, at(1000)));
        assert!(!rates.take(&one, at(1000)));
    }

    #[test]
    fn slow_trickle_refills_no_faster_than_a_burst() {
        let mut rates = Rates::new(1);
        let peer = Peer::at([192, 0, 2, 1].into());
        assert!(rates.take(&peer, at(0)));
        let granted = (1..=60_000)
            .step_by(7)
            .filter(|at_ms| rates.take(&peer, at(*at_ms)))
            .count();
        assert!(granted <= 1, "{granted}");
    }

    fn budgets(per_minute: u32) -> Budgets {
        Budgets::new(&Bounds {
            requests_per_minute: per_minute,
            gate_requests_per_minute: per_minute,
            caller_requests_per_minute: per_minute,
            ..Bounds::default()
        })
    }

    /// As many addresses of 2001:db8::/48 as one table holds, each once.
    fn flood(budgets: &mut Budgets, now: Tick) {
        for number in 0..u128::try_from(MAX_PEERS).unwrap() {
            let address = (0x2001_0db8 << 96) | (number << 64);
            assert!(budgets.take(&Peer::at(IpAddr::V6(address.into())), now));
        }
    }

    fn stage(name: &str) -> SpiffeId {
        format!("spiffe://example.internal/enclosure/chat/stage/{name}")
            .parse()
            .unwrap()
    }

    #[test]
    fn when_the_table_is_full_newcomers_share_with_their_neighbours_only() {
        let mut budgets = budgets(2);
        flood(&mut budgets, at(0));
        let at_place = |text: &str| Peer::at(text.parse().unwrap());
        // Those who are counted one by one still are.
        assert!(budgets.take(&at_place("2001:db8:0:1::1"), at(1)));
        assert!(!budgets.take(&at_place("2001:db8:0:1::2"), at(1)));
        // Neighbours of the flood have what is left to all of them; others have their own.
        assert!(budgets.take(&at_place("2001:db8:0:ffff::1"), at(1)));
        assert!(budgets.take(&at_place("2001:db8:0:fffe::1"), at(1)));
        assert!(!budgets.take(&at_place("2001:db8:0:fffd::1"), at(1)));
        for other in [
            "2001:db8:1::1",
            "192.0.2.1",
            "192.0.3.1",
            "::ffff:192.0.4.1",
        ] {
            assert!(budgets.take(&at_place(other), at(1)), "{other}");
        }
        // A minute later everybody is counted alone again.
        assert!(budgets.take(&at_place("2001:db8:0:fffd::1"), at(60_001)));
    }

    #[test]
    fn a_flood_of_addresses_refuses_no_gate_and_no_caller() {
        let mut budgets = budgets(1);
        flood(&mut budgets, at(0));
        assert!(budgets.take(&Peer::Gate(stage("redact")), at(1)));
        let caller = |gate: &str, subject: &str| Peer::Caller {
            gate: stage(gate),
            subject: format!("spiffe://example.internal/user/idp/{subject}")
                .parse()
                .unwrap(),
        };
        assert!(budgets.take(&caller("redact", "alice"), at(1)));
        assert!(!budgets.take(&caller("redact", "alice"), at(1)));
        assert!(budgets.take(&caller("redact", "bob"), at(1)));
        assert!(budgets.take(&caller("infer", "alice"), at(1)));
    }

    #[test]
    fn a_flood_of_everywhere_is_refused_and_the_tables_stay_bounded() {
        let mut rates = Rates::new(1);
        for number in 0..u32::try_from(MAX_PEERS * 4).unwrap() {
            let address = number.wrapping_mul(0x9e37_79b1).to_be_bytes();
            rates.take(&Peer::at(address.into()), at(0));
        }
        assert!(
            rates
                .levels
                .iter()
                .all(|table| table.buckets.len() <= MAX_PEERS)
        );
        assert!(!rates.take(&Peer::at([255, 0, 0, 1].into()), at(1)));
        assert!(rates.take(&Peer::at([255, 0, 0, 1].into()), at(60_001)));
    }
}
