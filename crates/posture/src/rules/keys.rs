//! Keys to the weights: where they lie, who may have them, and what is asked before they are released.

mod policy;

use crate::estate::Estate;
use crate::node::{Node, Value};
use crate::rule::{Case, Check, Group, Rule, Severity, Sink};
use crate::secrets;
use crate::workload::{Given, Origin, Resource, Source};

use self::policy::Fault;

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "AI-058",
        title: "key to the weights kept beside them",
        group: Group::Weights,
        severity: Severity::Critical,
        why: "A key in a Secret, a ConfigMap or a variable is read by whoever may read the namespace or exec into the \
              pod: encryption of the weights then stops nobody who could have copied them.",
        fix: "Let a key service release the key to a workload that proved what it is, at the moment it starts.",
        maps: &["AML.M0012", "K08", "T1552.007", "AML.T0035"],
        checks: &[
            Check::Container(key_in_environment),
            Check::Estate(key_in_cluster),
        ],
    },
    Rule {
        id: "AI-059",
        title: "key policy that releases to anybody",
        group: Group::Weights,
        severity: Severity::Critical,
        why: "Whoever reaches the key service gets the key to the weights, from any machine and for any version: the \
              policy is the only thing between a network and the model.",
        fix: "Refuse by default, and release each key only to the measurement that may serve that model version.",
        maps: &["AML.M0005", "AML.M0012", "K08", "T1552"],
        checks: &[Check::Estate(open_policies)],
    },
    Rule {
        id: "AI-060",
        title: "keys released without real attestation",
        group: Group::Weights,
        severity: Severity::Critical,
        why: "A sample attester, a null key broker or an unchecked token lets any process claim to be a genuine \
              enclave, and a nonce that never changes lets it replay the evidence of one that was.",
        fix: "Attest with the hardware's evidence and a fresh nonce, and refuse sample evidence.",
        maps: &["AML.M0012", "AML.T0035", "T1557"],
        checks: &[
            Check::Container(sample_attester),
            Check::Estate(insecure_broker),
        ],
    },
];

/// Whether a name is that of a key which opens weights.
fn names_a_weights_key(name: &str) -> bool {
    let name = secrets::normal_name(name);
    let has = |wanted: &[&str]| name.split('_').any(|word| wanted.contains(&word));
    has(&["KEY", "KEYS", "PASSPHRASE", "KEK", "DEK"])
        && has(&[
            "MODEL",
            "MODELS",
            "WEIGHT",
            "WEIGHTS",
            "CHECKPOINT",
            "CHECKPOINTS",
            "DECRYPT",
            "DECRYPTION",
            "SEAL",
            "SEALED",
            "UNSEAL",
            "GOCRYPTFS",
            "CRYPTFS",
        ])
        && !has(&[
            "PUBLIC",
            "PUB",
            "API",
            "ID",
            "NAME",
            "PATH",
            "FILE",
            "URL",
            "URI",
            "ARN",
            "ACCESS",
            "SIGNING",
            "SIGN",
            "SIGNER",
            "VERIFY",
            "VERIFICATION",
            "REGISTRY",
            "HUB",
            "STORE",
            "S3",
            "CACHE",
            "DIR",
            "RING",
            "SERVER",
        ])
}

fn key_in_environment(case: &Case<'_>, sink: &mut Sink<'_>) {
    let container = case.container;
    for variable in &container.environment {
        let (how, place, severity) = match &variable.value {
            Given::Literal { text, place } => {
                let identity = text.contains("AGE-SECRET-KEY-1");
                let handed_over =
                    case.workload.origin != Origin::Kubernetes && text.starts_with("${");
                if handed_over {
                    (
                        "the caller's own environment".to_owned(),
                        variable.place,
                        Severity::High,
                    )
                } else if identity
                    || !(secrets::is_placeholder(text)
                        || text.starts_with('/')
                        || text.contains("://"))
                {
                    ("its own manifest".to_owned(), *place, Severity::Critical)
                } else {
                    continue;
                }
            }
            Given::Secret(name) => (format!("Secret `{name}`"), variable.place, Severity::High),
            Given::ConfigMap(name) => (
                format!("ConfigMap `{name}`"),
                variable.place,
                Severity::Critical,
            ),
            Given::Elsewhere => continue,
        };
        let is_identity = matches!(&variable.value, Given::Literal { text, .. } if text.contains("AGE-SECRET-KEY-1"));
        if is_identity || names_a_weights_key(&variable.name) {
            let message = format!(
                "`{}` hands `{}` the key to the weights from {how}",
                variable.name, container.name
            );
            sink.find(place, format!("env {}", variable.name), message)
                .severity(severity);
        }
    }
    for mount in &container.mounts {
        if let Source::Secret(name) = mount.source
            && names_a_weights_key(name)
        {
            let message = format!(
                "Secret `{name}`, a key to weights, is mounted in `{}` at `{}`",
                container.name, mount.path
            );
            sink.find(mount.place, format!("mount {name}"), message)
                .severity(Severity::High);
        }
    }
}

