//! What the issuer is started with: descriptors by number, settings from the first of them.

use std::fs::File;
use std::io::{self, Read as _};
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};

use casemate_api::issuer::{CONTROL_FD, Revocation, SETTINGS_FD, Settings, Startup};
use casemate_linux::inherit;
use zeroize::Zeroizing;

/// Why the issuer cannot start with what it was given.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// A descriptor is missing or not what it should be.
    #[error("descriptor {number} ({purpose}) cannot be used")]
    Descriptor {
        /// Its number.
        number: i32,
        /// What it should be.
        purpose: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The settings are too long.
    #[error("the settings are longer than {MAX_SETTINGS_BYTES} bytes")]
    TooLong,
    /// The settings cannot be read. The cause names a place, never a value.
    #[error("the settings are malformed at line {line}, column {column}")]
    Malformed {
        /// Where.
        line: usize,
        /// Where.
        column: usize,
    },
}

/// Everything inherited from the daemon.
#[derive(Debug)]
pub struct Inherited {
    /// Keys, lifetimes, bounds and policies.
    pub settings: Settings,
    /// What was revoked before.
    pub revocations: Vec<Revocation>,
    /// The channel to the daemon.
    pub control: UnixStream,
    /// Where people and their tools connect.
    pub tcp: TcpListener,
    /// Where gates connect.
    pub mesh: UnixListener,
    /// Roots for calling identity providers, read before the file system is given up.
    pub roots_pem: String,
}

impl Inherited {
    /// Takes over the descriptors and reads the settings.
    ///
    /// # Errors
    /// When one is missing, or the settings cannot be read.
    pub fn take() -> Result<Self, TakeError> {
        let take = |number, purpose| {
            inherit::take(number).map_err(|source| TakeError::Descriptor {
                number,
                purpose,
                source,
            })
        };
        let failed = |number, purpose| {
            move |source| TakeError::Descriptor {
                number,
                purpose,
                source,
            }
        };
        let file = File::from(take(SETTINGS_FD, "settings")?);
        let mut text = Zeroizing::new(Vec::with_capacity(READ_AHEAD));
        file.take(MAX_SETTINGS_BYTES + 1)
            .read_to_end(&mut text)
            .map_err(failed(SETTINGS_FD, "settings"))?;
        if u64::try_from(text.len()).is_ok_and(|length| length > MAX_SETTINGS_BYTES) {
            return Err(TakeError::TooLong);
        }
        // serde's message can quote a value, and these hold private keys: keep the place only.
        let Startup {
            settings,
            revocations,
        } = read(&text).map_err(|error| TakeError::Malformed {
            line: error.line(),
            column: error.column(),
        })?;
        let control = UnixStream::from(take(CONTROL_FD, "control")?);
        let tcp = TcpListener::from(take(settings.tcp_fd, "TCP listener")?);
        let mesh = UnixListener::from(take(settings.mesh_fd, "Unix listener")?);
        control
            .set_nonblocking(true)
            .map_err(failed(CONTROL_FD, "control"))?;
        tcp.set_nonblocking(true)
            .map_err(failed(settings.tcp_fd, "TCP listener"))?;
        mesh.set_nonblocking(true)
            .map_err(failed(settings.mesh_fd, "Unix listener"))?;
        let roots_pem = settings
            .provider_roots_pem
            .clone()
            .unwrap_or_else(system_roots);
        Ok(Self {
            settings,
            revocations,
            control,
            tcp,
            mesh,
            roots_pem,
        })
    }
}

/// Settings with revocations, or settings alone: the first member tells, before any key is copied.
fn read(text: &[u8]) -> serde_json::Result<Startup> {
    match serde_json::from_slice(text) {
        Ok(settings) => Ok(Startup {
            settings,
            revocations: Vec::new(),
        }),
        Err(_) => serde_json::from_slice(text),
    }
}

/// The distribution's roots; empty when it has none, and then https providers cannot be reached.
fn system_roots() -> String {
    SYSTEM_ROOTS
        .iter()
        .find_map(|path| {
            std::fs::read_to_string(path)
                .ok()
                .filter(|text| !text.is_empty())
        })
        .unwrap_or_default()
}

/// Debian and its kin, Red Hat and its kin, SUSE, Alpine.
const SYSTEM_ROOTS: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
const MAX_SETTINGS_BYTES: u64 = 16 * 1024 * 1024;
/// Room from the start, so that growing leaves no unwiped copy of usual settings behind.
const READ_AHEAD: usize = 256 * 1024;
