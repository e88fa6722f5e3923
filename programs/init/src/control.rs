//! The plan and the launcher, as this process was given them.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;

use casemate_core::confinement::{
    CONTROL_DESCRIPTOR, InitOrder, InitReport, PLAN_DESCRIPTOR, SealedPlan,
};
use casemate_linux::{inherit, memory, process};

/// The launcher at the other end.
#[derive(Debug)]
pub(crate) struct Control {
    stream: UnixStream,
}

impl Control {
    /// Takes over both descriptors and reads the plan. The plan stays open until the execution, so
    /// that the descriptors found are the ones that were given.
    pub(crate) fn inherit() -> io::Result<(SealedPlan, Self)> {
        let plan = inherit::take(i32::try_from(PLAN_DESCRIPTOR).map_err(io::Error::other)?)?;
        let control = inherit::take(i32::try_from(CONTROL_DESCRIPTOR).map_err(io::Error::other)?)?;
        let text = memory::read_sealed(plan, LONGEST_PLAN)?;
        let plan = serde_json::from_slice(&text)?;
        Ok((
            plan,
            Self {
                stream: control.into(),
            },
        ))
    }

    pub(crate) fn send(&mut self, report: &InitReport) -> io::Result<()> {
        let mut line = serde_json::to_vec(report)?;
        line.push(b'\n');
        self.stream.write_all(&line)
    }

    /// Waits for an order, byte by byte: what follows it belongs to the prober.
    pub(crate) fn order(&mut self) -> io::Result<InitOrder> {
        let mut line = Vec::new();
        let mut byte = [0];
        while line.len() < LONGEST_ORDER {
            self.stream.read_exact(&mut byte)?;
            if byte == *b"\n" {
                return Ok(serde_json::from_slice(&line)?);
            }
            line.extend(byte);
        }
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the order is too long",
        ))
    }

    /// Lets the prober have the launcher.
    pub(crate) fn keep(&self) -> io::Result<()> {
        process::keep_over_execution(&self.stream)
    }
}

const LONGEST_PLAN: u64 = 1 << 20;
const LONGEST_ORDER: usize = 4096;
