//! Whether a sealed model is believed, and the release of its key: the one place where a key is unwrapped.

use casemate_core::enclosure::{KeySource, Model};
use casemate_core::event::{Severity, kind};
use casemate_core::receipt::ReceiptKind;
use casemate_core::secret::SecretKey;
use casemate_weights::artifact::SealedFiles;
use casemate_weights::bundle::BundleError;
use casemate_weights::format::header::HeaderError;
use casemate_weights::key_release::{self, KeyReleaseError};
use casemate_weights::signing::{self, PublicKey};
use casemate_weights::verify::{Expectation, VerifiedModel, VerifyModelError, verify_files};

use super::about;
use crate::board::Board;
use crate::failure::{Code, Failure};
use crate::journal::fact;
use crate::launch::Attestation;
use crate::node::Node;

/// Signature, parts, model, version and epoch, before anything is decrypted.
pub(super) fn verify(
    node: &Node,
    model: &Model,
) -> Result<(VerifiedModel, Vec<PublicKey>), Failure> {
    let mut signers = Vec::new();
    for path in &model.signers {
        let key = signing::load_public(path).map_err(|error| {
            let message = format!("the signer `{}` of {}", path.display(), model.version());
            Failure::new(
                Code::SignerUnknown,
                format!("{message}: {}", crate::report(&error)),
            )
        })?;
        signers.push(key);
    }
    let seen = node
        .journal
        .store()
        .minimum_epoch(&model.version().to_string())?;
    let expectation = Expectation {
        signers: signers.clone(),
        model: Some(model.version()),
        root_digest: None,
        minimum_epoch: model.minimum_epoch.max(seen),
    };
    let verified = SealedFiles::open(&model.sealed)
        .map_err(VerifyModelError::from)
        .and_then(|files| verify_files(files, &expectation))
        .map_err(|error| {
            let message = format!("{} at `{}`", model.version(), model.sealed.display());
            Failure::new(
                refusal(&error),
                format!("{message}: {}", crate::report(&error)),
            )
        })?;
    Ok((verified, signers))
}

fn refusal(error: &VerifyModelError) -> Code {
    match error {
        VerifyModelError::Header(HeaderError::Bundle(
            BundleError::UnknownSigner { .. } | BundleError::NoSigners,
        )) => Code::SignerUnknown,
        VerifyModelError::OtherModel { .. } | VerifyModelError::OtherDigest { .. } => {
            Code::ModelMismatch
        }
        VerifyModelError::Artifact(_)
        | VerifyModelError::Read { .. }
        | VerifyModelError::Header(_)
        | VerifyModelError::OlderEpoch { .. }
        | VerifyModelError::Length { .. }
        | VerifyModelError::Changed { .. } => Code::ModelRefused,
    }
}

/// Unwraps the data key for an attested stage, after the receipt for it is on the disk.
pub(super) fn release_key(
    node: &Node,
    board: &Board,
    attestation: &Attestation,
    model: &Model,
    verified: &VerifiedModel,
) -> Result<SecretKey, Failure> {
    let KeySource::File(identity) = &model.key;
    let key = key_release::unwrap(verified, identity).map_err(|error| {
        let code = match error {
            KeyReleaseError::WrongIdentity | KeyReleaseError::WrongKey => Code::WrongKey,
            KeyReleaseError::ReadIdentity { .. }
            | KeyReleaseError::NoIdentity(_)
            | KeyReleaseError::EncryptedIdentity(_) => Code::WrongKey,
            KeyReleaseError::Memory(_) => Code::Internal,
            KeyReleaseError::Recipient(_)
            | KeyReleaseError::NoRecipients
            | KeyReleaseError::Wrap(_)
            | KeyReleaseError::Damaged(_) => Code::ModelRefused,
        };
        Failure::new(
            code,
            format!("the key of {}: {}", model.version(), crate::report(&error)),
        )
    })?;
    node.journal.record(
        ReceiptKind::KeyReleased,
        model.version().to_string(),
        [
            fact("stage", &board.spiffe_id),
            fact("plan-digest", attestation.plan_digest()),
            fact("attestation", attestation.receipt()),
            fact("root-digest", verified.header().root_digest),
            fact("seal-digest", verified.seal_digest()),
            fact("epoch", verified.header().epoch),
            fact("signer", verified.signer().fingerprint()),
            fact("key-source", "file"),
        ]
        .into(),
    )?;
    node.journal.add(
        about(node, board, model, kind::KEY_RELEASED, Severity::Info)
            .fact("plan-digest", attestation.plan_digest()),
    );
    Ok(key)
}
