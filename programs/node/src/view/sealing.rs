//! What the daemon verified of one sealed model itself, to which it holds the word of the vault.
//!
//! A vault parses what a stranger packed, so it may be lying: nothing that it says is recorded or
//! remembered that could be known without it, and any difference ends the launch.

use casemate_api::vault::Ready;
use casemate_core::name::ModelVersion;
use casemate_weights::verify::{VerifiedModel, VerifyModelError};

use crate::store::{Store, StoreError};

/// One sealing of one model, by its verified header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sealing {
    pub(super) model: ModelVersion,
    pub(super) root_digest: String,
    pub(super) seal_digest: String,
    pub(super) epoch: u64,
    /// Fingerprint of the key that signed.
    pub(super) signer: String,
    /// No view shows more than this.
    data_bytes: u64,
}

impl Sealing {
    pub(super) fn of(verified: &VerifiedModel) -> Self {
        let header = verified.header();
        Self {
            model: header.model.clone(),
            root_digest: header.root_digest.to_string(),
            seal_digest: verified.seal_digest().to_string(),
            epoch: header.epoch,
            signer: verified.signer().fingerprint(),
            data_bytes: header.data_bytes,
        }
    }

    /// The first thing in the report of a vault that is not so.
    pub(super) fn differs(&self, ready: &Ready) -> Option<&'static str> {
        [
            ("model", ready.model == self.model),
            ("root digest", ready.root_digest == self.root_digest),
            ("seal digest", ready.seal_digest == self.seal_digest),
            ("epoch", ready.epoch == self.epoch),
            ("signer", ready.signer == self.signer),
            ("length", ready.bytes <= self.data_bytes),
            ("confinement", is_confined(&ready.confinement)),
        ]
        .into_iter()
        .find_map(|(what, equal)| (!equal).then_some(what))
    }

    /// Refuses a sealing that is older than one by the same signer that was opened here.
    pub(super) fn not_older(
        &self,
        store: &Store,
    ) -> Result<Result<(), VerifyModelError>, StoreError> {
        let minimum = store.minimum_epoch(&self.line())?;
        Ok(if self.epoch < minimum {
            let found = self.epoch;
            Err(VerifyModelError::OlderEpoch { found, minimum })
        } else {
            Ok(())
        })
    }

    /// Remembers that this sealing was opened here.
    pub(super) fn remember(&self, store: &Store) -> Result<(), StoreError> {
        store.raise_epoch(&self.line(), self.epoch)
    }

    /// Whose releases of which model count up together: one signer's number says nothing about another's.
    fn line(&self) -> String {
        format!("{} by {}", self.model, self.signer)
    }
}

/// A vault serves with all of its walls or not at all.
fn is_confined(walls: &[String]) -> bool {
    match walls {
        [landlock, seccomp, memory, dumps] => {
            landlock
                .strip_prefix("landlock-abi-")
                .is_some_and(|abi| abi.parse::<u8>().is_ok_and(|abi| abi > 0))
                && seccomp == "seccomp"
                && matches!(memory.as_str(), "mlock" | "mlock-secrets")
                && dumps == "not-dumpable"
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
