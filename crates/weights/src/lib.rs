//! Weights at rest are sealed; in use they are a read-only view.
//!
//! A sealed model is a directory of five files whose every byte is covered by a signature or by an
//! authentication tag under a signature; `docs/spec/sealed-model.md` describes it so that a second
//! reader can be written. This crate refuses to hand out a byte of plaintext before its chunk's tag
//! was checked, and to follow a symbolic link or a path out of a model.
//!
//! The order in which values are made is the order of trust, and no step can be skipped:
//!
//! 1. [`artifact::SealedFiles`]: five open files, nothing believed;
//! 2. [`verify::verify`] → [`verify::VerifiedModel`]: the signature, and everything it covers;
//! 3. [`key_release::unwrap`] → the data key, only for a verified model;
//! 4. [`unlock::unlock`] → [`unlock::OpenedModel`]: the index decrypted, the OpenSSF signature checked;
//! 5. [`open::decrypt_to`], or [`view::SealedFilesystem`]: plaintext, a whole checked chunk at a time.
//!
//! [`seal::seal`] is the way in, [`inspect::inspect`] looks without believing, [`oms`] signs and
//! verifies plain directories as the OpenSSF Model Signing specification 1.0 says.

pub mod artifact;
pub mod bundle;
pub mod digest;
pub mod format;
#[doc(hidden)]
pub mod fuzz;
pub mod inspect;
pub mod key_release;
pub mod oms;
pub mod open;
pub mod seal;
pub mod signing;
pub mod unlock;
pub mod verify;
pub mod view;

/// How far a long operation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes done.
    pub done: u64,
    /// Bytes in all.
    pub total: u64,
}

/// Called from worker threads, often; must be quick.
pub type ProgressFn<'a> = &'a (dyn Fn(Progress) + Sync);

/// A progress function for callers that have nobody to tell.
pub const fn no_progress(_: Progress) {}
