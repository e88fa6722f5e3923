//! Which key each ID token was brought with. With another key it is refused from then on, until it
//! ends: whoever steals one after its login gets nothing, and whoever uses a stolen one first is
//! found out when its owner logs in. In memory only: what a former process saw is not known here.
//!
//! A token is forgotten when it has ended by the wall clock and by the one that never jumps: after a wall
//! clock was ahead for a while, what it seemed to end is still bound.

use std::collections::HashMap;

use casemate_core::spiffe::SpiffeId;
use casemate_core::time::UnixTime;
use casemate_identity::oidc::Tick;

use crate::answer::Refusal;

/// The ID tokens of logins, by person. Bounded for each person and for all together: only verified
/// tokens come here, and when there is no room a newcomer is refused, as nothing may be forgotten.
#[derive(Debug, Default)]
pub(crate) struct SeenTokens {
    people: HashMap<SpiffeId, Vec<Seen>>,
    count: usize,
}

#[derive(Debug)]
struct Seen {
    token: [u8; 32],
    key: String,
    until: Moment,
}

/// A time by both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) wall: UnixTime,
    pub(crate) tick: Tick,
}

impl Moment {
    /// When a token ends that ends at `wall`, seen from this moment.
    fn end(self, wall: UnixTime) -> Self {
        Self {
            wall,
            tick: Tick(self.tick.0.saturating_add(self.wall.until(wall))),
        }
    }

    /// Whether neither clock has come to `end`, or only one.
    fn before(self, end: Self) -> bool {
        self.wall < end.wall || self.tick < end.tick
    }
}

impl SeenTokens {
    /// Binds the token `token` of `person`, which counts until `until`, to the key with the
    /// thumbprint `key`, when it is not bound to another.
    pub(crate) fn bind(
        &mut self,
        person: &SpiffeId,
        token: &[u8; 32],
        key: &str,
        until: UnixTime,
        now: Moment,
    ) -> Result<(), Refusal> {
        if self.count >= MAX_TOKENS {
            self.people.retain(|_, tokens| {
                tokens.retain(|seen| now.before(seen.until));
                !tokens.is_empty()
            });
            self.count = self.people.values().map(Vec::len).sum();
        }
        let full = self.count >= MAX_TOKENS;
        if full && !self.people.contains_key(person) {
            return Err(Refusal::unavailable("too_many_logins"));
        }
        let tokens = self.people.entry(person.clone()).or_default();
        let before = tokens.len();
        tokens.retain(|seen| now.before(seen.until));
        self.count -= before - tokens.len();
        if let Some(seen) = tokens.iter().find(|seen| seen.token == *token) {
            return if seen.key == key {
                Ok(())
            } else {
                Err(Refusal::request("id_token_of_another_key"))
            };
        }
        if full || tokens.len() >= MAX_TOKENS_OF_ONE {
            return Err(Refusal::unavailable("too_many_logins"));
        }
        tokens.push(Seen {
            token: *token,
            key: key.to_owned(),
            until: now.end(until),
        });
        self.count += 1;
        Ok(())
    }
}

const MAX_TOKENS: usize = 65_536;
const MAX_TOKENS_OF_ONE: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime(1_800_000_000);
    const LATER: UnixTime = UnixTime(1_800_000_600);

    /// A moment at which both clocks agree on how much has passed since the start.
    fn at(wall: UnixTime) -> Moment {
        Moment {
            wall,
            tick: Tick(NOW.until(wall)),
        }
    }

    fn person(number: usize) -> SpiffeId {
        format!("spiffe://example.internal/user/idp/{number}")
            .parse()
            .unwrap()
    }

    fn token(number: usize) -> [u8; 32] {
        let mut token = [0; 32];
        token[..8].copy_from_slice(&number.to_be_bytes());
        token
    }

    #[test]
    fn a_token_belongs_to_its_first_key_until_it_ends() {
        let mut seen = SeenTokens::default();
        let mut bind = |key, now| seen.bind(&person(1), &token(1), key, LATER, at(now));
        assert_eq!(bind("first", NOW), Ok(()));
        assert_eq!(bind("first", NOW), Ok(()));
        let refused = Err(Refusal::request("id_token_of_another_key"));
        assert_eq!(bind("second", NOW), refused);
        assert_eq!(bind("second", UnixTime(LATER.0 - 1)), refused);
        assert_eq!(bind("second", LATER), Ok(()));
        assert_eq!(seen.count, 1);
    }

    #[test]
    fn a_wall_clock_that_was_ahead_for_a_while_unbinds_nothing() {
        let mut seen = SeenTokens::default();
        let mut bind = |number, key, wall, tick| {
            let now = Moment {
                wall,
                tick: Tick(std::time::Duration::from_secs(tick)),
            };
            seen.bind(&person(1), &token(number), key, LATER, now)
        };
        assert_eq!(bind(1, "first", NOW, 0), Ok(()));
        // An hour ahead, another token comes, and room is made; then the clock is set right.
        assert_eq!(bind(2, "first", LATER.plus(HOUR), 1), Ok(()));
        let refused = Err(Refusal::request("id_token_of_another_key"));
        assert_eq!(bind(1, "second", NOW, 2), refused);
        assert_eq!(bind(1, "second", LATER, 599), refused);
        assert_eq!(bind(1, "second", LATER, 600), Ok(()));
    }

    #[test]
    fn one_person_cannot_take_the_room_of_all() {
        let mut seen = SeenTokens::default();
        let full = Err(Refusal::unavailable("too_many_logins"));
        for number in 0..MAX_TOKENS_OF_ONE {
            assert_eq!(
                seen.bind(&person(1), &token(number), "k", LATER, at(NOW)),
                Ok(())
            );
        }
        let next = token(MAX_TOKENS_OF_ONE);
        assert_eq!(seen.bind(&person(1), &next, "k", LATER, at(NOW)), full);
        assert_eq!(seen.bind(&person(2), &next, "k", LATER, at(NOW)), Ok(()));
        assert_eq!(
            seen.bind(&person(1), &next, "k", LATER.plus(HOUR), at(LATER)),
            Ok(())
        );
        assert_eq!(seen.count, 2);
    }

    #[test]
    fn full_of_living_tokens_it_forgets_none_and_makes_room_when_they_end() {
        let mut seen = SeenTokens::default();
        for number in 0..MAX_TOKENS {
            assert_eq!(
                seen.bind(&person(number), &token(number), "k", LATER, at(NOW)),
                Ok(())
            );
        }
        let newcomer = person(MAX_TOKENS);
        let full = Err(Refusal::unavailable("too_many_logins"));
        assert_eq!(
            seen.bind(&newcomer, &token(MAX_TOKENS), "k", LATER, at(NOW)),
            full
        );
        assert_eq!(
            seen.bind(&person(0), &token(MAX_TOKENS), "k", LATER, at(NOW)),
            full
        );
        let refused = Err(Refusal::request("id_token_of_another_key"));
        assert_eq!(
            seen.bind(&person(0), &token(0), "other", LATER, at(NOW)),
            refused
        );
        assert_eq!(
            seen.bind(&newcomer, &token(0), "k", LATER.plus(HOUR), at(LATER)),
            Ok(())
        );
        assert_eq!((seen.count, seen.people.len()), (1, 1));
    }

    const HOUR: std::time::Duration = std::time::Duration::from_secs(3600);
}
