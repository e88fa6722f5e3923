//! Who vouches for a model: its signature, its card, and the bill of materials that approved it.

use crate::estate::{Document, Estate, Kind};
use crate::node::Node;
use crate::place::Place;
use crate::rule::{Check, Group, Rule, Severity, Sink};
use crate::workload::{Image, Resource, Source};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "AI-055",
        title: "model without a signature",
        group: Group::Weights,
        severity: Severity::High,
        why: "Nothing tells this model from one that somebody changed on the way: a poisoned checkpoint answers as \
              before, until it is asked the right question.",
        fix: "Sign the folder (OpenSSF Model Signing), or seal it with `casemate model seal`, and verify before serving.",
        maps: &["LLM03", "AML.M0013", "SLSA", "AML.T0018"],
        checks: &[Check::Model(unsigned)],
    },
    Rule {
        id: "AI-056",
        title: "signature that does not hold, or leaves out what matters",
        group: Group::Weights,
        severity: Severity::Critical,
        why: "A bundle beside a model makes people trust it. One that names other files, ends before it was used or \
              leaves out code covers nothing that an attacker would change.",
        fix: "Sign the folder again as it is, with nothing left out but the signature itself.",
        maps: &["AML.M0014", "LLM03", "SLSA"],
        checks: &[Check::Model(bad_signature)],
    },
    Rule {
        id: "AI-071",
        title: "model without a licence or card, or with a licence that limits its use",
        group: Group::Weights,
        severity: Severity::Low,
        why: "Without a card nobody knows what the model was trained on or for; with a licence that forbids the use, \
              serving it is a breach that comes out later.",
        fix: "Keep the author's card and licence in the folder, and have somebody say that the licence allows this use.",
        maps: &["LLM03", "AML.M0023"],
        checks: &[Check::Model(card)],
    },
    Rule {
        id: "AI-072",
        title: "served model is not the approved one",
        group: Group::Weights,
        severity: Severity::Critical,
        why: "The bill of materials says which bytes were reviewed. Other bytes under the same name are what an \
              attacker who can push to the registry puts there.",
        fix: "Serve the approved digest; or have the new one reviewed and write it into the bill of materials.",
        maps: &["AML.M0014", "AML.T0109", "SLSA", "LLM03"],
        checks: &[Check::Estate(approved)],
    },
];

fn unsigned(document: &Document, sink: &mut Sink<'_>) {
    let root = &document.root;
    if root.get("whole").is_none()
        || root.get("sealed").is_some()
        || !root.list("signatures").is_empty()
    {
        return;
    }
    let weights = root.list("files").iter().find(|file| {
        matches!(
            file.text_at("form"),
            Some("safetensors" | "gguf" | "pickle" | "hdf5" | "onnx" | "numpy")
        )
    });
    if let Some(weights) = weights {
        let message = format!(
            "no signature lies beside `{}`: nothing tells this model from a changed one",
            weights.text_at("path").unwrap_or("?")
        );
        sink.find(root.place, "signature", message);
    }
}

fn bad_signature(document: &Document, sink: &mut Sink<'_>) {
    for signature in document.root.list("signatures") {
        let path = signature.text_at("path").unwrap_or("?");
        let listed = |member: &str| -> Vec<&str> {
            signature
                .list(member)
                .iter()
                .filter_map(Node::text)
                .collect()
        };
        let broken = listed("broken");
        if !broken.is_empty() {
            let message = format!("`{path}` does not fit the folder: {}", broken.join("; "));
            sink.find(signature.place, format!("signature {path}"), message);
        }
        let weak = listed("weak");
        if !weak.is_empty() {
            let message = format!("`{path}` covers less than it seems: {}", weak.join("; "));
            sink.find(signature.place, format!("weakness {path}"), message)
                .severity(Severity::High);
        }
        if broken.is_empty() {
            let message = format!(
                "`{path}` states what it must; whether the signature itself is genuine takes the signer's key: \
                 `casemate model verify`"
            );
            sink.cannot_tell(signature.place, message);
        }
    }
}

fn card(document: &Document, sink: &mut Sink<'_>) {
    let root = &document.root;
    if root.get("whole").is_none() || root.get("sealed").is_some() || root.list("files").is_empty()
    {
        return;
    }
    match root.text_at("license") {
        None => {
            sink.find(
                root.place,
                "license",
                "no licence is named in the folder, in a card or a file",
            );
        }
        Some(license) => {
            let lower = license.to_ascii_lowercase();
            let limits = [
                "-nc",
                "noncommercial",
                "non-commercial",
                "research",
                "academic",
            ];
            if let Some(limit) = limits.iter().find(|limit| lower.contains(**limit)) {
                let place = root.get("license").map_or(root.place, |node| node.place);
                let message = format!(
                    "licence `{license}` limits the use (`{limit}`): serving customers breaks it"
                );
                sink.find(place, "license", message);
            }
        }
    }
    if root.get("card").is_none() {
        sink.find(
            root.place,
            "card",
            "no model card (`README.md`) says what the model is for",
        );
    }
}

