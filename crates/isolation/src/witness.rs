//! Watches from outside: listeners, files, memory and objects that nobody in a sandbox may reach.
//!
//! The witness is started by the launcher, in the namespaces of the thread that starts it. What arrives
//! here with the order's token came from the probed sandbox, whatever the prober says; what arrives
//! without it is a stranger's and is counted apart. Everything goes away when the value is dropped.

mod listen;

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use casemate_core::finding::{
    Canaries, CanaryFile, CanaryProcess, Endpoint, EndpointKind, sha256_hex,
};
use casemate_linux::raw::hold::{HeldMemory, HeldQueue, HeldSegment};

use listen::{Listeners, Watch};

/// Where a witness stands.
#[derive(Clone, Debug)]
pub struct WitnessSettings {
    /// An existing directory of the host for the canary file and socket; no stage may see it.
    pub directory: PathBuf,
    /// Addresses of the host to listen on; ports are chosen by the kernel.
    pub addresses: Vec<IpAddr>,
    /// Addresses that a stage must have no route to.
    pub lookups: Vec<IpAddr>,
    /// The launcher's own paths, which a stage must not see.
    pub hidden_paths: Vec<String>,
}

impl WitnessSettings {
    /// Loopback only, and the usual metadata addresses for questions about routes.
    #[must_use]
    pub fn in_directory(directory: PathBuf) -> Self {
        Self {
            directory,
            addresses: vec![
                IpAddr::V4(Ipv4Addr::LOCALHOST),
                IpAddr::V6(Ipv6Addr::LOCALHOST),
            ],
            lookups: METADATA
                .iter()
                .filter_map(|text| text.parse().ok())
                .collect(),
            hidden_paths: Vec::new(),
        }
    }
}

/// Metadata services of clouds and container engines.
const METADATA: &[&str] = &[
    "169.254.169.254",
    "169.254.170.2",
    "169.254.170.23",
    "100.100.100.200",
    "100.96.0.96",
    "fd00:ec2::254",
    "172.17.0.1",
];

