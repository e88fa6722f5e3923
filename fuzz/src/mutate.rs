//! Changes inputs, the same way every time.

/// A small pseudo-random generator and what it does to bytes.
pub(crate) struct Mutator(u64);

impl Mutator {
    pub(crate) const fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    /// xorshift64*.
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `limit`; 0 when `limit` is 0.
    fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next() % limit).unwrap_or(0)
    }

    /// One of the seeds.
    pub(crate) fn pick<'a>(&mut self, seeds: &'a [Vec<u8>]) -> &'a [u8] {
        let index = self.below(seeds.len());
        seeds.get(index).map_or(&[], Vec::as_slice)
    }

    /// `seed` after one to four changes, some of which bring in a piece of `other`.
    pub(crate) fn mutate(&mut self, seed: &[u8], other: &[u8]) -> Vec<u8> {
        let mut bytes = seed.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            match self.below(8) {
                0 => {
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte ^= 1 << self.below(8);
                    }
                }
                1 => {
                    let new = self.interesting();
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte = new;
                    }
                }
                2 => bytes.truncate(at),
                3 => {
                    let end = (at + self.below(16)).min(bytes.len());
                    bytes.drain(at..end);
                }
                4 => {
                    let new = self.interesting();
                    bytes.insert(at, new);
                }
                5 => {
                    let end = (at + self.below(64)).min(bytes.len());
                    let piece = bytes.get(at..end).unwrap_or_default().to_vec();
                    bytes.splice(at..at, piece);
                }
                6 => {
                    let from = self.below(other.len());
                    let end = (from + self.below(64)).min(other.len());
                    let piece = other.get(from..end).unwrap_or_default().to_vec();
                    bytes.splice(at..at, piece);
                }
                _ => {
                    let piece = vec![self.interesting(); self.below(300)];
                    bytes.splice(at..at, piece);
                }
            }
        }
        bytes.truncate(1 << 20);
        bytes
    }

    fn interesting(&mut self) -> u8 {
        const BYTES: &[u8] = b"\x00\xff\x7f\x80\"\\{}[]:,.%/-\n\r\t 09aA\x1b";
        let at = self.below(BYTES.len());
        BYTES.get(at).copied().unwrap_or_default()
    }
}
