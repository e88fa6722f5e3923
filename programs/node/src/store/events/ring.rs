//! Which events push out which: each event belongs to one ring, and a ring is bounded by itself.
//!
//! Whoever can cause events without end (a stranger at a port, a stage in an attacker's hand) reaches
//! only the rings of what he causes, and only those of one stage.

use casemate_core::event::{Event, kind};

/// What may be forgotten for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// Refusals: anybody causes them.
    Noise,
    /// What callers with a ticket cause, and what a gate says of itself.
    Traffic,
    /// What the node did: launches, keys, models, probes.
    Act,
}

/// The name of an event's ring, and how many events it holds.
pub(super) fn ring_of(event: &Event) -> (String, i64) {
    let class = class_of(event);
    let (word, kept) = match class {
        Class::Noise => ("noise", KEPT_NOISE),
        Class::Traffic => ("traffic", KEPT_TRAFFIC),
        Class::Act => ("act", KEPT_ACTS),
    };
    let name = |name: &Option<casemate_core::name::Name>| {
        name.as_ref().map(ToString::to_string).unwrap_or_default()
    };
    // A name has no slash, so no two places share a ring.
    let (enclosure, stage) = (name(&event.enclosure), name(&event.stage));
    (format!("{word}/{enclosure}/{stage}"), kept)
}

fn class_of(event: &Event) -> Class {
    match event.kind.as_ref() {
        kind::CONNECTION_REFUSED
        | kind::REQUEST_REFUSED
        | kind::LOGIN_REFUSED
        | kind::TICKET_REFUSED
        | kind::TRANSACTION_REFUSED
        | kind::PROVIDER_UNAVAILABLE => Class::Noise,
        kind::REQUEST_ADMITTED
        | kind::REQUEST_FINISHED
        | kind::REQUEST_CUT
        | kind::TICKET_ISSUED
        | kind::TRANSACTION_ISSUED
        | kind::LOGIN_ACCEPTED
        | kind::SVID_ISSUED
        | kind::SVID_ROTATED
        | kind::SVID_ROTATION_FAILED => Class::Traffic,
        // A gate repeats what the node has said.
        kind::REVOKED if event.stage.is_some() => Class::Traffic,
        _ => Class::Act,
    }
}

const KEPT_NOISE: i64 = 10_000;
const KEPT_TRAFFIC: i64 = 50_000;
const KEPT_ACTS: i64 = 100_000;

#[cfg(test)]
mod tests {
    use casemate_core::event::Severity;
    use casemate_core::time::UnixTime;

    use super::*;

    fn event(kind: &'static str) -> Event {
        Event::new(UnixTime(1), kind, Severity::Info)
    }

    #[test]
    fn what_a_gate_can_cause_is_never_among_the_acts_of_the_node() {
        let (enclosure, stage) = ("chat".parse().unwrap(), "infer".parse().unwrap());
        for kind in [
            kind::CONNECTION_REFUSED,
            kind::REQUEST_REFUSED,
            kind::REQUEST_ADMITTED,
            kind::REQUEST_FINISHED,
            kind::REQUEST_CUT,
            kind::REVOKED,
            kind::SVID_ISSUED,
            kind::SVID_ROTATED,
            kind::SVID_ROTATION_FAILED,
        ] {
            let (ring, _) = ring_of(&event(kind).at(&enclosure, Some(&stage)));
            assert!(!ring.starts_with("act/"), "{kind} is in {ring}");
        }
    }

    #[test]
    fn stages_do_not_share_a_ring() {
        let at = |enclosure: &str, stage: &str| {
            let (enclosure, stage) = (enclosure.parse().unwrap(), stage.parse().unwrap());
            ring_of(&event(kind::REQUEST_REFUSED).at(&enclosure, Some(&stage))).0
        };
        assert_ne!(at("chat", "infer"), at("chat", "redact"));
        assert_ne!(at("chat", "infer"), at("other", "infer"));
    }
}
