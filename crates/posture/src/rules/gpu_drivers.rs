//! Images that need a newer driver than the nodes they go to have.

use crate::estate::{Estate, Kind};
use crate::kubernetes::pairs;
use crate::node::Node;
use crate::rule::{Case, Check, Group, Rule, Severity, Sink};
use crate::workload::{Image, Origin};

use super::evidence;
use super::gpu_versions::numbers;

pub(crate) const RULES: &[Rule] = &[Rule {
    id: "AI-090",
    title: "the image needs a newer driver than its nodes have",
    group: Group::Accelerator,
    severity: Severity::High,
    why: "The container does not start there, or somebody switches the check off and carries libraries of the image \
              over the driver's: and the node keeps a driver that bulletins have left behind.",
    fix: "Upgrade the driver of the nodes, or use an image of a CUDA that their driver supports.",
    maps: &["AML.M0016", "NIST 800-190 4.1.1", "NIST 800-190 4.5.3"],
    checks: &[
        Check::Container(newer_than_driver),
        Check::Estate(image_newer_than_driver),
    ],
}];

/// What a driver supports, and of which node that is.
struct Driver<'look> {
    node: &'look str,
    /// The newest CUDA it was made for.
    cuda: Vec<u64>,
    /// Its own release; empty when no label says it.
    release: Vec<u64>,
}

fn drivers<'look>(estate: &'look Estate<'_>, selector: &[(&str, &str)]) -> Vec<Driver<'look>> {
    let mut found = Vec::new();
    for node in estate.of_kind("Node") {
        let labels = pairs(node.node.at(&["metadata", "labels"]));
        if !selector.iter().all(|wanted| labels.contains(wanted)) {
            continue;
        }
        let label = |names: &[&str]| {
            names
                .iter()
                .find_map(|name| labels.iter().find(|label| label.0 == *name))
                .map(|label| label.1)
        };
        let number = |names: &[&str]| label(names).and_then(|text| text.parse::<u64>().ok());
        let major = number(&[
            "nvidia.com/cuda.runtime-version.major",
            "nvidia.com/cuda.runtime.major",
        ]);
        let minor = number(&[
            "nvidia.com/cuda.runtime-version.minor",
            "nvidia.com/cuda.runtime.minor",
        ]);
        let release = label(&["nvidia.com/cuda.driver-version.full"])
            .map(numbers)
            .unwrap_or_default();
        let release = if release.is_empty() {
            number(&[
                "nvidia.com/cuda.driver-version.major",
                "nvidia.com/cuda.driver.major",
            ])
            .into_iter()
            .collect()
        } else {
            release
        };
        let cuda: Vec<u64> = major.into_iter().chain(minor).collect();
        if !cuda.is_empty() || !release.is_empty() {
            found.push(Driver {
                node: node.name,
                cuda,
                release,
            });
        }
    }
    found
}

/// The release a driver must have for a major release of CUDA; within one, older drivers run newer images.
fn driver_for(cuda: &[u64]) -> Option<u64> {
    match cuda.first()? {
        11 => Some(450),
        12 => Some(525),
        13 => Some(580),
        _ => None,
    }
}

/// Why a driver does not run what was built for `cuda`.
fn lacks(driver: &Driver<'_>, cuda: &[u64]) -> Option<String> {
    if let (Some(needed), Some(own)) = (driver_for(cuda), driver.release.first()) {
        return (*own < needed).then(|| {
            format!(
                "needs driver {needed} or later, and node `{}` has {}",
                driver.node,
                dotted(&driver.release)
            )
        });
    }
    let (wanted, own) = (cuda.first()?, driver.cuda.first()?);
    (own < wanted).then(|| {
        format!(
            "needs a newer driver: that of node `{}` goes up to CUDA {}",
            driver.node,
            dotted(&driver.cuda)
        )
    })
}

