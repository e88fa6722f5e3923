//! Decrypted chunks, in a fixed number of locked buffers.
//!
//! A chunk is decrypted by the first reader that needs it while later ones wait for it; the least
//! recently used one makes room. INVARIANT: a buffer is lent out only after its chunk's tag matched,
//! and taken back only when nobody holds it.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use casemate_linux::memory::LockedBuffer;

use crate::unlock::ReadChunkError;

/// Which chunk: the file's number and the chunk's.
pub(super) type ChunkId = (usize, u64);

/// A decrypted, checked chunk.
pub(super) struct Filled {
    buffer: LockedBuffer,
    length: usize,
}

impl Filled {
    /// The plaintext.
    pub(super) fn bytes(&self) -> &[u8] {
        self.buffer.get(..self.length).unwrap_or_default()
    }
}

enum Slot {
    /// Somebody decrypts it now.
    Filling,
    Ready {
        chunk: Arc<Filled>,
        used: u64,
    },
}

struct State {
    chunks: HashMap<ChunkId, Slot>,
    free: Vec<LockedBuffer>,
    clock: u64,
}

/// The chunks that are decrypted now.
pub(super) struct ChunkCache {
    state: Mutex<State>,
    changed: Condvar,
}

impl ChunkCache {
    /// Takes `count` buffers of `size` bytes; all memory that the cache will ever use.
    pub(super) fn new(count: usize, size: usize) -> io::Result<Self> {
        let free = (0..count)
            .map(|_| LockedBuffer::new(size))
            .collect::<io::Result<_>>()?;
        let state = State {
            chunks: HashMap::with_capacity(count),
            free,
            clock: 0,
        };
        Ok(Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
        })
    }

    /// The chunk `id`, decrypted by `fill` if it is not here.
    pub(super) fn chunk(
        &self,
        id: ChunkId,
        fill: impl FnOnce(&mut [u8]) -> Result<usize, ReadChunkError>,
    ) -> Result<Arc<Filled>, ReadChunkError> {
        let mut state = self.lock();
        let mut buffer = loop {
            match state.ready(id) {
                Some(Some(chunk)) => return Ok(chunk),
                Some(None) => {}
                None => {
                    if let Some(buffer) = state.take_buffer() {
                        state.chunks.insert(id, Slot::Filling);
                        break buffer;
                    }
                }
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        };
        drop(state);
        let filled = fill(&mut buffer);
        let mut state = self.lock();
        let outcome = match filled {
            Ok(length) => {
                let chunk = Arc::new(Filled { buffer, length });
                let used = state.tick();
                state.chunks.insert(
                    id,
                    Slot::Ready {
                        chunk: Arc::clone(&chunk),
                        used,
                    },
                );
                Ok(chunk)
            }
            Err(error) => {
                state.chunks.remove(&id);
                state.free.push(buffer);
                Err(error)
            }
        };
        drop(state);
        self.changed.notify_all();
        outcome
    }

    /// Whether `id` is here or being decrypted.
    pub(super) fn has(&self, id: ChunkId) -> bool {
        self.lock().chunks.contains_key(&id)
    }

    /// Tells waiting readers that a lent chunk came back.
    pub(super) fn give_back(&self, chunk: Arc<Filled>) {
        drop(chunk);
        self.changed.notify_all();
    }

    /// Drops every chunk that nobody holds; their buffers are wiped.
    pub(super) fn forget(&self) {
        let mut state = self.lock();
        state.chunks.retain(|_, slot| matches!(slot, Slot::Filling));
        state.free.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two of its own calls, so a panic elsewhere leaves it good.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// The chunk when it is ready, nothing inside when it is being decrypted.
    fn ready(&mut self, id: ChunkId) -> Option<Option<Arc<Filled>>> {
        let now = self.tick();
        match self.chunks.get_mut(&id)? {
            Slot::Filling => Some(None),
            Slot::Ready { chunk, used } => {
                *used = now;
                Some(Some(Arc::clone(chunk)))
            }
        }
    }

    /// A free buffer, or that of the least recently used chunk that nobody holds.
    fn take_buffer(&mut self) -> Option<LockedBuffer> {
        if let Some(buffer) = self.free.pop() {
            return Some(buffer);
        }
        let oldest = self
            .chunks
            .iter()
            .filter_map(|(id, slot)| match slot {
                Slot::Ready { chunk, used } if Arc::strong_count(chunk) == 1 => Some((*used, *id)),
                Slot::Ready { .. } | Slot::Filling => None,
            })
            .min();
        match self.chunks.remove(&oldest?.1)? {
            Slot::Ready { chunk, .. } => Arc::into_inner(chunk).map(|filled| filled.buffer),
            Slot::Filling => None,
        }
    }
}
