//! rustls' verifiers, which authenticate SPIFFE identities and nothing else.

use std::sync::Arc;

use casemate_core::time::UnixTime as Now;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    PeerIncompatible, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::{BundleSource, ClientAuth, Peers};
use crate::svid::{VerifySvidError, verify_leaf};

#[derive(Debug)]
pub(super) struct ClientVerifier {
    bundle: Arc<BundleSource>,
    peers: Peers,
    mandatory: bool,
}

impl ClientVerifier {
    pub(super) fn new(bundle: Arc<BundleSource>, clients: ClientAuth) -> Self {
        let (peers, mandatory) = match clients {
            ClientAuth::Required(peers) => (peers, true),
            ClientAuth::Optional(peers) => (peers, false),
        };
        Self {
            bundle,
            peers,
            mandatory,
        }
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        verify(&self.bundle, &self.peers, end_entity, intermediates, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(
            PeerIncompatible::Tls12NotOfferedOrEnabled,
        ))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &ALGORITHMS)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ALGORITHMS.supported_schemes()
    }
}

#[derive(Debug)]
pub(super) struct ServerVerifier {
    bundle: Arc<BundleSource>,
    peers: Peers,
}

impl ServerVerifier {
    pub(super) const fn new(bundle: Arc<BundleSource>, peers: Peers) -> Self {
        Self { bundle, peers }
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        verify(&self.bundle, &self.peers, end_entity, intermediates, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(
            PeerIncompatible::Tls12NotOfferedOrEnabled,
        ))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &ALGORITHMS)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ALGORITHMS.supported_schemes()
    }
}

fn verify(
    bundle: &BundleSource,
    peers: &Peers,
    end_entity: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    now: UnixTime,
) -> Result<(), Error> {
    let chain: Vec<_> = std::iter::once(end_entity)
        .chain(intermediates)
        .cloned()
        .collect();
    let peer = verify_leaf(&chain, &bundle.current(), Now(now.as_secs())).map_err(refuse)?;
    if peers.accept(&peer.id) {
        Ok(())
    } else {
        Err(CertificateError::ApplicationVerificationFailure.into())
    }
}

/// The alert that the peer sees; the reason stays in our own error.
fn refuse(error: VerifySvidError) -> Error {
    match error {
        VerifySvidError::Time(_) => CertificateError::Expired.into(),
        VerifySvidError::ForeignDomain { .. } => CertificateError::UnknownIssuer.into(),
        VerifySvidError::Path(webpki::Error::UnknownIssuer) => {
            CertificateError::UnknownIssuer.into()
        }
        other @ (VerifySvidError::ChainLength(_)
        | VerifySvidError::Profile(_)
        | VerifySvidError::Path(_)) => CertificateError::Other(OtherError(Arc::new(other))).into(),
    }
}

/// The only signatures that SVIDs of ours and of our peers are made with.
pub(super) const ALGORITHMS: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[
        webpki::aws_lc_rs::ECDSA_P256_SHA256,
        webpki::aws_lc_rs::ECDSA_P384_SHA384,
    ],
    mapping: &[
        (
            SignatureScheme::ECDSA_NISTP256_SHA256,
            &[webpki::aws_lc_rs::ECDSA_P256_SHA256],
        ),
        (
            SignatureScheme::ECDSA_NISTP384_SHA384,
            &[webpki::aws_lc_rs::ECDSA_P384_SHA384],
        ),
    ],
};

/// What a handshake makes of `chain`, without a handshake: no shipped code can sign with its key.
#[cfg(test)]
pub(super) fn refusal_for_test(
    bundle: &BundleSource,
    chain: &[CertificateDer<'_>],
    now: Now,
) -> Result<(), Error> {
    let (leaf, rest) = chain.split_first().unwrap();
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now.0));
    verify(bundle, &Peers::Members, leaf, rest, now)
}
