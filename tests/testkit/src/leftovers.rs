//! What an enclosure would leave behind if it were careless: found by looking at the host, not by
//! asking the daemon.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::Programs;

/// What was on the host at one moment, of the kinds that a stage makes.
#[derive(Clone, Debug, Default)]
pub struct Snapshot(BTreeSet<String>);

impl Snapshot {
    /// Looks at processes in our identity ranges, mounts, named network namespaces, cgroups,
    /// listening ports and runc's containers.
    #[must_use]
    pub fn take() -> Self {
        let mut seen = BTreeSet::new();
        processes(&mut seen);
        for line in read("/proc/self/mountinfo").lines() {
            if let Some(at) = line.split(' ').nth(4) {
                seen.insert(format!("mount {at}"));
            }
        }
        for line in read("/proc/net/tcp")
            .lines()
            .chain(read("/proc/net/tcp6").lines())
        {
            let mut fields = line.split_whitespace().skip(1);
            if let (Some(local), _, Some("0A")) = (fields.next(), fields.next(), fields.next()) {
                let port = local.rsplit(':').next().unwrap_or_default();
                let port = u16::from_str_radix(port, 16).unwrap_or_default();
                seen.insert(format!("listening port {port}"));
            }
        }
        below(Path::new("/sys/fs/cgroup"), 5, &mut |path| {
            seen.insert(format!("cgroup {}", path.display()));
        });
        Self(seen)
    }

    /// What is there now and was not there in `before`, of what Casemate makes. `directory` is the
    /// enclosure's own: its mounts count wherever they show; other people's mounts do not.
    #[must_use]
    pub fn leftovers(before: &Self, directory: &Path, ports: &[u16]) -> Vec<String> {
        let now = Self::take();
        let ours = directory.display().to_string();
        now.0
            .difference(&before.0)
            .filter(|thing| match thing.split_once(' ') {
                Some(("process", _)) => true,
                Some(("mount", at)) => at.starts_with(&ours) || at.contains("casemate"),
                Some(("cgroup", path)) => path.contains("casemate"),
                Some(("listening", port)) => {
                    ports.iter().any(|ours| port == format!("port {ours}"))
                }
                _ => false,
            })
            .cloned()
            .collect()
    }
}

/// Files below `directory` that hold a model's plaintext: those that start with GGUF's magic, and
/// those in which `needle` (a piece of the model) occurs.
///
/// # Errors
/// When the directory cannot be read.
pub fn plaintext_files(directory: &Path, needle: &[u8]) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                pending.push(entry.path());
            } else if kind.is_file() && holds_plaintext(&entry.path(), needle)? {
                found.push(entry.path());
            }
        }
    }
    Ok(found)
}

fn holds_plaintext(path: &Path, needle: &[u8]) -> anyhow::Result<bool> {
    let mut file = fs::File::open(path)?;
    let mut window = vec![0; 1 << 20];
    let mut held = Vec::new();
    let mut first = true;
    loop {
        let read = file.read(&mut window)?;
        let piece = window.get(..read).unwrap_or_default();
        if read == 0 {
            return Ok(false);
        }
        if first && piece.starts_with(b"GGUF") {
            return Ok(true);
        }
        first = false;
        held.extend_from_slice(piece);
        if !needle.is_empty() && held.windows(needle.len()).any(|part| part == needle) {
            return Ok(true);
        }
        let keep = held.len().saturating_sub(needle.len());
        held.drain(..keep);
    }
}

fn processes(seen: &mut BTreeSet<String>) {
    let Ok(entries) = fs::read_dir("/proc") else {
        return;
    };
    let programs = Programs::locate()
        .ok()
        .map(|programs| programs.directory().to_owned());
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let numeric = name.bytes().all(|byte| byte.is_ascii_digit());
        let Ok(uid) = entry.metadata().map(|metadata| metadata.uid()) else {
            continue;
        };
        let command = read(&format!("/proc/{name}/comm")).trim().to_owned();
        let program = fs::read_link(format!("/proc/{name}/exe")).unwrap_or_default();
        let ours = programs
            .as_ref()
            .is_some_and(|directory| program.starts_with(directory));
        // One that has ended and waits to be reaped by whoever adopted it holds nothing any more.
        let ended = read(&format!("/proc/{name}/status")).contains("State:\tZ");
        if numeric && !ended && (OUR_IDENTITIES.contains(&uid) || ours) {
            seen.insert(format!("process {name} {command} of {uid}"));
        }
    }
}

fn below(directory: &Path, depth: u32, visit: &mut dyn FnMut(&Path)) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            visit(&entry.path());
            if depth > 0 {
                below(&entry.path(), depth - 1, visit);
            }
        }
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// From the issuer's identity to the end of the stages' ranges.
const OUR_IDENTITIES: std::ops::Range<u32> = 520_000..70_000_000;
