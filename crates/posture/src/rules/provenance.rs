//! Which image it is, and who vouches for it: digests, and policies that verify signatures.

use crate::estate::Estate;
use crate::node::Node;
use crate::rule::{Case, Check, Group, Rule, Severity, Sink};
use crate::rules::subject::is_inference;
use crate::workload::{Image, Origin, Resource};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "AI-107",
        title: "image not named by its digest",
        group: Group::Hardening,
        severity: Severity::Medium,
        why: "A tag is a name that its owner moves: what starts after the next reschedule may be another server, with \
              the same access to weights, keys and GPU. `latest`, or no tag, moves all the time.",
        fix: "Write `image@sha256:…` as `docker buildx imagetools inspect IMAGE` prints it; keep the tag for people.",
        maps: &["SLSA", "K02", "NIST 800-190 4.1.5", "AML.T0010", "LLM03"],
        checks: &[Check::Container(digest)],
    },
    Rule {
        id: "AI-108",
        title: "nothing verifies the image before it runs",
        group: Group::Hardening,
        severity: Severity::High,
        why: "A digest says which image, not whose. Without an admission policy that checks signatures, or from a \
              registry that is only an address, an image that was pushed by anybody gets the model's keys.",
        fix: "Enforce a verification policy (Kyverno `verifyImages`, sigstore's `ClusterImagePolicy`) that covers it.",
        maps: &[
            "CIS 5.5.1",
            "NIST 800-190 4.1.5",
            "NIST 800-190 4.2.1",
            "K02",
            "SLSA",
            "AML.M0013",
            "LLM03",
        ],
        checks: &[Check::Container(registry), Check::Estate(verification)],
    },
];

fn digest(case: &Case<'_>, sink: &mut Sink<'_>) {
    let Some(image) = &case.container.image else {
        return;
    };
    let built_here =
        case.workload.origin != Origin::Kubernetes && case.container.node.get("build").is_some();
    if image.reference.is_empty() || image.digest.is_some() || built_here {
        return;
    }
    if image.is_unresolved() {
        sink.cannot_tell(
            image.place,
            format!(
                "image `{}` is filled in later; render it first",
                image.reference
            ),
        );
        return;
    }
    let message = match image.tag {
        Some("latest") => format!("`{}` is whatever was pushed last", image.reference),
        None => format!(
            "`{}` has no tag: it is whatever was pushed last",
            image.reference
        ),
        Some(tag) => format!(
            "the tag `{tag}` of `{}` can be moved to another image",
            image.repository
        ),
    };
    let tagged = !matches!(image.tag, None | Some("latest"));
    let finding = sink.find(image.place, "digest", message);
    finding.fix(format!(
        "Write `{}@sha256:…` with the digest of the image you tested.",
        image.reference
    ));
    // The NIM operator joins repository and tag; there is no place for a digest.
    if tagged && case.workload.resource.kind.starts_with("NIM") {
        finding.severity(Severity::Low);
    }
}

fn registry(case: &Case<'_>, sink: &mut Sink<'_>) {
    let Some(image) = case
        .container
        .image
        .as_ref()
        .filter(|image| !image.is_unresolved())
    else {
        return;
    };
    let Some((host, _)) = image.repository.split_once('/') else {
        return;
    };
    let bare = host.split(':').next().unwrap_or(host);
    if bare.parse::<std::net::Ipv4Addr>().is_ok() || host.starts_with('[') {
        let message = format!(
            "registry `{host}` is an address without a name: no certificate tells whose images these are"
        );
        sink.find(image.place, "registry", message)
            .severity(if image.digest.is_some() { Severity::Low } else { Severity::High })
            .fix("Pull from a registry with a name and a certificate, and verify its signature on admission.");
    }
}

/// A policy that verifies signatures.
struct Verifier<'tree> {
    resource: &'tree Resource<'tree>,
    patterns: Vec<&'tree Node>,
    /// What makes it look away: `Audit`, `warn`, a static pass.
    toothless: Option<&'tree Node>,
}

