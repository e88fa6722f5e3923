//! What the crate promises, tried from outside.

mod corpus;
mod fixtures;
mod hostile;
mod servers;
mod fix;
mod report;
