//! What was there when somebody began to look: known findings do not fail, new ones do.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Known findings by their fingerprints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// The version of this form.
    version: u32,
    /// The findings. What stands beside a fingerprint is for people.
    findings: BTreeMap<String, String>,
}

/// Why a baseline could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadBaselineError {
    /// It is something else.
    #[error("this is not a baseline; write one with --write-baseline")]
    Parse(#[source] serde_json::Error),
    /// It was written by a later version.
    #[error("a baseline of version {0} is not known here; write it again with --write-baseline")]
    Version(u32),
}

impl Baseline {
    /// A baseline of some findings: fingerprints, each with words for people.
    pub fn of(findings: impl IntoIterator<Item = (String, String)>) -> Self {
        Self {
            version: VERSION,
            findings: findings.into_iter().collect(),
        }
    }

    /// Reads what [`Self::text`] wrote.
    ///
    /// # Errors
    ///
    /// When it is no baseline of a version known here.
    pub fn read(text: &str) -> Result<Self, ReadBaselineError> {
        let baseline: Self = serde_json::from_str(text).map_err(ReadBaselineError::Parse)?;
        if baseline.version == VERSION {
            Ok(baseline)
        } else {
            Err(ReadBaselineError::Version(baseline.version))
        }
    }

    /// The baseline as a text that changes little when findings come and go.
    ///
    /// # Errors
    ///
    /// Never, as far as can be seen; serde's own word is passed on.
    pub fn text(&self) -> Result<String, serde_json::Error> {
        Ok(format!("{}\n", serde_json::to_string_pretty(self)?))
    }

    /// Whether a finding is known.
    #[must_use]
    pub fn knows(&self, fingerprint: &str) -> bool {
        self.findings.contains_key(fingerprint)
    }

    /// How many findings are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.findings.len()
    }

    /// Whether none is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.findings.is_empty()
    }
}

const VERSION: u32 = 1;
