//! One opened model: its key released, its vault running, its view mounted where only we can see it.
//!
//! The key is released here and nowhere else, and only against an [`Attestation`]. The receipt is on
//! the disk before the key leaves the daemon.

use std::fs::{self, DirBuilder};
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use casemate_api::vault as wire;
use casemate_core::enclosure::{KeySource, Model};
use casemate_core::event::{Event, Severity, kind};
use casemate_core::name::Name;
use casemate_core::receipt::ReceiptKind;
use casemate_core::secret::SecretKey;
use casemate_linux::mount;
use casemate_linux::process::{Command, Exit, Resource};
use casemate_weights::artifact::SealedFiles;
use casemate_weights::bundle::BundleError;
use casemate_weights::format::header::HeaderError;
use casemate_weights::key_release::{self, KeyReleaseError};
use casemate_weights::signing::{self, PublicKey};
use casemate_weights::verify::{Expectation, VerifiedModel, VerifyModelError, verify_files};

use crate::board::Board;
use crate::control::Lines;
use crate::failure::{Code, Failure};
use crate::helper::{Helper, Plan};
use crate::journal::fact;
use crate::launch::Attestation;
use crate::node::Node;
use crate::settings::Settings;
use crate::store::InstanceKind;
use crate::users::Slot;

/// An opened model. Dropping it ends the vault and takes the mount away.
#[derive(Debug)]
pub(crate) struct View {
    model: String,
    path: PathBuf,
    helper: Option<Helper>,
    bytes: u64,
    root_digest: String,
    board: Arc<Board>,
    slot: Slot,
}

impl View {
    /// Verifies the sealed model, releases its key to a vault and waits until the view answers.
    pub(crate) fn open(
        node: &Arc<Node>,
        board: &Arc<Board>,
        attestation: &Attestation,
        model: &Model,
    ) -> Result<Self, Failure> {
        let refused = |failure: Failure| {
            node.journal.add(
                about(node, board, model, kind::MODEL_REFUSED, Severity::Error)
                    .fact("code", failure.code().word())
                    .fact("reason", failure.line()),
            );
            failure
        };
        let (verified, signers) = verify(node, model).map_err(refused)?;
        node.journal.add(
            about(node, board, model, kind::MODEL_VERIFIED, Severity::Info)
                .fact("root-digest", verified.header().root_digest.to_string())
                .fact("signer", verified.signer().fingerprint()),
        );
        let key = release_key(node, board, attestation, model, &verified).map_err(|failure| {
            node.journal.add(
                about(node, board, model, kind::KEY_REFUSED, Severity::Error)
                    .fact("code", failure.code().word()),
            );
            failure
        })?;
        Self::mount(node, board, model, &verified, &signers, key)
    }

    /// Where a model's view for a stage is mounted.
    pub(crate) fn path_for(settings: &Settings, board: &Board, model: &Name) -> PathBuf {
        settings
            .run_dir("views")
            .join(format!("{}.{model}", board.id()))
    }

    /// How many bytes of weights it shows.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// `name@version`.
    pub(crate) fn model(&self) -> &str {
        &self.model
    }

    /// The signed digest of its contents.
    pub(crate) fn root_digest(&self) -> &str {
        &self.root_digest
    }

    /// Runs `then` when the vault has ended.
    pub(crate) fn when_ended(&self, then: impl FnOnce(Exit) + Send + 'static) -> io::Result<()> {
        match &self.helper {
            Some(helper) => helper.when_ended(then),
            None => Ok(()),
        }
    }

