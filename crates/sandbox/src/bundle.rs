//! The directory that the runtime reads: `config.json` and a root file system with its mount points.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use casemate_linux::mount::{self, Flags};

use crate::plan::{HOST_DIRECTORY, Plan};
use crate::{host, image};

/// Why a bundle was not laid out, or not taken away.
#[derive(Debug, thiserror::Error)]
#[error("cannot {act} `{path}`")]
pub struct PrepareBundleError {
    /// What was being done.
    act: &'static str,
    /// To what.
    path: PathBuf,
    /// Why it failed.
    source: io::Error,
}

/// A bundle on disk, taken away when dropped. Its root file system is a read-only mount, in this
/// thread's mount namespace.
#[derive(Debug)]
pub struct Bundle {
    path: PathBuf,
    kept: bool,
}

impl Bundle {
    /// Lays out the bundle of `plan` at `path`, which must not exist.
    ///
    /// The stage's own root resolves paths below it, so every directory above must be open to be
    /// passed through (mode 0711 is enough).
    ///
    /// # Errors
    /// When something cannot be made; then nothing is left.
    pub fn prepare(plan: &Plan, path: &Path) -> Result<Self, PrepareBundleError> {
        DirBuilder::new()
            .mode(0o711)
            .create(path)
            .map_err(failed("make", path))?;
        let bundle = Self {
            path: path.to_owned(),
            kept: false,
        };
        bundle.fill(plan)?;
        Ok(bundle)
    }

    /// Takes over the bundle that an earlier launcher left at `path`.
    #[must_use]
    pub const fn left_at(path: PathBuf) -> Self {
        Self { path, kept: false }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes it away.
    ///
    /// # Errors
    /// When a mount or a file cannot be removed.
    pub fn remove(mut self) -> Result<(), PrepareBundleError> {
        self.kept = true;
        self.clear()
    }

    /// Leaves it where it is.
    pub fn leave(mut self) {
        self.kept = true;
    }

    fn clear(&self) -> Result<(), PrepareBundleError> {
        mount::unmount_below(&self.path).map_err(failed("unmount", &self.path))?;
        // A mount that is still there would have its content removed.
        let left = mount::list(&self.path).map_err(failed("look for mounts below", &self.path))?;
        if !left.is_empty() {
            return Err(failed("unmount", &self.path)(
                io::ErrorKind::ResourceBusy.into(),
            ));
        }
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove", &self.path)(error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn fill(&self, plan: &Plan) -> Result<(), PrepareBundleError> {
        let root = self.path.join("rootfs");
        DirBuilder::new()
            .mode(0o755)
            .create(&root)
            .map_err(failed("make", &root))?;
        open_to_all(&self.path, 0o711)?;
        open_to_all(&root, 0o755)?;
        let restricted = Flags {
            read_only: true,
            no_setuid: true,
            no_devices: true,
            no_execute: false,
        };
        if let Some(image) = &plan.root.image {
            image::add_mount_points(image, &plan.root.directories)
                .map_err(failed("make mount points in", image))?;
            mount::bind(image, &root, restricted).map_err(failed("mount", image))?;
        } else {
            lay_out(plan, &root)?;
            mount::bind(&root, &root, Flags::DATA).map_err(failed("mount", &root))?;
        }
        self.host(plan, restricted)?;
        let config = self.path.join("config.json");
        let text = serde_json::to_vec_pretty(&plan.config)
            .map_err(|error| failed("write", &config)(error.into()))?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&config)
            .map_err(failed("make", &config))?;
        file.write_all(&text).map_err(failed("write", &config))
    }

    /// Mounts directories of the host as they are found now; a name in the plan may be another's soon.
    fn host(&self, plan: &Plan, restricted: Flags) -> Result<(), PrepareBundleError> {
        let place = self.path.join(HOST_DIRECTORY);
        make(&place, 0o711)?;
        for (number, path) in plan.root.host.iter().enumerate() {
            let give = |error| failed("give a stage", path)(io::Error::other(error));
            let directory = host::open(path, &plan.root.kept).map_err(give)?;
            let target = place.join(number.to_string());
            make(&target, 0o755)?;
            mount::bind(&host::by_descriptor(&directory), &target, restricted)
                .map_err(failed("mount", path))?;
        }
        Ok(())
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        if !self.kept {
            // Something else went wrong, and that is what is told; a sweep finds what remains.
            drop(self.clear());
        }
    }
}

fn lay_out(plan: &Plan, root: &Path) -> Result<(), PrepareBundleError> {
    let inside = |path: &str| root.join(path.trim_start_matches('/'));
    for directory in &plan.root.directories {
        let path = inside(directory);
        let mut builder = DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o755)
            .create(&path)
            .map_err(failed("make", &path))?;
        // Whatever this process's file creation mask is.
        for made in path.ancestors().take_while(|made| *made != root) {
            open_to_all(made, 0o755)?;
        }
    }
    for (link, target) in &plan.root.links {
        let path = inside(link);
        std::os::unix::fs::symlink(target, &path).map_err(failed("make", &path))?;
    }
    for (file, content) in &plan.root.files {
        let path = inside(file);
        fs::write(&path, content).map_err(failed("write", &path))?;
        open_to_all(&path, 0o644)?;
    }
    Ok(())
}

fn make(path: &Path, mode: u32) -> Result<(), PrepareBundleError> {
    fs::create_dir(path).map_err(failed("make", path))?;
    open_to_all(path, mode)
}

fn open_to_all(path: &Path, mode: u32) -> Result<(), PrepareBundleError> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed("open", path))
}

fn failed(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PrepareBundleError {
    let path = path.to_owned();
    move |source| PrepareBundleError { act, path, source }
}