/// A model that a bill of materials approves.
struct Approved<'tree> {
    name: &'tree str,
    digests: Vec<String>,
}

fn approved(estate: &Estate<'_>, sink: &mut Sink<'_>) {
    let mut list = Vec::new();
    for document in estate.documents_of(Kind::BillOfMaterials) {
        components(&document.root, &mut list);
    }
    if list.is_empty() {
        return;
    }
    for resource in &estate.resources {
        sink.about_resource(resource);
        references(resource, &list, sink);
    }
    for workload in &estate.workloads {
        sink.about_resource(&workload.resource);
        for mount in workload
            .containers
            .iter()
            .flat_map(|container| &container.mounts)
        {
            let node = mount
                .volume
                .and_then(|volume| volume.at(&["image", "reference"]));
            if let (Source::Image(reference), Some(node)) = (&mount.source, node) {
                compare(reference, node.place, &list, sink);
            }
        }
    }
    for document in estate.documents_of(Kind::Model) {
        sink.about(estate.files.name(document.file));
        for signature in document.root.list("signatures") {
            if let (Some(name), Some(digest)) =
                (signature.text_at("name"), signature.text_at("root"))
            {
                against(name, digest, signature.place, &list, sink);
            }
        }
    }
}

/// The models that a CycloneDX document lists, with every digest it gives them.
fn components<'tree>(root: &'tree Node, into: &mut Vec<Approved<'tree>>) {
    let own = root.at(&["metadata", "component"]);
    for component in root.list("components").iter().chain(own) {
        if component.text_at("type") != Some("machine-learning-model") {
            continue;
        }
        let Some(name) = component.text_at("name") else {
            continue;
        };
        let mut digests: Vec<String> = component
            .list("hashes")
            .iter()
            .filter(|hash| hash.text_at("alg") == Some("SHA-256"))
            .filter_map(|hash| hash.text_at("content"))
            .map(str::to_ascii_lowercase)
            .collect();
        let address = component
            .text_at("purl")
            .unwrap_or("")
            .replace("%3A", ":")
            .replace("%3a", ":");
        if let Some((_, digest)) = address.split_once("@sha256:") {
            digests.push(
                digest
                    .split(['?', '#'])
                    .next()
                    .unwrap_or(digest)
                    .to_ascii_lowercase(),
            );
        }
        if !digests.is_empty() {
            into.push(Approved { name, digests });
        }
    }
}

/// Models of registries that a resource names, in any member.
fn references(resource: &Resource<'_>, list: &[Approved<'_>], sink: &mut Sink<'_>) {
    let mut found: Vec<(String, Place)> = Vec::new();
    resource.node.walk(&mut |node| {
        if let Some(reference) = node.text().and_then(|text| text.strip_prefix("oci://")) {
            found.push((reference.to_owned(), node.place));
        }
    });
    for (reference, place) in found {
        compare(&reference, place, list, sink);
    }
}

fn compare(reference: &str, place: Place, list: &[Approved<'_>], sink: &mut Sink<'_>) {
    let image = Image::parse(reference, place);
    if let Some(digest) = image
        .digest
        .and_then(|digest| digest.strip_prefix("sha256:"))
    {
        against(image.repository, digest, place, list, sink);
    }
}

fn against(name: &str, digest: &str, place: Place, list: &[Approved<'_>], sink: &mut Sink<'_>) {
    let last = |name: &str| name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
    let same: Vec<&Approved<'_>> = list
        .iter()
        .filter(|one| last(one.name) == last(name))
        .collect();
    let digest = digest.to_ascii_lowercase();
    if !same.is_empty() && !same.iter().any(|one| one.digests.contains(&digest)) {
        let short = |digest: &str| digest.chars().take(12).collect::<String>();
        let wanted: Vec<String> = same
            .iter()
            .flat_map(|one| &one.digests)
            .map(|one| short(one))
            .collect();
        let message = format!(
            "`{}` is served as sha256:{}…, and the bill of materials approves {}…",
            last(name),
            short(&digest),
            wanted.join("…, ")
        );
        sink.find(place, format!("model {}", last(name)), message);
    }
}
