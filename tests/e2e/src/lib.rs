//! Whole journeys through the real programs, on a real host: root, runc, FUSE, a real login.
//!
//! Each test starts a daemon of its own in temporary directories. [`journey`] is how it should go,
//! the others are bad days: a hostile caller, a bad server, bad files, a bad
//! host, a bad end, a crash; [`first_steps`] follows the page of that name.
#![cfg(test)]

mod bad_caller;
mod bad_end;
mod bad_files;
mod bad_host;
mod bad_server;
mod crash;
mod first_steps;
mod journey;
mod scene;
