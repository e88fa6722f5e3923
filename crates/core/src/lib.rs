//! What things are called and what is allowed.
//!
//! Every domain type and every decision of Casemate lives here, as plain data and plain functions:
//! no input or output, no clock, no task. Facts and `now` come in as arguments; a proof or a refusal
//! goes out. Every default refuses.
//!
//! Read in this order: [`name`] and [`spiffe`] (who is who), [`enclosure`] (what is declared, with
//! [`diagnostic`] for what is wrong in it),
//! [`profile`] and [`route`] (what a server answers to), [`ticket`] and [`admission`] (who may call),
//! [`confinement`] (what the stage may touch), [`finding`], [`event`] and [`receipt`] (what is recorded).

pub mod admission;
pub mod confinement;
#[doc(hidden)]
pub mod control;
pub mod diagnostic;
pub mod enclosure;
pub mod event;
pub mod finding;
#[doc(hidden)]
pub mod fuzz;
pub mod json;
pub mod name;
pub mod profile;
pub mod receipt;
pub mod route;
mod schema;
pub mod secret;
pub mod spiffe;
pub mod ticket;
pub mod time;
mod yaml;
