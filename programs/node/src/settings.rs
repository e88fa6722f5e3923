//! What the daemon was told at its start. The only place that reads arguments and the environment.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use casemate_sandbox::runtime::Floor;
use clap::{Parser, Subcommand, ValueEnum};

/// Owns the stages of this host: attests, releases keys, launches, supervises, records.
#[derive(Debug, Parser)]
#[command(name = "casemated", version, about)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    /// Keys, receipts, events and unpacked images; survives a reboot.
    #[arg(long, default_value = "/var/lib/casemate", env = "CASEMATE_STATE")]
    state: PathBuf,

    /// Sockets, mounts and logs of what runs now.
    #[arg(long, default_value = "/run/casemate", env = "CASEMATE_RUN")]
    run: PathBuf,

    /// Members of this group may use the API beside root.
    #[arg(long)]
    group: Option<String>,

    /// Where the other programs are; the directory of this one when absent.
    #[arg(long)]
    bin: Option<PathBuf>,

    /// Where the issuer listens for logins and ticket requests.
    #[arg(long, default_value = "127.0.0.1:8444")]
    issuer_listen: SocketAddr,

    /// The URL that clients are told for the issuer; made from the address when absent.
    #[arg(long)]
    issuer_url: Option<String>,

    /// How long a stage's certificate is good for; renewed at half of it.
    #[arg(long, default_value_t = 3600, value_parser = clap::value_parser!(u64).range(4..=86_400))]
    stage_certificate_secs: u64,

    /// How long a stage may take until its server answers.
    #[arg(long, default_value_t = 180, value_parser = clap::value_parser!(u64).range(1..=3600))]
    warm_timeout_secs: u64,

    /// The OCI runtime's program; runc in the system's directories when absent.
    #[arg(long)]
    runtime: Option<PathBuf>,

    /// Uses a runtime below the floor, out of which a stage can break; every receipt of a launch says so.
    #[arg(long)]
    danger_old_runtime: bool,

    /// How the daemon's own log is written.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log: LogFormat,
}

#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum Command {
    /// Prints the API's description (OpenAPI 3.1, JSON) and ends.
    Openapi,
}

/// How the daemon's own log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// What the daemon works with, checked.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) state: PathBuf,
    pub(crate) run: PathBuf,
    pub(crate) group: Option<String>,
    pub(crate) bin: PathBuf,
    pub(crate) issuer_listen: SocketAddr,
    pub(crate) issuer_url: Option<String>,
    pub(crate) stage_certificate: Duration,
    pub(crate) warm_timeout: Duration,
    pub(crate) runtime: Option<PathBuf>,
    pub(crate) floor: Floor,
    pub(crate) log: LogFormat,
}

/// Why the arguments make no settings.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadSettingsError {
    #[error("`--{argument} {path}` must be an absolute path")]
    Relative {
        argument: &'static str,
        path: PathBuf,
    },
    #[error("cannot find out where this program is, and no --bin was given")]
    OwnPath(#[source] std::io::Error),
}

impl TryFrom<Arguments> for Settings {
    type Error = ReadSettingsError;

    fn try_from(arguments: Arguments) -> Result<Self, Self::Error> {
        let bin = match arguments.bin {
            Some(bin) => bin,
            None => {
                let own = std::env::current_exe().map_err(ReadSettingsError::OwnPath)?;
                own.parent().unwrap_or(Path::new("/")).to_owned()
            }
        };
        let (state, bin) = (absolute("state", arguments.state)?, absolute("bin", bin)?);
        Ok(Self {
            state,
            run: absolute("run", arguments.run)?,
            group: arguments.group,
            bin,
            issuer_listen: arguments.issuer_listen,
            issuer_url: arguments.issuer_url,
            stage_certificate: Duration::from_secs(arguments.stage_certificate_secs),
            warm_timeout: Duration::from_secs(arguments.warm_timeout_secs),
            runtime: arguments.runtime,
            floor: if arguments.danger_old_runtime {
                Floor::Waived
            } else {
                Floor::Kept
            },
            log: arguments.log,
        })
    }
}

impl Settings {
    /// The API's socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.run.join("casemated.sock")
    }

    /// The directory of one kind of thing that lives as long as what runs.
    pub(crate) fn run_dir(&self, kind: &str) -> PathBuf {
        self.run.join(kind)
    }

    /// Where nothing that an enclosure names may lie.
    pub(crate) fn own_directories(&self) -> [&Path; 2] {
        [&self.state, &self.run]
    }

    /// One of our other programs.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }
}

fn absolute(argument: &'static str, path: PathBuf) -> Result<PathBuf, ReadSettingsError> {
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(ReadSettingsError::Relative { argument, path })
    }
}
