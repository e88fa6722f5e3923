//! What an image carries: weights, secrets, tools for whoever breaks in, old packages, and no list of what is in it.

use crate::estate::{Document, Estate, Kind};
use crate::model::is_model_file;
use crate::node::Node;
use crate::place::Place;
use crate::rule::{Check, Group, Rule, Severity, Sink};
use crate::secrets;
use crate::workload::Image;

use super::packages;

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "AI-053",
        title: "weights in an image layer",
        group: Group::Weights,
        severity: Severity::High,
        why: "Whoever may pull the image has the model, on every node that ever ran it and in every mirror: a registry \
              knows no rights to part of an image, and nothing can be taken back.",
        fix: "Keep weights out of the image: seal them, or push them as an artifact with rights of its own.",
        maps: &["AML.M0012", "AML.T0035", "NIST 800-190 4.1.4"],
        checks: &[Check::Image(weights)],
    },
    Rule {
        id: "AI-054",
        title: "weights deleted from the image, and still in it",
        group: Group::Weights,
        severity: Severity::High,
        why: "A later layer only hides what an earlier one holds. `docker save` and `tar` give the file back to \
              everybody who may pull the image.",
        fix: "Build in stages and copy only what is wanted into the last, or squash the image; then delete the old one.",
        maps: &["AML.T0035", "NIST 800-190 4.1.4", "T1552.001"],
        checks: &[Check::Image(deleted_weights)],
    },
    Rule {
        id: "AI-111",
        title: "secret in an image",
        group: Group::Hardening,
        severity: Severity::Critical,
        why: "Environment, history, labels and layers of an image are read by whoever may pull it, without running it: \
              the key works from anywhere until somebody revokes it.",
        fix: "Revoke the key. Build again with `RUN --mount=type=secret`, and give keys at run time.",
        maps: &[
            "NIST 800-190 4.1.4",
            "CIS-Docker 4.10",
            "T1552.001",
            "AML.T0055",
        ],
        checks: &[Check::Image(settings_secrets), Check::Image(file_secrets)],
    },
    Rule {
        id: "AI-112",
        title: "image that helps whoever breaks in",
        group: Group::Hardening,
        severity: Severity::Medium,
        why: "As root, with set-user-ID programs, a shell to come back by and compilers at hand, a bug in the model \
              server is one step from the node instead of three.",
        fix: "Run as a user of its own, and leave what building needs in the building stage.",
        maps: &[
            "CIS-Docker 4.1",
            "CIS-Docker 4.6",
            "CIS-Docker 4.8",
            "NIST 800-190 4.1.2",
        ],
        checks: &[Check::Image(user), Check::Image(tools)],
    },
    Rule {
        id: "AI-113",
        title: "package in the image with a known hole",
        group: Group::Hardening,
        severity: Severity::High,
        why: "The hole is public, and so is how to use it: the server reads what strangers send, and these packages are \
              what reads it.",
        fix: "Build again with the first version that has the fix, or a later one.",
        maps: &["NIST 800-190 4.1.1", "AML.M0016", "T1190", "LLM03"],
        checks: &[Check::Image(packages::old)],
    },
    Rule {
        id: "AI-114",
        title: "image without a list of what is in it, or with that of another",
        group: Group::Hardening,
        severity: Severity::Medium,
        why: "When the next hole in a library is known, nobody can say which images have it; a list that was made for \
              another image says the wrong thing with a signature under it.",
        fix: "Attach a bill of materials when the image is built: `docker buildx build --sbom=true`.",
        maps: &["AML.M0023", "SLSA", "LLM03"],
        checks: &[Check::Image(no_list), Check::Estate(wrong_list)],
    },
];

/// The files of an image's layers, each with its path.
pub(super) fn files(document: &Document) -> impl Iterator<Item = (&Node, &str)> {
    document
        .root
        .list("x-files")
        .iter()
        .filter_map(|file| Some((file, file.text_at("path")?)))
}

fn size(file: &Node) -> u64 {
    file.get("size")
        .and_then(Node::integer)
        .and_then(|size| u64::try_from(size).ok())
        .unwrap_or(0)
}

fn is_removed(file: &Node) -> bool {
    file.boolean_at("removed") == Some(true)
}

