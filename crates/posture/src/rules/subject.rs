//! What rules ask about a workload: is it inference, is this a container of a pod, where does one point.

use crate::node::Node;
use crate::place::Place;
use crate::rule::Case;
use crate::workload::{Container, Origin, Role, Workload};

/// Kinds that exist to serve models, or to fetch them.
const SERVING_KINDS: &[&str] = &[
    "InferenceService",
    "InferenceGraph",
    "LLMInferenceService",
    "ServingRuntime",
    "ClusterServingRuntime",
    "NIMService",
    "NIMCache",
    "NIMPipeline",
    "NIMBuild",
    "DynamoGraphDeployment",
    "DynamoComponentDeployment",
];

/// Whether the workload serves models: a recognised server, an accelerator, or a kind made for it.
pub(crate) fn is_inference(workload: &Workload<'_>) -> bool {
    SERVING_KINDS.contains(&workload.resource.kind)
        || workload
            .containers
            .iter()
            .any(|container| container.server.is_some() || asks_for_gpu(container).is_some())
}

/// Whether a label selector cannot be compared with the labels in the document, because the kind's controller
/// makes the pods and gives them labels of its own.
pub(crate) fn is_custom(workload: &Workload<'_>) -> bool {
    let group = workload
        .resource
        .api_version
        .split('/')
        .next()
        .unwrap_or("");
    workload.origin == Origin::Kubernetes
        && workload.resource.api_version.contains('/')
        && !matches!(group, "apps" | "batch")
}

/// Whether the workload is only a pattern that others make pods from, with their own account, labels and policies.
pub(crate) fn is_template(workload: &Workload<'_>) -> bool {
    matches!(
        workload.resource.kind,
        "ServingRuntime" | "ClusterServingRuntime" | "LLMInferenceServiceConfig" | "PodTemplate"
    )
}

/// Where a container asks for an accelerator.
pub(crate) fn asks_for_gpu(container: &Container<'_>) -> Option<Place> {
    let node = container.node;
    let asked = ["limits", "requests"].iter().find_map(|key| {
        let amounts = node.at(&["resources", key])?;
        amounts
            .entries()
            .iter()
            .find(|entry| is_accelerator(&entry.key) && entry.value.text() != Some("0"))
            .map(|entry| entry.value.place)
    });
    asked.or_else(|| compose_gpu(node))
}

fn is_accelerator(resource: &str) -> bool {
    resource == "nvidia.com/gpu"
        || resource.starts_with("nvidia.com/gpu.")
        || resource.starts_with("nvidia.com/mig-")
        || matches!(resource, "amd.com/gpu" | "habana.ai/gaudi")
}

fn compose_gpu(service: &Node) -> Option<Place> {
    if let Some(gpus) = service.get("gpus") {
        return Some(gpus.place);
    }
    let devices = service.at(&["deploy", "resources", "reservations", "devices"])?;
    devices.items().iter().find_map(|device| {
        let capable = device
            .list("capabilities")
            .iter()
            .any(|one| one.text() == Some("gpu"));
        (capable || device.text_at("driver") == Some("nvidia")).then_some(device.place)
    })
}

/// Whether the container is written out in a pod specification, where what is absent is really absent. Kinds
/// with words of their own (a KServe model, a NIM) leave the rest to their controller.
pub(crate) fn is_spelled_out(case: &Case<'_>) -> bool {
    is_spelled_out_in(case.container, case.workload)
}

/// The same for a container on its own.
pub(crate) fn is_spelled_out_in(container: &Container<'_>, workload: &Workload<'_>) -> bool {
    workload.origin != Origin::Kubernetes
        || ["containers", "initContainers", "ephemeralContainers"]
            .iter()
            .any(|key| {
                let list = workload.pod.list(key);
                list.iter().any(|node| std::ptr::eq(node, container.node))
            })
}

/// Whether the workload is a pod specification at all.
pub(crate) fn is_pod(workload: &Workload<'_>) -> bool {
    workload.origin == Origin::Kubernetes && !workload.pod.list("containers").is_empty()
}

/// The place to point at when something is missing in a container: its name, or else its image.
pub(crate) fn place_of(case: &Case<'_>) -> Place {
    container_place(case.container, case.workload)
}

fn container_place(container: &Container<'_>, workload: &Workload<'_>) -> Place {
    container
        .node
        .get("name")
        .filter(|_| workload.origin == Origin::Kubernetes)
        .or_else(|| container.node.get("image"))
        .map(|node| node.place)
        .or_else(|| container.image.as_ref().map(|image| image.place))
        .unwrap_or(container.node.place)
}

/// The place to point at when something is missing around a workload: the name of its first main container.
pub(crate) fn workload_place(workload: &Workload<'_>) -> Place {
    workload
        .containers
        .iter()
        .find(|container| container.role == Role::Main)
        .or_else(|| workload.containers.first())
        .map_or(workload.resource.place, |container| {
            // One document of Dynamo's holds many pods: each is told by its own container.
            let of_many = workload.resource.kind == "DynamoGraphDeployment";
            if of_many || is_spelled_out_in(container, workload) {
                container_place(container, workload)
            } else {
                workload
                    .resource
                    .node
                    .at(&["metadata", "name"])
                    .map_or(workload.resource.place, |name| name.place)
            }
        })
}

/// A setting of the container, or of its pod where the container says nothing.
pub(crate) fn security<'tree>(case: &Case<'tree>, path: &[&str]) -> Option<&'tree Node> {
    let within = |node: &'tree Node| node.get("securityContext").and_then(|node| node.at(path));
    within(case.container.node).or_else(|| within(case.workload.pod))
}

/// A Kubernetes quantity or a compose size in bytes; none for anything else.
pub(crate) fn bytes(text: &str) -> Option<u128> {
    let digits = text
        .find(|character: char| !character.is_ascii_digit() && character != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let factor: u128 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "ki" | "kib" => 1 << 10,
        "m" | "mb" => 1_000_000,
        "mi" | "mib" => 1 << 20,
        "g" | "gb" => 1_000_000_000,
        "gi" | "gib" => 1 << 30,
        "t" | "tb" => 1_000_000_000_000,
        "ti" | "tib" => 1 << 40,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: u128 = whole.parse().ok()?;
    // Three digits after the point are more than anybody writes.
    let thousandths: u128 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    Some(whole.checked_mul(factor)? + thousandths.checked_mul(factor)? / 1_000)
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn quantities_are_bytes() {
        assert_eq!(bytes("16Gi"), Some(16 << 30));
        assert_eq!(bytes("1.5Gi"), Some(3 << 29));
        assert_eq!(bytes("2gb"), Some(2_000_000_000));
        assert_eq!(bytes("1000"), Some(1000));
        assert_eq!(bytes("many"), None);
        assert_eq!(bytes("8Gx"), None);
    }
}
