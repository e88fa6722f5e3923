//! Reads what the gate is started with: the settings on descriptor 3, the sockets beside it.

use std::fs::File;
use std::io::{self, Read as _};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};

use casemate_api::gate::{CONTROL_FD, ListenerKind, SETTINGS_FD, Settings};
use casemate_linux::inherit;

/// The longest settings document, in bytes.
pub const MAX_SETTINGS: u64 = 4 * 1024 * 1024;

/// Why the gate could not start with what it was given.
#[derive(Debug, thiserror::Error)]
pub enum ReadSettingsError {
    /// A descriptor is missing or cannot be used.
    #[error("cannot use descriptor {number}, the {what}")]
    Descriptor {
        /// Its number.
        number: i32,
        /// What it should be.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The document is longer than [`MAX_SETTINGS`].
    #[error("the settings are longer than {MAX_SETTINGS} bytes")]
    TooLong,
    /// The document is not the one that this program knows.
    #[error("the settings cannot be understood")]
    Form(#[source] serde_json::Error),
}

/// A listening socket, and who is expected there.
#[derive(Debug)]
pub enum Door {
    /// Clients with tickets.
    Exposed(TcpListener),
    /// Gates of other stages.
    Mesh(UnixListener),
}

/// Everything that the gate was given.
#[derive(Debug)]
pub struct Given {
    /// The settings.
    pub settings: Settings,
    /// The channel to the daemon.
    pub control: UnixStream,
    /// The listening sockets.
    pub doors: Vec<Door>,
}

/// Takes over the descriptors and reads the settings.
///
/// # Errors
/// See [`ReadSettingsError`].
pub fn read() -> Result<Given, ReadSettingsError> {
    let mut text = Vec::new();
    let read = File::from(take(SETTINGS_FD, "settings")?)
        .take(MAX_SETTINGS + 1)
        .read_to_end(&mut text);
    read.map_err(|source| ReadSettingsError::Descriptor {
        number: SETTINGS_FD,
        what: "settings",
        source,
    })?;
    if text.len() as u64 > MAX_SETTINGS {
        return Err(ReadSettingsError::TooLong);
    }
    let settings: Settings = serde_json::from_slice(&text).map_err(ReadSettingsError::Form)?;
    let control = UnixStream::from(take(CONTROL_FD, "control channel")?);
    let mut doors = Vec::with_capacity(settings.listeners.len());
    for listener in &settings.listeners {
        doors.push(match listener.kind {
            ListenerKind::Exposed => {
                let door = TcpListener::from(take(listener.fd, "exposed listener")?);
                nonblocking(listener.fd, "exposed listener", door.set_nonblocking(true))?;
                Door::Exposed(door)
            }
            ListenerKind::Mesh => {
                let door = UnixListener::from(take(listener.fd, "mesh listener")?);
                nonblocking(listener.fd, "mesh listener", door.set_nonblocking(true))?;
                Door::Mesh(door)
            }
        });
    }
    nonblocking(CONTROL_FD, "control channel", control.set_nonblocking(true))?;
    Ok(Given {
        settings,
        control,
        doors,
    })
}

fn take(number: i32, what: &'static str) -> Result<OwnedFd, ReadSettingsError> {
    inherit::take(number).map_err(|source| ReadSettingsError::Descriptor {
        number,
        what,
        source,
    })
}

fn nonblocking(
    number: i32,
    what: &'static str,
    done: io::Result<()>,
) -> Result<(), ReadSettingsError> {
    done.map_err(|source| ReadSettingsError::Descriptor {
        number,
        what,
        source,
    })
}