/// Whether a file of an image holds weights, by its first bytes where they are known and its name otherwise.
fn holds_weights(file: &Node, path: &str) -> bool {
    let magic = file.text_at("magic").unwrap_or("");
    // `GGUF`, HDF5; a safetensors header starts with its length, five bytes of zero, and `{`.
    let known = magic.starts_with("47475546")
        || magic.starts_with("894844460d0a1a0a")
        || magic.get(6..18) == Some("00000000007b");
    let name = path.rsplit('/').next().unwrap_or(path);
    let stored = path.contains("/blobs/sha256-") || path.contains("models--");
    (known && size(file) >= 64 * 1024) || (size(file) >= LARGE && (is_model_file(name) || stored))
}

/// Whether the image is a model by declaration: an artifact, for which weights are what it is for.
fn is_model_artifact(document: &Document) -> bool {
    let kind = document
        .root
        .at(&["x-manifest", "artifactType"])
        .and_then(Node::text);
    kind.is_some_and(|kind| kind.contains("vnd.cncf.model") || kind.contains("vnd.docker.ai"))
}

fn weights(document: &Document, sink: &mut Sink<'_>) {
    if is_model_artifact(document) {
        return;
    }
    unread(document, sink);
    for (file, path) in files(document) {
        if !is_removed(file) && holds_weights(file, path) {
            let message = format!(
                "`/{path}` ({} MiB of weights) is in layer {}: whoever may pull the image has the model",
                size(file) / (1024 * 1024),
                file.text_at("layer").unwrap_or("?")
            );
            sink.find(file.place, format!("file {path}"), message);
        }
    }
}

fn deleted_weights(document: &Document, sink: &mut Sink<'_>) {
    for (file, path) in files(document) {
        if is_removed(file) && holds_weights(file, path) {
            let message = format!(
                "`/{path}` was deleted by a later layer, and layer {} still holds it ({} MiB)",
                file.text_at("layer").unwrap_or("?"),
                size(file) / (1024 * 1024)
            );
            sink.find(file.place, format!("file {path}"), message);
        }
    }
}

/// Layers that were not listed: what is in them is not known.
fn unread(document: &Document, sink: &mut Sink<'_>) {
    for why in document.root.list("x-layers-unread") {
        sink.cannot_tell(
            why.place,
            format!("a layer was not read: {}", why.text().unwrap_or("")),
        );
    }
}

fn settings_secrets(document: &Document, sink: &mut Sink<'_>) {
    let config = document.root.get("config");
    for item in config.map_or(&[][..], |config| config.list("Env")) {
        let text = item.text().unwrap_or("");
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        if let Some(secret) = secrets::in_value(name, value) {
            tell(&format!("variable `{name}`"), &secret, item.place, sink);
        }
    }
    for member in ["Cmd", "Entrypoint"] {
        for item in config.map_or(&[][..], |config| config.list(member)) {
            if let Some(secret) = item.text().and_then(secrets::find) {
                tell(&format!("`{member}`"), &secret, item.place, sink);
            }
        }
    }
    for entry in config
        .and_then(|config| config.get("Labels"))
        .map_or(&[][..], Node::entries)
    {
        let text = entry.value.text().unwrap_or("");
        if let Some(secret) = secrets::in_value(&entry.key, text) {
            tell(
                &format!("label `{}`", entry.key),
                &secret,
                entry.value.place,
                sink,
            );
        }
    }
    for step in document.root.list("history") {
        let Some(created_by) = step.get("created_by") else {
            continue;
        };
        let text = created_by.text().unwrap_or("");
        let assigned = || {
            text.split_whitespace().find_map(|word| {
                let (name, value) = word.trim_matches(['"', '\'']).split_once('=')?;
                secrets::by_name(name, value.trim_matches(['"', '\'', ';']))
            })
        };
        if let Some(secret) = secrets::find(text).or_else(assigned) {
            tell("a step of the history", &secret, created_by.place, sink);
        }
    }
}

fn tell(where_in: &str, secret: &secrets::Secret, place: Place, sink: &mut Sink<'_>) {
    let message = format!(
        "{where_in} of the image holds {} {}: whoever may pull it can use it",
        secret.what, secret.shown
    );
    sink.find(place, format!("secret in {where_in}"), message);
}

