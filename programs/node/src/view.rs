//! One opened model: its key released, its vault running, its view mounted where only we can see it.
//!
//! The key is released in [`release`] and nowhere else, and only against an [`Attestation`]. The receipt
//! is on the disk before the key leaves the daemon.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use casemate_core::enclosure::Model;
use casemate_core::event::{Event, Severity, kind};
use casemate_core::name::Name;
use casemate_core::receipt::ReceiptKind;
use casemate_core::secret::SecretKey;
use casemate_linux::mount;
use casemate_linux::process::Exit;

use crate::asker::Asker;
use crate::board::Board;
use crate::failure::{Code, Failure};
use crate::helper::Helper;
use crate::journal::fact;
use crate::launch::Attestation;
use crate::node::Node;
use crate::settings::Settings;
use crate::users::Slot;

mod release;
mod sealing;
mod vault;

use release::Believed;

/// An opened model. Dropping it ends the vault and takes the mount away.
#[derive(Debug)]
pub(crate) struct View {
    model: String,
    path: PathBuf,
    helper: Option<Helper>,
    bytes: u64,
    root_digest: String,
    /// The first chunk that did not authenticate, in words.
    corrupt: Arc<Mutex<Option<String>>>,
    board: Arc<Board>,
    slot: Slot,
}

impl View {
    /// Verifies the sealed model, releases its key to a vault and waits until the view answers.
    pub(crate) fn open(
        node: &Arc<Node>,
        board: &Arc<Board>,
        asker: &Asker,
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
        let believed = release::verify(node, asker, model).map_err(refused)?;
        let sealing = &believed.sealing;
        node.journal.add(
            about(node, board, model, kind::MODEL_VERIFIED, Severity::Info)
                .fact("root-digest", sealing.root_digest.clone())
                .fact("signer", sealing.signer.clone()),
        );
        let key = release::release_key(node, board, asker, attestation, model, &believed)
            .inspect_err(|failure| {
                node.journal.add(
                    about(node, board, model, kind::KEY_REFUSED, Severity::Error)
                        .fact("code", failure.code().word()),
                );
            })?;
        Self::mount(node, board, model, believed, key)
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

    /// What of the model did not authenticate while it was read, if anything.
    pub(crate) fn corruption(&self) -> Option<String> {
        let corrupt = self.corrupt.lock().unwrap_or_else(PoisonError::into_inner);
        corrupt
            .as_ref()
            .map(|what| format!("{}: {what}", self.model))
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
        believed: Believed,
        key: SecretKey,
    ) -> Result<Self, Failure> {
        let sealing = believed.sealing.clone();
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
            root_digest: sealing.root_digest.clone(),
            corrupt: Arc::default(),
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
        let (helper, mut lines) = vault::start(node, board, model, believed, user, fuse, &key)?;
        drop(key);
        let ready = vault::take_ready(&helper, &mut lines, model)?;
        if let Some(what) = sealing.differs(&ready) {
            let message = format!(
                "the vault of {} reports another {what} than was verified",
                model.version()
            );
            return Err(Failure::new(Code::VaultFailed, message));
        }
        view.helper = Some(helper);
        view.bytes = ready.bytes;
        read_ahead(&view.path);
        let (journal, watched) = (node.journal.clone(), Arc::clone(board));
        let corrupt = Arc::clone(&view.corrupt);
        let subject = model.version().to_string();
        std::thread::Builder::new()
            .name(format!("vault {subject}"))
            .spawn(move || vault::watch(&journal, &watched, &subject, &corrupt, lines))
            .map_err(|error| failed("start a thread", &error))?;
        node.journal.record(
            ReceiptKind::ViewMounted,
            model.version().to_string(),
            [
                fact("stage", &board.spiffe_id),
                fact("root-digest", &sealing.root_digest),
                fact("seal-digest", &sealing.seal_digest),
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
        sealing.remember(node.journal.store())?;
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

const READ_AHEAD_KB: &str = "8192";
