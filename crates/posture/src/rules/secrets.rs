//! Secrets where others read them: literals in manifests, and in the environment of a process.

use crate::estate::Estate;
use crate::node::{Node, Value};
use crate::rule::{Case, Check, Group, Rule, Severity, Sink};
use crate::secrets::{self, Secret};
use crate::workload::{Given, Origin};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "AI-109",
        title: "secret written into a manifest",
        group: Group::Hardening,
        severity: Severity::Critical,
        why: "Whoever reads the manifest, its history in version control, `kubectl describe` or `docker inspect` has \
              the key: with a model hub's or registry's key they pull private weights and spend on your account, and \
              nothing shows that it was not you.",
        fix: "Revoke the key, then keep the new one in a secret store and mount it as a file.",
        maps: &[
            "CIS 5.4.1",
            "K08",
            "NIST 800-190 4.1.4",
            "AML.T0055",
            "T1552.001",
        ],
        checks: &[
            Check::Estate(shapes),
            Check::Container(by_name),
            Check::Estate(config_maps),
        ],
    },
    Rule {
        id: "AI-110",
        title: "secret handed over in the environment",
        group: Group::Hardening,
        severity: Severity::Low,
        why: "Every process of the container inherits its environment, crash reports and debug endpoints print it, \
              and a read of `/proc/self/environ` through the model server gives it away; a file can be read by one \
              user and be replaced without a restart.",
        fix: "Mount the secret as a file and give the server its path, for example `HF_TOKEN_PATH`.",
        maps: &["CIS 5.4.1", "K08", "T1552.007"],
        checks: &[Check::Container(in_environment)],
    },
];

/// Secrets that their shape gives away, in any document that declares something.
fn shapes(estate: &Estate<'_>, sink: &mut Sink<'_>) {
    for resource in &estate.resources {
        sink.about_resource(resource);
        look(resource.node, "", estate, sink);
        if resource.kind == "Secret" {
            encoded(resource.node, sink);
        }
    }
    for workload in &estate.workloads {
        if matches!(workload.origin, Origin::Compose | Origin::DockerRun) {
            sink.about_resource(&workload.resource);
            look(workload.resource.node, "", estate, sink);
        }
    }
}

/// Looks at every scalar below `node`; `label` is what the value is known by.
fn look(node: &Node, label: &str, estate: &Estate<'_>, sink: &mut Sink<'_>) {
    match &node.value {
        Value::Scalar { text, .. } => {
            if let Some(secret) = secrets::find(text) {
                let place = secrets::line_of(estate.files, node.place, text, secret.start);
                let label = text.split_once('=').map_or(label, |(name, _)| {
                    if name.contains(char::is_whitespace) {
                        label
                    } else {
                        name
                    }
                });
                report(label, &secret, place, sink);
            }
        }
        Value::Sequence { items, .. } => {
            let mut previous = label;
            for item in items {
                look(item, previous, estate, sink);
                previous = item
                    .text()
                    .filter(|text| text.starts_with('-'))
                    .unwrap_or(label);
            }
        }
        Value::Mapping { entries, .. } => {
            let name = node.text_at("name");
            for entry in entries {
                let known_as = match name {
                    Some(name) if entry.key == "value" => name,
                    _ => &entry.key,
                };
                look(&entry.value, known_as, estate, sink);
            }
        }
    }
}

/// A `Secret` in a file is base64, which hides nothing.
fn encoded(secret: &Node, sink: &mut Sink<'_>) {
    use base64::Engine as _;
    for entry in secret.get("data").map_or(&[][..], Node::entries) {
        let text = entry.value.text().unwrap_or("").trim();
        let decoded = base64::engine::general_purpose::STANDARD.decode(text).ok();
        let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
        if let Some(found) = decoded.as_deref().and_then(secrets::find) {
            let message = format!(
                "`{}` of this Secret is {} {} in base64, which anybody who has the file decodes",
                entry.key, found.what, found.shown
            );
            sink.find(entry.value.place, format!("secret {}", entry.key), message)
                .fix("Revoke the key; commit a SealedSecret or an ExternalSecret in place of the Secret.");
        }
    }
}

fn report(label: &str, secret: &Secret, place: crate::place::Place, sink: &mut Sink<'_>) {
    let label = if label.is_empty() { "value" } else { label };
    let message = format!(
        "`{label}` holds {} {}: whoever reads this file can use it",
        secret.what, secret.shown
    );
    sink.find(place, format!("secret {label}"), message).fix(format!(
        "Revoke the key; then give `{label}` from a secret that is mounted as a file (or `valueFrom.secretKeyRef`, \
         compose `secrets:`)."
    ));
}

