//! How often one peer may ask, in any 60 seconds. Bounded: a flood of peers is a full table, and a
//! full table refuses newcomers instead of forgetting whom it counts.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use casemate_core::spiffe::SpiffeId;
use casemate_identity::oidc::Tick;

/// Who is counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Peer {
    /// By address; of an IPv6 address the network half, which is what one subscriber gets.
    Address(IpAddr),
    /// By identity.
    Identity(SpiffeId),
}

impl Peer {
    pub(crate) fn at(address: IpAddr) -> Self {
        match address.to_canonical() {
            v4 @ IpAddr::V4(_) => Self::Address(v4),
            IpAddr::V6(v6) => {
                let network = u128::from(v6) & !u128::from(u64::MAX);
                Self::Address(IpAddr::V6(network.into()))
            }
        }
    }
}

/// A token bucket for each peer, refilled evenly over a minute.
#[derive(Debug)]
pub(crate) struct Rates {
    per_minute: u32,
    peers: HashMap<Peer, Bucket>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// In 60,000ths of a request, so that a millisecond refills `per_minute` of them.
    left: u64,
    counted: Tick,
}

impl Rates {
    pub(crate) fn new(per_minute: u32) -> Self {
        Self {
            per_minute,
            peers: HashMap::new(),
        }
    }

    /// Whether `peer` may ask once more now; counts it when it may.
    pub(crate) fn take(&mut self, peer: &Peer, now: Tick) -> bool {
        let full = u64::from(self.per_minute) * REQUEST;
        if !self.peers.contains_key(peer) && self.peers.len() >= MAX_PEERS {
            // Whoever was silent for a minute has a full bucket again: forgetting changes nothing.
            self.peers
                .retain(|_, bucket| now.0.saturating_sub(bucket.counted.0) < MINUTE);
            if self.peers.len() >= MAX_PEERS {
                return false;
            }
        }
        let bucket = self.peers.entry(peer.clone()).or_insert(Bucket {
            left: full,
            counted: now,
        });
        let passed = now.0.saturating_sub(bucket.counted.0).min(MINUTE);
        let passed = u64::try_from(passed.as_millis()).unwrap_or(0);
        if passed > 0 {
            bucket.left = (bucket.left + passed * u64::from(self.per_minute)).min(full);
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
const REQUEST: u64 = 60_000;
const MAX_PEERS: usize = 8192;

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

    #[test]
    fn a_full_table_refuses_newcomers() {
        let mut rates = Rates::new(1);
        for number in 0..u32::try_from(MAX_PEERS).unwrap() {
            assert!(rates.take(&Peer::at(std::net::Ipv4Addr::from(number).into()), at(0)));
        }
        let newcomer = Peer::at([255, 0, 0, 1].into());
        assert!(!rates.take(&newcomer, at(1)));
        assert!(rates.take(&newcomer, at(60_001)));
    }
}