    fn mount(
        node: &Arc<Node>,
        board: &Arc<Board>,
        model: &Model,
        verified: &VerifiedModel,
        signers: &[PublicKey],
        key: SecretKey,
    ) -> Result<Self, Failure> {
        let failed = |what: &str, error: &io::Error| {
            Failure::new(
                Code::VaultFailed,
                format!("cannot {what} for {}: {error}", model.version()),
            )
        };
        let slot = node
            .vault_slots
            .take()
            .ok_or_else(|| Failure::new(Code::VaultFailed, "this host has no vault slot left"))?;
        // One view for each stage and model: two stages never share a page of plaintext by name.
        let path = Self::path_for(&node.settings, board, &model.name);
        DirBuilder::new()
            .mode(0o755)
            .create(&path)
            .map_err(|error| failed("make a mount point", &error))?;
        let mut view = Self {
            model: model.version().to_string(),
            path,
            helper: None,
            bytes: 0,
            root_digest: verified.header().root_digest.to_string(),
            board: Arc::clone(board),
            slot,
        };
        let user = view.slot.vault();
        let request = mount::Fuse {
            name: "casemate",
            uid: user,
            gid: user,
            largest_read_bytes: 1 << 24,
            flags: mount::Flags::DATA,
        };
        let fuse = mount::fuse(&view.path, &request).map_err(|error| {
            let code = if error.kind() == io::ErrorKind::NotFound {
                Code::NoFuse
            } else {
                Code::VaultFailed
            };
            Failure::new(
                code,
                format!("cannot mount a view of {}: {error}", model.version()),
            )
        })?;
        let (helper, mut lines) = start_vault(node, board, model, signers, user, fuse, &key)?;
        drop(key);
        let ready = take_ready(&helper, &mut lines, model)?;
        if ready.root_digest != view.root_digest {
            let message = format!("the vault of {} opened other contents", model.version());
            return Err(Failure::new(Code::VaultFailed, message));
        }
        view.helper = Some(helper);
        view.bytes = ready.bytes;
        read_ahead(&view.path);
        let (journal, watched) = (node.journal.clone(), board.clone());
        let subject = model.version().to_string();
        std::thread::Builder::new()
            .name(format!("vault {subject}"))
            .spawn(move || watch(&journal, &watched, &subject, lines))
            .map_err(|error| failed("start a thread", &error))?;
        node.journal.record(
            ReceiptKind::ViewMounted,
            model.version().to_string(),
            [
                fact("stage", &board.spiffe_id),
                fact("root-digest", &ready.root_digest),
                fact("seal-digest", &ready.seal_digest),
                fact("files", ready.files),
                fact("bytes", ready.bytes),
                fact("confinement", ready.confinement.join(",")),
            ]
            .into(),
        )?;
        node.journal.add(
            about(node, board, model, kind::VIEW_MOUNTED, Severity::Info)
                .fact("bytes", ready.bytes.to_string()),
        );
        node.journal
            .store()
            .raise_epoch(&model.version().to_string(), ready.epoch)?;
        Ok(view)
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.board.closed_models();
        drop(self.helper.take());
        if let Err(error) = mount::unmount_below(&self.path) {
            tracing::error!(path = %self.path.display(), error = %error, "view not unmounted");
        }
        if let Err(error) = fs::remove_dir(&self.path) {
            tracing::error!(path = %self.path.display(), error = %error, "mount point not removed");
        }
    }
}

/// Signature, parts, model, version and epoch, before anything is decrypted.
fn verify(node: &Node, model: &Model) -> Result<(VerifiedModel, Vec<PublicKey>), Failure> {
    let mut signers = Vec::new();
    for path in &model.signers {
        let key = signing::load_public(path).map_err(|error| {
            let message = format!("the signer `{}` of {}", path.display(), model.version());
            Failure::new(
                Code::SignerUnknown,
                format!("{message}: {}", crate::report(&error)),
            )
        })?;
        signers.push(key);
    }
    let seen = node
        .journal
        .store()
        .minimum_epoch(&model.version().to_string())?;
    let expectation = Expectation {
        signers: signers.clone(),
        model: Some(model.version()),
        root_digest: None,
        minimum_epoch: model.minimum_epoch.max(seen),
    };
    let verified = SealedFiles::open(&model.sealed)
        .map_err(VerifyModelError::from)
        .and_then(|files| verify_files(files, &expectation))
        .map_err(|error| {
            let message = format!("{} at `{}`", model.version(), model.sealed.display());
            Failure::new(
                refusal(&error),
                format!("{message}: {}", crate::report(&error)),
            )
        })?;
    Ok((verified, signers))
}

