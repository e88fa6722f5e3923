//! Where TLS takes certificates and bundles from, replaceable while connections run.

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use casemate_core::spiffe::SpiffeId;
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs::sign::any_ecdsa_type;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::bundle::TrustBundle;
use crate::svid::Svid;

/// Why an SVID was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ReplaceSvidError {
    /// It is somebody else's: a source never changes who it is.
    #[error("the new SVID is of `{new}`, the old one of `{old}`")]
    OtherIdentity {
        /// Who this source is.
        old: SpiffeId,
        /// Whom the new SVID names.
        new: SpiffeId,
    },
    /// The library cannot use the key.
    #[error("the key cannot be used for TLS")]
    Key(#[from] rustls::Error),
}

/// What a replacement did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// New connections show the new certificate.
    Rotated,
    /// It was the same certificate again.
    Unchanged,
}

/// The SVID that new handshakes show. Empty until the first one is set: then handshakes fail.
#[derive(Debug, Default)]
pub struct SvidSource {
    held: ArcSwapOption<Held>,
}

#[derive(Debug)]
struct Held {
    svid: Arc<Svid>,
    certified: Arc<CertifiedKey>,
}

impl SvidSource {
    /// A source without an SVID yet.
    #[must_use]
    pub fn empty() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Shows `svid` from the next handshake on.
    ///
    /// # Errors
    /// When it is of another identity, or its key cannot be used.
    pub fn replace(&self, svid: Svid) -> Result<Replaced, ReplaceSvidError> {
        if let Some(held) = self.held.load().as_ref() {
            if held.svid.id() != svid.id() {
                return Err(ReplaceSvidError::OtherIdentity {
                    old: held.svid.id().clone(),
                    new: svid.id().clone(),
                });
            }
            if held.svid.chain() == svid.chain() {
                return Ok(Replaced::Unchanged);
            }
        }
        let pkcs8 = svid.key().pkcs8().expose().to_vec();
        let key = any_ecdsa_type(&PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8)))?;
        let certified = Arc::new(CertifiedKey::new(svid.chain().to_vec(), key));
        self.held.store(Some(Arc::new(Held {
            svid: Arc::new(svid),
            certified,
        })));
        Ok(Replaced::Rotated)
    }

    /// Shows nothing any more: the identity was withdrawn.
    pub fn withdraw(&self) {
        self.held.store(None);
    }

    /// The SVID of now.
    #[must_use]
    pub fn current(&self) -> Option<Arc<Svid>> {
        self.held.load().as_ref().map(|held| Arc::clone(&held.svid))
    }

    fn certified(&self) -> Option<Arc<CertifiedKey>> {
        self.held
            .load()
            .as_ref()
            .map(|held| Arc::clone(&held.certified))
    }
}

impl ResolvesServerCert for SvidSource {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.certified()
    }
}

impl ResolvesClientCert for SvidSource {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        _schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        self.certified()
    }

    fn has_certs(&self) -> bool {
        self.held.load().is_some()
    }
}

/// The trust bundle that new handshakes are judged by.
#[derive(Debug)]
pub struct BundleSource {
    bundle: ArcSwap<TrustBundle>,
}

impl BundleSource {
    /// A source of `bundle`.
    #[must_use]
    pub fn new(bundle: TrustBundle) -> Arc<Self> {
        Arc::new(Self {
            bundle: ArcSwap::from_pointee(bundle),
        })
    }

    /// Judges by `bundle` from the next handshake on.
    pub fn replace(&self, bundle: TrustBundle) {
        self.bundle.store(Arc::new(bundle));
    }

    /// The bundle of now.
    #[must_use]
    pub fn current(&self) -> Arc<TrustBundle> {
        self.bundle.load_full()
    }
}
