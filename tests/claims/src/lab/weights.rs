//! A small sealed model with its keys, and an attacker who can rewrite the disk it lies on.

use std::fs;
use std::path::PathBuf;

use casemate_weights::key_release::{Identity, Recipient, generate_identity, unwrap_with};
use casemate_weights::no_progress;
use casemate_weights::open::{Depth, check};
use casemate_weights::seal::{SealRequest, seal};
use casemate_weights::signing::{SigningKey, generate_key};
use casemate_weights::unlock::unlock;
use casemate_weights::verify::{Expectation, VerifiedModel, VerifyModelError, verify};
use tempfile::TempDir;

/// A model on a disk.
pub(crate) struct Disk {
    directory: TempDir,
    pub(crate) signer: SigningKey,
    pub(crate) identity: Identity,
    recipient: Recipient,
}

impl Disk {
    /// Seals a model of three files as `smol@1`, epoch 5, under `sealed`.
    pub(crate) fn new() -> Self {
        let (text, recipient) = generate_identity();
        let disk = Self {
            directory: tempfile::tempdir().unwrap(),
            signer: generate_key().unwrap(),
            identity: Identity::parse(text.expose()).unwrap(),
            recipient,
        };
        let plain = disk.path("plain");
        fs::create_dir(&plain).unwrap();
        let weights: Vec<u8> = (0..600_000_u32).flat_map(u32::to_le_bytes).collect();
        fs::write(
            plain.join("model.gguf"),
            [b"GGUF".as_slice(), &weights].concat(),
        )
        .unwrap();
        fs::write(plain.join("tokenizer.json"), b"{}").unwrap();
        fs::write(plain.join("config.json"), b"{\"layers\":2}").unwrap();
        disk.seal("sealed", 5, &disk.signer);
        disk
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Seals the plain model under another name.
    pub(crate) fn seal(&self, name: &str, epoch: u64, signer: &SigningKey) {
        let (plain, out) = (self.path("plain"), self.path(name));
        let recipients = [self.recipient.clone()];
        let model = "smol@1".parse().unwrap();
        let mut request = SealRequest::new(&plain, &out, model, signer, &recipients);
        request.epoch = epoch;
        seal(&request, &no_progress).unwrap();
    }

    /// What the daemon expects of the model.
    pub(crate) fn expectation(&self) -> Expectation {
        Expectation {
            signers: vec![self.signer.public()],
            model: Some("smol@1".parse().unwrap()),
            root_digest: None,
            minimum_epoch: 5,
        }
    }

    /// Believes what lies under `name`, without its key.
    pub(crate) fn verify(&self, name: &str) -> Result<VerifiedModel, VerifyModelError> {
        verify(&self.path(name), &self.expectation())
    }

    /// Believes it and reads every byte.
    pub(crate) fn read(&self, name: &str) -> anyhow::Result<()> {
        let verified = self.verify(name)?;
        let key = unwrap_with(&verified, &self.identity)?;
        let opened = unlock(verified, &key)?;
        check(&opened, Depth::Digests, &no_progress)?;
        Ok(())
    }

    /// Changes the bytes of one file of the sealed model.
    pub(crate) fn change(&self, file: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let path = self.path("sealed").join(file);
        let mut bytes = fs::read(&path).unwrap();
        change(&mut bytes);
        fs::write(path, bytes).unwrap();
    }
}

#[test]
fn the_untouched_model_is_read() {
    Disk::new().read("sealed").unwrap();
}
