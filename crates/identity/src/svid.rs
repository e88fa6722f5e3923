//! X.509-SVIDs: keys, requests, certificates, and who a certificate speaks for.
//!
//! A peer is believed only after [`verify_leaf`] built its path from the bundle of its own trust
//! domain *and* read the leaf against the whole SPIFFE profile. It never merges bundles, never
//! takes the first of several names, and never trusts what only a request asked for.

mod csr;
mod key;
mod profile;

use std::time::Duration;

use casemate_core::spiffe::{SpiffeId, TrustDomain};
use casemate_core::time::UnixTime;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

pub use csr::{CertificateRequest, ReadRequestError, make_csr};
pub use key::{KeyError, KeyPair};
pub(crate) use key::{p256_on_curve, p256_point};
pub use profile::{Leaf, ProfileError};
pub(crate) use profile::{Signer, read_signer};

use crate::bundle::TrustBundle;

/// Why a chain does not prove an identity.
#[derive(Debug, thiserror::Error)]
pub enum VerifySvidError {
    /// No certificate, or more than [`MAX_CHAIN`].
    #[error("the chain has {0} certificates")]
    ChainLength(usize),
    /// The leaf breaks the X.509-SVID profile.
    #[error("the leaf is not an X.509-SVID")]
    Profile(#[from] ProfileError),
    /// The leaf belongs to a trust domain that the bundle says nothing about.
    #[error("`{leaf}` is not of the trust domain `{bundle}`")]
    ForeignDomain {
        /// Who the leaf claims to be.
        leaf: SpiffeId,
        /// Whose bundle was at hand.
        bundle: TrustDomain,
    },
    /// Before `notBefore`, or at or after `notAfter`.
    #[error("`{0}` is outside its time of validity")]
    Time(SpiffeId),
    /// No path to a living anchor of the bundle.
    #[error("no valid path to the trust bundle")]
    Path(#[source] webpki::Error),
}

/// A peer whose certificate was verified against the bundle of its trust domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedPeer {
    /// Who it is.
    pub id: SpiffeId,
    /// Unpadded base64url of the SHA-256 of the leaf, as in `cnf.x5t#S256`.
    pub thumbprint: String,
    /// Valid from.
    pub not_before: UnixTime,
    /// Refused from this second on.
    pub not_after: UnixTime,
}

/// Verifies `chain` (leaf first) at `now`, against the only bundle that may vouch for it.
///
/// # Errors
/// When anything about the chain is not exactly as it must be.
pub fn verify_leaf(
    chain: &[CertificateDer<'_>],
    bundle: &TrustBundle,
    now: UnixTime,
) -> Result<VerifiedPeer, VerifySvidError> {
    if chain.len() > MAX_CHAIN {
        return Err(VerifySvidError::ChainLength(chain.len()));
    }
    let (end_entity, intermediates) = chain.split_first().ok_or(VerifySvidError::ChainLength(0))?;
    let leaf = Leaf::from_der(end_entity)?;
    if leaf.id.trust_domain() != bundle.trust_domain() {
        return Err(VerifySvidError::ForeignDomain {
            leaf: leaf.id,
            bundle: bundle.trust_domain().clone(),
        });
    }
    // `notAfter` is the first second that refuses, as everywhere in the trust domain; RFC 5280
    // would still accept that one second.
    if now < leaf.not_before || now >= leaf.not_after {
        return Err(VerifySvidError::Time(leaf.id));
    }
    let anchors = bundle.living(now);
    let parsed = webpki::EndEntityCert::try_from(end_entity).map_err(VerifySvidError::Path)?;
    parsed
        .verify_for_usage(
            SIGNATURES,
            &anchors,
            intermediates,
            rustls_pki_types::UnixTime::since_unix_epoch(Duration::from_secs(now.0)),
            webpki::KeyUsage::client_auth(),
            None,
            None,
        )
        .map_err(VerifySvidError::Path)?;
    Ok(leaf.into_peer())
}

/// A certificate chain with its private key: what a gate, the issuer or a client *is*.
#[derive(Debug)]
pub struct Svid {
    id: SpiffeId,
    chain: Vec<CertificateDer<'static>>,
    key: KeyPair,
    thumbprint: String,
    not_before: UnixTime,
    not_after: UnixTime,
}

/// Why a chain and a key do not make an SVID.
#[derive(Debug, thiserror::Error)]
pub enum AssembleSvidError {
    /// The text is not a chain of PEM certificates.
    #[error("not a PEM certificate chain")]
    Pem,
    /// No certificate, or more than [`MAX_CHAIN`].
    #[error("the chain has {0} certificates")]
    ChainLength(usize),
    /// The leaf breaks the X.509-SVID profile.
    #[error("the leaf is not an X.509-SVID")]
    Profile(#[from] ProfileError),
    /// The certificate is for another key.
    #[error("the certificate of `{0}` is for another key")]
    OtherKey(SpiffeId),
}

impl Svid {
    /// Puts a chain (PEM, leaf first) and its key together.
    ///
    /// # Errors
    /// When the chain is no SVID, or not for this key.
    pub fn from_pem(chain_pem: &str, key: KeyPair) -> Result<Self, AssembleSvidError> {
        Self::new(
            chain_from_pem(chain_pem).ok_or(AssembleSvidError::Pem)?,
            key,
        )
    }

    /// Puts a chain (leaf first) and its key together.
    ///
    /// # Errors
    /// When the chain is no SVID, or not for this key.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: KeyPair,
    ) -> Result<Self, AssembleSvidError> {
        let first = chain.first().ok_or(AssembleSvidError::ChainLength(0))?;
        if chain.len() > MAX_CHAIN {
            return Err(AssembleSvidError::ChainLength(chain.len()));
        }
        let leaf = Leaf::from_der(first)?;
        if leaf.public_key != key.public_key_info() {
            return Err(AssembleSvidError::OtherKey(leaf.id));
        }
        let VerifiedPeer {
            id,
            thumbprint,
            not_before,
            not_after,
        } = leaf.into_peer();
        Ok(Self {
            id,
            chain,
            key,
            thumbprint,
            not_before,
            not_after,
        })
    }

    /// Who this is.
    #[must_use]
    pub const fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// The chain, leaf first.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The chain as PEM, leaf first.
    #[must_use]
    pub fn chain_pem(&self) -> String {
        certificates_to_pem(&self.chain)
    }

    /// The private key.
    #[must_use]
    pub const fn key(&self) -> &KeyPair {
        &self.key
    }

    /// The leaf's thumbprint, as in `cnf.x5t#S256`.
    #[must_use]
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// Refused from this second on.
    #[must_use]
    pub const fn not_after(&self) -> UnixTime {
        self.not_after
    }

    /// When to ask for the next one: half of the time that was left when it was issued.
    #[must_use]
    pub fn rotate_at(&self) -> UnixTime {
        let issued = self.not_before.plus(crate::BACKDATE).min(self.not_after);
        issued.plus(issued.until(self.not_after) / 2)
    }

    /// Whether it is time for the next one. Also when the clock went back before `notBefore`:
    /// then nobody accepts this one, and a new one starts at the new now.
    #[must_use]
    pub fn rotation_due(&self, now: UnixTime) -> bool {
        now >= self.rotate_at() || now < self.not_before
    }
}

/// The certificates of a PEM text; nothing when it has none or one that cannot be read.
#[must_use]
pub fn chain_from_pem(text: &str) -> Option<Vec<CertificateDer<'static>>> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    chain.ok().filter(|chain| !chain.is_empty())
}

/// Certificates as one PEM text.
#[must_use]
pub fn certificates_to_pem(certificates: &[CertificateDer<'_>]) -> String {
    certificates
        .iter()
        .map(|certificate| {
            let block = pem::Pem::new("CERTIFICATE", certificate.as_ref());
            pem::encode_config(
                &block,
                pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF),
            )
        })
        .collect()
}

/// A leaf, and at most three certificates between it and the anchor.
pub const MAX_CHAIN: usize = 4;

const SIGNATURES: &[&dyn rustls_pki_types::SignatureVerificationAlgorithm] = &[
    webpki::aws_lc_rs::ECDSA_P256_SHA256,
    webpki::aws_lc_rs::ECDSA_P384_SHA384,
];

#[cfg(test)]
mod tests;
