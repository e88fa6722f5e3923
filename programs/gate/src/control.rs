//! The channel to the daemon: orders in, decisions out.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use casemate_api::gate::{FromGate, MAX_LINE, Svid, SvidRefused, ToGate};
use casemate_core::admission::Door;
use casemate_core::event::{Severity, kind};
use casemate_identity::bundle::TrustBundle;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, mpsc};

use crate::gate::{Gate, parse_keys};

/// The daemon's answer to a request for a certificate.
pub type SvidAnswer = Result<Svid, SvidRefused>;

/// Why the gate stops listening to the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The daemon closed the channel, or died: nobody decides any more, so nothing may run.
    Closed,
    /// A line was too long or not one that this program knows.
    Nonsense,
}

/// Does what the daemon orders until the channel ends.
pub async fn obey(
    gate: Arc<Gate>,
    channel: OwnedReadHalf,
    svids: mpsc::Sender<SvidAnswer>,
    drained: Arc<Notify>,
) -> Ended {
    let mut channel = BufReader::new(channel);
    let mut line = Vec::new();
    loop {
        line.clear();
        let longest = MAX_LINE as u64 + 1;
        match (&mut channel)
            .take(longest)
            .read_until(b'\n', &mut line)
            .await
        {
            Ok(0) | Err(_) => return Ended::Closed,
            Ok(_) if line.last() != Some(&b'\n') => return Ended::Nonsense,
            Ok(_) => {}
        }
        let order = match serde_json::from_slice::<ToGate>(&line) {
            Ok(order) => order,
            Err(error) => {
                tracing::error!(%error, "an order cannot be understood");
                return Ended::Nonsense;
            }
        };
        match order {
            ToGate::Svid(svid) => answer(&svids, Ok(svid)),
            ToGate::SvidRefused(refused) => answer(&svids, Err(refused)),
            ToGate::Drain(_) => {
                gate.drain();
                drained.notify_one();
            }
            other => apply(&gate, other),
        }
    }
}

fn answer(svids: &mpsc::Sender<SvidAnswer>, answer: SvidAnswer) {
    if svids.try_send(answer).is_err() {
        tracing::warn!("a certificate that nobody asked for");
    }
}

fn apply(gate: &Gate, order: ToGate) {
    match order {
        ToGate::Admit(true) => gate.change(|standing| standing.door = Door::Open),
        ToGate::Admit(false) => gate.change(|standing| standing.door = Door::Closed),
        ToGate::Flows(flows) => gate.change(|standing| standing.flows = flows),
        ToGate::Revoke(revoke) => {
            let now = revoke.at.unwrap_or_else(|| gate.now());
            let about = revoke
                .sub
                .as_ref()
                .map(ToString::to_string)
                .or(revoke.jti.clone());
            gate.change(|standing| {
                if let Some(id) = revoke.jti {
                    standing.revoked.revoke_token(id, now);
                }
                if let Some(subject) = revoke.sub {
                    standing.revoked.revoke_subject(subject, now);
                }
            });
            let event = gate.event(kind::REVOKED, Severity::Info);
            gate.audit.follow(event.about(about.unwrap_or_default()));
        }
        ToGate::Bundle(bundle) => {
            let trust_domain = gate.stage.id.trust_domain().clone();
            match TrustBundle::from_pem(trust_domain, &bundle.pem) {
                Ok(bundle) => gate.bundle.replace(bundle),
                Err(error) => {
                    tracing::error!(%error, "a trust bundle cannot be used; the old one stays")
                }
            }
        }
        ToGate::Keys(keys) => match parse_keys(&keys.jwks) {
            Ok(keys) => gate.verifier.replace_keys(keys),
            Err(error) => tracing::error!(%error, "ticket keys cannot be used; the old ones stay"),
        },
        ToGate::Svid(_) | ToGate::SvidRefused(_) | ToGate::Drain(_) => {}
    }
}

/// Writes what the gate says, many lines at a time when there are many, until `last` is told.
///
/// # Errors
/// When the daemon does not read any more.
pub async fn report(
    mut lines: mpsc::Receiver<FromGate>,
    mut channel: OwnedWriteHalf,
    last: Arc<Notify>,
) -> io::Result<()> {
    let mut batch = Vec::with_capacity(BATCH);
    let mut text = Vec::new();
    loop {
        let line = tokio::select! {
            biased;
            line = lines.recv() => line,
            // What was said until now still goes out.
            () = last.notified() => {
                lines.close();
                continue;
            }
        };
        let Some(line) = line else { return Ok(()) };
        // Under load many lines go out in one write; alone, one waits a moment that nobody notices.
        tokio::time::sleep(GATHER).await;
        batch.push(line);
        while batch.len() < BATCH {
            match lines.try_recv() {
                Ok(line) => batch.push(line),
                Err(_) => break,
            }
        }
        text.clear();
        for line in batch.drain(..) {
            serde_json::to_writer(&mut text, &line).map_err(io::Error::other)?;
            text.push(b'\n');
        }
        channel.write_all(&text).await?;
    }
}

const BATCH: usize = 256;
const GATHER: Duration = Duration::from_millis(3);