fn refusal(error: &VerifyModelError) -> Code {
    match error {
        VerifyModelError::Header(HeaderError::Bundle(
            BundleError::UnknownSigner { .. } | BundleError::NoSigners,
        )) => Code::SignerUnknown,
        VerifyModelError::OtherModel { .. } | VerifyModelError::OtherDigest { .. } => {
            Code::ModelMismatch
        }
        VerifyModelError::Artifact(_)
        | VerifyModelError::Read { .. }
        | VerifyModelError::Header(_)
        | VerifyModelError::OlderEpoch { .. }
        | VerifyModelError::Length { .. }
        | VerifyModelError::Changed { .. } => Code::ModelRefused,
    }
}

/// Unwraps the data key for an attested stage, after the receipt for it is on the disk.
fn release_key(
    node: &Node,
    board: &Board,
    attestation: &Attestation,
    model: &Model,
    verified: &VerifiedModel,
) -> Result<SecretKey, Failure> {
    let KeySource::File(identity) = &model.key;
    let key = key_release::unwrap(verified, identity).map_err(|error| {
        let code = match error {
            KeyReleaseError::WrongIdentity | KeyReleaseError::WrongKey => Code::WrongKey,
            KeyReleaseError::ReadIdentity { .. }
            | KeyReleaseError::NoIdentity(_)
            | KeyReleaseError::EncryptedIdentity(_) => Code::WrongKey,
            KeyReleaseError::Memory(_) => Code::Internal,
            KeyReleaseError::Recipient(_)
            | KeyReleaseError::NoRecipients
            | KeyReleaseError::Wrap(_)
            | KeyReleaseError::Damaged(_) => Code::ModelRefused,
        };
        Failure::new(
            code,
            format!("the key of {}: {}", model.version(), crate::report(&error)),
        )
    })?;
    node.journal.record(
        ReceiptKind::KeyReleased,
        model.version().to_string(),
        [
            fact("stage", &board.spiffe_id),
            fact("plan-digest", attestation.plan_digest()),
            fact("attestation", attestation.receipt()),
            fact("root-digest", verified.header().root_digest),
            fact("seal-digest", verified.seal_digest()),
            fact("epoch", verified.header().epoch),
            fact("signer", verified.signer().fingerprint()),
            fact("key-source", "file"),
        ]
        .into(),
    )?;
    node.journal.add(
        about(node, board, model, kind::KEY_RELEASED, Severity::Info)
            .fact("plan-digest", attestation.plan_digest()),
    );
    Ok(key)
}

fn start_vault(
    node: &Node,
    board: &Board,
    model: &Model,
    signers: &[PublicKey],
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
    let files = SealedFiles::open(&model.sealed)
        .map_err(|error| failed(crate::report(&error)))?
        .into_descriptors();
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
        signers: signers.iter().map(PublicKey::to_pem).collect(),
        root_digest: None,
        minimum_epoch: model.minimum_epoch,
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

fn take_ready(
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
fn watch(
    journal: &crate::journal::Journal,
    board: &Board,
    subject: &str,
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
            })) => journal.add(
                event(kind::VIEW_CORRUPT, Severity::Error)
                    .fact("path", path)
                    .fact("chunk", chunk.to_string())
                    .fact("reason", reason),
            ),
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

/// Has the kernel read further ahead in this file system; weights are read from front to back.
fn read_ahead(path: &Path) {
    let set = || -> io::Result<()> {
        let device = fs::metadata(path)?.dev();
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        fs::write(
            format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb"),
            READ_AHEAD_KB,
        )
    };
    if let Err(error) = set() {
        tracing::debug!(error = %error, "read-ahead stays as it is");
    }
}

fn about(
    node: &Node,
    board: &Board,
    model: &Model,
    kind: &'static str,
    severity: Severity,
) -> Event {
    node.journal
        .event(kind, severity)
        .at(&board.enclosure, Some(&board.stage))
        .about(model.version().to_string())
}

fn limits(command: &mut Command) {
    command
        .limit(Resource::Core, 0)
        .limit_up_to(Resource::Nofile, 256)
        .limit_up_to(Resource::Memlock, 512 << 20)
        .limit(Resource::Fsize, 0);
}

const READY_LIMIT: Duration = Duration::from_secs(60);
const READ_AHEAD_KB: &str = "8192";