fn key_in_cluster(estate: &Estate<'_>, sink: &mut Sink<'_>) {
    for resource in &estate.resources {
        let (severity, who) = match resource.kind {
            "Secret" => (Severity::High, "may read Secrets of this namespace"),
            "ConfigMap" => (Severity::Critical, "may read this namespace"),
            _ => continue,
        };
        sink.about_resource(resource);
        let named = names_a_weights_key(resource.name);
        for member in ["data", "stringData", "binaryData"] {
            for entry in resource.node.get(member).map_or(&[][..], Node::entries) {
                let text = entry.value.text().unwrap_or("");
                let path = text.starts_with('/') || text.contains("://");
                let key = matches!(
                    entry.key.as_str(),
                    "key" | "identity" | "passphrase" | "identity.txt" | "key.txt"
                );
                let says_so = (names_a_weights_key(&entry.key) && !path) || (named && key);
                if says_so || text.contains("AGE-SECRET-KEY-1") {
                    let message = format!(
                        "`{}` of {} is a key to weights: everybody who {who} opens them",
                        entry.key,
                        resource.title()
                    );
                    sink.find(entry.place, format!("key {}", entry.key), message)
                        .severity(severity);
                }
            }
        }
    }
}

/// Every text that a resource carries, with what it is known by.
fn texts<'tree>(
    node: &'tree Node,
    label: &'tree str,
    visit: &mut dyn FnMut(&'tree str, &'tree str, &'tree Node),
) {
    match &node.value {
        Value::Scalar { text, .. } => visit(label, text, node),
        Value::Sequence { items, .. } => {
            for item in items {
                texts(item, label, visit);
            }
        }
        Value::Mapping { entries, .. } => {
            for entry in entries {
                texts(&entry.value, &entry.key, visit);
            }
        }
    }
}

fn may_carry_policy(resource: &Resource<'_>) -> bool {
    matches!(resource.kind, "ConfigMap" | "Secret")
        || resource.api_version.starts_with("kms.")
        || resource
            .api_version
            .starts_with("confidentialcontainers.org")
        || resource.api_version.contains("vault")
}

fn open_policies(estate: &Estate<'_>, sink: &mut Sink<'_>) {
    for resource in estate.resources.iter().filter(|one| may_carry_policy(one)) {
        sink.about_resource(resource);
        texts(resource.node, "", &mut |label, text, node| {
            if let Some(fault) = policy::open(resource.name, label, text) {
                let Fault {
                    start,
                    severity,
                    message,
                    fix,
                } = fault;
                let place = secrets::line_of(estate.files, node.place, text, start);
                sink.find(place, format!("policy {label}"), message)
                    .severity(severity)
                    .fix(fix);
            }
        });
    }
}

/// Settings of attesters under which evidence is made up.
fn sample_attester(case: &Case<'_>, sink: &mut Sink<'_>) {
    let container = case.container;
    for name in [
        "AA_SAMPLE_ATTESTER_TEST",
        "SAMPLE_ATTESTER",
        "NV_ATTESTATION_TEST_NO_GPU",
    ] {
        if let Some(place) = container.switched_on(name) {
            let message = format!(
                "`{name}` makes `{}` attest with made-up evidence",
                container.name
            );
            sink.find(place, format!("env {name}"), message)
                .fix(format!("Remove `{name}`."));
        }
    }
    if let Some(flag) = container.flag(&["--test_no_gpu"]) {
        let message = "`--test_no_gpu` attests the evidence that comes with the tool and no GPU";
        sink.find(flag.place, "--test_no_gpu", message)
            .fix("Remove `--test_no_gpu`.");
    }
    if let Some(flag) = container.flag(&["--nonce"])
        && let Some(nonce) = flag.value
        && nonce.len() >= 8
        && nonce.bytes().all(|byte| byte.is_ascii_hexdigit())
    {
        let message = format!(
            "the nonce `{nonce}` is the same at each start: recorded evidence passes again"
        );
        sink.find(flag.place, "--nonce", message).fix(
            "Leave `--nonce` out: the verifier then draws one, or hand over the key service's.",
        );
    }
    for (key, value) in &case.workload.annotations {
        let null_broker = value.contains("aa_kbc_params=offline_fs_kbc")
            || value.contains("aa_kbc_params=sample_kbc");
        if null_broker {
            let place = case.workload.resource.place;
            let place =
                annotation(case.workload.resource.node, key).map_or(place, |node| node.place);
            let message =
                format!("`{value}` gets keys from a file in the guest: nothing is attested");
            sink.find(place, format!("annotation {key}"), message).fix(
                "Write `agent.aa_kbc_params=cc_kbc::https://` with the address of your key broker.",
            );
        }
    }
}

/// The value of an annotation wherever the pod of a resource has it.
fn annotation<'tree>(root: &'tree Node, key: &str) -> Option<&'tree Node> {
    let mut found = None;
    root.walk(&mut |node| {
        if let Some(value) = node
            .get("annotations")
            .and_then(|annotations| annotations.get(key))
        {
            found = Some(value);
        }
    });
    found
}

/// Settings of key brokers that take anything for attested.
fn insecure_broker(estate: &Estate<'_>, sink: &mut Sink<'_>) {
    for resource in estate.resources.iter().filter(|one| may_carry_policy(one)) {
        sink.about_resource(resource);
        texts(resource.node, "", &mut |label, text, node| {
            for (start, message) in policy::insecure_settings(text) {
                let place = secrets::line_of(estate.files, node.place, text, start);
                sink.find(place, format!("settings {label}"), message);
            }
        });
    }
}
