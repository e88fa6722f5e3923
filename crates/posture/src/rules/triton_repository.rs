//! The folders that Triton runs code from: who can write them, and what programs are in them.

use crate::estate::Document;
use crate::node::Node;
use crate::rule::{Case, Change, Check, Group, Rule, Severity, Sink};
use crate::rules::reach;
use crate::workload::Source;

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "AI-020",
        title: "a folder that Triton runs code from is writable",
        group: Group::Server,
        severity: Severity::Critical,
        why: "A model repository may hold `model.py` and shared libraries; the back end, agent and cache folders hold \
              nothing else. Whoever gets one write into them, from any pod that mounts the volume or through a bug in \
              the server, runs code as Triton at the next load and stays there.",
        fix: "Mount the folder `readOnly: true`, and fill it from another workload.",
        maps: &["AML.T0018.002", "AML.M0013", "NIST 800-190 4.4.3"],
        checks: &[Check::Container(writable_folders)],
    },
    Rule {
        id: "AI-021",
        title: "a Triton repository holds programs that no signature covers",
        group: Group::Server,
        severity: Severity::High,
        why: "Triton runs `model.py` and loads shared libraries from the repository with everything it may do itself. \
              Without a signature over them nobody can tell the program that was reviewed from the one that is there.",
        fix: "Sign the repository as a whole, verify before it is mounted, and allow only the back ends that are needed.",
        maps: &["AML.T0011.000", "AML.M0014", "SLSA"],
        checks: &[Check::Model(unsigned_programs)],
    },
];

/// The flags that name such a folder, with what is in it.
const FOLDERS: &[(&str, &str)] = &[
    ("--model-repository", "the model repository"),
    ("--model-store", "the model repository"),
    ("--backend-directory", "the back ends"),
    ("--repoagent-directory", "the repository agents"),
    ("--cache-directory", "the caches' libraries"),
];

fn writable_folders(case: &Case<'_>, sink: &mut Sink<'_>) {
    if !reach::serves(case, &["triton"]) {
        return;
    }
    let container = case.container;
    let mut seen = Vec::new();
    for (flag, what) in FOLDERS {
        for (path, place) in reach::uses(container, flag) {
            if reach::is_later(path) {
                sink.cannot_tell(
                    place,
                    format!("`{path}` is filled in later; render it first"),
                );
                continue;
            }
            let Some(mount) = reach::mount_of(container, path).filter(|mount| !mount.read_only)
            else {
                continue;
            };
            if seen.contains(&mount.place) {
                continue;
            }
            seen.push(mount.place);
            let shared = match &mount.source {
                Source::Host(path) => format!("the host's `{path}`"),
                Source::Claim(claim) => format!("claim `{claim}`"),
                Source::Named(volume) => format!("volume `{volume}`"),
                _ => "scratch space".to_owned(),
            };
            let message = format!(
                "{what} `{path}` is on {shared}, mounted writable at `{}`: what is written there runs as Triton",
                mount.path
            );
            let finding = sink.find(mount.place, format!("mount {}", mount.path), message);
            // What only this pod can write has one way in less.
            if matches!(mount.source, Source::Scratch | Source::Memory) {
                finding.severity(Severity::High);
            }
            if let Some(change) = read_only(mount.node) {
                finding.change(change);
            }
        }
    }
}

/// The edit that makes a mount read-only: a member of a mapping, or `:ro` after compose's short form.
fn read_only(mount: &Node) -> Option<Change> {
    match mount.text() {
        None => {
            let key = if mount.get("mountPath").is_some() {
                "readOnly"
            } else {
                "read_only"
            };
            Change::set(mount, &[key], "true")
        }
        Some(text) if text.split(':').count() == 2 => {
            Some(Change::replace(mount, &format!("{text}:ro")))
        }
        Some(_) => None,
    }
}

fn unsigned_programs(document: &Document, sink: &mut Sink<'_>) {
    if !is_repository(document) || is_signed(document) {
        return;
    }
    for (path, file) in files(document) {
        if let Some(program) = program(path) {
            let message =
                format!("`{path}` is {program} that Triton runs, and no signature covers it");
            sink.find(file.place, format!("file {path}"), message);
        }
    }
}

/// Whether a model folder is a repository of Triton: only there do models have such a configuration.
pub(crate) fn is_repository(document: &Document) -> bool {
    files(document).any(|(path, _)| path == "config.pbtxt" || path.ends_with("/config.pbtxt"))
}

/// What Triton runs of a repository: programs of Python back ends, and libraries.
pub(crate) fn program(path: &str) -> Option<&'static str> {
    let mut parts = path.rsplit('/');
    let (name, folder) = (parts.next().unwrap_or(path), parts.next().unwrap_or(""));
    let in_version = !folder.is_empty() && folder.bytes().all(|byte| byte.is_ascii_digit());
    if name == "model.py" && in_version {
        Some("a Python back end's program")
    } else if name.ends_with(".so") || name.contains(".so.") {
        Some("a shared library")
    } else {
        None
    }
}

fn files(document: &Document) -> impl Iterator<Item = (&str, &Node)> {
    let files = document.root.list("files");
    files
        .iter()
        .filter_map(|file| Some((file.text_at("path")?, file)))
}

/// Whether a signature lies in the folder that is not worthless; what it ignores is another rule's.
fn is_signed(document: &Document) -> bool {
    let mut signatures = document.root.list("signatures").iter();
    signatures.any(|signature| signature.list("broken").is_empty())
}
