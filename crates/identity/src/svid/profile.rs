//! The X.509-SVID profile, read from the certificate's own bytes: one URI name, no more.
//!
//! SPIFFE X509-SVID sections 2 to 4, for leaves ([`Leaf`]) and signing certificates ([`Signer`]).
//! A certificate that this reader does not understand completely is refused.

use casemate_core::spiffe::{ParseSpiffeError, SpiffeId};
use casemate_core::time::UnixTime;

use super::VerifiedPeer;
use crate::der::{
    self, BIT_STRING, BOOLEAN, DerError, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, Reader,
    SEQUENCE, context,
};
use crate::encoding::{sha256, to_base64url};

/// Which rule of the profile a certificate breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// Not a version 3 certificate in DER.
    #[error("not an X.509 version 3 certificate: {0}")]
    Form(&'static str),
    /// Longer than any SVID.
    #[error("the certificate has {0} bytes")]
    TooLong(usize),
    /// An extension appears twice.
    #[error("an extension appears twice")]
    DuplicateExtension,
    /// A critical extension that the profile does not know.
    #[error("a critical extension is not understood")]
    UnknownCritical,
    /// Name constraints: no verifier treats URI constraints alike, so none are accepted.
    #[error("name constraints are not accepted")]
    NameConstraints,
    /// Not exactly one URI name.
    #[error("the certificate has {0} URI names; an SVID has exactly one")]
    UriNames(usize),
    /// A name that is neither a URI nor a DNS name.
    #[error("the certificate has a name of type {0}")]
    NameType(u8),
    /// The names are not marked critical though the subject is empty.
    #[error("the subject is empty and the names are not critical")]
    NamesNotCritical,
    /// The URI is not a SPIFFE ID.
    #[error("the URI name is not a SPIFFE ID")]
    Id(#[from] ParseSpiffeError),
    /// A leaf without a path, or a signing certificate with one.
    #[error("`{0}` has the wrong kind of path for this certificate")]
    Path(SpiffeId),
    /// A leaf that is an authority, or a signing certificate that is not.
    #[error("basic constraints say the wrong thing about being an authority")]
    Authority,
    /// Key usage is absent or not critical.
    #[error("key usage is absent or not critical")]
    KeyUsageMissing,
    /// Key usage lacks a bit it must have, or has one it must not.
    #[error("key usage has the wrong bits")]
    KeyUsage,
    /// Extended key usage is present without both serverAuth and clientAuth.
    #[error("extended key usage lacks serverAuth or clientAuth")]
    ExtendedKeyUsage,
}

impl From<DerError> for ProfileError {
    fn from(error: DerError) -> Self {
        Self::Form(error.0)
    }
}

/// A certificate that satisfies the leaf profile. It is not verified yet: nobody vouched for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Whom it names.
    pub id: SpiffeId,
    /// Valid from.
    pub not_before: UnixTime,
    /// Refused from this second on.
    pub not_after: UnixTime,
    pub(crate) public_key: Vec<u8>,
    thumbprint: [u8; 32],
}

impl Leaf {
    /// Reads a DER certificate against the leaf profile.
    ///
    /// # Errors
    /// Names the rule that the certificate breaks.
    pub fn from_der(certificate: &[u8]) -> Result<Self, ProfileError> {
        let fields = Fields::read(certificate)?;
        let id = fields.id()?.ok_or(ProfileError::UriNames(0))?;
        if id.path().is_empty() {
            return Err(ProfileError::Path(id));
        }
        if fields.authority == Some(true) {
            return Err(ProfileError::Authority);
        }
        let usage = fields.key_usage.ok_or(ProfileError::KeyUsageMissing)?;
        if usage & DIGITAL_SIGNATURE == 0 || usage & (KEY_CERT_SIGN | CRL_SIGN) != 0 {
            return Err(ProfileError::KeyUsage);
        }
        if fields.extended.is_some_and(|both| !both) {
            return Err(ProfileError::ExtendedKeyUsage);
        }
        Ok(Self {
            id,
            not_before: fields.not_before,
            not_after: fields.not_after,
            public_key: fields.public_key.to_vec(),
            thumbprint: sha256(certificate),
        })
    }