fn file_secrets(document: &Document, sink: &mut Sink<'_>) {
    for (file, path) in files(document) {
        let Some(head) = file.text_at("head") else {
            continue;
        };
        // Examples and tests of libraries carry keys that open nothing.
        if [
            "site-packages/",
            "dist-packages/",
            "/share/doc/",
            "/testdata/",
            "/examples/",
            "/tests/",
        ]
        .iter()
        .any(|part| path.contains(part))
        {
            continue;
        }
        let what = secrets::find(head)
            .map(|secret| format!("{} {}", secret.what, secret.shown))
            .or_else(|| by_place(path, head));
        if let Some(what) = what {
            let hidden = if is_removed(file) {
                ", deleted by a later layer and still there"
            } else {
                ""
            };
            let message = format!(
                "`/{path}` of the image holds {what}{hidden}: whoever may pull it can use it"
            );
            sink.find(file.place, format!("file {path}"), message);
        }
    }
}

/// Secrets that are known by where they stand.
fn by_place(path: &str, head: &str) -> Option<String> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let after = |word: &str| {
        let rest = head.split(word).nth(1)?;
        let value = rest.trim_start_matches([' ', ':', '=', '"', '\'', '\t']);
        let value = value.split(['"', '\'', ',', '\n', ' ', '}']).next()?;
        (value.len() >= 8 && !secrets::is_placeholder(value)).then(|| secrets::shown(value))
    };
    let found = match name {
        ".netrc" | "_netrc" => after("password"),
        "config.json" if path.contains(".docker/") => after("\"auth\""),
        ".dockerconfigjson" => after("\"auth\""),
        "kaggle.json" => after("\"key\""),
        "config" if path.contains(".ngc/") => after("apikey"),
        ".pypirc" | "pip.conf" => after("password"),
        "credentials" | ".env" | ".bashrc" | ".profile" | "environment" => {
            secrets::in_lines(head).map(|secret| secret.shown)
        }
        _ if name.starts_with(".env.") || name.ends_with(".env") => {
            secrets::in_lines(head).map(|secret| secret.shown)
        }
        _ => None,
    };
    found.map(|shown| format!("a secret {shown}"))
}

fn user(document: &Document, sink: &mut Sink<'_>) {
    let Some(config) = document.root.get("config") else {
        return;
    };
    let user = config.get("User");
    let name = user.and_then(Node::text).unwrap_or("");
    let name = name.split(':').next().unwrap_or(name);
    if matches!(name, "" | "0" | "root") {
        let place = user.map_or(config.place, |user| user.place);
        let said = if name.is_empty() {
            "names no user".to_owned()
        } else {
            format!("names user `{name}`")
        };
        let message =
            format!("the image {said}: its processes are root unless the manifest says otherwise");
        sink.find(place, "user", message)
            .fix("Add `USER 10001` (a number, so that `runAsNonRoot` can be checked).");
    }
    let check = config.get("Healthcheck");
    let off =
        check.is_some_and(|check| check.list("Test").first().and_then(Node::text) == Some("NONE"));
    if check.is_none() || off {
        let message =
            "the image has no `HEALTHCHECK`: an engine does not see a server that answers no more";
        sink.find(
            check.map_or(config.place, |check| check.place),
            "health check",
            message,
        )
        .severity(Severity::Low)
        .fix("Add a `HEALTHCHECK` that asks the server's own health route.");
    }
}

