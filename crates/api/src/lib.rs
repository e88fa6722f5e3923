//! What crosses a socket between our programs: wire types, and the client of the daemon's API.
//!
//! Nothing is decided here. [`v1`] and [`client`] are the daemon's API over its Unix socket; the
//! other modules are the settings and control lines between the daemon and the programs it starts.
//! Every one of those types refuses unknown members: both ends are built together, so a member
//! that one of them does not know is a fault and not a newer version.

pub mod client;
pub mod gate;
pub mod issuer;
pub mod v1;
pub mod vault;
