//! Tries to get out of a sandbox, and reports what happened.
//!
//! The prober runs inside ([`run`]); it starts only with an order from the launcher, in the namespaces
//! that the order names ([`guard`]), and aims at nothing that the order does not name. The launcher talks
//! to it through [`conduct`], watches from outside with a [`witness`], binds what both saw into
//! [`evidence`] and shows it as a [`report`].
//!
//! Every check is one row of a table ([`catalogue`]): one forked process, a positive control, steps,
//! and a judge that never counts "could not tell" as held.

mod attribute;
mod check;
mod egress;
mod escape;
mod execution;
mod lateral;
mod memory;
mod primitive;
mod scene;
mod sweep;
mod trial;
mod weights;

pub mod catalogue;
pub mod conduct;
pub mod evidence;
pub mod expected;
#[doc(hidden)]
pub mod fuzz;
pub mod guard;
pub mod report;
pub mod run;
pub mod witness;
