//! Binds what the prober said and what the witness saw into one statement that can be signed and
//! verified offline.
//!
//! The statement is an in-toto statement: its subject is the plan that was probed. Findings are chained by
//! digest from the nonce on, so that none can be dropped, changed or moved. The canonical bytes are JSON
//! with sorted keys and no spaces; the envelope is DSSE. Keys live elsewhere: signing and verifying take
//! functions.

mod canonical;
mod envelope;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use casemate_core::finding::{Finding, Namespaces, ProbeOrder, Summary, Verdict, sha256_hex};
use serde::{Deserialize, Serialize};

pub use canonical::canonical_bytes;
pub use envelope::{Envelope, PAYLOAD_TYPE, Signature, pre_authentication};

use crate::conduct::Conducted;
use crate::expected;
use crate::witness::Witness;

/// The `_type` of an in-toto statement.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// The `predicateType` of ours.
pub const PREDICATE_TYPE: &str = "https://casemate.dev/isolation-probe/v1";
/// The releases that technique ids are taken from.
pub const CATALOGUES: &str = "MITRE ATT&CK Enterprise 18, MITRE ATLAS 5.6.1";

/// What is attested.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// Always [`STATEMENT_TYPE`].
    #[serde(rename = "_type")]
    pub kind: String,
    /// The plan that was probed.
    pub subject: Vec<Subject>,
    /// Always [`PREDICATE_TYPE`].
    #[serde(rename = "predicateType")]
    pub predicate_type: String,
    /// What was found.
    pub predicate: Predicate,
}

/// What a statement is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// `enclosure/stage`.
    pub name: String,
    /// Digests of the plan by algorithm.
    pub digest: BTreeMap<String, String>,
}

/// What the launcher knows about a probe besides its findings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Circumstances {
    /// `enclosure/stage`.
    pub stage: String,
    /// SHA-256 of the plan, in hexadecimal.
    pub plan_sha256: String,
    /// The OCI runtime and its version.
    pub runtime: String,
    /// SHA-256 of the programs that took part, by name: runtime, init, probe.
    pub programs: BTreeMap<String, String>,
    /// When the order was given, in seconds since 1970.
    pub started: u64,
    /// When the last finding was in.
    pub finished: u64,
}

/// The body of a statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Predicate {
    /// The nonce of the order.
    pub nonce: String,
    /// As whom the prober ran, in the launcher's words.
    pub identity: String,
    /// SHA-256 of the order's canonical bytes.
    pub order_sha256: String,
    /// The OCI runtime and its version.
    pub runtime: String,
    /// The kernel's release, as seen inside.
    pub kernel: String,
    /// The namespaces of the sandbox.
    pub namespaces: Namespaces,
    /// SHA-256 of the programs that took part.
    pub programs: BTreeMap<String, String>,
    /// When the order was given, in seconds since 1970.
    pub started: u64,
    /// When the last finding was in.
    pub finished: u64,
    /// What technique ids refer to.
    pub catalogues: String,
    /// Arrivals at the witness, by check.
    pub arrivals: BTreeMap<String, u64>,
    /// Arrivals that did not come from the sandbox.
    pub strangers: u64,
    /// What the prober sent, and was allowed to send.
    pub sent: u64,
    /// The cap on what it may send.
    pub send_budget: u64,
    /// The findings, counted.
    pub summary: Summary,
    /// Open findings with the reason why they are left open.
    pub expected_open: BTreeMap<String, String>,
    /// Every finding with its place in the chain.
    pub findings: Vec<Link>,
}

/// A finding and its place in the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// The finding.
    pub finding: Finding,
    /// Digest of the link before this one; for the first, of the nonce.
    pub previous: String,
    /// SHA-256 over `previous` and the finding's canonical bytes.
    pub digest: String,
}

