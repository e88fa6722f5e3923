//! Our own enclosures: what an enclosure file may say, and better does not.

use std::net::SocketAddr;

use crate::estate::{Document, Estate, Kind};
use crate::node::Node;
use crate::rule::{Check, Group, Rule, Severity, Sink};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "AI-119",
        title: "enclosure opens a model that nobody has to have signed",
        group: Group::Weights,
        severity: Severity::Critical,
        why: "Sealing keeps a model secret; only a signature says whose it is. Without signers, whoever can write the \
              sealed directory and seal with the public key swaps the model.",
        fix: "Write `signers: [./release.pub]` with the public key of whoever releases the model.",
        maps: &["LLM03", "SLSA", "AML.M0013", "AML.M0014", "AML.T0018"],
        checks: &[Check::Estate(signers)],
    },
    Rule {
        id: "AI-120",
        title: "key of a sealed model is a file of the host",
        group: Group::Weights,
        severity: Severity::Low,
        why: "A key in a file is there for everybody who is root on the host, and in its backups. A key that is \
              released to measured hardware is not.",
        fix: "Keep the file on an encrypted disk, readable for the supervisor only, and rotate it with the model.",
        maps: &["AML.M0012", "NIST 800-190 4.5.5", "K08", "T1552.004"],
        checks: &[Check::Estate(key_files)],
    },
    Rule {
        id: "AI-121",
        title: "enclosure uses an option whose name warns of it",
        group: Group::Server,
        severity: Severity::High,
        why: "Options called `danger…`, `insecure…` or `unsafe…` take a wall away that the rest of the file relies on. \
              They are for a laptop, and they travel.",
        fix: "Remove the option.",
        maps: &["NIST 800-190 4.4.3", "AML.T0049"],
        checks: &[Check::Estate(warned)],
    },
    Rule {
        id: "AI-122",
        title: "flow from everybody",
        group: Group::Server,
        severity: Severity::High,
        why: "A group that holds everybody is no group: each stolen laptop login may ask the model, and read health \
              and metrics where those classes are granted too.",
        fix: "Name the group of the people who need the model, and grant the classes they use.",
        maps: &["LLM02", "LLM10", "AML.T0040", "AML.M0005", "T1078"],
        checks: &[Check::Estate(everybody)],
    },
    Rule {
        id: "AI-123",
        title: "stage listens on every address of the host",
        group: Group::Server,
        severity: Severity::Medium,
        why: "On an unspecified or public address the gate's port is scanned from everywhere: the login is then the \
              only wall that is left.",
        fix: "Listen on the address of the network that callers come from, such as `10.0.4.2:8443`.",
        maps: &["NIST 800-190 4.3.3", "T1190", "AML.T0040"],
        checks: &[Check::Estate(listeners)],
    },
    Rule {
        id: "AI-124",
        title: "flow without limits",
        group: Group::Server,
        severity: Severity::Low,
        why: "Without `max-tokens` and `requests-per-minute` one caller takes the whole model, and a copy of it can \
              be trained from its answers at full speed.",
        fix: "Write `limits: { max-tokens: 1024, requests-per-minute: 60 }` with the numbers of your callers.",
        maps: &["LLM10", "AML.T0029", "AML.T0034", "AML.T0024"],
        checks: &[Check::Estate(limits)],
    },
    Rule {
        id: "AI-125",
        title: "stage sees more of the host than its server",
        group: Group::Server,
        severity: Severity::High,
        why: "Directories under `host` are readable inside: the root, home directories, /etc or /var hold keys, other \
              models and the logins of the host.",
        fix: "Run an image, or list only the directories the server is installed in, such as `[/usr, /opt/llama]`.",
        maps: &["NIST 800-190 4.4.3", "T1552.001", "AML.T0055"],
        checks: &[Check::Estate(host_directories)],
    },
    Rule {
        id: "AI-126",
        title: "older seals of a model accepted",
        group: Group::Weights,
        severity: Severity::Low,
        why: "Without `minimum-epoch` a copy of an older sealed version, correctly signed and since withdrawn, still \
              opens.",
        fix: "Write `minimum-epoch` with the epoch of the release, and raise it when a version is withdrawn.",
        maps: &["AML.M0014", "SLSA", "AML.T0018"],
        checks: &[Check::Estate(rollback)],
    },
    Rule {
        id: "AI-127",
        title: "stage with weights and a profile that knows no server",
        group: Group::Server,
        severity: Severity::Medium,
        why: "The profile `http` knows none of the routes, flags and ports of an inference server: management routes \
              pass as if they were inference, and nothing keeps a development flag off the command line.",
        fix: "Write the profile of the server that runs in the stage, such as `vllm` or `llama.cpp`.",
        maps: &["NIST 800-190 4.4.3", "K06", "AML.T0049"],
        checks: &[Check::Estate(vague_profile)],
    },
    Rule {
        id: "AI-128",
        title: "image of a stage not named by its version",
        group: Group::Weights,
        severity: Severity::Low,
        why: "A path such as `latest.oci` is overwritten by the next build: what starts after a restart is not what \
              was reviewed.",
        fix: "Write a path with the version or the digest of the image in it.",
        maps: &["SLSA", "K02", "AML.T0010"],
        checks: &[Check::Estate(image_name)],
    },
];

