//! Version 1 of the sealed format: names, limits, and the parsers of its parts.
//!
//! Nothing here does input or output. Every count and size that a stranger's bytes could name has a
//! limit below, checked before memory is taken for it. `docs/spec/sealed-model.md` says the same in
//! words.

pub mod header;
pub mod index;
pub mod keys;
pub mod layout;
pub mod path;

/// The version of the format that is written and read.
pub const FORMAT_VERSION: u32 = 1;

/// The signed statement about the other four files.
pub const HEADER_FILE: &str = "header.json";
/// The data key, wrapped: an age file.
pub const KEY_FILE: &str = "key.age";
/// Names, sizes and the OpenSSF signature, encrypted.
pub const INDEX_FILE: &str = "index";
/// One authentication tag for each chunk.
pub const TAGS_FILE: &str = "tags";
/// The chunks, encrypted.
pub const DATA_FILE: &str = "data";

/// Every file of the artefact and its largest allowed size.
pub const FILES: [(&str, u64); 5] = [
    (HEADER_FILE, MAX_HEADER_BYTES),
    (KEY_FILE, MAX_KEY_BYTES),
    (INDEX_FILE, MAX_INDEX_BYTES),
    (TAGS_FILE, MAX_TAGS_BYTES),
    (DATA_FILE, MAX_DATA_BYTES),
];

/// Files start and end on pages, so that reads of ciphertext are aligned.
pub const PAGE: u64 = 4096;
/// An AES-GCM authentication tag.
pub const TAG_BYTES: usize = 16;
/// What is sealed with unless asked otherwise.
pub const DEFAULT_CHUNK_SIZE: u32 = 1024 * 1024;
/// The smallest chunk; a power of two from here to [`MAX_CHUNK_SIZE`].
pub const MIN_CHUNK_SIZE: u32 = 64 * 1024;
/// The largest chunk.
pub const MAX_CHUNK_SIZE: u32 = 4 * 1024 * 1024;

/// Largest `header.json`.
pub const MAX_HEADER_BYTES: u64 = 64 * 1024;
/// Largest `key.age`.
pub const MAX_KEY_BYTES: u64 = 64 * 1024;
/// Largest `index`.
pub const MAX_INDEX_BYTES: u64 = 64 * 1024 * 1024;
/// Largest `tags`: 16 TiB of chunks of 1 MiB.
pub const MAX_TAGS_BYTES: u64 = 256 * 1024 * 1024;
/// Largest `data`: 64 TiB.
pub const MAX_DATA_BYTES: u64 = 64 << 40;
/// Most files in one model.
pub const MAX_FILES: usize = 65_536;

/// Whether `size` is a chunk size of this format.
#[must_use]
pub const fn is_chunk_size(size: u32) -> bool {
    size.is_power_of_two() && size >= MIN_CHUNK_SIZE && size <= MAX_CHUNK_SIZE
}
