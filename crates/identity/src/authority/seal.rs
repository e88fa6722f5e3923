//! Private keys at rest: AES-256-GCM under a key of the node, bound to what they are for.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use casemate_core::secret::{Secret, SecretKey};
use zeroize::Zeroizing;

/// Why a key could not be sealed or unsealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealKeyError {
    /// The operating system gave no randomness, or the cipher failed.
    #[error("cannot seal a key")]
    Seal,
    /// Not a sealed key of this format.
    #[error("not a sealed key")]
    Form,
    /// Another node's, another purpose's, or changed.
    #[error("the sealed key does not open: another node key, another purpose, or changed")]
    Open,
}

/// Seals `plain` under the node's key for one `purpose`, such as `authority/example.internal`.
///
/// # Errors
/// When there is no randomness.
pub fn seal_key(
    node_key: &SecretKey,
    purpose: &str,
    plain: &[u8],
) -> Result<Vec<u8>, SealKeyError> {
    let key = derive(node_key, purpose)?;
    let mut nonce = [0; NONCE_LEN];
    aws_lc_rs::rand::fill(&mut nonce).map_err(|_| SealKeyError::Seal)?;
    let mut body = Vec::with_capacity(plain.len() + AES_256_GCM.tag_len());
    body.extend_from_slice(plain);
    key.seal_in_place_append_tag(
        Nonce::assume_unique_for_key(nonce),
        Aad::from(bound_to(purpose)),
        &mut body,
    )
    .map_err(|_| SealKeyError::Seal)?;
    Ok([MAGIC, &nonce, &body].concat())
}

/// Opens what [`seal_key`] made with the same node key and purpose.
///
/// # Errors
/// When anything differs, even one bit.
pub fn unseal_key(
    node_key: &SecretKey,
    purpose: &str,
    sealed: &[u8],
) -> Result<Secret, SealKeyError> {
    let rest = sealed.strip_prefix(MAGIC).ok_or(SealKeyError::Form)?;
    let (nonce, body) = rest
        .split_first_chunk::<NONCE_LEN>()
        .ok_or(SealKeyError::Form)?;
    let key = derive(node_key, purpose)?;
    let mut body = Zeroizing::new(body.to_vec());
    let plain = key
        .open_in_place(
            Nonce::assume_unique_for_key(*nonce),
            Aad::from(bound_to(purpose)),
            &mut body,
        )
        .map_err(|_| SealKeyError::Open)?;
    Ok(Secret::new(plain.to_vec()))
}

fn derive(node_key: &SecretKey, purpose: &str) -> Result<LessSafeKey, SealKeyError> {
    let info = [purpose.as_bytes()];
    let derived = Salt::new(HKDF_SHA256, MAGIC).extract(node_key.expose());
    let unbound: UnboundKey = derived
        .expand(&info, &AES_256_GCM)
        .map_err(|_| SealKeyError::Seal)?
        .into();
    Ok(LessSafeKey::new(unbound))
}

fn bound_to(purpose: &str) -> Vec<u8> {
    [MAGIC, purpose.as_bytes()].concat()
}

/// Names the format and its version.
const MAGIC: &[u8] = b"casemate-sealed-key/1\n";