fn tools(document: &Document, sink: &mut Sink<'_>) {
    let mut found: Vec<(&str, Severity, Vec<&str>, Place)> = Vec::new();
    for (file, path) in files(document) {
        if is_removed(file) || file.get("link").is_some() {
            continue;
        }
        let name = path.rsplit('/').next().unwrap_or(path);
        let mode = file
            .text_at("mode")
            .and_then(|mode| u32::from_str_radix(mode, 8).ok())
            .unwrap_or(0);
        let program = path.contains("bin/");
        let (what, severity) = if mode & 0o6000 != 0 && mode & 0o111 != 0 {
            // Those of every distribution are worth a word, others are a way up.
            let usual = USUAL.contains(&name);
            (
                "programs that run with their owner's rights",
                if usual {
                    Severity::Low
                } else {
                    Severity::Medium
                },
            )
        } else if program && name == "sshd" {
            ("a remote shell", Severity::Medium)
        } else if mode & 0o002 != 0 && mode & 0o111 != 0 && !path.starts_with("tmp/") {
            ("programs that anybody may overwrite", Severity::Medium)
        } else if program && COMPILERS.contains(&name) {
            ("compilers", Severity::Low)
        } else if program && MANAGERS.contains(&name) {
            ("package managers", Severity::Low)
        } else {
            continue;
        };
        match found
            .iter_mut()
            .find(|one| one.0 == what && one.1 == severity)
        {
            Some((_, _, paths, _)) => paths.push(path),
            None => found.push((what, severity, vec![path], file.place)),
        }
    }
    for (what, severity, paths, place) in found {
        let some: Vec<String> = paths
            .iter()
            .take(4)
            .map(|path| format!("`/{path}`"))
            .collect();
        let message = format!(
            "the image holds {what}: {} ({} in all)",
            some.join(", "),
            paths.len()
        );
        sink.find(place, what, message).severity(severity);
    }
}

fn no_list(document: &Document, sink: &mut Sink<'_>) {
    let Some(attached) = document.root.get("x-attached") else {
        return;
    };
    let mut listed = files(document).any(|(_, path)| {
        let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
        is_list(&name)
            && (name.ends_with(".json") || name.ends_with(".xml") || name.ends_with(".spdx"))
    });
    attached.walk(&mut |node| {
        listed = listed
            || node
                .text()
                .is_some_and(|text| is_list(&text.to_ascii_lowercase()))
    });
    if !listed {
        let place = document
            .root
            .get("config")
            .map_or(document.root.place, |config| config.place);
        let count = attached.items().len();
        let message =
            format!("none of the {count} documents attached to the image is a bill of materials");
        sink.find(place, "bill of materials", message);
    }
}

fn is_list(text: &str) -> bool {
    ["spdx", "cyclonedx", "sbom", "bom.json"]
        .iter()
        .any(|word| text.contains(word))
}

/// A bill of materials that was read beside an image, names it, and gives it another digest.
fn wrong_list(estate: &Estate<'_>, sink: &mut Sink<'_>) {
    for image in estate.documents_of(Kind::ImageConfiguration) {
        let root = &image.root;
        let (Some(reference), Some(digest)) =
            (root.text_at("x-reference"), root.text_at("x-digest"))
        else {
            continue;
        };
        let own = Image::parse(reference, root.place);
        for list in estate.documents_of(Kind::BillOfMaterials) {
            let Some(component) = list.root.at(&["metadata", "component"]) else {
                continue;
            };
            let named = component.text_at("name").unwrap_or("");
            let same = component.text_at("type") == Some("container")
                && Image::parse(named, root.place).repository == own.repository;
            let version = component.get("version");
            let other = version.filter(|version| {
                version
                    .text()
                    .is_some_and(|text| text.starts_with("sha256:") && text != digest)
            });
            if let (true, Some(other)) = (same, other) {
                sink.about(estate.files.name(list.file));
                let message = format!(
                    "it lists what is in `{}`, and the image that is here is `{digest}`",
                    other.text().unwrap_or("")
                );
                sink.find(other.place, "bill of materials", message);
            }
        }
    }
}

const USUAL: &[&str] = &[
    "su",
    "sudo",
    "mount",
    "umount",
    "passwd",
    "chsh",
    "chfn",
    "gpasswd",
    "newgrp",
    "chage",
    "expiry",
    "unix_chkpwd",
    "ssh-agent",
    "wall",
    "dbus-daemon-launch-helper",
    "pam_extrausers_chkpwd",
    "ssh-keysign",
    "fusermount",
    "fusermount3",
    "write",
    "crontab",
    "pam_timestamp_check",
    "userhelper",
    "newuidmap",
    "newgidmap",
];
const COMPILERS: &[&str] = &[
    "gcc", "g++", "cc", "clang", "nvcc", "ld", "make", "go", "rustc", "gdb",
];
const MANAGERS: &[&str] = &[
    "apt", "apt-get", "dpkg", "yum", "dnf", "microdnf", "rpm", "apk", "pip", "pip3", "conda", "npm",
];
/// Smaller ones are test data of libraries.
const LARGE: u64 = 10 * 1024 * 1024;
