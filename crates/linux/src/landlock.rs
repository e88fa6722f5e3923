//! Landlock: a process gives up everything but the files, ports and signals it names.
//!
//! There is no best effort here: a rule that cannot be applied in full is an error, and so is a
//! path that is not there. Restrictions hold for the calling *thread* and what it starts from then
//! on, so a program restricts itself before it starts threads.

use std::io;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, NetPort,
    PathBeneath, PathFd, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetStatus, Scope,
};

/// What stays allowed. Everything that is not named is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// The oldest ABI that will do: 4 knows TCP ports, 5 device controls, 6 abstract sockets and
    /// signals. Below 4 nothing is restricted and an error is returned.
    pub minimum_abi: u32,
    /// Files, and trees, that can be read.
    pub read: Vec<PathBuf>,
    /// Files, and trees, that can be read and executed.
    pub execute: Vec<PathBuf>,
    /// Trees in which files can be made, read, written and removed, never executed.
    pub write: Vec<PathBuf>,
    /// Files, and trees, in which what is there can be read and written; nothing is made or removed.
    pub write_existing: Vec<PathBuf>,
    /// TCP ports that can be bound.
    pub bind: Vec<u16>,
    /// TCP ports that can be connected to.
    pub connect: Vec<u16>,
    /// Whether every TCP port can be connected to; binding stays ruled.
    pub connect_anywhere: bool,
}

/// What was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The ABI whose whole vocabulary is now refused or ruled.
    pub abi: u32,
    /// Whether abstract sockets and signals to processes outside are refused as well.
    pub scoped: bool,
}

/// Why a process could not restrict itself. It is then as free as before, or freer than asked for,
/// and must end.
#[derive(Debug, thiserror::Error)]
pub enum RestrictError {
    /// The kernel has no Landlock, or it is too old.
    #[error("the kernel's Landlock ABI is {found}, at least {needed} is needed")]
    TooOld {
        /// What the kernel has; 0 for none.
        found: u32,
        /// What was asked for.
        needed: u32,
    },
    /// A path cannot be opened.
    #[error("cannot open `{path}` for a Landlock rule")]
    Path {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A rule was refused.
    #[error("cannot apply Landlock rules")]
    Apply(#[from] landlock::RulesetError),
    /// The kernel took only a part of it.
    #[error("the kernel enforces only a part of the Landlock rules")]
    Partial,
}

/// The Landlock ABI of this kernel, 0 for none.
#[must_use]
pub fn supported() -> u32 {
    // SAFETY: with a null pointer, size zero and the version flag, nothing is read or made.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<u8>(),
            0_usize,
            1_u32,
        )
    };
    u32::try_from(version).unwrap_or(0)
}

/// Restricts the calling thread, and everything it starts, to `rules`; sets `no_new_privs` too.
///
/// # Errors
/// See [`RestrictError`].
pub fn restrict(rules: &Rules) -> Result<Applied, RestrictError> {
    let needed = rules.minimum_abi.max(4);
    let found = supported();
    let (abi, number) = match found {
        0..4 => return Err(RestrictError::TooOld { found, needed }),
        4 => (ABI::V4, 4),
        5 => (ABI::V5, 5),
        // Later ones add nothing that is used here.
        6.. => (ABI::V6, 6),
    };
    if found < needed {
        return Err(RestrictError::TooOld { found, needed });
    }
    let network = if rules.connect_anywhere {
        AccessNet::from_all(abi) & !AccessNet::ConnectTcp
    } else {
        AccessNet::from_all(abi)
    };
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(network)?;
    let scoped = number >= 6;
    if scoped {
        ruleset = ruleset.scope(Scope::from_all(abi))?;
    }
    let mut created = ruleset.create()?;
    let (reading, writing) = (reading(), writing(abi));
    let grants = [
        (&rules.read, reading),
        (&rules.execute, reading | AccessFs::Execute),
        (&rules.write, reading | writing),
        (
            &rules.write_existing,
            reading | AccessFs::WriteFile | AccessFs::Truncate,
        ),
    ];
    for (paths, access) in grants {
        for path in paths {
            created = created.add_rule(rule(path, access, abi)?)?;
        }
    }
    for port in &rules.bind {
        created = created.add_rule(NetPort::new(*port, AccessNet::BindTcp))?;
    }
    for port in rules.connect.iter().filter(|_| !rules.connect_anywhere) {
        created = created.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
    }
    let status = created.restrict_self()?;
    if status.ruleset != RulesetStatus::FullyEnforced || !status.no_new_privs {
        return Err(RestrictError::Partial);
    }
    Ok(Applied {
        abi: number,
        scoped,
    })
}

