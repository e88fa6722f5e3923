//! Stages run for real: runc, user namespaces, init and all. Needs root; says so where it is missing.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "helpers of tests are tests"
)]

mod archives;
mod image;
mod lab;
mod limits;
mod servers;
mod tampering;
