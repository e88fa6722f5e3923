//! What was asked, checked: rules that exist, a baseline that reads, suppressions.

use std::collections::BTreeSet;
use std::path::Path;

use casemate_posture::catalogue;
use casemate_posture::report::Options;
use casemate_posture::suppress::{self, Baseline, Suppressions};

use super::{Format, Scan};
use crate::commands::{now, read_named_text};
use crate::exit::{Exit, Failure};

pub(super) fn options(asked: &Scan, format: Format) -> Result<Options, Failure> {
    Ok(Options {
        only: rules(&asked.only)?,
        skip: rules(&asked.skip)?,
        least: asked.severity.map(Into::into),
        baseline: asked.baseline.as_deref().map(baseline).transpose()?,
        suppressions: suppressions(asked)?,
        annotations: !asked.no_suppressions,
        edits: format == Format::Sarif,
    })
}

fn rules(names: &[String]) -> Result<BTreeSet<String>, Failure> {
    names
        .iter()
        .map(|name| {
            let rule = catalogue::find(name.trim());
            rule.map(|rule| rule.id.to_owned())
                .ok_or_else(|| unknown(name))
        })
        .collect()
}

pub(super) fn unknown(name: &str) -> Failure {
    Failure::usage(format!("there is no rule `{name}`")).fix("list them: casemate scan explain")
}

fn baseline(path: &Path) -> Result<Baseline, Failure> {
    let text = read_named_text(path, MAX_BASELINE)?;
    Baseline::read(&text).map_err(|error| {
        Failure::new(Exit::Usage, format!("cannot use `{}`", path.display())).because(&error)
    })
}

/// The suppressions of the file that was named, or of the one that lies where the scan is started. A scanned
/// folder cannot bring its own.
fn suppressions(asked: &Scan) -> Result<Suppressions, Failure> {
    let usual = Path::new(USUAL);
    let path = match &asked.suppressions {
        Some(path) => path.as_path(),
        None if !asked.no_suppressions && usual.is_file() => usual,
        None => return Ok(Suppressions::default()),
    };
    let text = read_named_text(path, MAX_SUPPRESSIONS)?;
    Ok(suppress::file(&path.display().to_string(), &text, now()))
}

const USUAL: &str = ".casemate-scan.yaml";
const MAX_BASELINE: u64 = 64 * 1024 * 1024;
const MAX_SUPPRESSIONS: u64 = 4 * 1024 * 1024;
