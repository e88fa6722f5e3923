//! The issuer's own certificate, renewed at half of its life while connections go on.

use std::sync::Arc;
use std::time::Duration;

use casemate_core::event::{Severity, kind};
use casemate_core::spiffe::SpiffeId;
use casemate_identity::authority::{IssueError, IssuedSvid};
use casemate_identity::svid::{
    AssembleSvidError, CertificateRequest, KeyError, KeyPair, ReadRequestError, Svid, make_csr,
};
use casemate_identity::tls::ReplaceSvidError;

use crate::issuer::{Issuer, seconds};

/// Why the issuer has no certificate of its own.
#[derive(Debug, thiserror::Error)]
pub enum OwnSvidError {
    /// No key.
    #[error("no key for the issuer's own certificate")]
    Key(#[from] KeyError),
    /// The request is not accepted.
    #[error("the issuer's own request is not accepted")]
    Request(#[from] ReadRequestError),
    /// The authority does not issue.
    #[error("the authority does not issue")]
    Issue(#[from] IssueError),
    /// Chain and key do not fit.
    #[error("the issuer's own certificate does not fit its key")]
    Assemble(#[from] AssembleSvidError),
    /// TLS does not take it.
    #[error("TLS does not take the issuer's own certificate")]
    Replace(#[from] ReplaceSvidError),
}

/// Makes a key, issues a certificate for it, and shows that from the next handshake on.
pub(crate) fn renew(issuer: &Issuer) -> Result<(), OwnSvidError> {
    let key = KeyPair::generate()?;
    let request = CertificateRequest::from_pem(&make_csr(&key)?)?;
    let lifetime = seconds(issuer.lifetimes.stage_secs);
    let id = issuer.trust_domain.issuer();
    let issued = issuer
        .authority
        .issue(&request, &id, lifetime, issuer.now())?;
    let svid = Svid::new(issued.chain, key)?;
    issuer.svids.replace(svid)?;
    Ok(())
}

/// Renews for ever. Looks at the wall clock often instead of sleeping long: it may jump.
pub(crate) async fn keep(issuer: Arc<Issuer>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let due = issuer
            .svids
            .current()
            .is_none_or(|svid| svid.rotation_due(issuer.now()));
        if !due {
            continue;
        }
        let event = match renew(&issuer) {
            Ok(()) => issuer.event(kind::SVID_ROTATED, Severity::Info),
            Err(error) => issuer
                .event(kind::SVID_ROTATION_FAILED, Severity::Error)
                .fact("reason", error.to_string()),
        };
        issuer.tell(event.about(issuer.trust_domain.issuer().to_string()));
    }
}

/// A certificate for the gate of a stage, whose key the daemon relays.
pub(crate) fn issue_stage(
    issuer: &Issuer,
    id: &SpiffeId,
    csr_pem: &str,
) -> Result<IssuedSvid, OwnSvidError> {
    let request = CertificateRequest::from_pem(csr_pem)?;
    let lifetime = seconds(issuer.lifetimes.stage_secs);
    Ok(issuer
        .authority
        .issue(&request, id, lifetime, issuer.now())?)
}

const LOOK_EVERY: Duration = Duration::from_secs(1);