    /// Unpadded base64url of the SHA-256 of the certificate, as in `cnf.x5t#S256`.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        to_base64url(&self.thumbprint)
    }

    /// Only for callers that know that the path was verified over these same bytes.
    pub(crate) fn into_peer(self) -> VerifiedPeer {
        let thumbprint = self.thumbprint();
        let Self {
            id,
            not_before,
            not_after,
            ..
        } = self;
        VerifiedPeer {
            id,
            thumbprint,
            not_before,
            not_after,
        }
    }
}

/// What matters of a signing certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Signer {
    pub(crate) id: Option<SpiffeId>,
    pub(crate) not_before: UnixTime,
    pub(crate) not_after: UnixTime,
    pub(crate) public_key: Vec<u8>,
}

/// Reads a DER certificate against the profile of signing certificates.
pub(crate) fn read_signer(certificate: &[u8]) -> Result<Signer, ProfileError> {
    let fields = Fields::read(certificate)?;
    let id = fields.id()?;
    if let Some(id) = id.as_ref().filter(|id| !id.path().is_empty()) {
        return Err(ProfileError::Path(id.clone()));
    }
    if fields.authority != Some(true) {
        return Err(ProfileError::Authority);
    }
    let usage = fields.key_usage.ok_or(ProfileError::KeyUsageMissing)?;
    if usage & KEY_CERT_SIGN == 0 {
        return Err(ProfileError::KeyUsage);
    }
    Ok(Signer {
        id,
        not_before: fields.not_before,
        not_after: fields.not_after,
        public_key: fields.public_key.to_vec(),
    })
}

/// The parts of a certificate that the profile speaks of.
struct Fields<'a> {
    not_before: UnixTime,
    not_after: UnixTime,
    public_key: &'a [u8],
    uris: Vec<&'a [u8]>,
    authority: Option<bool>,
    /// The bits in the order of the standard, the first one highest; nothing when not critical.
    key_usage: Option<u8>,
    /// Whether both serverAuth and clientAuth are there, when the extension is.
    extended: Option<bool>,
}

impl<'a> Fields<'a> {
    fn read(certificate: &'a [u8]) -> Result<Self, ProfileError> {
        if certificate.len() > MAX_CERTIFICATE_BYTES {
            return Err(ProfileError::TooLong(certificate.len()));
        }
        let mut outer = der::only(certificate, SEQUENCE, "certificate")?;
        let mut body = outer.enter(SEQUENCE, "body")?;
        let outer_algorithm = outer.element("signature algorithm")?;
        outer.read(BIT_STRING, "signature")?;
        outer.finish("end of certificate")?;

        let mut version = body.enter(context(0, true), "version")?;
        if version.read(INTEGER, "version")? != [2] {
            return Err(ProfileError::Form("version"));
        }
        version.finish("version")?;
        body.read(INTEGER, "serial number")?;
        let inner_algorithm = body.element("signature algorithm")?;
        if inner_algorithm.encoded != outer_algorithm.encoded {
            return Err(ProfileError::Form("two signature algorithms"));
        }
        body.read(SEQUENCE, "issuer")?;
        let mut validity = body.enter(SEQUENCE, "validity")?;
        let not_before = UnixTime(der::time(validity.element("notBefore")?, "notBefore")?);
        let not_after = UnixTime(der::time(validity.element("notAfter")?, "notAfter")?);
        validity.finish("validity")?;
        let subject = body.read(SEQUENCE, "subject")?;
        let public_key = body.element("public key")?.encoded;
        // Unique identifiers ([1] and [2]) are obsolete and refused with everything else unknown.
        let mut explicit = body.enter(context(3, true), "extensions")?;
        body.finish("end of body")?;
        let extensions = explicit.enter(SEQUENCE, "extensions")?;
        explicit.finish("extensions")?;

        let mut fields = Self {
            not_before,
            not_after,
            public_key,
            uris: Vec::new(),
            authority: None,
            key_usage: None,
            extended: None,
        };
        fields.read_extensions(extensions, subject.is_empty())?;
        Ok(fields)
    }

