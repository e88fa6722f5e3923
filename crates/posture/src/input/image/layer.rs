//! What a layer holds, as far as a rule may want to know, and what later layers take away.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;

use super::layout::TarEntry;
use super::tar::Entries;

/// What is kept of a layer.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) files: Vec<Kept>,
    /// What it takes away from the layers below: files and folders, and folders whose content it replaces.
    pub(super) taken: Vec<String>,
    pub(super) faults: Vec<String>,
}

/// A file that can matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) path: String,
    pub(super) size: u64,
    pub(super) mode: u32,
    pub(super) owner: u64,
    pub(super) link: Option<String>,
    pub(super) head: Option<String>,
}

impl Listing {
    pub(super) fn read(source: impl Read) -> Result<Self, String> {
        let mut listing = Self::default();
        let mut heads = 0_usize;
        Entries::new(source).each(|entry, content| listing.take(entry, content, &mut heads))?;
        Ok(listing)
    }

    fn take(
        &mut self,
        entry: &TarEntry,
        content: &mut dyn Read,
        heads: &mut usize,
    ) -> Result<(), String> {
        if entry.escapes() {
            if self.faults.len() < MAX_FAULTS {
                self.faults
                    .push(format!("`{}` leads out of the image", entry.path));
            }
            return Ok(());
        }
        let (folder, name) = entry.path.rsplit_once('/').unwrap_or(("", &entry.path));
        if name == ".wh..wh..opq" {
            self.taken.push(format!("{folder}/"));
            return Ok(());
        }
        if let Some(gone) = name.strip_prefix(".wh.") {
            let inside = if folder.is_empty() {
                gone.to_owned()
            } else {
                format!("{folder}/{gone}")
            };
            self.taken.push(inside);
            return Ok(());
        }
        let looks_small = is_settings(name, &entry.path);
        if !matters(entry, name, looks_small) {
            return Ok(());
        }
        if self.files.len() >= MAX_FILES {
            if self.files.len() == MAX_FILES && self.faults.len() < MAX_FAULTS {
                let fault =
                    format!("more than {MAX_FILES} files in it matter; the rest is not shown");
                if !self.faults.contains(&fault) {
                    self.faults.push(fault);
                }
            }
            return Ok(());
        }
        let wants_head =
            looks_small && entry.is_file() && entry.size <= MAX_HEAD_OF && *heads < MAX_HEADS;
        let head = if wants_head { head(content)? } else { None };
        *heads += usize::from(head.is_some());
        self.files.push(Kept {
            path: entry.path.clone(),
            size: entry.size,
            mode: entry.mode & 0o7777,
            owner: entry.owner,
            link: entry.link.clone(),
            head,
        });
        Ok(())
    }
}

/// The first bytes of a text; none for anything else.
fn head(content: &mut dyn Read) -> Result<Option<String>, String> {
    let mut bytes = Vec::new();
    content
        .take(HEAD)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    let is_text = !bytes.contains(&0);
    Ok(is_text.then(|| String::from_utf8_lossy(&bytes).into_owned()))
}

/// Whether a rule may want to know of a file.
fn matters(entry: &TarEntry, name: &str, looks_small: bool) -> bool {
    if entry.is_symlink() {
        return in_programs(&entry.path);
    }
    if !entry.is_file() {
        return false;
    }
    let mode = entry.mode;
    let sets_id = mode & 0o6000 != 0;
    let runs = mode & 0o111 != 0;
    let world_writable = mode & 0o002 != 0 && runs;
    let package = name == "METADATA" && entry.path.contains(".dist-info/")
        || name == "PKG-INFO"
        || entry.path == "var/lib/dpkg/status"
        || entry.path == "lib/apk/db/installed"
        || entry.path.starts_with("var/lib/dpkg/status.d/")
        || entry.path.starts_with("var/lib/rpm/")
        || entry.path.starts_with("usr/lib/sysimage/rpm/");
    let bill = ["sbom", "spdx", "cyclonedx", "bom.json"]
        .iter()
        .any(|part| name.to_ascii_lowercase().contains(part));
    let repository = entry.path.ends_with(".git/config") || entry.path.ends_with(".git/HEAD");
    sets_id
        || world_writable
        || (runs && in_programs(&entry.path))
        || entry.size >= LARGE
        || package
        || bill
        || repository
        || looks_small
        || crate::model::is_model_file(name)
}

