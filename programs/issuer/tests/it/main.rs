//! The real program over real sockets: logs people in, exchanges tokens, refuses everything else.

mod harness;
mod login;
mod mesh;
mod provider;
mod robustness;
mod standard;
mod ticket;