fn verification(estate: &Estate<'_>, sink: &mut Sink<'_>) {
    let verifiers: Vec<Verifier<'_>> = estate.resources.iter().filter_map(verifier).collect();
    for verifier in &verifiers {
        if let Some(node) = verifier.toothless {
            sink.about_resource(verifier.resource);
            let text = node.text().unwrap_or("");
            let message = format!(
                "`{text}`: images whose signature does not verify are admitted all the same"
            );
            sink.find(node.place, "enforce", message)
                .fix("Enforce it: `validationFailureAction: Enforce`, `mode: enforce`, keys instead of a static pass.");
        }
    }
    let inference = estate
        .workloads
        .iter()
        .filter(|workload| workload.origin == Origin::Kubernetes && is_inference(workload));
    let mut told = false;
    for workload in inference {
        for container in &workload.containers {
            let Some(image) = container
                .image
                .as_ref()
                .filter(|image| !image.is_unresolved())
            else {
                continue;
            };
            sink.about(format!("{}/{}", workload.resource.title(), container.name));
            if verifiers.is_empty() {
                if !told {
                    told = true;
                    let message = "no policy that verifies image signatures was read; scan it together with the workloads";
                    sink.cannot_tell(image.place, message);
                }
            } else if !verifiers.iter().any(|verifier| verifier.covers(image)) {
                let message = format!(
                    "none of the policies that verify signatures covers `{}`",
                    image.reference
                );
                sink.find(image.place, "covered", message);
            }
        }
    }
}

fn verifier<'tree>(resource: &'tree Resource<'tree>) -> Option<Verifier<'tree>> {
    let spec = resource.node.get("spec")?;
    match resource.kind {
        "ClusterPolicy" | "Policy" | "ImageValidatingPolicy"
            if resource.api_version.contains("kyverno.io") =>
        {
            let mut patterns = Vec::new();
            for rule in spec.list("rules") {
                for check in rule.list("verifyImages") {
                    patterns.extend(check.list("imageReferences"));
                }
            }
            patterns.extend(
                spec.list("matchImageReferences")
                    .iter()
                    .filter_map(|one| one.get("glob")),
            );
            let action = spec.get("validationFailureAction").filter(|action| {
                action
                    .text()
                    .is_some_and(|text| text.eq_ignore_ascii_case("audit"))
            });
            (!patterns.is_empty()).then_some(Verifier {
                resource,
                patterns,
                toothless: action,
            })
        }
        "ClusterImagePolicy" => {
            let patterns = spec
                .list("images")
                .iter()
                .filter_map(|image| image.get("glob"))
                .collect();
            let warns = spec.get("mode").filter(|mode| mode.text() == Some("warn"));
            let passes = spec
                .list("authorities")
                .iter()
                .find_map(|authority| authority.at(&["static", "action"]))
                .filter(|action| action.text() == Some("pass"));
            Some(Verifier {
                resource,
                patterns,
                toothless: warns.or(passes),
            })
        }
        _ => None,
    }
}

impl Verifier<'_> {
    fn covers(&self, image: &Image<'_>) -> bool {
        let whole = qualified(&image.reference);
        self.patterns
            .iter()
            .filter_map(|pattern| pattern.text())
            .any(|pattern| glob(pattern, &image.reference) || glob(pattern, &whole))
    }
}

/// The reference with the registry that is meant where none is written.
fn qualified(reference: &str) -> String {
    match reference.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => reference.to_owned(),
        Some(_) => format!("docker.io/{reference}"),
        None => format!("docker.io/library/{reference}"),
    }
}

/// Whether `text` matches a pattern in which `*` stands for anything.
fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or("");
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut last = None;
    for part in parts {
        if let Some(at) = rest.find(part) {
            last = Some(part);
            rest = rest.get(at + part.len()..).unwrap_or("");
        } else {
            return false;
        }
    }
    match last {
        None => rest.is_empty(),
        Some(last) => last.is_empty() || text.ends_with(last),
    }
}

#[cfg(test)]
mod tests {
    use super::glob;

    #[test]
    fn a_star_stands_for_anything() {
        assert!(glob("nvcr.io/*", "nvcr.io/nim/meta/llama:1"));
        assert!(glob("*", "x"));
        assert!(glob("reg/*@sha256:*", "reg/a@sha256:1"));
        assert!(!glob("nvcr.io/nim/*", "nvcr.io/nvidia/x"));
        assert!(!glob("reg/a", "reg/ab"));
        assert!(!glob("reg/*:1", "reg/a:12"));
    }
}