/// Why a witness could not be set up. A probe without a witness is not worth much, so this is not ignored.
#[derive(Debug, thiserror::Error)]
pub enum StartWitnessError {
    /// A listener could not be made.
    #[error("cannot listen on {address} for {check}")]
    Listen {
        /// The check that would use it.
        check: &'static str,
        /// Where.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// The canary file could not be written.
    #[error("cannot write the canary file `{path}`")]
    WriteFile {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A canary that others could share by accident could not be made, though the host has such objects.
    #[error(
        "cannot make the canary {what}; `ipcs` and the files of an mqueue mount show who holds how many"
    )]
    MakeShared {
        /// A segment or a queue.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The canary process could not be started.
    #[error("cannot start the canary process")]
    StartProcess(#[source] io::Error),
    /// The watching thread could not be started.
    #[error("cannot start the watching thread")]
    StartThread(#[source] io::Error),
}

/// A running witness.
#[derive(Debug)]
pub struct Witness {
    canaries: Canaries,
    watch: Watch,
    file: PathBuf,
    socket: PathBuf,
    _memory: HeldMemory,
    _segment: Option<HeldSegment>,
    _queue: Option<HeldQueue>,
}

/// Which listeners each check gets: TCP over 4, TCP over 6, UDP over 4, UDP over 6.
const LISTENERS: &[(&str, EndpointKind, IpVersion)] = &[
    ("EG-01", EndpointKind::Tcp, IpVersion::Four),
    ("EG-02", EndpointKind::Tcp, IpVersion::Six),
    ("EG-03", EndpointKind::Udp, IpVersion::Four),
    ("EG-03", EndpointKind::Udp, IpVersion::Six),
    ("EG-08", EndpointKind::Tcp, IpVersion::Four),
    ("EG-12", EndpointKind::Udp, IpVersion::Four),
    ("EG-32", EndpointKind::Tcp, IpVersion::Four),
    ("LA-01", EndpointKind::Tcp, IpVersion::Four),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IpVersion {
    Four,
    Six,
}

impl Witness {
    /// Sets everything up in the calling thread's namespaces. `seed` is 32 fresh random bytes.
    ///
    /// # Errors
    /// When a canary that a check needs cannot be made; IPv6, System V and message queue canaries are left
    /// out where the host has none of these.
    pub fn start(settings: &WitnessSettings, seed: &[u8; 32]) -> Result<Self, StartWitnessError> {
        let derive = |purpose: &str| sha256_hex(&[seed.as_slice(), purpose.as_bytes()].concat());
        let token: String = derive("token").chars().take(32).collect();
        let short: String = token.chars().take(12).collect();
        let mut listeners = Listeners::new(token.clone());
        let mut endpoints = Vec::new();
        for &(check, kind, version) in LISTENERS {
            for address in settings
                .addresses
                .iter()
                .filter(|address| address.is_ipv4() == (version == IpVersion::Four))
            {
                match listeners.network(check, kind, *address) {
                    Ok(at) => endpoints.push(Endpoint {
                        check: check.to_owned(),
                        kind,
                        address: at.to_string(),
                    }),
                    Err(error) if version == IpVersion::Six && lacks_six(&error) => {}
                    Err(source) => {
                        return Err(StartWitnessError::Listen {
                            check,
                            address: address.to_string(),
                            source,
                        });
                    }
                }
            }
        }
        let socket = settings.directory.join(format!("canary-{short}.sock"));
        listeners
            .unix_path("LA-02", &socket)
            .map_err(|source| StartWitnessError::Listen {
                check: "LA-02",
                address: socket.display().to_string(),
                source,
            })?;
        endpoints.push(Endpoint {
            check: "LA-02".to_owned(),
            kind: EndpointKind::UnixPath,
            address: socket.display().to_string(),
        });
        for (kind, name) in [
            (
                EndpointKind::AbstractStream,
                format!("casemate-canary-s-{short}"),
            ),
            (
                EndpointKind::AbstractDatagram,
                format!("casemate-canary-d-{short}"),
            ),
        ] {
            listeners
                .abstract_name("EG-21", kind, &name)
                .map_err(|source| StartWitnessError::Listen {
                    check: "EG-21",
                    address: name.clone(),
                    source,
                })?;
            endpoints.push(Endpoint {
                check: "EG-21".to_owned(),
                kind,
                address: name,
            });
        }
        let file = settings.directory.join(format!("canary-{short}"));
        let content = derive("file");
        write_file(&file, content.as_bytes()).map_err(|source| StartWitnessError::WriteFile {
            path: file.clone(),
            source,
        })?;
        let secret = derive("memory");
        let name = format!("cm-{short}");
        let key = i32::from_str_radix(&derive("segment").chars().take(7).collect::<String>(), 16)
            .unwrap_or(1);
        let segment = where_supported("shared memory segment", HeldSegment::make(key))?;
        let queue = HeldQueue::make(&format!("/casemate-canary-{short}"));
        let queue = where_supported("message queue", queue)?;
        let memory = HeldMemory::start(&name, secret.as_bytes(), segment.as_ref(), queue.as_ref())
            .map_err(StartWitnessError::StartProcess)?;
        let canaries = Canaries {
            token,
            endpoints,
            files: vec![CanaryFile {
                path: file.display().to_string(),
                sha256: sha256_hex(content.as_bytes()),
            }],
            process: Some(CanaryProcess {
                pid: memory.pid(),
                name,
                address: memory.address(),
                length: u64::try_from(memory.length()).unwrap_or(0),
                sha256: sha256_hex(secret.as_bytes()),
            }),
            shared_memory_key: segment.as_ref().map(HeldSegment::key),
            message_queue: queue.as_ref().map(HeldQueue::name),
            lookups: settings.lookups.clone(),
            hidden_paths: settings.hidden_paths.clone(),
        };
        let watch = listeners.watch().map_err(StartWitnessError::StartThread)?;
        Ok(Self {
            canaries,
            watch,
            file,
            socket,
            _memory: memory,
            _segment: segment,
            _queue: queue,
        })
    }

    /// What the order may name as targets.
    #[must_use]
    pub const fn canaries(&self) -> &Canaries {
        &self.canaries
    }

    /// How often something with the token arrived at the listeners of `check`.
    #[must_use]
    pub fn arrivals(&self, check: &str) -> u64 {
        self.watch.arrivals(check)
    }

    /// How often something without the token arrived: somebody else on this host.
    #[must_use]
    pub fn strangers(&self) -> u64 {
        self.watch.strangers()
    }

    /// All arrivals by check, for the evidence.
    #[must_use]
    pub fn all_arrivals(&self) -> std::collections::BTreeMap<String, u64> {
        self.watch.all()
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.watch.stop();
        // A file that is gone already is as good.
        drop(fs::remove_file(&self.file));
        drop(fs::remove_file(&self.socket));
    }
}

/// `None` where the kernel was built without such objects.
fn where_supported<T>(
    what: &'static str,
    made: io::Result<T>,
) -> Result<Option<T>, StartWitnessError> {
    match made {
        Ok(made) => Ok(Some(made)),
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => Ok(None),
        Err(source) => Err(StartWitnessError::MakeShared { what, source }),
    }
}

fn lacks_six(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported
    ) || error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}

fn write_file(path: &std::path::Path, content: &[u8]) -> io::Result<()> {
    fs::write(path, content)?;
    // Readable for everybody: that a stage cannot read it must not rest on its mode.
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))
}

/// What the prober sends, so that the witness knows it.
pub(crate) fn greeting(token: &str, check: &str) -> Vec<u8> {
    format!("{GREETING}{token} {check}\n").into_bytes()
}

/// Whether `answer` is what the witness answers to `sent`.
pub(crate) fn is_answer(answer: &[u8], sent: &[u8]) -> bool {
    let token = find(sent, GREETING.as_bytes())
        .and_then(|at| sent.get(at + GREETING.len()..))
        .and_then(|rest| rest.split(|byte| *byte == b' ').next());
    token.is_some_and(|token| {
        !token.is_empty() && find(answer, &[ANSWER.as_bytes(), token].concat()).is_some()
    })
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

const GREETING: &str = "casemate-canary ";
const ANSWER: &str = "casemate-witness ";

#[cfg(test)]
mod tests;
