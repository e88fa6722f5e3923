//! Receipts: the signed, hash-chained record of decisions, which verifies offline.
//!
//! Each receipt names the digest of the one before it, so that taking one out, changing one or
//! exchanging two breaks the chain. A chain cut at its end is a shorter valid chain: only a reader who
//! kept a [`Head`] from earlier can tell, which is why [`verify_chain_from`] takes one.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::time::UnixTime;

/// What a receipt records.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum ReceiptKind {
    /// A ticket was issued.
    TicketIssued,
    /// A certificate was issued.
    SvidIssued,
    /// A stage's evidence was accepted.
    StageAttested,
    /// A model's key was released.
    KeyReleased,
    /// A model's view was mounted.
    ViewMounted,
    /// A stage's real sandbox equalled its plan.
    StageConfined,
    /// A stage was attacked from inside; the facts count the verdicts.
    ProbeRun,
    /// A stage's gate opened.
    StageAdmitted,
    /// A stage was stopped or died.
    StageStopped,
    /// A permission was taken back.
    Revoked,
}

impl ReceiptKind {
    /// The kind as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TicketIssued => "ticket-issued",
            Self::SvidIssued => "svid-issued",
            Self::StageAttested => "stage-attested",
            Self::KeyReleased => "key-released",
            Self::ViewMounted => "view-mounted",
            Self::StageConfined => "stage-confined",
            Self::ProbeRun => "probe-run",
            Self::StageAdmitted => "stage-admitted",
            Self::StageStopped => "stage-stopped",
            Self::Revoked => "revoked",
        }
    }
}

/// How much of the machine was measured when the decision was taken. Never more than was measured.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
pub enum Assurance {
    /// Only our own software looked.
    #[serde(rename = "software")]
    Software,
    /// The boot chain was quoted by a TPM.
    #[serde(rename = "tpm-boot")]
    TpmBoot,
    /// A trusted execution environment was attested.
    #[serde(rename = "tee")]
    Tee,
    /// A trusted execution environment and the GPU's confidential mode were attested.
    #[serde(rename = "tee+gpu-cc")]
    TeeGpuCc,
}

impl Assurance {
    /// The grade as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Software => "software",
            Self::TpmBoot => "tpm-boot",
            Self::Tee => "tee",
            Self::TeeGpuCc => "tee+gpu-cc",
        }
    }
}

/// One signed link of the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// Place in the chain, from 0.
    pub seq: u64,
    /// When the decision was taken.
    pub time: UnixTime,
    /// What was decided.
    pub kind: ReceiptKind,
    /// Whom or what it is about.
    pub subject: String,
    /// What the decision rested on. Never a token or a key.
    pub facts: BTreeMap<String, String>,
    /// How much was measured.
    pub assurance: Assurance,
    /// Lower-case hex SHA-256 of the previous receipt's [`canonical_bytes`]; [`GENESIS`] for the first.
    pub previous: String,
    /// Unpadded base64url of the receipt key's ES256 signature over [`canonical_bytes`].
    pub signature: String,
}

/// The `previous` of the first receipt of a chain.
pub const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// What a receipt is to say, before it has a place in the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// When the decision was taken.
    pub time: UnixTime,
    /// What was decided.
    pub kind: ReceiptKind,
    /// Whom or what it is about.
    pub subject: String,
    /// What the decision rested on.
    pub facts: BTreeMap<String, String>,
    /// How much was measured.
    pub assurance: Assurance,
}

impl Draft {
    /// The receipt that follows `after`, signed by `sign` (raw signature bytes over the canonical bytes).
    ///
    /// # Errors
    /// Whatever `sign` fails with.
    pub fn sign<E>(
        self,
        after: Option<&Head>,
        sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>,
    ) -> Result<Receipt, E> {
        let mut receipt = Receipt {
            seq: after.map_or(0, |head| head.seq.saturating_add(1)),
            time: self.time,
            kind: self.kind,
            subject: self.subject,
            facts: self.facts,
            assurance: self.assurance,
            previous: after.map_or_else(|| GENESIS.to_owned(), |head| head.digest.clone()),
            signature: String::new(),
        };
        receipt.signature = URL_SAFE_NO_PAD.encode(sign(&canonical_bytes(&receipt))?);
        Ok(receipt)
    }
}

/// The end of a chain: where the next receipt hooks in, and what a careful reader keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// The last receipt's place.
    pub seq: u64,
    /// The last receipt's [`digest`].
    pub digest: String,
}

impl Head {
    /// The head of a chain that ends with `receipt`.
    #[must_use]
    pub fn of(receipt: &Receipt) -> Self {
        Self {
            seq: receipt.seq,
            digest: digest(receipt),
        }
    }
}

