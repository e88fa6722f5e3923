//! The rows, in the order of the design's table.

mod gate;
mod peers;
mod sandbox;
mod server;
mod view;
mod weights;

use crate::report::Row;

/// All of them.
pub(crate) const ALL: &[Row] = &[
    Row { name: "gate", measure: gate::measure },
    Row { name: "view", measure: view::measure },
    Row { name: "seal", measure: weights::seal },
    Row { name: "verify", measure: weights::verify },
    Row { name: "first-token", measure: server::measure },
    Row { name: "start", measure: sandbox::measure },
];
