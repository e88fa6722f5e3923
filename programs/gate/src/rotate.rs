//! Keeps the gate's certificate fresh: a new key for each, made here and never shown to anybody.
//!
//! Connections that are open keep the certificate they were made with, so nothing is dropped; new ones
//! show the new one.

use std::sync::Arc;
use std::time::Duration;

use casemate_api::gate::{Csr, FromGate};
use casemate_core::event::{Severity, kind};
use casemate_identity::svid::{AssembleSvidError, KeyError, KeyPair, Svid, make_csr};
use casemate_identity::tls::ReplaceSvidError;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::control::SvidAnswer;
use crate::gate::{Gate, count};

/// Why a certificate was not taken over.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// No key could be made.
    #[error("cannot make a key")]
    Key(#[from] KeyError),
    /// The daemon did not answer.
    #[error("no certificate came in time")]
    Timeout,
    /// The daemon does not give one.
    #[error("no certificate is given: {0}")]
    Refused(String),
    /// The chain is not one for our key.
    #[error("the certificate cannot be used")]
    Assemble(#[from] AssembleSvidError),
    /// The certificate is somebody else's.
    #[error("the certificate is for somebody else")]
    Replace(#[from] ReplaceSvidError),
    /// The certificate names another stage.
    #[error("the certificate is not this stage's")]
    Identity,
}

/// Takes over one certificate.
///
/// # Errors
/// See [`RotateError`].
pub async fn rotate(
    gate: &Gate,
    answers: &mut mpsc::Receiver<SvidAnswer>,
) -> Result<(), RotateError> {
    let key = KeyPair::generate()?;
    let csr_pem = make_csr(&key)?;
    let id = gate.fresh_number();
    gate.audit.say(FromGate::Csr(Csr { id, csr_pem })).await;
    let answer = timeout(LONGEST, async {
        loop {
            match answers.recv().await {
                // An answer to an earlier request came after we had given up on it.
                Some(Ok(svid)) if svid.id != id => {}
                Some(Err(refused)) if refused.id != id => {}
                other => return other,
            }
        }
    });
    let chain_pem = match answer.await {
        Ok(Some(Ok(svid))) => svid.chain_pem,
        Ok(Some(Err(refused))) => return Err(RotateError::Refused(refused.reason)),
        Ok(None) | Err(_) => return Err(RotateError::Timeout),
    };
    let svid = Svid::from_pem(&chain_pem, key)?;
    if *svid.id() != gate.stage.id {
        return Err(RotateError::Identity);
    }
    let expires = svid.not_after();
    gate.svids.replace(svid)?;
    count(&gate.counters.rotations);
    // Idle connections to other gates still show the old certificate.
    for neighbour in &gate.neighbours {
        neighbour.pool.clear();
    }
    if let Some(issuer) = &gate.issuer {
        issuer.clear();
    }
    gate.audit.follow(
        gate.event(kind::SVID_ROTATED, Severity::Info)
            .fact("expires", expires.rfc3339()),
    );
    Ok(())
}

/// Rotates at half-life, for ever. A rotation that fails is tried again, more and more slowly.
pub async fn keep(gate: Arc<Gate>, mut answers: mpsc::Receiver<SvidAnswer>) {
    let mut wait = FIRST_WAIT;
    loop {
        // The wall clock may jump, so it is asked again and again instead of slept for.
        tokio::time::sleep(wait.min(LOOK)).await;
        let now = gate.now();
        if !gate
            .svids
            .current()
            .is_none_or(|svid| svid.rotation_due(now))
        {
            wait = LOOK;
            continue;
        }
        match rotate(&gate, &mut answers).await {
            Ok(()) => wait = FIRST_WAIT,
            Err(error) => {
                wait = (wait * 2).min(LOOK);
                tracing::error!(%error, "cannot rotate the certificate");
                let event = gate.event(kind::SVID_ROTATION_FAILED, Severity::Error);
                gate.audit.follow(event.fact("reason", error.to_string()));
            }
        }
    }
}

const LONGEST: Duration = Duration::from_secs(10);
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LOOK: Duration = Duration::from_secs(1);