/// Literals whose name says that they are secrets, though no issuer's shape does.
fn by_name(case: &Case<'_>, sink: &mut Sink<'_>) {
    let own = |place: crate::place::Place| {
        let node = case.workload.resource.node.place;
        node.file == place.file && place.start >= node.start
    };
    for variable in &case.container.environment {
        if let Given::Literal { text, place } = &variable.value
            // What a config map was read for is reported where it stands.
            && own(*place)
            && secrets::find(text).is_none()
            && let Some(secret) = secrets::by_name(&variable.name, text)
        {
            weigh(&variable.name, text, &secret, *place, sink);
        }
    }
    let mut previous: Option<&str> = None;
    for word in &case.container.words {
        let text = word.text.as_ref();
        let (name, value) = match (text.split_once('='), previous) {
            (Some((name, value)), _) => (name, value),
            (None, Some(flag)) => (flag, text),
            (None, None) => ("", text),
        };
        if secrets::find(text).is_none()
            && let Some(secret) = secrets::by_name(name, value)
        {
            weigh(name, value, &secret, word.place, sink);
        }
        previous = (text.starts_with("--") && !text.contains('=')).then_some(text);
    }
    let arguments = case.container.node.at(&["build", "args"]);
    for entry in arguments.map_or(&[][..], Node::entries) {
        let text = entry.value.text().unwrap_or("");
        if secrets::find(text).is_none()
            && let Some(secret) = secrets::by_name(&entry.key, text)
        {
            weigh(&entry.key, text, &secret, entry.value.place, sink);
        }
    }
    for item in arguments.map_or(&[][..], Node::items) {
        if let Some((name, value)) = item.text().and_then(|text| text.split_once('='))
            && secrets::find(value).is_none()
            && let Some(secret) = secrets::by_name(name, value)
        {
            weigh(name, value, &secret, item.place, sink);
        }
    }
}

/// A short word under the name of a password is a weak password at least; a long random one is a key.
fn weigh(
    name: &str,
    value: &str,
    secret: &Secret,
    place: crate::place::Place,
    sink: &mut Sink<'_>,
) {
    let random = value.len() >= 16 && secrets::entropy(value) >= 3.0;
    let message = format!(
        "`{name}` is written out {}: whoever reads this file can use it",
        secret.shown
    );
    let finding = sink.find(place, format!("secret {name}"), message);
    finding.fix(format!(
        "Replace it, and give `{name}` from a secret that is mounted as a file."
    ));
    if !random {
        finding.severity(Severity::High);
    }
}

/// Lines of config maps: a config map is not for secrets, and everybody who may read the namespace reads it.
fn config_maps(estate: &Estate<'_>, sink: &mut Sink<'_>) {
    for map in estate.of_kind("ConfigMap") {
        sink.about_resource(map);
        for entry in map.node.get("data").map_or(&[][..], Node::entries) {
            let text = entry.value.text().unwrap_or("");
            if secrets::find(text).is_some() {
                continue;
            }
            let found = secrets::by_name(&entry.key, text).or_else(|| secrets::in_lines(text));
            if let Some(secret) = found {
                let place = secrets::line_of(estate.files, entry.value.place, text, secret.start);
                let message = format!(
                    "`{}` of this ConfigMap holds a secret {}: everybody who may read the namespace reads it",
                    entry.key, secret.shown
                );
                sink.find(place, format!("config map {}", entry.key), message)
                    .fix("Move it into a Secret (or better, a store outside the cluster) and replace it.");
            }
        }
    }
}

fn in_environment(case: &Case<'_>, sink: &mut Sink<'_>) {
    for variable in &case.container.environment {
        let from_store = match &variable.value {
            Given::Secret(_) => true,
            // Compose: `HF_TOKEN: ${HF_TOKEN}` and `- HF_TOKEN` hand over the caller's own.
            Given::Literal { text, .. } => {
                case.workload.origin != Origin::Kubernetes && text.starts_with("${")
            }
            Given::Elsewhere => case.workload.origin != Origin::Kubernetes,
            Given::ConfigMap(_) => false,
        };
        if from_store && secrets::names_a_secret(&variable.name) {
            let message = format!(
                "`{}` is a secret in the environment of `{}`: every process in it inherits it and `/proc` shows it",
                variable.name, case.container.name
            );
            sink.find(variable.place, format!("env {}", variable.name), message);
        }
    }
    for source in case.container.node.list("envFrom") {
        if let Some(name) = source.at(&["secretRef", "name"]) {
            let title = name.text().unwrap_or("?");
            let message = format!(
                "every key of Secret `{title}` becomes a variable of `{}`, those it does not need among them",
                case.container.name
            );
            sink.find(name.place, format!("envFrom {title}"), message);
        }
    }
}
