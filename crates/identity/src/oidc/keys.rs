//! The keys of the corporate logins, and when they may be fetched.
//!
//! Whoever sends tokens controls which key ids we look for, so what a token says never decides how
//! often we fetch:
//! * after an attempt the next one waits for [`COOLDOWN`], whether the first one succeeded or not;
//! * one attempt at a time for each issuer; everybody else waits for its result;
//! * key ids that were just looked for in vain are remembered, a bounded number of them;
//! * a budget for each issuer and one for all of them bound what is left;
//! * a miss or a failed attempt never removes a key; a set that cannot be renewed is used until it
//!   is [`STALE_LIMIT`] old; an empty set is a failed attempt.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::{IssuerUrl, Tick};
use crate::jwks::{Jwk, JwkSet};

/// Why there is no key for a token, for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoKey {
    /// The issuer is not configured.
    #[error("the issuer is not configured")]
    UnknownIssuer,
    /// The issuer's keys are known and this is none of them.
    #[error("the issuer has no key with this id")]
    UnknownKey,
    /// A fetch might help, but the last one was just now.
    #[error("the issuer's keys were asked for a moment ago")]
    CoolingDown,
    /// A fetch might help, but too many were made.
    #[error("too many requests for keys")]
    Budget,
}

/// The answer to a search for a key.
#[derive(Debug)]
pub enum Lookup {
    /// Here it is.
    Key(Jwk),
    /// Here it is; please also fetch in the background, the set is getting old.
    KeyAndFetch(Jwk, FetchPermit),
    /// Please fetch, report with [`KeyStore::fetched`], then look again.
    Fetch(FetchPermit),
    /// Somebody else is fetching: wait for that, then look again.
    Wait,
    /// There is none.
    None(NoKey),
}

/// The right to fetch one issuer's keys once. Made only by [`KeyStore::lookup`].
#[derive(Debug, PartialEq, Eq)]
pub struct FetchPermit {
    issuer: IssuerUrl,
    attempt: u64,
}

impl FetchPermit {
    /// Whose keys are to be fetched.
    #[must_use]
    pub const fn issuer(&self) -> &IssuerUrl {
        &self.issuer
    }
}

/// The keys of all configured issuers.
#[derive(Debug)]
pub struct KeyStore {
    issuers: HashMap<IssuerUrl, IssuerKeys>,
    budget: Budget,
    attempts: u64,
}

#[derive(Debug)]
struct IssuerKeys {
    set: Option<(Arc<JwkSet>, Tick)>,
    last_attempt: Option<Tick>,
    running: Option<(u64, Tick)>,
    /// Key ids not found in the newest set, oldest first.
    absent: VecDeque<(String, Tick)>,
    budget: Budget,
}

impl KeyStore {
    /// A store that knows no issuer.
    #[must_use]
    pub fn new(now: Tick) -> Self {
        Self {
            issuers: HashMap::new(),
            budget: Budget::new(GLOBAL_BURST, GLOBAL_REFILL, now),
            attempts: 0,
        }
    }

    /// Knows exactly `issuers` from now on; keys of those that stay are kept.
    pub fn configure(&mut self, issuers: impl IntoIterator<Item = IssuerUrl>, now: Tick) {
        let mut before = std::mem::take(&mut self.issuers);
        for issuer in issuers {
            let keys = before
                .remove(&issuer)
                .unwrap_or_else(|| IssuerKeys::new(now));
            self.issuers.entry(issuer).or_insert(keys);
        }
    }

    /// Looks for the key `id` of `issuer`. Without an id, the issuer must have one key only, as
    /// OpenID Connect Core section 10.1 says.
    pub fn lookup(&mut self, issuer: &IssuerUrl, id: Option<&str>, now: Tick) -> Lookup {
        let Some(keys) = self.issuers.get_mut(issuer) else {
            return Lookup::None(NoKey::UnknownIssuer);
        };
        let age = keys.set.as_ref().map(|(_, at)| now.since(*at));
        let usable = keys
            .set
            .as_ref()
            .filter(|_| age.is_some_and(|age| age < STALE_LIMIT));
        let found = usable.and_then(|(set, _)| id.map_or_else(|| set.only(), |id| set.find(id)));
        let found = found.cloned();
        let fresh = age.is_some_and(|age| age < REFRESH_AFTER);
        if let Some(key) = found {
            if fresh {
                return Lookup::Key(key);
            }
            return match self.permit(issuer, now) {
                Ok(permit) => Lookup::KeyAndFetch(key, permit),
                Err(_) => Lookup::Key(key),
            };
        }
        if fresh && id.is_none_or(|id| keys.is_absent(id, now)) {
            return Lookup::None(NoKey::UnknownKey);
        }
        match self.permit(issuer, now) {
            Ok(permit) => Lookup::Fetch(permit),
            Err(None) => Lookup::Wait,
            Err(Some(reason)) => Lookup::None(reason),
        }
    }