fn rule(
    path: &Path,
    access: BitFlags<AccessFs>,
    abi: ABI,
) -> Result<PathBeneath<PathFd>, RestrictError> {
    let failed = |source| RestrictError::Path {
        path: path.to_owned(),
        source,
    };
    let file = PathFd::new(path).map_err(|error| failed(io::Error::other(error)))?;
    let kind = rustix::fs::fstat(&file)
        .map_err(|error| failed(error.into()))?
        .st_mode;
    let directory = rustix::fs::FileType::from_raw_mode(kind).is_dir();
    // Rights of directories on a file would be refused as a mistake.
    let access = if directory {
        access
    } else {
        access & AccessFs::from_file(abi)
    };
    Ok(PathBeneath::new(file, access))
}

fn reading() -> BitFlags<AccessFs> {
    AccessFs::ReadFile | AccessFs::ReadDir
}

/// Everything but making device nodes and controlling devices.
fn writing(abi: ABI) -> BitFlags<AccessFs> {
    let refused = AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev;
    AccessFs::from_write(abi) & !refused
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Restrictions are of the thread, so a test takes one that ends with it.
    fn restricted<T: Send + 'static>(
        rules: Rules,
        then: impl FnOnce(Applied) -> T + Send + 'static,
    ) -> Option<T> {
        if supported() < 4 {
            println!("skipped: this kernel's Landlock ABI is {}", supported());
            return None;
        }
        Some(
            std::thread::spawn(move || then(restrict(&rules).unwrap()))
                .join()
                .unwrap(),
        )
    }

    #[test]
    fn what_is_not_named_cannot_be_read() {
        let rules = Rules {
            read: vec!["/proc".into()],
            ..Rules::default()
        };
        restricted(rules, |_| {
            assert!(std::fs::read("/proc/self/status").is_ok());
            let error = std::fs::read("/etc/passwd").unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        });
    }

    #[test]
    fn scratch_can_be_written_and_not_executed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        let rules = Rules {
            execute: vec!["/usr".into(), "/lib".into(), "/lib64".into(), "/bin".into()],
            write: vec![path.clone()],
            write_existing: vec!["/dev/null".into()],
            ..Rules::default()
        };
        restricted(rules, move |_| {
            let copy = path.join("program");
            std::fs::write(&copy, std::fs::read("/usr/bin/true").unwrap()).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(&copy, mode).unwrap();
            assert!(
                crate::process::Command::new("/usr/bin/true")
                    .spawn()
                    .is_ok()
            );
            assert!(crate::process::Command::new(&copy).spawn().is_err());
        });
    }

    #[test]
    fn only_named_ports_can_be_bound_and_connected_to() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let open = listener.local_addr().unwrap();
        let rules = Rules {
            connect: vec![open.port()],
            ..Rules::default()
        };
        restricted(rules, move |_| {
            assert!(std::net::TcpStream::connect(open).is_ok());
            let other = (open.ip(), open.port() ^ 1);
            let error = std::net::TcpStream::connect(other).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
            assert!(std::net::TcpListener::bind("127.0.0.1:0").is_err());
        });
    }

    #[test]
    fn a_path_that_is_not_there_is_an_error() {
        let rules = Rules {
            read: vec!["/not/there".into()],
            ..Rules::default()
        };
        let outcome = std::thread::spawn(move || restrict(&rules)).join().unwrap();
        assert!(outcome.is_err());
    }

    #[test]
    fn an_abi_from_the_future_is_refused() {
        let rules = Rules {
            minimum_abi: 1000,
            ..Rules::default()
        };
        assert!(matches!(
            restrict(&rules),
            Err(RestrictError::TooOld { .. })
        ));
    }
}