/// Why a statement does not hold.
#[derive(Debug, thiserror::Error)]
pub enum VerifyEvidenceError {
    /// The envelope is not one.
    #[error("the evidence is not a signed envelope")]
    Envelope(#[source] serde_json::Error),
    /// The payload is not what the envelope says.
    #[error("the envelope's payload is not base64, or of another type")]
    Payload,
    /// No signature verifies.
    #[error("no signature of the envelope verifies")]
    Signature,
    /// The payload is no statement.
    #[error("the signed payload is not a statement about a probe")]
    Statement(#[source] serde_json::Error),
    /// The payload's bytes are not the canonical ones, so that two texts could carry one signature.
    #[error("the signed payload is not in canonical form")]
    NotCanonical,
    /// The type is another one.
    #[error("the statement is of type `{0}`")]
    OtherType(String),
    /// A finding was changed, dropped or moved.
    #[error("the chain of findings breaks at `{0}`")]
    BrokenChain(String),
    /// The counts are not those of the findings.
    #[error("the summary does not count the findings")]
    WrongSummary,
    /// The witness saw something that a finding denies.
    #[error("the witness was reached by `{0}`, which is not reported as open")]
    WitnessDenied(String),
    /// The statement answers another order.
    #[error("the statement's nonce is not the expected one")]
    OtherNonce,
}

impl Statement {
    /// Binds a conducted probe.
    #[must_use]
    pub fn of(
        order: &ProbeOrder,
        conducted: &Conducted,
        witness: Option<&Witness>,
        circumstances: Circumstances,
    ) -> Self {
        let Circumstances {
            stage,
            plan_sha256,
            runtime,
            programs,
            started,
            finished,
        } = circumstances;
        let findings = chain(&order.nonce, &conducted.findings);
        let expected_open = conducted
            .findings
            .iter()
            .filter(|finding| finding.verdict == Verdict::Open)
            .filter_map(|finding| expected::expected_open(&finding.check))
            .map(|expected| (expected.check.to_owned(), expected.reason.to_owned()))
            .collect();
        Self {
            kind: STATEMENT_TYPE.to_owned(),
            subject: vec![Subject {
                name: stage,
                digest: BTreeMap::from([("sha256".to_owned(), plan_sha256)]),
            }],
            predicate_type: PREDICATE_TYPE.to_owned(),
            predicate: Predicate {
                nonce: order.nonce.clone(),
                identity: order.identity.clone(),
                order_sha256: sha256_hex(&canonical_bytes(order)),
                runtime,
                kernel: conducted.start.kernel.clone(),
                namespaces: conducted.start.namespaces,
                programs,
                started,
                finished,
                catalogues: CATALOGUES.to_owned(),
                arrivals: witness.map(Witness::all_arrivals).unwrap_or_default(),
                strangers: witness.map_or(0, Witness::strangers),
                sent: conducted.end.sent,
                send_budget: u64::from(order.budget.sends),
                summary: conducted.summary(),
                expected_open,
                findings,
            },
        }
    }

    /// The bytes that are signed.
    #[must_use]
    pub fn canonical_bytes(&self) -> Vec<u8> {
        canonical_bytes(self)
    }

    /// The findings without their chain.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.predicate.findings.iter().map(|link| &link.finding)
    }

    /// Checks everything that can be checked without a key.
    ///
    /// # Errors
    /// When the type, the chain, the summary or the witness's word does not fit.
    pub fn check(&self) -> Result<(), VerifyEvidenceError> {
        if self.kind != STATEMENT_TYPE || self.predicate_type != PREDICATE_TYPE {
            return Err(VerifyEvidenceError::OtherType(self.predicate_type.clone()));
        }
        let predicate = &self.predicate;
        let mut previous = chain_start(&predicate.nonce);
        for link in &predicate.findings {
            if link.previous != previous || link.digest != link_digest(&previous, &link.finding) {
                return Err(VerifyEvidenceError::BrokenChain(link.finding.check.clone()));
            }
            previous.clone_from(&link.digest);
        }
        if Summary::of(self.findings()) != predicate.summary {
            return Err(VerifyEvidenceError::WrongSummary);
        }
        for (check, arrivals) in &predicate.arrivals {
            let open = self
                .findings()
                .any(|finding| finding.check == *check && finding.verdict == Verdict::Open);
            if *arrivals > 0 && !open {
                return Err(VerifyEvidenceError::WitnessDenied(check.clone()));
            }
        }
        Ok(())
    }
}

/// Verifies a signed envelope offline and returns its statement. `verifies` is asked for each signature
/// with the signed bytes and the signature's bytes; `nonce` is compared when it is known.
///
/// # Errors
/// When anything about the evidence does not hold.
pub fn verify(
    envelope: &[u8],
    nonce: Option<&str>,
    verifies: impl Fn(&[u8], &[u8]) -> bool,
) -> Result<Statement, VerifyEvidenceError> {
    let envelope: Envelope =
        serde_json::from_slice(envelope).map_err(VerifyEvidenceError::Envelope)?;
    let payload = envelope
        .payload_bytes()
        .ok_or(VerifyEvidenceError::Payload)?;
    if !envelope.verifies(&payload, verifies) {
        return Err(VerifyEvidenceError::Signature);
    }
    let statement: Statement =
        serde_json::from_slice(&payload).map_err(VerifyEvidenceError::Statement)?;
    if statement.canonical_bytes() != payload {
        return Err(VerifyEvidenceError::NotCanonical);
    }
    if nonce.is_some_and(|nonce| nonce != statement.predicate.nonce) {
        return Err(VerifyEvidenceError::OtherNonce);
    }
    statement.check()?;
    Ok(statement)
}

/// Chains `findings` from the nonce on.
#[must_use]
pub fn chain(nonce: &str, findings: &[Finding]) -> Vec<Link> {
    let mut previous = chain_start(nonce);
    findings
        .iter()
        .map(|finding| {
            let digest = link_digest(&previous, finding);
            let link = Link {
                finding: finding.clone(),
                previous: previous.clone(),
                digest: digest.clone(),
            };
            previous = digest;
            link
        })
        .collect()
}

fn chain_start(nonce: &str) -> String {
    sha256_hex(format!("casemate probe {nonce}").as_bytes())
}

fn link_digest(previous: &str, finding: &Finding) -> String {
    let mut bytes = previous.as_bytes().to_vec();
    bytes.push(b'\n');
    bytes.extend(canonical_bytes(finding));
    sha256_hex(&bytes)
}
