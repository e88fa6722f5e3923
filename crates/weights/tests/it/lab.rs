//! A model, its keys and its sealing, in a directory of their own.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use casemate_core::name::ModelVersion;
use casemate_core::secret::SecretKey;
use casemate_weights::key_release::{Identity, Recipient, generate_identity, unwrap};
use casemate_weights::seal::{SealModelError, SealRequest, SealSummary, seal};
use casemate_weights::signing::{PublicKey, SigningKey, generate_key};
use casemate_weights::unlock::{OpenedModel, unlock};
use casemate_weights::verify::{Expectation, VerifiedModel, VerifyModelError, verify};
use casemate_weights::{no_progress, open};

pub(crate) struct Lab {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) signer: SigningKey,
    pub(crate) recipient: Recipient,
}

impl Lab {
    /// Keys, and a model with awkward sizes, directories, an empty file and an executable one.
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (secret, recipient) = generate_identity();
        fs::write(directory.path().join("identity.age"), secret.expose()).unwrap();
        let lab = Self {
            directory,
            signer: generate_key().unwrap(),
            recipient,
        };
        fs::create_dir(lab.source()).unwrap();
        for (name, size) in [
            ("config.json", 700),
            ("empty", 0),
            ("tokenizer/vocab.txt", 4096),
            ("weights/model-00001.bin", 3 * 65536 + 17),
            ("weights/model-00002.bin", 2 * 65536),
            ("run.sh", 1),
        ] {
            lab.add(name, &noise(name, size));
        }
        let script = lab.source().join("run.sh");
        fs::set_permissions(script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        lab
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn source(&self) -> PathBuf {
        self.path("model")
    }

    pub(crate) fn sealed(&self) -> PathBuf {
        self.path("model.sealed")
    }

    pub(crate) fn identity(&self) -> PathBuf {
        self.path("identity.age")
    }

    pub(crate) fn add(&self, name: &str, bytes: &[u8]) {
        let path = self.source().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub(crate) fn try_seal(
        &self,
        output: &Path,
        epoch: u64,
    ) -> Result<SealSummary, SealModelError> {
        let (source, recipients) = (self.source(), [self.recipient.clone()]);
        let model = "llama@2.1".parse::<ModelVersion>().unwrap();
        let mut request = SealRequest::new(&source, output, model, &self.signer, &recipients);
        request.epoch = epoch;
        request.chunk_size = 65536;
        seal(&request, &no_progress)
    }

    pub(crate) fn seal(&self) -> SealSummary {
        self.try_seal(&self.sealed(), 1).unwrap()
    }

    pub(crate) fn expectation(&self) -> Expectation {
        Expectation {
            signers: vec![self.public()],
            ..Expectation::default()
        }
    }

    pub(crate) fn public(&self) -> PublicKey {
        self.signer.public()
    }

    pub(crate) fn verify(&self) -> Result<VerifiedModel, VerifyModelError> {
        verify(&self.sealed(), &self.expectation())
    }

    pub(crate) fn key(&self) -> SecretKey {
        unwrap(&self.verify().unwrap(), &self.identity()).unwrap()
    }

    pub(crate) fn open(&self) -> OpenedModel {
        unlock(self.verify().unwrap(), &self.key()).unwrap()
    }

    /// Everything that stands between the directory and its plaintext; the first that refuses.
    pub(crate) fn refusal(&self) -> Result<(), String> {
        let text = |error: &dyn std::error::Error| error.to_string();
        let verified = self.verify().map_err(|error| text(&error))?;
        let identity = Identity::load(&self.identity()).unwrap();
        let key = casemate_weights::key_release::unwrap_with(&verified, &identity)
            .map_err(|error| text(&error))?;
        let model = unlock(verified, &key).map_err(|error| text(&error))?;
        open::check(&model, open::Depth::Tags, &no_progress).map_err(|error| text(&error))
    }

    /// Changes one file of the artefact, tries it, and puts it back.
    pub(crate) fn with(&self, file: &str, change: impl FnOnce(&mut Vec<u8>)) -> Result<(), String> {
        let path = self.sealed().join(file);
        let good = fs::read(&path).unwrap();
        let mut bad = good.clone();
        change(&mut bad);
        fs::write(&path, &bad).unwrap();
        let outcome = self.refusal();
        fs::write(&path, &good).unwrap();
        outcome
    }
}

/// Bytes that look random, always the same for one name.
pub(crate) fn noise(name: &str, length: usize) -> Vec<u8> {
    let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mut state = seed | 1;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[4]
        })
        .collect()
}

/// Says on the terminal why a test did not run, so that it is counted as skipped.
pub(crate) fn skip(reason: &str) {
    let line = format!("SKIPPED: {reason}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

/// Every file below `directory` with its bytes.
pub(crate) fn contents(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(place) = pending.pop() {
        for entry in fs::read_dir(place).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else {
                let name = path.strip_prefix(directory).unwrap().to_owned();
                found.push((name, fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}
