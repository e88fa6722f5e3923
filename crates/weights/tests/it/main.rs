//! What a sealed model promises, tried from outside the crate.

mod changed;
mod interop;
mod lab;
mod refused;
mod sealed;
mod vectors;
mod view;
