//! TLS settings in which every peer is a SPIFFE identity: version 1.3, verified at every handshake.
//! Corporate identity providers are the one exception: they are web servers, some without 1.3.
//!
//! Resumption and tickets are off, because a resumed handshake would skip the certificate. Key
//! exchange prefers the post-quantum hybrid. Certificates and bundles come from sources that can be
//! replaced at any moment; running connections keep what they have, new ones get the new.

mod source;
mod verify;

use std::sync::Arc;
use std::time::Duration;

use casemate_core::spiffe::SpiffeId;
use casemate_core::time::Clock;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self as provider, kx_group};
use rustls::server::NoServerSessionStorage;
use rustls::time_provider::TimeProvider;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, CommonState, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

pub use source::{BundleSource, ReplaceSvidError, Replaced, SvidSource};

use crate::svid::{Leaf, VerifiedPeer};
use verify::{ClientVerifier, ServerVerifier};

/// Which identities may be at the other end. The default is nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Peers {
    /// No identity is accepted.
    #[default]
    Nobody,
    /// One of these, exactly.
    Any(Vec<SpiffeId>),
    /// Any identity that the trust bundle vouches for; who may do what is decided later.
    Members,
}

impl Peers {
    /// Exactly this identity.
    #[must_use]
    pub fn only(id: SpiffeId) -> Self {
        Self::Any(vec![id])
    }

    /// Whether `id` is accepted.
    #[must_use]
    pub fn accept(&self, id: &SpiffeId) -> bool {
        match self {
            Self::Nobody => false,
            Self::Any(ids) => ids.contains(id),
            Self::Members => true,
        }
    }
}

/// What a server asks of its clients. The default requires a certificate and accepts nobody's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// A certificate of one of these; without one the handshake fails.
    Required(Peers),
    /// A certificate of one of these, or none at all; a wrong one fails the handshake.
    Optional(Peers),
}

impl Default for ClientAuth {
    fn default() -> Self {
        Self::Required(Peers::Nobody)
    }
}

/// Why settings could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsSettingsError {
    /// The library refused.
    #[error("TLS settings are not possible")]
    Rustls(#[from] rustls::Error),
    /// No usable certificate in the given roots.
    #[error("the root certificates hold none that can be used")]
    NoRoots,
}

/// Settings of a server that shows its SVID and judges its clients' by the trust bundle.
///
/// # Errors
/// When the library cannot be configured so.
pub fn server_config(
    svids: Arc<SvidSource>,
    bundle: Arc<BundleSource>,
    clients: ClientAuth,
    clock: Arc<dyn Clock>,
    alpn: &[&[u8]],
) -> Result<ServerConfig, TlsSettingsError> {
    let mut config =
        ServerConfig::builder_with_details(Arc::new(spiffe_provider()), time_of(clock))
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(Arc::new(ClientVerifier::new(bundle, clients)))
            .with_cert_resolver(svids);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(config)
}

/// Settings of a client that accepts exactly `servers`, and shows its own SVID when it has one.
///
/// # Errors
/// When the library cannot be configured so.
pub fn client_config(
    svids: Option<Arc<SvidSource>>,
    bundle: Arc<BundleSource>,
    servers: Peers,
    clock: Arc<dyn Clock>,
    alpn: &[&[u8]],
) -> Result<ClientConfig, TlsSettingsError> {
    let builder = ClientConfig::builder_with_details(Arc::new(spiffe_provider()), time_of(clock))
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ServerVerifier::new(bundle, servers)));
    let mut config = match svids {
        Some(svids) => builder.with_client_cert_resolver(svids),
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config.enable_sni = false;
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(config)
}

/// Settings for calling a web server under the given PEM roots: the corporate identity provider.
///
/// # Errors
/// When no root is usable.
pub fn web_client_config(
    roots_pem: &str,
    clock: Arc<dyn Clock>,
    alpn: &[&[u8]],
) -> Result<ClientConfig, TlsSettingsError> {
    let mut roots = RootCertStore::empty();
    let readable = CertificateDer::pem_slice_iter(roots_pem.as_bytes()).flatten();
    let (added, _) = roots.add_parsable_certificates(readable);
    if added == 0 {
        return Err(TlsSettingsError::NoRoots);
    }
    let mut config = ClientConfig::builder_with_details(Arc::new(web_provider()), time_of(clock))
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    // The extended master secret binds keys to the handshake in 1.2, as 1.3 always does.
    config.require_ems = true;
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(config)
}

/// The identity that this connection's handshake proved; nothing before its end, or without one.
///
/// The verifier accepted these same bytes; they are read again, so that what was authenticated and
/// what is authorized cannot be two things.
#[must_use]
pub fn authenticated_peer(connection: &CommonState) -> Option<VerifiedPeer> {
    if connection.is_handshaking() {
        return None;
    }
    let leaf = connection.peer_certificates()?.first()?;
    Leaf::from_der(leaf).ok().map(Leaf::into_peer)
}

/// The name to give to a TLS client whose server is known by its SPIFFE ID: never sent, never used.
///
#[must_use]
pub fn unused_server_name() -> ServerName<'static> {
    ServerName::IpAddress(rustls_pki_types::IpAddr::V4([127, 0, 0, 1].into()))
}

fn spiffe_provider() -> CryptoProvider {
    CryptoProvider {
        kx_groups: vec![
            kx_group::X25519MLKEM768,
            kx_group::X25519,
            kx_group::SECP256R1,
        ],
        signature_verification_algorithms: verify::ALGORITHMS,
        // So that no version but 1.3 could be agreed on even if one were named.
        cipher_suites: provider::default_provider()
            .cipher_suites
            .into_iter()
            .filter(|suite| suite.tls13().is_some())
            .collect(),
        ..provider::default_provider()
    }
}

fn web_provider() -> CryptoProvider {
    CryptoProvider {
        kx_groups: vec![
            kx_group::X25519MLKEM768,
            kx_group::X25519,
            kx_group::SECP256R1,
            kx_group::SECP384R1,
        ],
        ..provider::default_provider()
    }
}

fn time_of(clock: Arc<dyn Clock>) -> Arc<dyn TimeProvider> {
    Arc::new(TimeOf(clock))
}

/// Our clock as rustls wants it.
struct TimeOf(Arc<dyn Clock>);

impl std::fmt::Debug for TimeOf {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("TimeOf")
    }
}

impl TimeProvider for TimeOf {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(
            self.0.now().0,
        )))
    }
}

#[cfg(test)]
mod tests;
