//! What a sealed model promises, tried from outside the crate.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot prepare itself must fail, and say where"
)]

mod changed;
mod interop;
mod lab;
mod refused;
mod sealed;
mod vectors;
mod view;
