//! `casemate-issuer`: certificates, tickets and corporate logins.
//!
//! The part of the system that faces the network so that root does not. It is started with its keys,
//! two listening sockets and a control channel, confines itself ([`confine`]), and serves: people log
//! in ([`login`]), people and gates exchange tokens ([`exchange`]), the daemon asks for certificates
//! of stages and tells it who may have what ([`control`]). Every decision becomes an event; no token,
//! key or name of a key file is ever written to a log.

mod answer;
pub mod confine;
mod control;
mod exchange;
mod form;
mod issuer;
mod login;
mod own;
mod policy;
mod provider;
mod rate;
mod seen;
mod serve;
pub mod settings;

pub use serve::{ServeError, run};
