//! The lines that a check's process writes to the prober: JSON, one record each.

use casemate_core::finding::{ControlResult, Step};
use casemate_linux::raw::Child;
use serde::{Deserialize, Serialize};

/// One thing that happened in a check's process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Record {
    /// A step is about to be taken.
    Trying(String),
    /// The step is over.
    Step(Step),
    /// A positive control was made.
    Control(ControlResult),
    /// One connection or datagram went towards a canary.
    Sent,
    /// Everything was tried.
    End,
}

impl Record {
    pub(crate) fn send(&self, child: &Child) {
        if let Ok(mut line) = serde_json::to_vec(self) {
            line.push(b'\n');
            child.report(&line);
        }
    }
}

/// The records in `report`; what is not a whole record is left out.
pub(crate) fn decode(report: &[u8]) -> Vec<Record> {
    report
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect()
}
