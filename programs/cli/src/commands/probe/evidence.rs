//! Checks that what was reported is what the node signed.

use std::path::Path;

use casemate_core::finding::Finding;
use casemate_identity::jws::verify_detached;
use casemate_isolation::evidence::{Statement, verify};

use super::{Report, StageReport};
use crate::commands::{read_named, read_named_text};
use crate::exit::{Exit, Failure};

/// A report and the key that it must be signed with, from files.
pub(super) fn read(file: &Path, key: &Path) -> Result<(Report, String), Failure> {
    let bytes = read_named(file, MAX_REPORT)?;
    let report = serde_json::from_slice(&bytes).map_err(|error| {
        Failure::found(format!(
            "`{}` is not what `probe --json` writes",
            file.display()
        ))
        .because(&error)
    })?;
    Ok((report, read_named_text(key, MAX_KEY)?))
}

/// The signed statement of each stage, which must say the same as the findings beside it.
pub(super) fn statements(report: &Report, key_pem: &str) -> Result<Vec<Statement>, Failure> {
    report
        .stages
        .iter()
        .map(|stage| statement(stage, key_pem))
        .collect()
}

fn statement(stage: &StageReport, key_pem: &str) -> Result<Statement, Failure> {
    let name = stage.name();
    let envelope = stage
        .evidence
        .as_ref()
        .ok_or_else(|| Failure::found(format!("the findings of `{name}` are not signed")))?;
    let bytes = serde_json::to_vec(envelope)
        .map_err(|error| Failure::ours("cannot read the evidence", error))?;
    let signed = |message: &[u8], signature: &[u8]| verify_detached(key_pem, message, signature);
    let statement = verify(&bytes, None, signed).map_err(|error| {
        Failure::of(Exit::Found, &error).fix(format!("do not believe the findings of `{name}`"))
    })?;
    let about = statement
        .subject
        .first()
        .map(|subject| subject.name.as_str());
    let reported: Vec<&Finding> = stage.findings.iter().collect();
    let said: Vec<&Finding> = statement.findings().collect();
    if about != Some(name.as_str()) || reported != said {
        let message = format!("the signed findings of `{name}` are not those that were reported");
        return Err(Failure::found(message));
    }
    Ok(statement)
}

const MAX_REPORT: u64 = 256 * 1024 * 1024;
const MAX_KEY: u64 = 64 * 1024;
