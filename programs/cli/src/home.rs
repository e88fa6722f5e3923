//! The files of a person: the login and the tickets. Only their owner can read them, and a file is
//! either the old one or the new one, never half of it.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use casemate_core::name::{ModelVersion, Name};
use casemate_core::spiffe::{SpiffeId, TrustDomain};
use casemate_core::time::UnixTime;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, ZeroizeOnDrop, Zeroizing};

use crate::exit::{Exit, Failure};

/// The directory with a person's files.
#[derive(Clone, Debug)]
pub(crate) struct Home {
    directory: PathBuf,
}

/// A text that is a key or a token: wiped when dropped, never printed.
#[derive(Clone, Serialize, Deserialize, ZeroizeOnDrop)]
#[serde(transparent)]
pub(crate) struct SecretText(String);

impl SecretText {
    pub(crate) const fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself. Hand it to the connection that needs it and nowhere else.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretText(redacted)")
    }
}

/// What a login left: an identity, its key, and the token it came from.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Login {
    /// Who the certificate names.
    pub(crate) spiffe_id: SpiffeId,
    /// The realm it was given in.
    pub(crate) trust_domain: TrustDomain,
    /// Where it was given.
    pub(crate) issuer_url: String,
    /// Who vouches for others there.
    pub(crate) bundle_pem: String,
    /// The certificate, leaf first.
    pub(crate) chain_pem: String,
    /// Its private key.
    pub(crate) key_pem: SecretText,
    /// The corporate token, which the exchange for tickets presents again.
    pub(crate) id_token: SecretText,
    /// The groups that the login gave.
    pub(crate) groups: Vec<String>,
    /// Refused from this second on.
    pub(crate) expires: UnixTime,
}

/// A ticket that was saved.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct SavedTicket {
    /// The stage that accepts it.
    pub(crate) stage_id: SpiffeId,
    /// The ticket itself.
    pub(crate) ticket: SecretText,
    /// Refused from this second on.
    pub(crate) expires: UnixTime,
    /// The models it was asked for.
    pub(crate) models: Vec<ModelVersion>,
}

impl Home {
    /// The directory that was named, or the usual one.
    pub(crate) fn new(named: Option<PathBuf>) -> Result<Self, Failure> {
        let usual = || {
            let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
            set("XDG_CONFIG_HOME")
                .map(PathBuf::from)
                .or_else(|| set("HOME").map(|home| Path::new(&home).join(".config")))
                .map(|config| config.join("casemate"))
        };
        let directory = named.or_else(usual).ok_or_else(|| {
            Failure::usage("there is no home directory")
                .fix("name one with --home or CASEMATE_HOME")
        })?;
        Ok(Self { directory })
    }

    /// The login, which must be there and not have expired.
    pub(crate) fn login(&self, now: UnixTime) -> Result<Login, Failure> {
        let login: Login = self.read(&self.path(LOGIN))?.ok_or_else(|| {
            Failure::found("you are not logged in").fix("casemate login --token-file FILE")
        })?;
        if login.expires <= now {
            let message = format!("your login ended at {}", login.expires);
            return Err(Failure::found(message).fix("casemate login --token-file FILE"));
        }
        Ok(login)
    }

