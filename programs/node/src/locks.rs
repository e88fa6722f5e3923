//! One daemon on a host, and one on a state directory.
//!
//! The numeric users of the stages and the names of their control groups are the host's: a second daemon
//! would run its stages as the users of the first one's. And two daemons on one state directory would sign
//! two chains. The kernel gives the locks up with the process, however it ends.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;

/// Why a lock was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TakeLockError {
    #[error(
        "another casemated ({holder}) runs on this host, and two would give their stages the same users; use that one, or stop it first (lock: `{path}`)"
    )]
    OnHost { holder: String, path: PathBuf },
    #[error(
        "another casemated ({holder}) uses the state directory `{path}`; give this one another --state"
    )]
    OnState { holder: String, path: PathBuf },
    #[error("cannot lock `{path}`")]
    File { path: PathBuf, source: io::Error },
}

/// That no other daemon runs on this host; `run` is told to whoever comes next.
pub(crate) fn host(run: &Path) -> Result<File, TakeLockError> {
    take(Path::new(HOST), run, |holder, path| TakeLockError::OnHost {
        holder,
        path,
    })
}

/// That no other daemon uses this state directory.
pub(crate) fn state(state: &Path) -> Result<File, TakeLockError> {
    take(&state.join("lock"), state, |holder, _| {
        TakeLockError::OnState {
            holder,
            path: state.to_owned(),
        }
    })
}

fn take(
    path: &Path,
    about: &Path,
    taken: impl FnOnce(String, PathBuf) -> TakeLockError,
) -> Result<File, TakeLockError> {
    let failed = |source| TakeLockError::File {
        path: path.to_owned(),
        source,
    };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
        .map_err(failed)?;
    let began = Instant::now();
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => break,
            // A daemon that was killed this moment may have left a child that has not yet let go.
            Err(rustix::io::Errno::WOULDBLOCK) if began.elapsed() < PATIENCE => {
                std::thread::sleep(PATIENCE / 20);
            }
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                // What it wrote is for people; a lock without it is held all the same.
                drop((&file).take(LONGEST).read_to_string(&mut holder));
                let holder = match holder.trim() {
                    "" => "it does not say which".to_owned(),
                    text => text.to_owned(),
                };
                return Err(taken(holder, path.to_owned()));
            }
            Err(error) => return Err(failed(error.into())),
        }
    }
    let text = format!("process {}, {}\n", std::process::id(), about.display());
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| file.write_all(text.as_bytes()))
        .map_err(failed)?;
    Ok(file)
}

/// Below a directory in which only root makes files, and the same for every daemon whatever its settings.
const HOST: &str = "/run/casemated.lock";
const PATIENCE: Duration = Duration::from_secs(1);
const LONGEST: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_daemon_on_a_state_directory_is_told_who_has_it_and_a_third_one_takes_over() {
        let name = format!("casemated-lock-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        let first = state(&directory).unwrap();
        let refused = state(&directory).unwrap_err().to_string();
        let own = format!("process {}", std::process::id());
        assert!(
            refused.contains(&own) && refused.contains("--state"),
            "{refused}"
        );
        drop(first);
        state(&directory).unwrap();
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
