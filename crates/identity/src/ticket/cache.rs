//! Verdicts that were positive, by the SHA-256 of the whole token.
//!
//! INVARIANT: bounded. Each shard keeps a young and an old half; when the young one is full it
//! becomes the old one, and what was not used since is gone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// SHA-256 of every byte of a token: two tokens that differ anywhere have two verdicts.
pub(super) type TokenDigest = [u8; 32];

#[derive(Debug)]
pub(super) struct Cache<T> {
    shards: [Mutex<Shard<T>>; SHARDS],
    per_half: usize,
}

#[derive(Debug)]
struct Shard<T> {
    young: HashMap<TokenDigest, Entry<T>>,
    old: HashMap<TokenDigest, Entry<T>>,
}

#[derive(Debug)]
struct Entry<T> {
    generation: u64,
    value: Arc<T>,
}

impl<T> Clone for Entry<T> {
    fn clone(&self) -> Self {
        Self {
            generation: self.generation,
            value: Arc::clone(&self.value),
        }
    }
}

impl<T> Cache<T> {
    pub(super) fn new(entries: usize) -> Self {
        let empty = || {
            Mutex::new(Shard {
                young: HashMap::new(),
                old: HashMap::new(),
            })
        };
        Self {
            shards: std::array::from_fn(|_| empty()),
            per_half: entries.div_ceil(SHARDS * 2).max(1),
        }
    }

    /// The verdict on this token, when it was reached under this generation of keys.
    pub(super) fn find(&self, token: &TokenDigest, generation: u64) -> Option<Arc<T>> {
        let mut shard = self
            .shard(token)?
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = shard.young.get(token) {
            return (entry.generation == generation).then(|| Arc::clone(&entry.value));
        }
        let entry = shard
            .old
            .get(token)
            .filter(|entry| entry.generation == generation)?
            .clone();
        let value = Arc::clone(&entry.value);
        shard.insert(*token, entry, self.per_half);
        Some(value)
    }

    pub(super) fn insert(&self, token: TokenDigest, generation: u64, value: Arc<T>) {
        let Some(shard) = self.shard(&token) else {
            return;
        };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        shard.insert(token, Entry { generation, value }, self.per_half);
    }

    pub(super) fn remove(&self, token: &TokenDigest) {
        let Some(shard) = self.shard(token) else {
            return;
        };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        shard.young.remove(token);
        shard.old.remove(token);
    }

    pub(super) fn clear(&self) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.young.clear();
            shard.old.clear();
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let count = |shard: &Mutex<Shard<T>>| {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.young.len() + shard.old.len()
        };
        self.shards.iter().map(count).sum()
    }

    fn shard(&self, token: &TokenDigest) -> Option<&Mutex<Shard<T>>> {
        let [first, ..] = token;
        self.shards.get(usize::from(*first) % SHARDS)
    }
}

impl<T> Shard<T> {
    fn insert(&mut self, token: TokenDigest, entry: Entry<T>, per_half: usize) {
        if self.young.len() >= per_half && !self.young.contains_key(&token) {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(&token);
        self.young.insert(token, entry);
    }
}

const SHARDS: usize = 16;
