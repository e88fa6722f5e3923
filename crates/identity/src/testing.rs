//! Makes the right things, and the wrong ones that no shipped code can make. Tests only.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use casemate_core::spiffe::{SpiffeId, TrustDomain};
use casemate_core::time::{Clock, UnixTime};
use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyUsagePurpose, SanType,
};
use rustls_pki_types::CertificateDer;

use crate::authority::Authority;
use crate::svid::{CertificateRequest, KeyPair, Svid, chain_from_pem, make_csr};

pub(crate) const NOW: UnixTime = UnixTime(1_800_000_000);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn domain() -> TrustDomain {
    "example.internal".parse().unwrap()
}

pub(crate) fn id(path: &str) -> SpiffeId {
    format!("spiffe://example.internal{path}").parse().unwrap()
}

pub(crate) fn authority() -> Authority {
    Authority::new(domain(), HOUR * 24, NOW).unwrap()
}

pub(crate) fn request(key: &KeyPair) -> CertificateRequest {
    CertificateRequest::from_pem(&make_csr(key).unwrap()).unwrap()
}

pub(crate) fn svid(authority: &Authority, path: &str) -> Svid {
    let key = KeyPair::generate().unwrap();
    let issued = authority
        .issue(&request(&key), &id(path), HOUR, NOW)
        .unwrap();
    Svid::new(issued.chain, key).unwrap()
}

/// A leaf that is right in every way until `change` makes it wrong.
pub(crate) fn forged(
    authority: &Authority,
    change: impl FnOnce(&mut CertificateParams),
) -> CertificateDer<'static> {
    let mut parameters = CertificateParams::default();
    parameters.not_before = time::OffsetDateTime::from_unix_timestamp(1_799_999_990).unwrap();
    parameters.not_after = time::OffsetDateTime::from_unix_timestamp(1_800_003_600).unwrap();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.subject_alt_names = vec![uri("spiffe://example.internal/workload")];
    parameters.is_ca = IsCa::ExplicitNoCa;
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    change(&mut parameters);
    sign(authority, &parameters, &KeyPair::generate().unwrap())
}

pub(crate) fn sign(
    authority: &Authority,
    parameters: &CertificateParams,
    key: &KeyPair,
) -> CertificateDer<'static> {
    let secret = authority.private_key_pem();
    let signer = KeyPair::from_pem(std::str::from_utf8(secret.expose()).unwrap()).unwrap();
    let certificate = chain_from_pem(&authority.certificate_pem())
        .unwrap()
        .remove(0);
    let issuer = Issuer::from_ca_cert_der(&certificate, signer).unwrap();
    parameters.signed_by(key, &issuer).unwrap().der().clone()
}

pub(crate) fn uri(text: &str) -> SanType {
    SanType::URI(text.to_owned().try_into().unwrap())
}

/// A subjectAltName of the given GeneralNames, each a tag and its bytes.
pub(crate) fn names(critical: bool, names: &[(u8, &[u8])]) -> CustomExtension {
    let body: Vec<u8> = names
        .iter()
        .flat_map(|(tag, bytes)| encode(*tag, bytes))
        .collect();
    let mut extension = CustomExtension::from_oid_content(&[2, 5, 29, 17], encode(0x30, &body));
    extension.set_criticality(critical);
    extension
}

pub(crate) fn encode(tag: u8, bytes: &[u8]) -> Vec<u8> {
    let length = match bytes.len() {
        short @ 0..128 => vec![u8::try_from(short).unwrap()],
        long => vec![
            0x82,
            u8::try_from(long >> 8).unwrap(),
            u8::try_from(long & 255).unwrap(),
        ],
    };
    [vec![tag], length, bytes.to_vec()].concat()
}

/// A clock that tests set.
#[derive(Debug)]
pub(crate) struct SetClock(AtomicU64);

impl SetClock {
    pub(crate) fn at(now: UnixTime) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(now.0)))
    }

    pub(crate) fn set(&self, now: UnixTime) {
        self.0.store(now.0, Ordering::SeqCst);
    }
}

impl Clock for SetClock {
    fn now(&self) -> UnixTime {
        UnixTime(self.0.load(Ordering::SeqCst))
    }
}

/// A generator of bytes for mutation tests: the same every time.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(below).unwrap()).unwrap()
    }

    /// `bytes` with one to four bytes changed, removed, doubled or inserted.
    pub(crate) fn mutate(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = bytes.to_vec();
        for _ in 0..=self.roll(4) {
            if out.is_empty() {
                return out;
            }
            let at = self.roll(out.len());
            match self.roll(5) {
                0 => out[at] = u8::try_from(self.roll(256)).unwrap(),
                1 => out[at] ^= 1 << self.roll(8),
                2 => drop(out.remove(at)),
                3 => out.insert(at, out[at]),
                _ => out.truncate(at),
            }
        }
        out
    }
}

/// The same ES256 token with the other of its two signatures, `(r, n - s)`.
pub(crate) fn other_spelling(token: &str) -> String {
    let order: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc,
        0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let mut signature = crate::encoding::from_base64url(signature).unwrap();
    let mut borrow = 0;
    for place in (0..32).rev() {
        let difference = i16::from(order[place]) - i16::from(signature[32 + place]) - borrow;
        borrow = i16::from(difference < 0);
        signature[32 + place] = u8::try_from(difference.rem_euclid(256)).unwrap();
    }
    format!("{signed}.{}", crate::encoding::to_base64url(&signature))
}
