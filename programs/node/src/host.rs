//! What this host has: the runtime, our programs, and what of it can be measured.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use casemate_core::enclosure::Enclosure;
use casemate_sandbox::cleanup::Places;
use casemate_sandbox::plan::HostFacts;
use casemate_sandbox::runtime::{FindRuntimeError, Runc};
use sha2::{Digest as _, Sha256};

use crate::failure::{Code, Failure};
use crate::journal::fact;
use crate::keys::hex;
use crate::settings::Settings;

/// This host, as it was found when the daemon started.
#[derive(Debug)]
pub(crate) struct Host {
    /// The runtime, or why there is none; enclosures are refused with that reason.
    runtime: Result<Runc, Failure>,
    facts: Result<HostFacts, Failure>,
    programs: PathBuf,
    places: Places,
    measured: Vec<PathBuf>,
}

impl Host {
    /// Looks at the host and puts the programs that go into stages where stages can reach them.
    pub(crate) fn find(settings: &Settings) -> Self {
        let named = settings.runtime.as_deref();
        let runtime = Runc::find(named, &settings.run_dir("runc"), settings.floor).map_or_else(
            |error| Err(runtime_failure(named, &error)),
            |(runc, warnings)| {
                for warning in &warnings {
                    tracing::debug!(warning = %warning, "runtime");
                }
                if !warnings.is_empty() {
                    let holes: Vec<&str> = warnings.iter().map(|warning| warning.cve).collect();
                    tracing::warn!(
                        runtime = %runc.version(),
                        count = holes.len(),
                        holes = %holes.join(" "),
                        check = "https://security-tracker.debian.org/tracker/source-package/runc",
                        "by its version alone the runtime has known holes; your distribution may have closed them"
                    );
                }
                Ok(runc)
            },
        );
        let facts = HostFacts::detect().map_err(|error| {
            Failure::new(
                Code::SandboxFailed,
                format!("cannot find control groups: {error}"),
            )
        });
        Self {
            runtime,
            facts,
            programs: settings.state.join("programs"),
            places: Places {
                bundles: settings.run_dir("bundles"),
                networks: settings.run_dir("netns"),
                views: settings.run_dir("views"),
                images: settings.state.join("images"),
            },
            measured: [
                "casemate-init",
                "casemate-probe",
                "casemate-gate",
                "casemate-vault",
            ]
            .iter()
            .map(|name| settings.program(name))
            .collect(),
        }
    }

    /// That everything is here that this enclosure needs.
    pub(crate) fn ready_for(
        &self,
        settings: &Settings,
        enclosure: &Enclosure,
    ) -> Result<(), Failure> {
        self.runc()?;
        self.facts()?;
        let mut needed = vec![
            "casemate-init",
            "casemate-probe",
            "casemate-gate",
            "casemate-issuer",
        ];
        if !enclosure.models.is_empty() {
            needed.push("casemate-vault");
        }
        for name in needed {
            let path = settings.program(name);
            if !path.is_file() {
                let message = format!("there is no program `{}`", path.display());
                return Err(Failure::new(Code::ProgramMissing, message));
            }
        }
        let opens_models = enclosure
            .stages
            .iter()
            .any(|stage| !stage.models.is_empty());
        if opens_models {
            fuse().map_err(|reason| Failure::new(Code::NoFuse, reason))?;
        }
        self.install(settings).map_err(|error| {
            let message = format!(
                "cannot copy programs to `{}`: {error}",
                self.programs.display()
            );
            Failure::new(Code::ProgramMissing, message)
        })
    }

    pub(crate) fn runc(&self) -> Result<&Runc, Failure> {
        self.runtime.as_ref().map_err(Failure::clone)
    }

    pub(crate) fn facts(&self) -> Result<HostFacts, Failure> {
        self.facts.clone()
    }

    /// The directory that every stage sees at `/.casemate`.
    pub(crate) fn programs(&self) -> &Path {
        &self.programs
    }

    pub(crate) const fn places(&self) -> &Places {
        &self.places
    }

    /// The runtime's name and version.
    pub(crate) fn runtime(&self) -> String {
        self.runtime.as_ref().map_or_else(
            |_| "none".to_owned(),
            |runc| {
                let version = runc.version();
                let below = if version.below_floor() {
                    ", below the floor (--danger-old-runtime)"
                } else {
                    ""
                };
                format!("runc {version}{below}")
            },
        )
    }

    /// What a stage is built with, by digest.
    pub(crate) fn measure(&self) -> io::Result<Vec<(String, String)>> {
        let read = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned());
        let mut facts = vec![
            fact("kernel", read("/proc/sys/kernel/osrelease")?),
            fact("boot-id", read("/proc/sys/kernel/random/boot_id")?),
            fact("runtime", self.runtime()),
        ];
        for name in ["init", "probe"] {
            facts.push(fact(
                &format!("{name}-sha256"),
                digest(&self.programs.join(name))?,
            ));
        }
        for path in &self.measured {
            if let Some(name) = path.file_name().and_then(|name| name.to_str())
                && path.is_file()
            {
                facts.push(fact(&format!("{name}-sha256"), digest(path)?));
            }
        }
        Ok(facts)
    }

    /// Copies init and probe, so that what stages execute is not what somebody rebuilds meanwhile.
    fn install(&self, settings: &Settings) -> io::Result<()> {
        fs::create_dir_all(&self.programs)?;
        fs::set_permissions(&self.programs, fs::Permissions::from_mode(0o755))?;
        for name in ["init", "probe"] {
            let source = settings.program(&format!("casemate-{name}"));
            let target = self.programs.join(name);
            if target.is_file() && digest(&source)? == digest(&target)? {
                continue;
            }
            let beside = self.programs.join(format!("{name}.new"));
            fs::copy(&source, &beside)?;
            fs::set_permissions(&beside, fs::Permissions::from_mode(0o555))?;
            fs::rename(&beside, &target)?;
        }
        Ok(())
    }
}

fn digest(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&hasher.finalize())),
            length => hasher.update(buffer.get(..length).unwrap_or_default()),
        }
    }
}

/// That `/dev/fuse` is there, can be opened, and is what its name says.
fn fuse() -> Result<(), String> {
    let opened = File::open(FUSE).and_then(|file| file.metadata());
    let found = opened.map_err(|error| format!("cannot open `{FUSE}`: {error}"))?;
    let number = (
        rustix::fs::major(found.rdev()),
        rustix::fs::minor(found.rdev()),
    );
    if found.file_type().is_char_device() && number == FUSE_NUMBER {
        Ok(())
    } else {
        Err(format!("`{FUSE}` is not the device of that name"))
    }
}

const FUSE: &str = "/dev/fuse";
/// The device's major and minor number, the same on every Linux.
const FUSE_NUMBER: (u32, u32) = (10, 229);

fn runtime_failure(named: Option<&Path>, error: &FindRuntimeError) -> Failure {
    if let (Some(path), FindRuntimeError::Absent) = (named, error) {
        let message = format!("there is no runtime at `{}`", path.display());
        return Failure::new(Code::RuntimeAbsent, message);
    }
    let code = match error {
        FindRuntimeError::TooOld { .. } => Code::RuntimeTooOld,
        FindRuntimeError::Absent
        | FindRuntimeError::Unknown { .. }
        | FindRuntimeError::Directory { .. } => Code::RuntimeAbsent,
    };
    Failure::from_error(code, error)
}