/// Whether a path is where programs are.
fn in_programs(path: &str) -> bool {
    path.rsplit_once('/')
        .is_some_and(|(folder, _)| folder.ends_with("bin"))
}

/// Whether a name is one under which settings and keys are kept.
fn is_settings(name: &str, path: &str) -> bool {
    const NAMES: &[&str] = &[
        ".env",
        ".netrc",
        "_netrc",
        ".npmrc",
        ".pypirc",
        ".git-credentials",
        ".gitconfig",
        ".pgpass",
        ".my.cnf",
        ".s3cfg",
        ".boto",
        ".htpasswd",
        ".dockercfg",
        ".bash_history",
        ".ash_history",
        ".python_history",
        "credentials",
        "credentials.json",
        "credentials.db",
        "config.json",
        "kubeconfig",
        "token",
        "stored_tokens",
        "id_rsa",
        "id_dsa",
        "id_ecdsa",
        "id_ed25519",
        "authorized_keys",
        "sshd_config",
        "pip.conf",
        "shadow",
        "passwd",
        "sudoers",
        "application_default_credentials.json",
        "service-account.json",
        "secrets.yaml",
        "secrets.yml",
        "secrets.json",
        "settings.json",
        ".ngc",
        "ngc_api_key",
        "apikey",
        "api_key",
    ];
    const ENDS: &[&str] = &[
        ".pem", ".key", ".p12", ".pfx", ".jks", ".kdbx", ".env", ".tfstate", ".ovpn", ".ppk",
    ];
    let near = |folder: &str| path.contains(folder);
    let lower = name.to_ascii_lowercase();
    // `config.json` and `config` are everywhere; beside these folders they hold keys.
    let of_client = [
        ".docker/",
        ".kube/",
        ".aws/",
        ".azure/",
        ".ngc/",
        ".huggingface/",
        ".ssh/",
        ".config/gcloud/",
    ];
    match lower.as_str() {
        "config" | "config.json" | "settings.json" | "token" => {
            of_client.iter().any(|folder| near(folder)) || near("huggingface/")
        }
        // Certificates that everybody has.
        _ if near("ssl/certs/") || near("ca-certificates/") || near("certifi/") => false,
        lower => {
            NAMES.contains(&lower)
                || lower.starts_with(".env.")
                || ENDS.iter().any(|end| lower.ends_with(end))
        }
    }
}

/// The last layer that takes something away, by what it takes.
pub(super) fn taken_away(
    layers: &[String],
    listings: &HashMap<String, Result<Listing, String>>,
) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for (number, layer) in layers.iter().enumerate() {
        if let Some(Ok(listing)) = listings.get(layer) {
            found.extend(listing.taken.iter().map(|path| (path.clone(), number)));
        }
    }
    found
}

/// Whether a layer above `layer` takes a file away, by itself or with a folder it is in.
pub(super) fn is_taken_away(taken: &BTreeMap<String, usize>, path: &str, layer: usize) -> bool {
    let later = |path: &str| taken.get(path).is_some_and(|number| *number > layer);
    later(path)
        || later("/")
        || path.match_indices('/').any(|(at, _)| {
            let folder = path.get(..at).unwrap_or("");
            later(folder) || later(&format!("{folder}/"))
        })
}

const MAX_FILES: usize = 20_000;
const MAX_FAULTS: usize = 16;
const MAX_HEADS: usize = 1_000;
const MAX_HEAD_OF: u64 = 256 * 1024;
const HEAD: u64 = 4096;
const LARGE: u64 = 10 * 1024 * 1024;
