//! What the daemon and a vault say to each other.
//!
//! The daemon opens everything and passes descriptors; the vault opens no path at all. Settings come
//! as one document on descriptor 3, the 32-byte data key through a pipe that is closed after it, and
//! the control stream carries one [`Report`] a line from the vault; the daemon sends nothing back,
//! and closing its end stops the vault.

use serde::{Deserialize, Serialize};

use casemate_core::name::ModelVersion;

/// What one vault serves, to be read from descriptor 3.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// The model version that the sealed header must name.
    pub model: ModelVersion,
    /// Descriptors of the artefact's files, opened read-only by the daemon.
    pub files: SealedDescriptors,
    /// The descriptor of `/dev/fuse`, of which the mount already exists.
    pub fuse: i32,
    /// The read end of a pipe that holds exactly the 32 bytes of the data key.
    pub key: i32,
    /// Public keys (PEM) that may have signed; one of them must have.
    pub signers: Vec<String>,
    /// The root digest (lower-case hex) that was entitled, when the entitlement names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_digest: Option<String>,
    /// The oldest epoch that may still be served.
    #[serde(default)]
    pub minimum_epoch: u64,
    /// Memory for decrypted chunks, in MiB; locked, and so counted against `RLIMIT_MEMLOCK`.
    #[serde(default = "default_cache_mib")]
    pub cache_mib: u32,
    /// Threads that answer the kernel.
    #[serde(default = "default_threads")]
    pub threads: u32,
}

/// The descriptors of one sealed artefact, by file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SealedDescriptors {
    /// `header.json`.
    pub header: i32,
    /// `key.age`.
    pub key: i32,
    /// `index`.
    pub index: i32,
    /// `tags`.
    pub tags: i32,
    /// `data`.
    pub data: i32,
}

/// What a vault tells the daemon, one JSON document a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Report {
    /// Verified, confined and answering the kernel.
    Ready(Ready),
    /// The vault will not serve; it exits after this line.
    Refused {
        /// The whole chain of causes, and what to do.
        reason: String,
    },
    /// A chunk did not match its tag; whoever read it got EIO and not one byte.
    Corrupt {
        /// The file inside the model.
        path: String,
        /// Which chunk of the file, from 0.
        chunk: u64,
        /// What did not match.
        reason: String,
    },
    /// The file system is gone and the keys are wiped; the vault exits after this line.
    Stopped(Served),
}

/// What the vault verified before it answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Ready {
    /// The model version served.
    pub model: ModelVersion,
    /// The OpenSSF root digest, lower-case hex.
    pub root_digest: String,
    /// SHA-256 of the signed statement in the header, lower-case hex: the name of this sealing.
    pub seal_digest: String,
    /// The epoch of the artefact.
    pub epoch: u64,
    /// Fingerprint of the key that signed.
    pub signer: String,
    /// How many files the view shows.
    pub files: u64,
    /// How many bytes they have together.
    pub bytes: u64,
    /// Which confinement holds, such as `landlock`, `seccomp`, `mlock`.
    pub confinement: Vec<String>,
}

/// What a vault did in its life, for the receipt of the unmount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Served {
    /// Files opened.
    pub opens: u64,
    /// Read requests answered with bytes.
    pub reads: u64,
    /// Plaintext bytes handed to the kernel.
    pub bytes: u64,
    /// Chunks decrypted.
    pub chunks: u64,
    /// Chunks refused because they did not match their tag.
    pub corrupt: u64,
}

const fn default_cache_mib() -> u32 {
    32
}

const fn default_threads() -> u32 {
    2
}
