//! The channel to the daemon: one JSON value a line, both ways, bounded both ways.
//!
//! The daemon is root and is believed; still its lines are bounded and unknown members refused,
//! because a fault on its side must not become a wrong certificate here.

use std::sync::Arc;

use casemate_api::issuer::{
    Done, FromIssuer, IssueStage, MAX_LINE, Refused, Revocation, Revoke, Svid, ToIssuer,
};
use casemate_core::event::{Severity, kind};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

use crate::issuer::{Issuer, names_nothing};
use crate::own;
use crate::policy::Policy;

/// Why the channel ended other than by being closed.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The socket failed.
    #[error("the control channel failed")]
    Socket(#[from] std::io::Error),
    /// A line is longer than [`MAX_LINE`].
    #[error("a line of the control channel is longer than {MAX_LINE} bytes")]
    TooLong,
    /// A line is not one of the daemon's messages.
    #[error("a line of the control channel is malformed")]
    Malformed(#[from] serde_json::Error),
    /// The writing side ended.
    #[error("the control channel cannot be written to")]
    Closed,
}

/// Reads and obeys until the daemon closes the channel.
pub(crate) async fn listen(
    issuer: Arc<Issuer>,
    from: OwnedReadHalf,
    answers: mpsc::Sender<FromIssuer>,
) -> Result<(), ControlError> {
    let mut from = BufReader::new(from);
    let longest = u64::try_from(MAX_LINE).unwrap_or(u64::MAX);
    let mut line = Vec::new();
    loop {
        line.clear();
        (&mut from)
            .take(longest + 1)
            .read_until(b'\n', &mut line)
            .await?;
        if line.is_empty() {
            return Ok(());
        }
        if line.len() > MAX_LINE {
            return Err(ControlError::TooLong);
        }
        let answer = obey(&issuer, serde_json::from_slice(&line)?);
        answers
            .send(answer)
            .await
            .map_err(|_| ControlError::Closed)?;
    }
}

/// Writes what the issuer has to say until nobody says anything any more.
pub(crate) async fn speak(
    mut to: OwnedWriteHalf,
    mut messages: mpsc::Receiver<FromIssuer>,
) -> Result<(), ControlError> {
    while let Some(message) = messages.recv().await {
        let mut line = serde_json::to_vec(&message)?;
        line.push(b'\n');
        to.write_all(&line).await?;
    }
    Ok(())
}

fn obey(issuer: &Issuer, order: ToIssuer) -> FromIssuer {
    match order {
        ToIssuer::IssueStage(order) => issue_stage(issuer, &order),
        ToIssuer::Enclosure(order) => {
            let next = Policy::clone(&issuer.policy()).with(order.policy);
            match next {
                Ok(policy) => {
                    issuer.set_policy(policy);
                    FromIssuer::Done(Done { id: order.id })
                }
                Err(error) => refuse(order.id, &error),
            }
        }
        ToIssuer::RemoveEnclosure(order) => {
            issuer.set_policy(Policy::clone(&issuer.policy()).without(&order.enclosure));
            FromIssuer::Done(Done { id: order.id })
        }
        ToIssuer::Revoke(Revoke { id, jti, sub }) => {
            let at = issuer.now();
            revoke(issuer, id, &Revocation { at, jti, sub })
        }
        ToIssuer::RevokeAt(order) => revoke(issuer, order.id, &order.revocation),
    }
}

fn issue_stage(issuer: &Issuer, order: &IssueStage) -> FromIssuer {
    let Some((enclosure, stage)) = order.spiffe_id.as_stage() else {
        return FromIssuer::Refused(Refused {
            id: order.id,
            reason: "not the identity of a stage".to_owned(),
        });
    };
    if !issuer.policy().has_stage(&order.spiffe_id) {
        return FromIssuer::Refused(Refused {
            id: order.id,
            reason: "no such stage in any enclosure".to_owned(),
        });
    }
    let Ok(record) = issuer.record() else {
        return FromIssuer::Refused(Refused {
            id: order.id,
            reason: "no room for the record".to_owned(),
        });
    };
    match own::issue_stage(issuer, &order.spiffe_id, &order.csr_pem) {
        Ok(svid) => {
            let event = issuer
                .event(kind::SVID_ISSUED, Severity::Info)
                .at(&enclosure, Some(&stage))
                .about(svid.id.to_string())
                .fact("thumbprint", svid.thumbprint.clone())
                .fact("expires", svid.not_after.rfc3339());
            record.issued(event);
            FromIssuer::Svid(Svid {
                id: order.id,
                chain_pem: svid.chain_pem(),
                spiffe_id: svid.id,
                not_after: svid.not_after,
                thumbprint: svid.thumbprint,
            })
        }
        Err(error) => refuse(order.id, &error),
    }
}

fn revoke(issuer: &Issuer, id: u64, order: &Revocation) -> FromIssuer {
    if names_nothing(order) {
        return FromIssuer::Refused(Refused {
            id,
            reason: "nothing to revoke is named".to_owned(),
        });
    }
    let mut event = issuer
        .event(kind::REVOKED, Severity::Info)
        .fact("at", order.at.rfc3339());
    if let Some(jti) = &order.jti {
        issuer.verifier.revoke_id(jti, order.at);
        event = event.fact("jti", jti.clone());
    }
    if let Some(subject) = &order.sub {
        issuer.verifier.revoke_subject(subject, order.at);
        event = event.about(subject.to_string());
    }
    issuer.tell(event);
    FromIssuer::Done(Done { id })
}

fn refuse(id: u64, error: &dyn std::error::Error) -> FromIssuer {
    let mut reason = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        reason = format!("{reason}: {next}");
        cause = next.source();
    }
    FromIssuer::Refused(Refused { id, reason })
}
