//! What the daemon hands over, taken from descriptors exactly once.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use casemate_api::vault::Settings;
use casemate_core::secret::SecretKey;
use casemate_linux::{inherit, memory};
use casemate_weights::artifact::{OpenArtifactError, SealedFiles};
use casemate_weights::digest::{Digest, ParseDigestError};
use casemate_weights::signing::{PublicKey, SigningKeyError};
use casemate_weights::verify::Expectation;
use casemate_weights::view::ViewSettings;
use zeroize::Zeroize;

/// Why what was handed over cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    #[error(
        "cannot take descriptor {number} ({what}); casemate-vault is started by casemated only"
    )]
    Descriptor {
        number: i32,
        what: &'static str,
        source: io::Error,
    },
    #[error("cannot read the settings")]
    Read(#[source] io::Error),
    #[error("the settings are malformed")]
    Parse(#[source] serde_json::Error),
    #[error("the settings name no public key to verify with")]
    NoSigners,
    #[error("a signer's public key is refused")]
    Signer(#[from] SigningKeyError),
    #[error("the expected root digest is malformed")]
    RootDigest(#[from] ParseDigestError),
    #[error("the pipe did not hold exactly the 32 bytes of a data key")]
    Key(#[source] io::Error),
    #[error("the sealed files are refused")]
    Files(#[from] OpenArtifactError),
    #[error("threads must be 1 to 16 and cache-mib 4 to 4096")]
    Range,
}

/// Everything the vault works with.
#[derive(Debug)]
pub(crate) struct Handover {
    pub(crate) files: SealedFiles,
    pub(crate) device: OwnedFd,
    pub(crate) key: SecretKey,
    pub(crate) expectation: Expectation,
    pub(crate) view: ViewSettings,
}

/// Takes the settings and every descriptor that they name.
pub(crate) fn take() -> Result<Handover, SettingsError> {
    let descriptor = take_descriptor(SETTINGS, "settings")?;
    let text = if memory::is_sealed(&descriptor) {
        memory::read_sealed(descriptor, MAX_SETTINGS_BYTES)
    } else {
        read_to_end(descriptor)
    };
    let settings: Settings = serde_json::from_slice(&text.map_err(SettingsError::Read)?)
        .map_err(SettingsError::Parse)?;
    if !(1..=16).contains(&settings.threads) || !(4..=4096).contains(&settings.cache_mib) {
        return Err(SettingsError::Range);
    }
    let signers = settings
        .signers
        .iter()
        .map(|pem| PublicKey::from_pem(pem.as_bytes()))
        .collect::<Result<Vec<_>, _>>()?;
    if signers.is_empty() {
        return Err(SettingsError::NoSigners);
    }
    let numbers = &settings.files;
    let files = SealedFiles::from_descriptors([
        take_descriptor(numbers.header, "header.json")?,
        take_descriptor(numbers.key, "key.age")?,
        take_descriptor(numbers.index, "index")?,
        take_descriptor(numbers.tags, "tags")?,
        take_descriptor(numbers.data, "data")?,
    ])?;
    let device = take_descriptor(settings.fuse, "/dev/fuse")?;
    let key =
        read_key(take_descriptor(settings.key, "the data key")?).map_err(SettingsError::Key)?;
    let expectation = Expectation {
        signers,
        model: Some(settings.model.clone()),
        root_digest: settings
            .root_digest
            .as_deref()
            .map(str::parse::<Digest>)
            .transpose()?,
        minimum_epoch: settings.minimum_epoch,
    };
    let mib = usize::try_from(settings.cache_mib).map_err(|_| SettingsError::Range)?;
    let threads = usize::try_from(settings.threads).map_err(|_| SettingsError::Range)?;
    let view = ViewSettings {
        threads,
        cache_bytes: mib * 1024 * 1024,
        ..ViewSettings::default()
    };
    Ok(Handover {
        files,
        device,
        key,
        expectation,
        view,
    })
}

/// Takes descriptor `number`, which nobody took before.
pub(crate) fn take_descriptor(number: i32, what: &'static str) -> Result<OwnedFd, SettingsError> {
    inherit::take(number).map_err(|source| SettingsError::Descriptor {
        number,
        what,
        source,
    })
}

fn read_to_end(descriptor: OwnedFd) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::from(descriptor)
        .take(MAX_SETTINGS_BYTES + 1)
        .read_to_end(&mut text)?;
    if text.len() as u64 > MAX_SETTINGS_BYTES {
        return Err(io::Error::other("the settings are too long"));
    }
    Ok(text)
}

fn read_key(pipe: OwnedFd) -> io::Result<SecretKey> {
    let mut pipe = File::from(pipe);
    let (mut bytes, mut beyond) = ([0; 32], [0; 1]);
    let read = pipe
        .read_exact(&mut bytes)
        .and_then(|()| pipe.read(&mut beyond));
    let key = SecretKey::new(bytes);
    bytes.zeroize();
    beyond.zeroize();
    match read? {
        0 => Ok(key),
        _ => Err(io::Error::other("it held more")),
    }
}

const SETTINGS: i32 = 3;
const MAX_SETTINGS_BYTES: u64 = 1024 * 1024;
