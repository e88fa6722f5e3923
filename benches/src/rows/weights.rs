//! Sealing beside age, verifying beside the OpenSSF reference implementation.
//!
//! All files are in memory (`/dev/shm`), so that no disk is measured.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use casemate_testkit::programs::output;
use casemate_testkit::{Programs, Tools};
use tempfile::TempDir;

use crate::measure::{alternate, seconds};
use crate::report::Line;

/// Sealing a model: ours encrypts, hashes and signs; age encrypts.
pub(crate) fn seal() -> anyhow::Result<Vec<Line>> {
    let work = Work::new()?;
    let recipient = fs::read_to_string(work.path("recipient.txt"))?;
    let (ours, theirs) = alternate(
        5,
        || work.seal_ours("out.sealed"),
        || {
            let mut age = Command::new("age");
            age.args(["--recipient", recipient.trim(), "--output"]).arg(work.path("out.age"));
            seconds(|| output(age.arg(work.model())).map(drop))
        },
    )?;
    let rate = |seconds: f64| SIZE_GB / seconds;
    Ok(vec![Line::faster("seal a model", "GB/s", rate(ours), "age", rate(theirs), 2.0)])
}

/// Verifying a model: ours over the sealed files, theirs over the plain ones.
pub(crate) fn verify() -> anyhow::Result<Vec<Line>> {
    let work = Work::new()?;
    work.seal_ours("out.sealed")?;
    let python = Tools::locate().python_program("python")?;
    let (private, public) = (work.path("peer.pem"), work.path("peer.pub"));
    let openssl = |arguments: &[&str]| output(Command::new("openssl").args(arguments)).map(drop);
    let text = |path: &Path| path.display().to_string();
    openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", &text(&private)])?;
    openssl(&["ec", "-in", &text(&private), "-pubout", "-out", &text(&public)])?;
    let signature = work.path("model.sig");
    let mut sign = Command::new(&python);
    sign.args(["-m", "model_signing", "sign", "key", "--signature"]).arg(&signature);
    output(sign.arg("--private_key").arg(&private).arg(work.path("plain")))?;
    let (ours, theirs) = alternate(
        5,
        || {
            let mut verify = Command::new(work.programs.path("casemate"));
            verify.args(["model", "verify"]).arg(work.path("out.sealed"));
            verify.arg("--signer").arg(work.path("signing.pub"));
            seconds(|| output(&mut verify).map(drop))
        },
        || {
            let mut verify = Command::new(&python);
            verify.args(["-m", "model_signing", "verify", "key", "--signature"]).arg(&signature);
            verify.arg("--public_key").arg(&public).arg(work.path("plain"));
            seconds(|| output(&mut verify).map(drop))
        },
    )?;
    let rate = |seconds: f64| SIZE_GB / seconds;
    Ok(vec![Line::faster(
        "verify a model's signature",
        "GB/s",
        rate(ours),
        "model-signing 1.1.1",
        rate(theirs),
        1.7,
    )])
}

/// A synthetic model in memory, with keys.
pub(crate) struct Work {
    directory: TempDir,
    pub(crate) programs: Programs,
}

impl Work {
    /// Makes the model and the keys.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("casemate-bench-")
            .tempdir_in("/dev/shm")
            .context("/dev/shm")?;
        let work = Self { directory, programs: Programs::locate()? };
        fs::create_dir(work.path("plain"))?;
        let mut noise = fs::File::open("/dev/urandom")?.take(SIZE);
        let mut model = fs::File::create(work.model())?;
        std::io::copy(&mut noise, &mut model)?;
        model.flush()?;
        let mut keygen = Command::new(work.programs.path("casemate"));
        output(keygen.args(["model", "keygen", "--out"]).arg(work.directory.path()))?;
        Ok(work)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The plain file.
    pub(crate) fn model(&self) -> PathBuf {
        self.path("plain/model.gguf")
    }

    /// Seals it under `name` with the command line; the seconds it took.
    pub(crate) fn seal_ours(&self, name: &str) -> anyhow::Result<f64> {
        let sealed = self.path(name);
        if sealed.exists() {
            fs::remove_dir_all(&sealed)?;
        }
        let mut seal = Command::new(self.programs.path("casemate"));
        seal.args(["model", "seal"]).arg(self.path("plain")).arg(&sealed);
        seal.args(["--name", "bench", "--model-version", "1", "--recipient"]);
        seal.arg(self.path("recipient.txt")).arg("--signer").arg(self.path("signing.key"));
        seconds(|| output(&mut seal).map(drop))
    }
}

const SIZE: u64 = 1 << 30;
/// The same in 10^9 bytes.
pub(crate) const SIZE_GB: f64 = 1.073_741_824;
