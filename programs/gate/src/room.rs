//! How many connections may be open, by where they come from, so that nobody shuts out anybody else.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use casemate_core::spiffe::SpiffeId;

/// Where a connection comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A client that has not shown who it is; only [`Origin::unknown`] makes one.
    Unknown(IpAddr),
    /// A client with a certificate.
    Client(SpiffeId),
    /// The gate of another stage.
    Mesh,
    /// The stage behind this gate.
    Inner,
}

impl Origin {
    /// A client at `address`. Whoever has one IPv6 address has a whole network of them.
    #[must_use]
    pub fn unknown(address: IpAddr) -> Self {
        Self::Unknown(match address.to_canonical() {
            IpAddr::V6(address) => {
                Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
            }
            address @ IpAddr::V4(_) => address,
        })
    }

    /// How many there may be of this kind, and of exactly this one.
    fn most(&self, connections: usize) -> (usize, usize) {
        let (all, one) = match self {
            Self::Unknown(_) => (connections / 4, connections / 16),
            Self::Client(_) => (connections, connections / 8),
            Self::Mesh | Self::Inner => (connections, connections),
        };
        (all.max(1), one.max(1))
    }
}

/// What is open.
#[derive(Debug)]
pub struct Room {
    connections: usize,
    unknown: usize,
    clients: usize,
    by_origin: HashMap<Origin, usize>,
}

impl Room {
    /// Room for `connections` of each kind, but fewer of those nobody knows yet.
    #[must_use]
    pub fn new(connections: usize) -> Self {
        Self {
            connections,
            unknown: 0,
            clients: 0,
            by_origin: HashMap::new(),
        }
    }

    /// Counts one more, when there is room for it.
    #[must_use]
    pub fn enter(&mut self, origin: &Origin) -> bool {
        let (most, most_of_one) = origin.most(self.connections);
        let one = self.by_origin.get(origin).copied().unwrap_or(0);
        let all = self.kind(origin).map_or(one, |kind| *kind);
        if all >= most || one >= most_of_one {
            return false;
        }
        if let Some(kind) = self.kind(origin) {
            *kind += 1;
        }
        self.by_origin.insert(origin.clone(), one + 1);
        true
    }

    /// Counts one less.
    pub fn leave(&mut self, origin: &Origin) {
        if let Some(kind) = self.kind(origin) {
            *kind = kind.saturating_sub(1);
        }
        match self.by_origin.get_mut(origin) {
            Some(one) if *one > 1 => *one -= 1,
            Some(_) | None => drop(self.by_origin.remove(origin)),
        }
    }

    /// The count of a kind that has several origins.
    fn kind(&mut self, origin: &Origin) -> Option<&mut usize> {
        match origin {
            Origin::Unknown(_) => Some(&mut self.unknown),
            Origin::Client(_) => Some(&mut self.clients),
            Origin::Mesh | Origin::Inner => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(name: &str) -> Origin {
        let id = format!("spiffe://example.internal/user/idp/{name}");
        Origin::Client(id.parse().unwrap())
    }

    fn at(address: &str) -> Origin {
        Origin::unknown(address.parse().unwrap())
    }

    fn enters(room: &mut Room, origin: &Origin) -> usize {
        (0..100).filter(|_| room.enter(origin)).count()
    }

    #[test]
    fn no_kind_takes_the_room_of_another_and_no_one_of_a_kind_takes_it_all() {
        let mut room = Room::new(64);
        assert_eq!(enters(&mut room, &at("192.0.2.1")), 4);
        for number in 2..20 {
            let _ = enters(&mut room, &at(&format!("192.0.2.{number}")));
        }
        assert_eq!(room.unknown, 16);
        assert_eq!(enters(&mut room, &client("anna")), 8);
        for number in 0..20 {
            let _ = enters(&mut room, &client(&format!("user{number}")));
        }
        assert_eq!(room.clients, 64);
        assert_eq!(enters(&mut room, &Origin::Inner), 64);
        assert_eq!(enters(&mut room, &Origin::Mesh), 64);
    }

    #[test]
    fn who_leaves_makes_room_and_leaves_nothing_behind() {
        let mut room = Room::new(64);
        for origin in [at("192.0.2.1"), client("anna"), Origin::Mesh, Origin::Inner] {
            let entered = enters(&mut room, &origin);
            room.leave(&origin);
            assert!(room.enter(&origin), "{origin:?}");
            assert!(!room.enter(&origin), "{origin:?}");
            (0..entered).for_each(|_| room.leave(&origin));
        }
        assert!(room.by_origin.is_empty());
        assert_eq!((room.unknown, room.clients), (0, 0));
    }

    #[test]
    fn one_network_of_ipv6_is_one_address() {
        assert_eq!(at("2001:db8::1"), at("2001:db8::ffff:1"));
        assert_ne!(at("2001:db8::1"), at("2001:db8:0:1::1"));
        assert_eq!(at("::ffff:192.0.2.1"), at("192.0.2.1"));
    }
}
