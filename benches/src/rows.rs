//! The rows, in the order of the design's table.

mod gate;
mod load;
mod peers;
mod sandbox;
mod scan;
mod server;
mod weights;

use crate::report::Row;

/// All of them.
pub(crate) const ALL: &[Row] = &[
    Row {
        name: "gate",
        measure: gate::measure,
    },
    Row {
        name: "weights",
        measure: weights::measure,
    },
    Row {
        name: "first-token",
        measure: server::measure,
    },
    Row {
        name: "start",
        measure: sandbox::measure,
    },
    Row {
        name: "scan",
        measure: scan::measure,
    },
];
