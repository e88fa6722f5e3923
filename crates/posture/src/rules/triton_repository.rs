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
    let files: Vec<&Node> = document.root.list("files").iter().collect();
    let path = |file: &Node| {
        file.text()
            .or_else(|| file.text_at("path"))
            .map(str::to_owned)
    };
    let name = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
    let paths: Vec<(String, &Node)> = files
        .iter()
        .filter_map(|file| Some((path(file)?, *file)))
        .collect();
    // Only Triton has these: other folders with programs are another rule's.
    if !paths.iter().any(|(path, _)| name(path) == "config.pbtxt")
        || is_signed(&document.root, &paths)
    {
        return;
    }
    for (path, node) in &paths {
        let program = if name(path) == "model.py" && in_version(path) {
            "a Python back end's program"
        } else if is_library(&name(path)) {
            "a shared library"
        } else {
            continue;
        };
        let message = format!("`{path}` is {program} that Triton runs, and no signature covers it");
        sink.find(node.place, path.clone(), message);
    }
}

/// Whether a file stands in a model's version folder, such as `tokens/1/model.py`.
fn in_version(path: &str) -> bool {
    path.rsplit('/').nth(1).is_some_and(|folder| {
        !folder.is_empty() && folder.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn is_library(name: &str) -> bool {
    name.ends_with(".so") || name.contains(".so.")
}

fn is_signed(root: &Node, paths: &[(String, &Node)]) -> bool {
    let stated = root
        .get("signature")
        .is_some_and(|signature| signature.boolean() != Some(false));
    stated
        || paths.iter().any(|(path, _)| {
            let name = path.rsplit('/').next().unwrap_or(path);
            matches!(
                name,
                "model.sig" | "model.sigstore" | "model.sigstore.json" | "claims.jsonl"
            )
        })
}
