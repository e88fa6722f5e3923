//! The vault process of one view: started, waited for, listened to.

use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use casemate_api::vault as wire;
use casemate_core::enclosure::Model;
use casemate_core::event::{Severity, kind};
use casemate_core::secret::SecretKey;
use casemate_linux::process::{Command, Resource};
use casemate_weights::signing::PublicKey;

use super::release::Believed;
use crate::board::Board;
use crate::control::Lines;
use crate::failure::{Code, Failure};
use crate::helper::{Helper, Plan};
use crate::node::Node;
use crate::store::InstanceKind;

/// Starts a vault with everything it needs open: it opens no path itself.
pub(super) fn start(
    node: &Node,
    board: &Board,
    model: &Model,
    believed: Believed,
    user: u32,
    fuse: OwnedFd,
    key: &SecretKey,
) -> Result<(Helper, Lines<wire::Report>), Failure> {
    let failed = |message: String| {
        Failure::new(
            Code::VaultFailed,
            format!("the vault of {}: {message}", model.version()),
        )
    };
    let sealing = &believed.sealing;
    let files = believed.files.into_descriptors();
    let (read_key, mut write_key) = io::pipe().map_err(|error| failed(error.to_string()))?;
    // 32 bytes fit any pipe, so this cannot wait for the reader.
    write_key
        .write_all(key.expose())
        .map_err(|error| failed(error.to_string()))?;
    drop(write_key);
    let settings = wire::Settings {
        model: model.version(),
        files: wire::SealedDescriptors {
            header: 7,
            key: 8,
            index: 9,
            tags: 10,
            data: 11,
        },
        fuse: 5,
        key: 6,
        // It verifies once more, and can come to no other end.
        signers: believed.signers.iter().map(PublicKey::to_pem).collect(),
        root_digest: Some(sealing.root_digest.clone()),
        minimum_epoch: sealing.epoch,
        cache_mib: 32,
        threads: 2,
    };
    let mut descriptors = vec![(5, fuse), (6, OwnedFd::from(read_key))];
    descriptors.extend((7..).zip(files));
    Helper::start(
        &node.spawner,
        node.journal.store(),
        Plan {
            kind: InstanceKind::Vault,
            name: format!("{}.{}", board.id(), model.name),
            program: node.settings.program("casemate-vault"),
            uid: user,
            gid: user,
            groups: Vec::new(),
            settings: &settings,
            descriptors,
            adjust: limits,
            network: None,
        },
    )
    .map_err(|error| Failure::from_error(Code::VaultFailed, &error))
}

/// Waits until the vault has verified the model for itself and answers the kernel.
pub(super) fn take_ready(
    helper: &Helper,
    lines: &mut Lines<wire::Report>,
    model: &Model,
) -> Result<wire::Ready, Failure> {
    let failed = |error: &dyn std::error::Error| Failure::from_error(Code::VaultFailed, error);
    lines
        .set_deadline(Some(READY_LIMIT))
        .map_err(|error| failed(&error))?;
    let ready = match lines.next() {
        Ok(Some(wire::Report::Ready(ready))) => ready,
        Ok(Some(wire::Report::Refused { reason })) => return Err(failed(&helper.refused(reason))),
        Ok(Some(wire::Report::Corrupt {
            path,
            chunk,
            reason,
        })) => {
            let message = format!("{}: `{path}` chunk {chunk}: {reason}", model.version());
            return Err(Failure::new(Code::ModelRefused, message));
        }
        Ok(Some(wire::Report::Stopped(_)) | None) | Err(_) => {
            return Err(failed(&helper.not_ready(READY_LIMIT)));
        }
    };
    lines.set_deadline(None).map_err(|error| failed(&error))?;
    Ok(ready)
}

/// Takes what a vault reports while it serves.
pub(super) fn watch(
    journal: &crate::journal::Journal,
    board: &Board,
    subject: &str,
    corrupt: &Mutex<Option<String>>,
    mut lines: Lines<wire::Report>,
) {
    loop {
        let event = |kind, severity| {
            journal
                .event(kind, severity)
                .at(&board.enclosure, Some(&board.stage))
                .about(subject)
        };
        match lines.next() {
            Ok(Some(wire::Report::Corrupt {
                path,
                chunk,
                reason,
            })) => {
                let mut first = corrupt.lock().unwrap_or_else(PoisonError::into_inner);
                first.get_or_insert_with(|| format!("`{path}`, chunk {chunk}: {reason}"));
                drop(first);
                journal.add(
                    event(kind::VIEW_CORRUPT, Severity::Error)
                        .fact("path", path)
                        .fact("chunk", chunk.to_string())
                        .fact("reason", reason),
                );
            }
            Ok(Some(wire::Report::Stopped(served))) => {
                tracing::info!(
                    model = subject,
                    reads = served.reads,
                    bytes = served.bytes,
                    corrupt = served.corrupt,
                    "vault stopped"
                );
            }
            Ok(Some(wire::Report::Ready(_) | wire::Report::Refused { .. })) => {
                tracing::error!(model = subject, "vault misbehaved");
                return;
            }
            Ok(None) => return,
            Err(error) => {
                tracing::error!(model = subject, error = %crate::report(&error), "vault misbehaved");
                return;
            }
        }
    }
}

fn limits(command: &mut Command) {
    command
        .limit(Resource::Core, 0)
        .limit_up_to(Resource::Nofile, 256)
        .limit_up_to(Resource::Memlock, 512 << 20)
        .limit(Resource::Fsize, 0);
}

const READY_LIMIT: Duration = Duration::from_secs(60);
