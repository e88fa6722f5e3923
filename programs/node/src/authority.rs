//! The node's certificate authority and ticket key, sealed at rest; one trust domain for each node.
//!
//! The daemon makes and seals the keys and hands them to the issuer. It signs nothing with them
//! itself and parses nothing that came from a network.

use std::path::Path;
use std::time::Duration;

use casemate_core::secret::Secret;
use casemate_core::spiffe::TrustDomain;
use casemate_core::time::UnixTime;
use casemate_identity::authority::{Authority, AuthorityError};
use casemate_identity::svid::{KeyError, KeyPair};
use serde::{Deserialize, Serialize};
use zeroize::ZeroizeOnDrop;

use crate::keys::{KeepKeyError, NodeKey};

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenAuthorityError {
    #[error("the node's authority cannot be kept")]
    Keep(#[from] KeepKeyError),
    #[error("the node's authority cannot be used")]
    Authority(#[from] AuthorityError),
    #[error("the node's ticket key cannot be made")]
    TicketKey(#[from] KeyError),
    #[error("the sealed authority has another form than this version writes")]
    Form(#[source] serde_json::Error),
    #[error("this node's trust domain is `{ours}`, and the file asks for `{asked}`")]
    OtherTrustDomain {
        ours: TrustDomain,
        asked: TrustDomain,
    },
    #[error("a key is not text")]
    NotText,
}

/// What the issuer is handed.
#[derive(Debug)]
pub(crate) struct AuthorityKeys {
    trust_domain: TrustDomain,
    pub(crate) pems: Pems,
}

/// The keys as text. Wiped when dropped.
#[derive(Serialize, Deserialize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Pems {
    pub(crate) certificate: String,
    pub(crate) key: String,
    pub(crate) ticket_key: String,
}

impl std::fmt::Debug for Pems {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Pems(redacted)")
    }
}

impl AuthorityKeys {
    /// The authority that this node has, if it has one.
    pub(crate) fn open(state: &Path, key: &NodeKey) -> Result<Option<Self>, OpenAuthorityError> {
        let Some(sealed) = key.unseal(&state.join(FILE))? else {
            return Ok(None);
        };
        let pems: Pems =
            serde_json::from_slice(sealed.expose()).map_err(OpenAuthorityError::Form)?;
        let authority = Authority::from_pem(&pems.certificate, &pems.key)?;
        Ok(Some(Self {
            trust_domain: authority.trust_domain().clone(),
            pems,
        }))
    }

    /// Makes the authority of `trust_domain` and seals it.
    pub(crate) fn create(
        state: &Path,
        key: &NodeKey,
        trust_domain: &TrustDomain,
        now: UnixTime,
    ) -> Result<Self, OpenAuthorityError> {
        let authority = Authority::new(trust_domain.clone(), LIFETIME, now)?;
        let text = |secret: &Secret| {
            String::from_utf8(secret.expose().to_vec()).map_err(|_| OpenAuthorityError::NotText)
        };
        let pems = Pems {
            certificate: authority.certificate_pem(),
            key: text(&authority.private_key_pem())?,
            ticket_key: text(&KeyPair::generate()?.to_pem())?,
        };
        let json = Secret::new(serde_json::to_vec(&pems).map_err(OpenAuthorityError::Form)?);
        key.seal(&state.join(FILE), &json)?;
        Ok(Self {
            trust_domain: trust_domain.clone(),
            pems,
        })
    }

    pub(crate) const fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// That the trust domain is the one asked for: a node never speaks for two.
    pub(crate) fn serves(&self, asked: &TrustDomain) -> Result<(), OpenAuthorityError> {
        if self.trust_domain == *asked {
            return Ok(());
        }
        let (ours, asked) = (self.trust_domain.clone(), asked.clone());
        Err(OpenAuthorityError::OtherTrustDomain { ours, asked })
    }
}

const FILE: &str = "ca.sealed";
/// Ten years; replacing it sooner is a change of trust that people decide on.
const LIFETIME: Duration = Duration::from_secs(3650 * 24 * 3600);
