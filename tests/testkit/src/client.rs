//! A caller with its own TLS, independent of ours: what it accepts and sends is decided here.

use std::io::{ErrorKind, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};

use crate::http::{Answer, Request, read_answer};

/// A certificate chain and its key, both PEM.
#[derive(Clone)]
pub struct Credentials {
    /// The chain, leaf first.
    pub chain_pem: String,
    /// The private key (PKCS#8).
    pub key_pem: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Credentials(redacted)")
    }
}

/// A TLS 1.3 stream to a gate or to the issuer.
pub type Stream = StreamOwned<ClientConnection, TcpStream>;

/// Speaks to one address and accepts one identity there.
#[derive(Clone, Debug)]
pub struct Client {
    address: SocketAddr,
    config: Arc<ClientConfig>,
}

impl Client {
    /// A client that accepts only `server` (a SPIFFE ID) under `bundle_pem`, and shows
    /// `credentials` when asked.
    ///
    /// # Errors
    /// When a certificate or key cannot be read.
    pub fn new(
        address: SocketAddr,
        bundle_pem: &str,
        server: &str,
        credentials: Option<&Credentials>,
    ) -> anyhow::Result<Self> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = OneServer {
            server: server.to_owned(),
            roots: certificates(bundle_pem)?,
            provider: Arc::clone(&provider),
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match credentials {
            None => builder.with_no_client_auth(),
            Some(held) => builder.with_client_auth_cert(
                certificates(&held.chain_pem)?,
                PrivateKeyDer::from_pem_slice(held.key_pem.as_bytes())
                    .map_err(|error| anyhow!("private key: {error}"))?,
            )?,
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            address,
            config: Arc::new(config),
        })
    }

    /// Connects and finishes the handshake as far as the client can see it.
    ///
    /// # Errors
    /// When the server cannot be reached or is not the one expected.
    pub fn connect(&self) -> anyhow::Result<Stream> {
        let socket = TcpStream::connect_timeout(&self.address, Duration::from_secs(5))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(Duration::from_secs(60)))?;
        let name = ServerName::IpAddress(self.address.ip().into());
        let connection = ClientConnection::new(Arc::clone(&self.config), name)?;
        let mut stream = StreamOwned::new(connection, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(stream)
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// When the handshake is refused (the text names the alert) or the answer is no HTTP.
    pub fn send(&self, request: &Request) -> anyhow::Result<Answer> {
        self.stream(request, |_| true)
    }

    /// Sends a request; `each` sees every piece of the body as it comes, and stops with `false`.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub fn stream(
        &self,
        request: &Request,
        each: impl FnMut(&[u8]) -> bool,
    ) -> anyhow::Result<Answer> {
        let mut stream = self.connect()?;
        // A server that refuses early closes before it has read all; its answer is still there.
        match stream.write_all(&request.bytes(&self.address.to_string())) {
            Err(error) if error.kind() == ErrorKind::InvalidData => return Err(error.into()),
            Ok(()) | Err(_) => {}
        }
        read_answer(&mut stream, each)
    }
}

#[derive(Debug)]
struct OneServer {
    server: String,
    roots: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for OneServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let refuse = |what: String| rustls::Error::General(what);
        let anchors: Vec<_> = self
            .roots
            .iter()
            .map(|root| webpki::anchor_from_trusted_cert(root))
            .collect::<Result<_, _>>()
            .map_err(|error| refuse(format!("trust bundle: {error}")))?;
        let leaf = webpki::EndEntityCert::try_from(end_entity)
            .map_err(|error| refuse(format!("certificate: {error}")))?;
        leaf.verify_for_usage(
            self.provider.signature_verification_algorithms.all,
            &anchors,
            intermediates,
            now,
            webpki::KeyUsage::server_auth(),
            None,
            None,
        )
        .map_err(|error| refuse(format!("chain: {error}")))?;
        let names: Vec<&str> = leaf.valid_uri_names().collect();
        if names == [self.server.as_str()] {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(refuse(format!(
                "the server is {names:?}, not {}",
                self.server
            )))
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

fn certificates(pem: &str) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| anyhow!("{error}"))
        .context("certificates")
}