    /// Keeps a login in place of the one before; its tickets belong to the old key and go.
    pub(crate) fn keep_login(&self, login: &Login) -> Result<PathBuf, Failure> {
        let tickets = self.path(TICKETS);
        match fs::remove_dir_all(&tickets) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(cannot("remove", &tickets, &error));
            }
            Ok(()) | Err(_) => {}
        }
        self.write(&self.path(LOGIN), login)
    }

    /// The saved ticket to `stage`, whether or not it has expired.
    pub(crate) fn ticket(&self, stage: &SpiffeId) -> Result<Option<SavedTicket>, Failure> {
        let Some(path) = self.ticket_path(stage) else {
            return Ok(None);
        };
        let saved: Option<SavedTicket> = self.read(&path)?;
        Ok(saved.filter(|saved| saved.stage_id == *stage))
    }

    /// The stages called `name` that a ticket was saved for.
    pub(crate) fn ticketed(&self, name: &Name) -> Vec<SpiffeId> {
        self.tickets_in(&format!(".{name}.json"))
            .into_iter()
            .map(|saved| saved.stage_id)
            .collect()
    }

    /// Every saved ticket, by enclosure and stage.
    pub(crate) fn tickets(&self) -> Vec<SavedTicket> {
        let mut saved = self.tickets_in(".json");
        saved.sort_by_key(|ticket| ticket.stage_id.to_string());
        saved
    }

    /// The saved tickets in files whose names end so.
    fn tickets_in(&self, end: &str) -> Vec<SavedTicket> {
        let Ok(entries) = fs::read_dir(self.path(TICKETS)) else {
            return Vec::new();
        };
        let ours = |path: &PathBuf| path.to_str().is_some_and(|path| path.ends_with(end));
        entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(ours)
            .filter_map(|path| self.read::<SavedTicket>(&path).ok().flatten())
            .collect()
    }

    /// Keeps a ticket in place of the one before to the same stage.
    pub(crate) fn keep_ticket(&self, ticket: &SavedTicket) -> Result<PathBuf, Failure> {
        let path = self
            .ticket_path(&ticket.stage_id)
            .ok_or_else(|| Failure::usage(format!("`{}` is not a stage", ticket.stage_id)))?;
        self.write(&path, ticket)
    }

    /// What was kept under `name`, such as the head of a chain.
    pub(crate) fn kept<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Failure> {
        self.read(&self.path(name))
    }

    /// Keeps `value` under `name`.
    pub(crate) fn keep(&self, name: &str, value: &impl Serialize) -> Result<PathBuf, Failure> {
        self.write(&self.path(name), value)
    }

    fn ticket_path(&self, stage: &SpiffeId) -> Option<PathBuf> {
        let (enclosure, stage) = stage.as_stage()?;
        Some(self.path(TICKETS).join(format!("{enclosure}.{stage}.json")))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn read<T: DeserializeOwned>(&self, path: &Path) -> Result<Option<T>, Failure> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(cannot("read", path, &error)),
        };
        let metadata = file
            .metadata()
            .map_err(|error| cannot("read", path, &error))?;
        if metadata.mode() & 0o077 != 0 {
            let message = format!("`{}` can be read by others than you", path.display());
            let fix = format!(
                "chmod 600 {} and log in again, as its key may be known",
                path.display()
            );
            return Err(Failure::found(message).fix(fix));
        }
        let mut text = Zeroizing::new(String::new());
        file.take(MAX_FILE)
            .read_to_string(&mut text)
            .map_err(|error| cannot("read", path, &error))?;
        serde_json::from_str(&text).map(Some).map_err(|error| {
            Failure::of(Exit::Ours, &error)
                .because(&error)
                .fix(format!("remove `{}` and log in again", path.display()))
        })
    }

    fn write(&self, path: &Path, value: &impl Serialize) -> Result<PathBuf, Failure> {
        let mut text = serde_json::to_vec_pretty(value)
            .map_err(|error| Failure::ours("cannot write a file of yours", error))?;
        let written = write_private(path, &text);
        text.zeroize();
        written.map_err(|error| cannot("write", path, &error))?;
        Ok(path.to_owned())
    }
}

/// Writes a file that only its owner can read, all of it or nothing.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let directory = parent.unwrap_or(Path::new("."));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let staging = directory.join(format!(".{name}.{}", std::process::id()));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&staging)
        .and_then(|mut file| {
            // The mask of the process may only take away, but an odd file system may add.
            file.set_permissions(fs::Permissions::from_mode(0o600))?;
            file.write_all(bytes)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&staging, path));
    if written.is_err() {
        // What is left is ours and incomplete; that it is there at all is the error reported.
        _ = fs::remove_file(&staging);
    }
    written
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> Failure {
    let exit = match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::NotADirectory => Exit::Usage,
        _ => Exit::Ours,
    };
    Failure::new(exit, format!("cannot {what} `{}`", path.display())).because(error)
}

const LOGIN: &str = "login.json";
const TICKETS: &str = "tickets";
const MAX_FILE: u64 = 1024 * 1024;

#[cfg(test)]
mod tests;
