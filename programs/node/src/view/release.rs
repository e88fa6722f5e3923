//! Whether a sealed model is believed, and the release of its key: the one place where a key is unwrapped.

use casemate_core::enclosure::{KeySource, Model};
use casemate_core::event::{Severity, kind};
use casemate_core::receipt::ReceiptKind;
use casemate_core::secret::SecretKey;
use casemate_weights::artifact::SealedFiles;
use casemate_weights::bundle::BundleError;
use casemate_weights::format::header::HeaderError;
use casemate_weights::key_release::{self, Identity, KeyReleaseError};
use casemate_weights::signing::{self, PublicKey};
use casemate_weights::verify::{Expectation, VerifiedModel, VerifyModelError, verify_files};

use super::about;
use super::sealing::Sealing;
use crate::asker::{Asker, OpenNamedError};
use crate::board::Board;
use crate::failure::{Code, Failure};
use crate::journal::fact;
use crate::launch::Attestation;
use crate::node::Node;

/// A sealed model that is believed.
#[derive(Debug)]
pub(super) struct Believed {
    pub(super) verified: VerifiedModel,
    pub(super) sealing: Sealing,
    /// Whose signatures count, on the sealing and on the model inside.
    pub(super) signers: Vec<PublicKey>,
    /// What was verified, still open, for the vault.
    pub(super) files: SealedFiles,
}

/// Signature, parts, model, version and epoch, before anything is decrypted. Files are opened once, with
/// the rights of whoever asked.
pub(super) fn verify(node: &Node, asker: &Asker, model: &Model) -> Result<Believed, Failure> {
    let ours = node.settings.own_directories();
    let mut signers = Vec::new();
    for path in &model.signers {
        let file = asker
            .open_file(&ours, path)
            .map_err(|error| not_opened("the signer", model, &error))?;
        let key = signing::read_public(file, path).map_err(|error| {
            let message = format!("the signer `{}` of {}", path.display(), model.version());
            Failure::new(
                Code::SignerUnknown,
                format!("{message}: {}", crate::report(&error)),
            )
        })?;
        signers.push(key);
    }
    let expectation = Expectation {
        signers: signers.clone(),
        model: Some(model.version()),
        root_digest: None,
        minimum_epoch: model.minimum_epoch,
    };
    let files = asker
        .open_sealed(&ours, &model.sealed)
        .map_err(|error| not_opened("the sealed directory", model, &error))?;
    let kept = files
        .try_clone()
        .map_err(|error| Failure::from_error(Code::Internal, &error))?;
    let refused = |error: VerifyModelError| {
        let message = format!("{} at `{}`", model.version(), model.sealed.display());
        Failure::new(
            refusal(&error),
            format!("{message}: {}", crate::report(&error)),
        )
    };
    let verified = verify_files(files, &expectation).map_err(refused)?;
    let sealing = Sealing::of(&verified);
    sealing.not_older(node.journal.store())?.map_err(refused)?;
    Ok(Believed {
        verified,
        sealing,
        signers,
        files: kept,
    })
}

fn not_opened(what: &str, model: &Model, error: &OpenNamedError) -> Failure {
    let code = match error {
        OpenNamedError::Artifact(_) => Code::ModelRefused,
        OpenNamedError::Open { .. }
        | OpenNamedError::Kind { .. }
        | OpenNamedError::Ours { .. }
        | OpenNamedError::Replaceable { .. } => Code::FileRefused,
    };
    let message = format!("{what} of {}: {}", model.version(), crate::report(error));
    Failure::new(code, message)
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
    asker: &Asker,
    attestation: &Attestation,
    model: &Model,
    believed: &Believed,
) -> Result<SecretKey, Failure> {
    let KeySource::File(path) = &model.key;
    let file = asker
        .open_file(&node.settings.own_directories(), path)
        .map_err(|error| not_opened("the key", model, &error))?;
    let key = Identity::read(file, path)
        .and_then(|identity| key_release::unwrap_with(&believed.verified, &identity))
        .map_err(|error| {
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
            fact("root-digest", &believed.sealing.root_digest),
            fact("seal-digest", &believed.sealing.seal_digest),
            fact("epoch", believed.sealing.epoch),
            fact("signer", &believed.sealing.signer),
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