/// Where and why a chain does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyChainError {
    /// The places do not count up by one.
    #[error("receipt {expected} is missing: receipt {found} stands in its place")]
    Gap {
        /// The place that should come here.
        expected: u64,
        /// The place that came.
        found: u64,
    },
    /// A receipt does not name the one before it.
    #[error(
        "receipt {seq} does not follow the receipt before it: one of the two was changed or exchanged"
    )]
    Broken {
        /// The receipt whose `previous` does not match.
        seq: u64,
    },
    /// The signature is not one of the receipt key.
    #[error("receipt {seq} is not signed by this receipt key, or was changed")]
    Signature {
        /// The receipt that was refused.
        seq: u64,
    },
    /// The chain stops before the head that was expected.
    #[error("the chain is cut: it ends at receipt {end}, and receipt {expected} was seen earlier")]
    Truncated {
        /// The last place present, or 0 for an empty chain.
        end: u64,
        /// The place known to exist.
        expected: u64,
    },
    /// The chain holds another receipt at the place of the expected head: history was rewritten.
    #[error("receipt {seq} is not the one that was seen earlier: the chain was rewritten")]
    Rewritten {
        /// The place of the expected head.
        seq: u64,
    },
}

/// The bytes that are signed and hashed: JSON with sorted keys and no spaces (RFC 8785), without `signature`.
#[must_use]
pub fn canonical_bytes(receipt: &Receipt) -> Vec<u8> {
    // Written member by member in sorted order, so that the form does not depend on a serializer's
    // settings: a reader in another language needs only this list and JSON string escaping.
    let mut bytes = Vec::with_capacity(512);
    bytes.extend_from_slice(b"{\"assurance\":");
    push_string(&mut bytes, receipt.assurance.as_str());
    bytes.extend_from_slice(b",\"facts\":{");
    for (index, (name, value)) in receipt.facts.iter().enumerate() {
        if index > 0 {
            bytes.push(b',');
        }
        push_string(&mut bytes, name);
        bytes.push(b':');
        push_string(&mut bytes, value);
    }
    bytes.extend_from_slice(b"},\"kind\":");
    push_string(&mut bytes, receipt.kind.as_str());
    bytes.extend_from_slice(b",\"previous\":");
    push_string(&mut bytes, &receipt.previous);
    bytes.extend_from_slice(format!(",\"seq\":{},\"subject\":", receipt.seq).as_bytes());
    push_string(&mut bytes, &receipt.subject);
    bytes.extend_from_slice(format!(",\"time\":{}}}", receipt.time.0).as_bytes());
    bytes
}

/// Lower-case hex SHA-256 of the [`canonical_bytes`].
#[must_use]
pub fn digest(receipt: &Receipt) -> String {
    hex(&Sha256::digest(canonical_bytes(receipt)))
}

/// Checks a whole chain from its first receipt: places, links and signatures.
///
/// `verify` is given the canonical bytes and the raw signature and says whether the receipt key made it.
///
/// # Errors
/// The first receipt that does not hold.
pub fn verify_chain(
    receipts: &[Receipt],
    verify: impl Fn(&[u8], &[u8]) -> bool,
) -> Result<Option<Head>, VerifyChainError> {
    let mut head: Option<Head> = None;
    for receipt in receipts {
        let expected = head.as_ref().map_or(0, |head| head.seq.saturating_add(1));
        if receipt.seq != expected {
            return Err(VerifyChainError::Gap {
                expected,
                found: receipt.seq,
            });
        }
        if receipt.previous != head.as_ref().map_or(GENESIS, |head| head.digest.as_str()) {
            return Err(VerifyChainError::Broken { seq: receipt.seq });
        }
        let signed = URL_SAFE_NO_PAD
            .decode(&receipt.signature)
            .is_ok_and(|signature| verify(&canonical_bytes(receipt), &signature));
        if !signed {
            return Err(VerifyChainError::Signature { seq: receipt.seq });
        }
        head = Some(Head::of(receipt));
    }
    Ok(head)
}

/// Like [`verify_chain`], and also that the chain still contains `seen`, a head kept from earlier.
///
/// # Errors
/// As [`verify_chain`], or that the chain was cut or rewritten since.
pub fn verify_chain_from(
    receipts: &[Receipt],
    seen: &Head,
    verify: impl Fn(&[u8], &[u8]) -> bool,
) -> Result<Head, VerifyChainError> {
    let cut = |end| VerifyChainError::Truncated {
        end,
        expected: seen.seq,
    };
    let head = verify_chain(receipts, verify)?.ok_or_else(|| cut(0))?;
    let place = usize::try_from(seen.seq)
        .ok()
        .and_then(|at| receipts.get(at));
    match place {
        None => Err(cut(head.seq)),
        Some(receipt) if digest(receipt) != seen.digest => {
            Err(VerifyChainError::Rewritten { seq: seen.seq })
        }
        Some(_) => Ok(head),
    }
}

/// A JSON string as RFC 8785 writes it: short escapes where JSON has one, `\u00xx` for other controls.
fn push_string(bytes: &mut Vec<u8>, text: &str) {
    bytes.push(b'"');
    for character in text.chars() {
        match character {
            '"' => bytes.extend_from_slice(b"\\\""),
            '\\' => bytes.extend_from_slice(b"\\\\"),
            '\u{8}' => bytes.extend_from_slice(b"\\b"),
            '\t' => bytes.extend_from_slice(b"\\t"),
            '\n' => bytes.extend_from_slice(b"\\n"),
            '\u{c}' => bytes.extend_from_slice(b"\\f"),
            '\r' => bytes.extend_from_slice(b"\\r"),
            control if u32::from(control) < 0x20 => {
                bytes.extend_from_slice(format!("\\u{:04x}", u32::from(control)).as_bytes());
            }
            other => bytes.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes.push(b'"');
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
