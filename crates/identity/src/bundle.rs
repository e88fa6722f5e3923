//! The trust bundle of one trust domain: who may vouch for its identities.
//!
//! Bundles are never merged. An empty or expired bundle vouches for nobody.

use casemate_core::spiffe::{SpiffeId, TrustDomain};
use casemate_core::time::UnixTime;
use rustls_pki_types::{CertificateDer, TrustAnchor};

use crate::svid::{ProfileError, Signer, certificates_to_pem, chain_from_pem, read_signer};

/// Why a text is not a trust bundle.
#[derive(Debug, thiserror::Error)]
pub enum ReadBundleError {
    /// Not PEM, or no certificate in it.
    #[error("the trust bundle of `{0}` has no readable certificate")]
    Empty(TrustDomain),
    /// More certificates than a bundle may have.
    #[error("the trust bundle has {0} certificates")]
    TooMany(usize),
    /// One of them is not a signing certificate.
    #[error("certificate {position} of the trust bundle cannot sign SVIDs")]
    Profile {
        /// Which one, from 0.
        position: usize,
        /// What is wrong with it.
        source: ProfileError,
    },
    /// One of them names another trust domain.
    #[error("the trust bundle of `{expected}` has a certificate of `{found}`")]
    ForeignDomain {
        /// Whose bundle it should be.
        expected: TrustDomain,
        /// Whom the certificate names.
        found: SpiffeId,
    },
    /// The path builder cannot use it.
    #[error("certificate {position} of the trust bundle cannot be an anchor")]
    Anchor {
        /// Which one, from 0.
        position: usize,
        /// The path builder's reason.
        source: webpki::Error,
    },
}

/// The signing certificates of one trust domain.
#[derive(Clone, Debug)]
pub struct TrustBundle {
    trust_domain: TrustDomain,
    anchors: Vec<Anchor>,
}

#[derive(Clone, Debug)]
struct Anchor {
    certificate: CertificateDer<'static>,
    anchor: TrustAnchor<'static>,
    not_before: UnixTime,
    not_after: UnixTime,
}

impl TrustBundle {
    /// Reads a PEM text of signing certificates, all of `trust_domain`.
    ///
    /// # Errors
    /// When there is none, or one that may not sign for this trust domain.
    pub fn from_pem(trust_domain: TrustDomain, text: &str) -> Result<Self, ReadBundleError> {
        match chain_from_pem(text) {
            Some(certificates) => Self::new(trust_domain, certificates),
            None => Err(ReadBundleError::Empty(trust_domain)),
        }
    }

    /// The trust domain that the first certificate of a PEM text names: for a bundle that a person was
    /// handed as a file, where the file itself is what they decided to trust.
    #[must_use]
    pub fn domain_named_in(text: &str) -> Option<TrustDomain> {
        let certificates = chain_from_pem(text)?;
        let first = read_signer(certificates.first()?).ok()?;
        first.id.map(|id| id.trust_domain().clone())
    }

    /// A bundle of DER certificates, all of `trust_domain`.
    ///
    /// # Errors
    /// As [`TrustBundle::from_pem`].
    pub fn new(
        trust_domain: TrustDomain,
        certificates: Vec<CertificateDer<'static>>,
    ) -> Result<Self, ReadBundleError> {
        if certificates.is_empty() {
            return Err(ReadBundleError::Empty(trust_domain));
        }
        if certificates.len() > MAX_ANCHORS {
            return Err(ReadBundleError::TooMany(certificates.len()));
        }
        let mut anchors = Vec::with_capacity(certificates.len());
        for (position, certificate) in certificates.into_iter().enumerate() {
            let Signer {
                id,
                not_before,
                not_after,
                ..
            } = read_signer(&certificate)
                .map_err(|source| ReadBundleError::Profile { position, source })?;
            if let Some(found) = id.filter(|id| *id.trust_domain() != trust_domain) {
                return Err(ReadBundleError::ForeignDomain {
                    expected: trust_domain,
                    found,
                });
            }
            let anchor = webpki::anchor_from_trusted_cert(&certificate)
                .map_err(|source| ReadBundleError::Anchor { position, source })?
                .to_owned();
            anchors.push(Anchor {
                certificate,
                anchor,
                not_before,
                not_after,
            });
        }
        Ok(Self {
            trust_domain,
            anchors,
        })
    }

    /// The trust domain that this bundle speaks for, and the only one.
    #[must_use]
    pub const fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The certificates, as PEM.
    #[must_use]
    pub fn to_pem(&self) -> String {
        let all: Vec<_> = self
            .anchors
            .iter()
            .map(|anchor| anchor.certificate.clone())
            .collect();
        certificates_to_pem(&all)
    }

    /// The anchors that are valid now. Path builders do not look at the dates of an anchor, so an
    /// expired authority would go on vouching.
    pub(crate) fn living(&self, now: UnixTime) -> Vec<TrustAnchor<'_>> {
        self.anchors
            .iter()
            .filter(|anchor| anchor.not_before <= now && now < anchor.not_after)
            .map(|anchor| anchor.anchor.clone())
            .collect()
    }
}

const MAX_ANCHORS: usize = 16;
