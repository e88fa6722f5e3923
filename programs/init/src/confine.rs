//! Giving up files, ports and system calls, then becoming another program.

use std::io;
use std::path::{Path, PathBuf};

use casemate_core::confinement::{Confinement, LandlockRules, PROGRAM_DIRECTORY};
use casemate_linux::landlock::{self, RestrictError};
use casemate_linux::process;
use casemate_linux::seccomp::{Action, Condition, Filter, InstallFilterError};

use crate::Role;

/// Why this process is not confined.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfineError {
    #[error("Landlock")]
    Landlock(#[from] RestrictError),
    #[error("the second filter")]
    Filter(#[from] InstallFilterError),
    #[error("descriptors")]
    Descriptors(#[source] io::Error),
}

/// What is executed.
#[derive(Debug)]
pub(crate) struct Program {
    path: PathBuf,
    arguments: Vec<String>,
    environment: Vec<String>,
    directory: String,
}

impl Program {
    /// The server of the plan, or the prober. Found before Landlock, which would hide what is not
    /// there as something that must not be seen.
    pub(crate) fn choose(role: Role, plan: &Confinement) -> io::Result<Self> {
        let (arguments, directory) = match role {
            Role::Server => (plan.server.arguments.clone(), plan.server.directory.clone()),
            Role::Prober => (
                vec![format!("{PROGRAM_DIRECTORY}/probe")],
                "/tmp".to_owned(),
            ),
        };
        let environment = plan.server.environment.clone();
        let name = arguments.first().map(String::as_str).unwrap_or_default();
        let path = search(name, &directory, &environment)?;
        Ok(Self {
            path,
            arguments,
            environment,
            directory,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns only on failure.
    pub(crate) fn execute(&self) -> io::Error {
        match std::env::set_current_dir(&self.directory) {
            Ok(()) => process::execute(&self.path, &self.arguments, &self.environment),
            Err(error) => error,
        }
    }
}

/// As a shell would: a name with a slash is a path, any other is looked for in `PATH`.
fn search(name: &str, directory: &str, environment: &[String]) -> io::Result<PathBuf> {
    let not_found = || io::Error::new(io::ErrorKind::NotFound, format!("`{name}` is not there"));
    if name.contains('/') {
        let path = Path::new(directory).join(name);
        return if path.is_file() {
            Ok(path)
        } else {
            Err(not_found())
        };
    }
    let list = environment
        .iter()
        .find_map(|variable| variable.strip_prefix("PATH="));
    let directories = list
        .unwrap_or_default()
        .split(':')
        .filter(|part| part.starts_with('/'));
    let mut candidates = directories.map(|directory| Path::new(directory).join(name));
    candidates
        .find(|path| !name.is_empty() && path.is_file())
        .ok_or_else(not_found)
}

/// Applies Landlock, then the second filter, which refuses to undo or repeat either. Returns the
/// Landlock ABI.
pub(crate) fn confine(plan: &Confinement) -> Result<u32, ConfineError> {
    let filter = second_filter(plan)?;
    let applied = landlock::restrict(&rules(&plan.landlock))?;
    // Whatever else was opened on the way.
    process::close_from(3).map_err(ConfineError::Descriptors)?;
    filter.install()?;
    Ok(applied.abi)
}

fn rules(plan: &LandlockRules) -> landlock::Rules {
    let paths = |paths: &[String]| paths.iter().map(PathBuf::from).collect();
    landlock::Rules {
        minimum_abi: plan.minimum_abi,
        read: paths(&plan.read),
        execute: paths(&plan.execute),
        write: paths(&plan.write),
        write_existing: paths(&plan.write_existing),
        bind: plan.bind.clone(),
        connect: plan.connect.clone(),
        ..landlock::Rules::default()
    }
}

fn second_filter(plan: &Confinement) -> Result<Filter, InstallFilterError> {
    let names = plan.denied_syscalls.iter().map(String::as_str);
    let mut filter = Filter::new(Action::Allow).rules(names, Action::Fail(NOT_PERMITTED));
    for operation in &plan.denied_prctl {
        let condition = Condition::equal_int(0, *operation);
        filter = filter.rule("prctl", &[condition], Action::Fail(NOT_PERMITTED))?;
    }
    Ok(filter)
}

const NOT_PERMITTED: u16 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_looked_for_in_the_plans_path_and_nowhere_else() {
        let path = ["PATH=/nowhere:/usr/bin".to_owned()];
        assert_eq!(
            search("env", "/", &path).unwrap(),
            Path::new("/usr/bin/env")
        );
        assert!(search("env", "/", &[]).is_err());
        assert!(search("", "/", &path).is_err());
    }

    #[test]
    fn a_relative_path_starts_at_the_working_directory() {
        assert_eq!(
            search("bin/env", "/usr", &[]).unwrap(),
            Path::new("/usr/bin/env")
        );
        assert!(search("./env", "/nowhere", &[]).is_err());
    }
}