    fn read_extensions(
        &mut self,
        mut list: Reader<'a>,
        subject_is_empty: bool,
    ) -> Result<(), ProfileError> {
        let mut seen: Vec<&[u8]> = Vec::new();
        while !list.is_empty() {
            let mut extension = list.enter(SEQUENCE, "extension")?;
            let name = extension.read(OBJECT_IDENTIFIER, "extension name")?;
            let critical = match extension.optional(BOOLEAN, "critical")? {
                // DER never writes a default value.
                Some(value) => der::boolean(value, "critical")?
                    .then_some(true)
                    .ok_or(ProfileError::Form("critical"))?,
                None => false,
            };
            let value = extension.read(OCTET_STRING, "extension value")?;
            extension.finish("extension")?;
            if seen.contains(&name) {
                return Err(ProfileError::DuplicateExtension);
            }
            if seen.len() >= MAX_EXTENSIONS {
                return Err(ProfileError::Form("too many extensions"));
            }
            seen.push(name);
            match name {
                SUBJECT_ALTERNATIVE_NAME => {
                    if subject_is_empty && !critical {
                        return Err(ProfileError::NamesNotCritical);
                    }
                    self.uris = read_names(value)?;
                }
                BASIC_CONSTRAINTS => self.authority = Some(read_authority(value)?),
                KEY_USAGE => self.key_usage = critical.then_some(read_key_usage(value)?),
                EXTENDED_KEY_USAGE => self.extended = Some(read_extended(value)?),
                NAME_CONSTRAINTS => return Err(ProfileError::NameConstraints),
                _ if critical => return Err(ProfileError::UnknownCritical),
                _ => {}
            }
        }
        Ok(())
    }

    /// The one SPIFFE ID, or nothing when the certificate has no URI name at all.
    fn id(&self) -> Result<Option<SpiffeId>, ProfileError> {
        match self.uris.as_slice() {
            [] => Ok(None),
            [one] => {
                let text = std::str::from_utf8(one).map_err(|_| ProfileError::Form("URI name"))?;
                Ok(Some(text.parse()?))
            }
            several => Err(ProfileError::UriNames(several.len())),
        }
    }
}

fn read_names(value: &[u8]) -> Result<Vec<&[u8]>, ProfileError> {
    let mut names = der::only(value, SEQUENCE, "names")?;
    let mut uris = Vec::new();
    while !names.is_empty() {
        let name = names.element("name")?;
        match name.tag {
            URI_NAME => uris.push(name.content),
            DNS_NAME => {}
            other => return Err(ProfileError::NameType(other)),
        }
    }
    Ok(uris)
}

fn read_authority(value: &[u8]) -> Result<bool, ProfileError> {
    let mut constraints = der::only(value, SEQUENCE, "basic constraints")?;
    let authority = match constraints.optional(BOOLEAN, "cA")? {
        Some(content) => der::boolean(content, "cA")?,
        None => false,
    };
    constraints.optional(INTEGER, "path length")?;
    constraints.finish("basic constraints")?;
    Ok(authority)
}

/// The first eight bits of a KeyUsage.
fn read_key_usage(value: &[u8]) -> Result<u8, ProfileError> {
    let error = ProfileError::Form("key usage");
    let mut reader = Reader::new(value);
    let bits = reader.read(BIT_STRING, "key usage")?;
    reader.finish("key usage")?;
    match bits {
        // Unused bits, then one byte, or two when decipherOnly is set.
        [unused, first] | [unused, first, _] if *unused < 8 => Ok(*first),
        _ => Err(error),
    }
}

fn read_extended(value: &[u8]) -> Result<bool, ProfileError> {
    let mut purposes = der::only(value, SEQUENCE, "extended key usage")?;
    let (mut server, mut client) = (false, false);
    while !purposes.is_empty() {
        match purposes.read(OBJECT_IDENTIFIER, "purpose")? {
            SERVER_AUTH => server = true,
            CLIENT_AUTH => client = true,
            _ => {}
        }
    }
    Ok(server && client)
}

const DIGITAL_SIGNATURE: u8 = 0x80;
const KEY_CERT_SIGN: u8 = 0x04;
const CRL_SIGN: u8 = 0x02;

const DNS_NAME: u8 = context(2, false);
const URI_NAME: u8 = context(6, false);

const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
const SUBJECT_ALTERNATIVE_NAME: &[u8] = &[0x55, 0x1d, 0x11];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const NAME_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x1e];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
const SERVER_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];
const CLIENT_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02];

const MAX_CERTIFICATE_BYTES: usize = 16 * 1024;
const MAX_EXTENSIONS: usize = 32;
