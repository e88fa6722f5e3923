//! What the crate promises, tried from outside.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test that cannot go on stops"
)]

mod corpus;
mod fix;
mod fixtures;
mod hostile;
mod report;
mod servers;
