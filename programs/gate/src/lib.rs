//! The only way into a stage and out of it: admits a call or refuses it, and forwards what it admitted.
//!
//! Every decision is made by [`casemate_core::admission`]; this crate gathers the facts, carries the
//! decision out and records it. It holds one identity, the stage's own, and no other secret.
//!
//! Read in this order: [`gate`] (what all connections share), [`listen`] (from socket to request, with
//! [`head`] and [`strict`] in front of HTTP/1), [`serve`] (from request to decision), [`forward`] (from
//! permit to answer), [`flight`] (what runs, and how it is cut), [`outbound`] (the stage's own calls),
//! [`control`] and [`rotate`] (the daemon's side), [`confine`] (what the process itself may do).
//!
//! One thread does all of it. A gate stands before one server whose answers take far more work than
//! their admission; with one thread there is no locking between cores, no work stealing, and less
//! memory. What would block (names, disks) does not occur: addresses are numbers and nothing is read
//! from disk.
//!
//! Forwarding takes the permit by value, so what was not admitted cannot be forwarded:
//!
//! ```no_run
//! # use casemate_gate::{forward, gate::Gate};
//! # async fn example(gate: std::sync::Arc<Gate>, place: casemate_gate::place::Place, passage: forward::Passage, permit: casemate_core::admission::Permit) {
//! let answer = forward::forward(gate, permit, place, passage).await;
//! # }
//! ```
//!
//! ```compile_fail
//! # use casemate_gate::{forward, gate::Gate};
//! # async fn example(gate: std::sync::Arc<Gate>, place: casemate_gate::place::Place, passage: forward::Passage) {
//! let answer = forward::forward(gate, place, passage).await;
//! # }
//! ```

pub mod answer;
pub mod audit;
pub mod body;
pub mod confine;
pub mod control;
pub mod exchange;
pub mod flight;
pub mod forward;
#[doc(hidden)]
pub mod fuzz;
pub mod gate;
pub mod head;
pub mod listen;
pub mod noise;
pub mod outbound;
pub mod place;
pub mod pool;
pub mod problem;
pub mod room;
pub mod rotate;
pub mod serve;
pub mod settings;
pub mod strict;
pub mod sweep;