fn newer_than_driver(case: &Case<'_>, sink: &mut Sink<'_>) {
    let container = case.container;
    if case.workload.origin != Origin::Kubernetes
        || evidence::is_accelerator_software(container)
        || !evidence::asks_for_accelerator(container, case.workload.origin)
    {
        return;
    }
    let selector = pairs(case.workload.pod.get("nodeSelector"));
    let drivers = drivers(case.estate, &selector);
    if drivers.is_empty() {
        return;
    }
    let by_variable = || {
        let required = container.literal("NVIDIA_REQUIRE_CUDA");
        let named = required.and_then(|(text, place)| Some((required_cuda(text)?, place)));
        named.or_else(|| {
            let (text, place) = container.literal("CUDA_VERSION")?;
            Some((numbers(text), place))
        })
    };
    let by_image = || {
        let image = container.image.as_ref()?;
        Some((image_cuda(image)?, image.place))
    };
    let Some((cuda, place)) = by_variable().or_else(by_image) else {
        return;
    };
    let lacking: Vec<String> = drivers
        .iter()
        .filter_map(|driver| lacks(driver, &cuda))
        .collect();
    if let Some(first) = lacking.first() {
        let count = if lacking.len() == drivers.len() {
            String::new()
        } else {
            format!(
                " ({} of {} nodes that it may go to)",
                lacking.len(),
                drivers.len()
            )
        };
        let message = format!("CUDA {} {first}{count}", dotted(&cuda));
        sink.find(place, "CUDA", message);
    }
}

fn image_newer_than_driver(estate: &Estate<'_>, sink: &mut Sink<'_>) {
    let drivers = drivers(estate, &[]);
    if drivers.is_empty() {
        return;
    }
    for document in estate.documents_of(Kind::ImageConfiguration) {
        let variables = document
            .root
            .at(&["config", "Env"])
            .map_or(&[][..], Node::items);
        let value_of = |name: &str| {
            variables.iter().find_map(|variable| {
                let (key, value) = variable.text()?.split_once('=')?;
                (key == name).then_some((value, variable.place))
            })
        };
        let required = value_of("NVIDIA_REQUIRE_CUDA")
            .and_then(|(text, place)| Some((required_cuda(text)?, place)));
        let built = || value_of("CUDA_VERSION").map(|(text, place)| (numbers(text), place));
        let Some((cuda, place)) = required.or_else(built) else {
            continue;
        };
        // Which node runs it is not known here: only an image that no node runs is wrong.
        let lacking: Vec<String> = drivers
            .iter()
            .filter_map(|driver| lacks(driver, &cuda))
            .collect();
        if lacking.len() == drivers.len()
            && let Some(first) = lacking.first()
        {
            let message = format!("CUDA {} {first}", dotted(&cuda));
            sink.about(estate.files.name(document.file))
                .find(place, "CUDA", message);
        }
    }
}

/// The lowest CUDA that `NVIDIA_REQUIRE_CUDA` accepts by itself: its parts are alternatives.
fn required_cuda(text: &str) -> Option<Vec<u64>> {
    text.split_whitespace()
        .flat_map(|part| part.split(','))
        .find_map(|condition| condition.strip_prefix("cuda>="))
        .map(numbers)
        .filter(|found| !found.is_empty())
}

/// The CUDA that an image's tag names: `nvidia/cuda:13.0.1-runtime`, or `…-cu128` and `…-cuda12.8` of others.
fn image_cuda(image: &Image<'_>) -> Option<Vec<u64>> {
    let tag = image.tag?;
    if image.repository == "nvidia/cuda" || image.repository.ends_with("/nvidia/cuda") {
        return Some(image.version()).filter(|found| !found.is_empty());
    }
    tag.split(['-', '_', '+']).find_map(|part| {
        let rest = part
            .strip_prefix("cuda")
            .or_else(|| part.strip_prefix("cu"))?;
        let rest = rest.trim_end_matches(|one: char| !one.is_ascii_digit());
        if rest.contains('.') {
            return Some(numbers(rest)).filter(|found| !found.is_empty());
        }
        // `cu128`: the last digit is the minor release.
        let (major, minor) = match rest.len() {
            2 => (rest, "0"),
            3 => rest.split_at_checked(2)?,
            _ => return None,
        };
        Some(vec![major.parse().ok()?, minor.parse().ok()?])
    })
}

fn dotted(version: &[u64]) -> String {
    let parts: Vec<String> = version.iter().map(u64::to_string).collect();
    parts.join(".")
}

#[cfg(test)]
mod tests;