/// Calls `look` with the `spec` of each enclosure.
fn each(estate: &Estate<'_>, sink: &mut Sink<'_>, look: &mut dyn FnMut(&Node, &mut Sink<'_>)) {
    for document in estate.documents_of(Kind::Enclosure) {
        if let Some(spec) = spec_of(document) {
            let name = document
                .root
                .get("metadata")
                .and_then(|metadata| metadata.text_at("name"));
            sink.about(format!("Enclosure/{}", name.unwrap_or("?")));
            look(spec, sink);
        }
    }
}

fn spec_of(document: &Document) -> Option<&Node> {
    document.root.get("spec")
}

fn name_of(node: &Node) -> &str {
    node.text_at("name").unwrap_or("?")
}

fn signers(estate: &Estate<'_>, sink: &mut Sink<'_>) {
    each(estate, sink, &mut |spec, sink| {
        for model in spec.list("models") {
            if !model.list("signers").is_empty() {
                continue;
            }
            let empty = model
                .entries()
                .iter()
                .find(|entry| entry.key == "signers")
                .map(|entry| &entry.value);
            let place = empty
                .filter(|value| !value.is_null())
                .or_else(|| model.get("name"))
                .map_or(model.place, |node| node.place);
            let name = name_of(model);
            sink.find(
                place,
                format!("model {name}"),
                format!("model `{name}` has no signers: any seal of it is opened"),
            );
        }
    });
}

fn key_files(estate: &Estate<'_>, sink: &mut Sink<'_>) {
    each(estate, sink, &mut |spec, sink| {
        for model in spec.list("models") {
            let Some(key) = model.get("key") else {
                continue;
            };
            let name = name_of(model);
            if key.text().is_some_and(|text| text.starts_with("file:")) {
                let message = format!(
                    "the key of `{name}` lies in a file of the host, and no hardware has to prove itself for it"
                );
                sink.find(key.place, format!("key {name}"), message);
            } else if key
                .text()
                .is_some_and(|text| text.starts_with("AGE-SECRET-KEY-"))
            {
                let message = format!("the key of `{name}` itself is written into the enclosure");
                sink.find(key.place, format!("key {name}"), message)
                    .severity(Severity::Critical)
                    .fix("Rotate the key, and write `file:` with the path of the new one.");
            }
        }
    });
}

/// Beginnings of option names that warn.
const WARNINGS: &[&str] = &[
    "danger",
    "insecure",
    "unsafe",
    "allow-insecure",
    "disable-auth",
    "no-auth",
    "skip-verif",
];

fn warned(estate: &Estate<'_>, sink: &mut Sink<'_>) {
    each(estate, sink, &mut |spec, sink| {
        spec.walk(&mut |node| {
            for entry in node.entries() {
                let off = entry.value.boolean() == Some(false)
                    || matches!(entry.value.text(), Some("0" | "false"));
                let name = entry.key.to_ascii_lowercase().replace('_', "-");
                if !off && warns(&name) {
                    let message = format!("`{}` takes a wall away: its name says so", entry.key);
                    sink.find(entry.value.place, entry.key.as_str(), message);
                }
            }
        });
        for stage in spec.list("stages") {
            for word in stage.at(&["run", "command"]).map_or(&[][..], Node::items) {
                let text = word.text().unwrap_or("").replace('_', "-");
                let flag = text
                    .strip_prefix("--")
                    .map(|flag| flag.split('=').next().unwrap_or(flag));
                if flag.is_some_and(warns) {
                    let message = format!(
                        "`{text}` of stage `{}` takes a wall away: its name says so",
                        name_of(stage)
                    );
                    sink.find(word.place, text, message);
                }
            }
        }
    });
}

fn warns(name: &str) -> bool {
    WARNINGS.iter().any(|warning| name.starts_with(warning))
}

/// Groups that directories put everybody into.
const EVERYBODY: &[&str] = &[
    "*",
    "all",
    "all users",
    "all-users",
    "all_users",
    "allusers",
    "authenticated",
    "authenticated users",
    "anyone",
    "domain users",
    "employees",
    "everybody",
    "everyone",
    "staff",
    "system:authenticated",
    "users",
];

fn everybody(estate: &Estate<'_>, sink: &mut Sink<'_>) {
    each(estate, sink, &mut |spec, sink| {
        for flow in spec.list("flows") {
            let Some(group) = flow.at(&["from", "group"]) else {
                continue;
            };
            let Some(name) = sink.known(group) else {
                continue;
            };
            if !EVERYBODY.contains(&name.to_ascii_lowercase().as_str()) {
                continue;
            }
            let classes: Vec<&str> = flow.list("routes").iter().filter_map(Node::text).collect();
            let to = flow.text_at("to").unwrap_or("?");
            let message = format!(
                "everybody in `{name}` may call {} of `{to}`",
                classes.join(", ")
            );
            sink.find(group.place, format!("flow {name} {to}"), message);
        }
    });
}

fn listeners(estate: &Estate<'_>, sink: &mut Sink<'_>) {
    each(estate, sink, &mut |spec, sink| {
        for expose in spec.list("exposes") {
            let Some(listen) = expose.get("listen") else {
                continue;
            };
            let Some(text) = sink.known(listen) else {
                continue;
            };
            let Ok(address) = text.parse::<SocketAddr>() else {
                continue;
            };
            let stage = expose.text_at("stage").unwrap_or("?");
            let what = match address.ip() {
                ip if ip.is_unspecified() => "every address of the host",
                ip if is_private(ip) => continue,
                _ => "a public address",
            };
            let message = format!("stage `{stage}` listens on {what} (`{text}`)");
            sink.find(listen.place, format!("expose {stage}"), message);
        }
    });
}

fn is_private(address: std::net::IpAddr) -> bool {
    match address {
        std::net::IpAddr::V4(ip) => {
            let shared =
                ip.octets().starts_with(&[100]) && matches!(ip.octets(), [_, 64..=127, ..]);
            ip.is_loopback() || ip.is_private() || ip.is_link_local() || shared
        }
        std::net::IpAddr::V6(ip) => {
            ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local()
        }
    }
}

fn limits(estate: &Estate<'_>, sink: &mut Sink<'_>) {
    each(estate, sink, &mut |spec, sink| {
        for flow in spec.list("flows") {
            let missing: Vec<&str> = ["max-tokens", "requests-per-minute"]
                .into_iter()
                .filter(|key| flow.at(&["limits", key]).is_none())
                .collect();
            if missing.is_empty() || flow.at(&["from", "stage"]).is_some() {
                continue;
            }
            let to = flow.get("to");
            let place = to.map_or(flow.place, |node| node.place);
            let target = to.and_then(Node::text).unwrap_or("?");
            let message = format!("the flow to `{target}` has no {}", missing.join(" and no "));
            sink.find(place, format!("flow {target}"), message);
        }
    });
}

/// Directories that hold more than programs.
fn is_broad(path: &str) -> bool {
    let clean = path.trim_end_matches('/');
    let parts: Vec<&str> = clean.split('/').filter(|part| !part.is_empty()).collect();
    match parts.as_slice() {
        [] => true,
        [top] => matches!(
            *top,
            "etc"
                | "home"
                | "root"
                | "var"
                | "run"
                | "srv"
                | "mnt"
                | "media"
                | "data"
                | "proc"
                | "sys"
                | "dev"
                | "boot"
                | "tmp"
        ),
        ["etc" | "root" | "home" | "run" | "proc" | "sys" | "dev", ..]
        | ["var", "lib" | "run" | "log", ..] => true,
        _ => false,
    }
}

fn host_directories(estate: &Estate<'_>, sink: &mut Sink<'_>) {
    each(estate, sink, &mut |spec, sink| {
        for stage in spec.list("stages") {
            for directory in stage.at(&["run", "host"]).map_or(&[][..], Node::items) {
                let Some(path) = sink.known(directory) else {
                    continue;
                };
                if is_broad(path) {
                    let message = format!(
                        "stage `{}` reads all of `{path}` of the host",
                        name_of(stage)
                    );
                    sink.find(directory.place, format!("host {path}"), message);
                }
            }
        }
    });
}

fn rollback(estate: &Estate<'_>, sink: &mut Sink<'_>) {
    each(estate, sink, &mut |spec, sink| {
        for model in spec.list("models") {
            let epoch = model
                .get("minimum-epoch")
                .and_then(Node::integer)
                .unwrap_or(0);
            if epoch > 0 {
                continue;
            }
            let node = model
                .get("minimum-epoch")
                .or_else(|| model.get("version"))
                .or_else(|| model.get("name"));
            let name = name_of(model);
            let message = format!("any older seal of `{name}` is opened as well as the newest");
            sink.find(
                node.map_or(model.place, |node| node.place),
                format!("epoch {name}"),
                message,
            );
        }
    });
}

fn vague_profile(estate: &Estate<'_>, sink: &mut Sink<'_>) {
    each(estate, sink, &mut |spec, sink| {
        for stage in spec.list("stages") {
            let Some(profile) = stage.get("profile") else {
                continue;
            };
            if profile.text() == Some("http") && !stage.list("models").is_empty() {
                let message = format!(
                    "stage `{}` opens models, and the profile `http` knows nothing of its server",
                    name_of(stage)
                );
                sink.find(
                    profile.place,
                    format!("profile {}", name_of(stage)),
                    message,
                );
            }
        }
    });
}

fn image_name(estate: &Estate<'_>, sink: &mut Sink<'_>) {
    each(estate, sink, &mut |spec, sink| {
        for stage in spec.list("stages") {
            let Some(image) = stage.at(&["run", "image"]) else {
                continue;
            };
            let Some(path) = sink.known(image) else {
                continue;
            };
            let file = path
                .trim_end_matches('/')
                .rsplit('/')
                .next()
                .unwrap_or(path);
            let moves = ["latest", "current", "main", "nightly", "dev"]
                .iter()
                .any(|word| file.split(['.', '-', '_', ':']).any(|part| part == *word));
            if moves {
                let message = format!(
                    "`{path}` of stage `{}` is overwritten by the next build",
                    name_of(stage)
                );
                sink.find(image.place, format!("image {}", name_of(stage)), message);
            }
        }
    });
}
