//! Stages run for real: runc, user namespaces, init and all. Needs root; says so where it is missing.

mod image;
mod lab;
mod limits;
mod servers;
mod tampering;
