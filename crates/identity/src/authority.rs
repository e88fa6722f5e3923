//! The certificate authority of one trust domain, and the sealing of its key at rest.
//!
//! It decides every field of what it signs; of a request it takes the public key and nothing else.
//! It never signs for another trust domain, never beyond its own end, and never after it.

mod seal;

use std::time::Duration;

use casemate_core::secret::Secret;
use casemate_core::spiffe::{SpiffeId, TrustDomain};
use casemate_core::time::UnixTime;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyUsagePurpose, SanType, SerialNumber,
};
use rustls_pki_types::CertificateDer;

pub use seal::{SealKeyError, seal_key, unseal_key};

use crate::BACKDATE;
use crate::bundle::{ReadBundleError, TrustBundle};
use crate::svid::{
    CertificateRequest, KeyError, KeyPair, Leaf, ProfileError, certificates_to_pem, chain_from_pem,
    read_signer,
};

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The key could not be made or read.
    #[error("the authority's key is unusable")]
    Key(#[from] KeyError),
    /// The text is not exactly one certificate.
    #[error("not one PEM certificate")]
    Pem,
    /// The certificate may not sign SVIDs.
    #[error("the authority's certificate breaks the SPIFFE profile")]
    Profile(#[from] ProfileError),
    /// The certificate names no trust domain.
    #[error("the authority's certificate names no trust domain")]
    NoTrustDomain,
    /// The certificate is for another key.
    #[error("the authority's certificate is for another key")]
    OtherKey,
    /// The certificate could not be built.
    #[error("the authority's certificate could not be built")]
    Build(#[source] rcgen::Error),
    /// The certificate cannot serve as a trust bundle.
    #[error("the authority's certificate cannot be an anchor")]
    Bundle(#[from] ReadBundleError),
}

/// Why a certificate was not issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The identity belongs to somebody else's trust domain, or to the trust domain as a whole.
    #[error("this authority does not issue for `{0}`")]
    NotOurs(SpiffeId),
    /// The authority itself is not valid now.
    #[error("the authority is not valid at {0}")]
    AuthorityExpired(UnixTime),
    /// Less than a second would be left.
    #[error("a lifetime of {0:?} leaves nothing")]
    Lifetime(Duration),
    /// No randomness for a serial number.
    #[error("no randomness for a serial number")]
    Randomness,
    /// The certificate could not be built.
    #[error("the certificate could not be built")]
    Build(#[source] rcgen::Error),
    /// What was built breaks the profile; a fault of ours, caught before it leaves.
    #[error("the certificate built breaks the SPIFFE profile")]
    Profile(#[from] ProfileError),
}

/// A certificate just issued.
#[derive(Clone, Debug)]
pub struct IssuedSvid {
    /// Whom it names.
    pub id: SpiffeId,
    /// The chain, leaf first; the anchor is not in it.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's thumbprint, as in `cnf.x5t#S256`.
    pub thumbprint: String,
    /// Refused from this second on.
    pub not_after: UnixTime,
}

impl IssuedSvid {
    /// The chain as PEM, leaf first.
    #[must_use]
    pub fn chain_pem(&self) -> String {
        certificates_to_pem(&self.chain)
    }
}

/// A certificate authority: signs X.509-SVIDs of one trust domain.
pub struct Authority {
    trust_domain: TrustDomain,
    certificate: CertificateDer<'static>,
    not_before: UnixTime,
    not_after: UnixTime,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Authority")
            .field("trust_domain", &self.trust_domain)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

impl Authority {
    /// A new self-signed authority for `trust_domain`, valid for `lifetime` from `now` on.
    ///
    /// # Errors
    /// When there is no randomness, or the dates cannot be written.
    pub fn new(
        trust_domain: TrustDomain,
        lifetime: Duration,
        now: UnixTime,
    ) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate()?;
        let mut parameters =
            parameters(now.minus(BACKDATE), now.plus(lifetime), &trust_domain.id())
                .map_err(AuthorityError::Build)?;
        parameters
            .distinguished_name
            .push(DnType::OrganizationName, String::from(trust_domain));
        parameters
            .distinguished_name
            .push(DnType::CommonName, "Casemate authority");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = parameters
            .self_signed(&key)
            .map_err(AuthorityError::Build)?;
        Self::assemble(certificate.der().clone(), key)
    }

    /// An authority from its certificate and its private key, both PEM.
    ///
    /// # Errors
    /// When they are not a signing certificate and its key.
    pub fn from_pem(certificate_pem: &str, key_pem: &str) -> Result<Self, AuthorityError> {
        let mut certificates = chain_from_pem(certificate_pem).ok_or(AuthorityError::Pem)?;
        match (certificates.pop(), certificates.is_empty()) {
            (Some(only), true) => Self::assemble(only, KeyPair::from_pem(key_pem)?),
            _ => Err(AuthorityError::Pem),
        }
    }

    fn assemble(
        certificate: CertificateDer<'static>,
        key: KeyPair,
    ) -> Result<Self, AuthorityError> {
        let signer = read_signer(&certificate)?;
        let id = signer.id.ok_or(AuthorityError::NoTrustDomain)?;
        if signer.public_key != key.public_key_info() {
            return Err(AuthorityError::OtherKey);
        }
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(AuthorityError::Build)?;
        Ok(Self {
            trust_domain: id.trust_domain().clone(),
            certificate,
            not_before: signer.not_before,
            not_after: signer.not_after,
            issuer,
        })
    }

    /// The trust domain that it signs for.
    #[must_use]
    pub const fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The authority's certificate, as PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> String {
        certificates_to_pem(std::slice::from_ref(&self.certificate))
    }

    /// The authority's private key, as PEM: to be sealed, or handed to the issuer.
    #[must_use]
    pub fn private_key_pem(&self) -> Secret {
        self.issuer.key().to_pem()
    }

    /// The end of the authority's own validity.
    #[must_use]
    pub const fn not_after(&self) -> UnixTime {
        self.not_after
    }

    /// The trust bundle that this authority alone makes up.
    ///
    /// # Errors
    /// When the certificate cannot be an anchor.
    pub fn bundle(&self) -> Result<TrustBundle, ReadBundleError> {
        TrustBundle::new(self.trust_domain.clone(), vec![self.certificate.clone()])
    }

    /// Signs an X.509-SVID for `id` over the requested key: valid from [`BACKDATE`] before `now`
    /// until `lifetime` after it, or until the authority ends.
    ///
    /// # Errors
    /// When `id` is not ours to give, or no lifetime is left.
    pub fn issue(
        &self,
        request: &CertificateRequest,
        id: &SpiffeId,
        lifetime: Duration,
        now: UnixTime,
    ) -> Result<IssuedSvid, IssueError> {
        if *id.trust_domain() != self.trust_domain || id.path().is_empty() {
            return Err(IssueError::NotOurs(id.clone()));
        }
        if now < self.not_before || now >= self.not_after {
            return Err(IssueError::AuthorityExpired(now));
        }
        let not_after = now.plus(lifetime).min(self.not_after);
        if not_after <= now {
            return Err(IssueError::Lifetime(lifetime));
        }
        let not_before = now.minus(BACKDATE).max(self.not_before);
        let mut parameters = parameters(not_before, not_after, id).map_err(IssueError::Build)?;
        let mut serial = [0_u8; 16];
        aws_lc_rs::rand::fill(&mut serial).map_err(|_| IssueError::Randomness)?;
        // RFC 5280 4.1.2.2: positive, and not zero.
        if let Some(first) = serial.first_mut() {
            *first = *first & 0x3f | 0x40;
        }
        parameters.serial_number = Some(SerialNumber::from_slice(&serial));
        parameters.is_ca = IsCa::ExplicitNoCa;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        parameters.use_authority_key_identifier_extension = true;
        let certificate = parameters
            .signed_by(request, &self.issuer)
            .map_err(IssueError::Build)?;
        let leaf = Leaf::from_der(certificate.der())?.into_peer();
        Ok(IssuedSvid {
            id: leaf.id,
            chain: vec![certificate.der().clone()],
            thumbprint: leaf.thumbprint,
            not_after: leaf.not_after,
        })
    }
}

/// Every field that the library would otherwise fill with a default of its own.
fn parameters(
    not_before: UnixTime,
    not_after: UnixTime,
    id: &SpiffeId,
) -> Result<CertificateParams, rcgen::Error> {
    let mut parameters = CertificateParams::default();
    parameters.not_before = moment(not_before).ok_or(rcgen::Error::Time)?;
    parameters.not_after = moment(not_after).ok_or(rcgen::Error::Time)?;
    parameters.distinguished_name = DistinguishedName::new();
    parameters.subject_alt_names = vec![SanType::URI(id.to_string().try_into()?)];
    Ok(parameters)
}

fn moment(at: UnixTime) -> Option<time::OffsetDateTime> {
    i64::try_from(at.0)
        .ok()
        .and_then(|at| time::OffsetDateTime::from_unix_timestamp(at).ok())
}

#[cfg(test)]
mod tests;
