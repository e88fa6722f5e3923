//! The real program over real sockets: logs people in, exchanges tokens, refuses everything else.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests say what must hold by panicking"
)]

mod harness;
mod hidden;
mod login;
mod mesh;
mod provider;
mod robustness;
mod standard;
mod ticket;