    /// Takes the result of the fetch that `permit` allowed; `wanted` is the key id that was looked
    /// for. Nothing means that the fetch failed. Says whether there is a new set.
    pub fn fetched(
        &mut self,
        permit: FetchPermit,
        wanted: Option<&str>,
        result: Option<JwkSet>,
        now: Tick,
    ) -> bool {
        let FetchPermit { issuer, attempt } = permit;
        let Some(keys) = self.issuers.get_mut(&issuer) else {
            return false;
        };
        // The result of an attempt that was given up on may be older than what we have.
        if keys.running.is_none_or(|(running, _)| running != attempt) {
            return false;
        }
        keys.running = None;
        keys.last_attempt = Some(now);
        let Some(set) = result.filter(|set| !set.is_empty()) else {
            return false;
        };
        keys.absent.retain(|(id, _)| set.find(id).is_none());
        if let Some(id) = wanted.filter(|id| set.find(id).is_none()) {
            keys.remember_absent(id, now);
        }
        keys.set = Some((Arc::new(set), now));
        true
    }

    /// Nothing in the error means that somebody is fetching already.
    fn permit(&mut self, issuer: &IssuerUrl, now: Tick) -> Result<FetchPermit, Option<NoKey>> {
        let keys = self
            .issuers
            .get_mut(issuer)
            .ok_or(Some(NoKey::UnknownIssuer))?;
        if let Some((_, since)) = keys.running {
            if now.since(since) < ATTEMPT_LIMIT {
                return Err(None);
            }
            // Whoever had the permit is gone; that attempt counts as failed.
            keys.running = None;
        }
        if keys.last_attempt.is_some_and(|at| now.since(at) < COOLDOWN) {
            return Err(Some(NoKey::CoolingDown));
        }
        if !self.budget.has(now) || !keys.budget.has(now) {
            return Err(Some(NoKey::Budget));
        }
        self.budget.take();
        keys.budget.take();
        self.attempts += 1;
        keys.running = Some((self.attempts, now));
        keys.last_attempt = Some(now);
        Ok(FetchPermit {
            issuer: issuer.clone(),
            attempt: self.attempts,
        })
    }
}

impl IssuerKeys {
    fn new(now: Tick) -> Self {
        Self {
            set: None,
            last_attempt: None,
            running: None,
            absent: VecDeque::new(),
            budget: Budget::new(ISSUER_BURST, ISSUER_REFILL, now),
        }
    }

    fn is_absent(&self, id: &str, now: Tick) -> bool {
        self.absent
            .iter()
            .any(|(known, at)| known == id && now.since(*at) < ABSENT_FOR)
    }

    fn remember_absent(&mut self, id: &str, now: Tick) {
        self.absent
            .retain(|(known, at)| known != id && now.since(*at) < ABSENT_FOR);
        if self.absent.len() >= MAX_ABSENT {
            self.absent.pop_front();
        }
        // Ids come from strangers; a long one is not worth remembering whole, nor at all.
        if id.len() <= crate::jwks::MAX_ID_BYTES {
            self.absent.push_back((id.to_owned(), now));
        }
    }
}

/// A token bucket on the monotonic clock.
#[derive(Debug)]
struct Budget {
    left: u32,
    burst: u32,
    refill: Duration,
    counted: Tick,
}

impl Budget {
    const fn new(burst: u32, refill: Duration, now: Tick) -> Self {
        Self {
            left: burst,
            burst,
            refill,
            counted: now,
        }
    }

    fn has(&mut self, now: Tick) -> bool {
        while self.left < self.burst && now.since(self.counted) >= self.refill {
            self.left += 1;
            self.counted = Tick(self.counted.0 + self.refill);
        }
        if self.left == self.burst {
            self.counted = now;
        }
        self.left > 0
    }

    const fn take(&mut self) {
        self.left = self.left.saturating_sub(1);
    }
}

/// The shortest time between two attempts for one issuer, whatever came of the first.
pub const COOLDOWN: Duration = Duration::from_secs(30);
/// From this age on a set is renewed in the background.
pub const REFRESH_AFTER: Duration = Duration::from_secs(60 * 60);
/// From this age on a set that could not be renewed is not used any more.
pub const STALE_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a key id that was not found is not looked for again.
pub const ABSENT_FOR: Duration = Duration::from_secs(10 * 60);
/// How many such key ids are remembered for each issuer.
pub const MAX_ABSENT: usize = 128;
/// When an attempt that nobody reported on is given up.
pub const ATTEMPT_LIMIT: Duration = Duration::from_secs(60);

const ISSUER_BURST: u32 = 10;
const ISSUER_REFILL: Duration = Duration::from_secs(60);
const GLOBAL_BURST: u32 = 30;
const GLOBAL_REFILL: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
