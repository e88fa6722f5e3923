//! Versions of servers with holes that are known: what a tag says, and no more than that.
//!
//! A tag is evidence only where the image's name says whose tag it is. An image that somebody built around a server,
//! a digest without a tag and a tag that moves do not say a version; then the rule says that it cannot tell.

use crate::rule::{Case, Check, Group, Rule, Severity, Sink};
use crate::rules::reach;
use crate::workload::{Container, Image, Role};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "AI-005",
        title: "this vLLM runs code for whoever sends the right model or video",
        group: Group::Server,
        severity: Severity::Critical,
        why: "From 0.10.1 until 0.14.0 vLLM imports code that a model's configuration names even with remote code not \
              trusted (CVE-2026-22807); from 0.8.3 until 0.14.1 a video address in a request overflows a buffer \
              (CVE-2026-22778). Both run code as the server, the second for any caller.",
        fix: "Upgrade to vLLM 0.14.1 or newer, and pin the image by digest.",
        maps: &[
            "AML.T0010",
            "AML.T0011.000",
            "AML.M0016",
            "NIST 800-190 4.1.1",
        ],
        checks: &[Check::Container(vllm_holes)],
    },
    Rule {
        id: "AI-029",
        title: "this Triton lets callers past its checks",
        group: Group::Server,
        severity: Severity::Critical,
        why: "Before 26.03 a caller gets past Triton's restrictions of its own APIs (CVE-2026-24207, 9.8) and from there \
              to loading models, which is running code. Before 25.07 an error text gives away a shared memory region \
              that a caller then writes (CVE-2025-23319, 23320, 23334).",
        fix: "Upgrade to the 26.03 image or a newer one, and pin it by digest.",
        maps: &[
            "AML.T0049",
            "AML.M0016",
            "NIST 800-190 4.1.1",
            "NIST 800-190 4.4.4",
        ],
        checks: &[Check::Container(triton_holes)],
    },
    Rule {
        id: "AI-030",
        title: "this server version has a hole that is known",
        group: Group::Server,
        severity: Severity::High,
        why: "TensorRT-LLM before 1.2 unpickles what its peers send. llama.cpp before build 8146 overflows a buffer on a \
              model file (CVE-2025-53630, CVE-2026-27940), before 8908 on a request (CVE-2026-21869). Ollama before \
              0.17.1 gives its memory to whoever creates a model (CVE-2026-7482). Each gives a caller, or the author of \
              a model, the process with the weights.",
        fix: "Upgrade to the version named in the finding, and pin the image by digest.",
        maps: &["AML.M0016", "AML.T0010", "NIST 800-190 4.1.1"],
        checks: &[Check::Container(other_holes)],
    },
];

/// The last part of an image's repository.
fn base<'look>(image: &'look Image<'_>) -> &'look str {
    let repository: &'look str = image.repository;
    repository.rsplit('/').next().unwrap_or(repository)
}

/// The version of vLLM that a container's image says: only in images of the vLLM project and copies of them.
pub(crate) fn vllm(container: &Container<'_>) -> Option<Vec<u64>> {
    let image = container.image.as_ref()?;
    // Others build images of the same name around it, and number them by their own count.
    let repository = image.repository;
    let official = repository.contains("/vllm/vllm-openai")
        || repository.starts_with("vllm/vllm-openai")
        || base(image) == "vllm-cpu-release-repo";
    let version = image.version();
    (official && version.len() >= 2 && !image.is_unresolved()).then_some(version)
}

/// Says that the version cannot be told, and why.
fn unknown(container: &Container<'_>, sink: &mut Sink<'_>, server: &str) {
    let Some(image) = &container.image else {
        return;
    };
    let why = if image.is_unresolved() {
        "is filled in later; render it first"
    } else if image.tag.is_none() && image.digest.is_some() {
        "has a digest and no tag: write both, `name:version@sha256:…`"
    } else if image
        .tag
        .is_none_or(|tag| image.version().is_empty() || tag.starts_with("latest"))
    {
        "does not name a version that stays"
    } else {
        "is not tagged with the server's own version"
    };
    sink.cannot_tell(
        image.place,
        format!(
            "`{}` {why}, so the version of {server} is unknown",
            image.reference
        ),
    );
}

/// Whether `version` is older than `floor`; a part that is not written counts as 0.
pub(crate) fn before(version: &[u64], floor: &[u64]) -> bool {
    let length = version.len().max(floor.len());
    let filled = |parts: &[u64]| -> Vec<u64> {
        parts
            .iter()
            .copied()
            .chain(std::iter::repeat(0))
            .take(length)
            .collect()
    };
    filled(version) < filled(floor)
}

fn written(version: &[u64]) -> String {
    let parts: Vec<String> = version.iter().map(u64::to_string).collect();
    parts.join(".")
}

/// A release that is named by year and month, such as `25.07`.
fn written_by_month(version: &[u64]) -> String {
    let parts: Vec<String> = version.iter().map(|part| format!("{part:02}")).collect();
    parts.join(".")
}

fn vllm_holes(case: &Case<'_>, sink: &mut Sink<'_>) {
    let container = case.container;
    if !reach::serves(case, &["vllm"]) {
        return;
    }
    let Some(version) = vllm(container) else {
        unknown(container, sink, "vLLM");
        return;
    };
    let code = !before(&version, &[0, 10, 1]) && before(&version, &[0, 14, 0]);
    let video = !before(&version, &[0, 8, 3]) && before(&version, &[0, 14, 1]);
    let holes = match (code, video) {
        (true, _) => {
            "a model whose configuration has `auto_map` runs its code whatever `--trust-remote-code` says (CVE-2026-22807), \
             and a video address in a request overflows a buffer (CVE-2026-22778)"
        }
        (false, true) => "a video address in a request overflows a buffer (CVE-2026-22778)",
        (false, false) => return,
    };
    let message = format!("vLLM {}: {holes}", written(&version));
    sink.find(reach::identity(container), "image vllm", message);
}

fn triton_holes(case: &Case<'_>, sink: &mut Sink<'_>) {
    let container = case.container;
    let tag = container.image.as_ref().and_then(|image| image.tag);
    // The SDK images of a release hold its clients, not the server.
    if !reach::serves(case, &["triton"]) || tag.is_some_and(|tag| tag.ends_with("-sdk")) {
        return;
    }
    let Some(version) = triton(container) else {
        unknown(container, sink, "Triton");
        return;
    };
    if before(&version, &[25, 7]) {
        let message = format!(
            "Triton {}: callers get past its API restrictions (CVE-2026-24207), and write its shared memory until they \
             run code (CVE-2025-23319, 23320, 23334)",
            written_by_month(&version)
        );
        sink.find(reach::identity(container), "image triton", message);
    } else if before(&version, &[26, 3]) {
        let message = format!(
            "Triton {}: callers get past its API restrictions (CVE-2026-24207) and can load models, which runs code",
            written_by_month(&version)
        );
        sink.find(reach::identity(container), "image triton", message);
    }
}

/// The release of Triton that a container's image says, such as `[26, 3]`.
pub(crate) fn triton(container: &Container<'_>) -> Option<Vec<u64>> {
    let image = container.image.as_ref()?;
    let version = image.version();
    // Releases go by year and month; a tag such as `2.61` counts something else.
    let by_month =
        version.len() >= 2 && version.first().is_some_and(|year| (19..=60).contains(year));
    (base(image) == "tritonserver" && by_month && !image.is_unresolved()).then_some(version)
}

fn other_holes(case: &Case<'_>, sink: &mut Sink<'_>) {
    let container = case.container;
    if container.role != Role::Main || container.runs("nim") {
        return;
    }
    let Some(image) = container
        .image
        .as_ref()
        .filter(|image| !image.is_unresolved())
    else {
        if reach::serves(case, &["ollama", "llama.cpp"]) {
            unknown(container, sink, "the server");
        }
        return;
    };
    let version = image.version();
    let tensorrt =
        image.repository.ends_with("/tensorrt-llm/release") || base(image) == "tensorrt-llm";
    let found = if tensorrt && !version.is_empty() {
        before(&version, &[1, 2]).then(|| {
            ("TensorRT-LLM", written(&version), "peers send it pickles that it runs, on ports that ask for no key (CVE-2025-23254 and its kind)", "1.2")
        })
    } else if container.runs("ollama") && base(image) == "ollama" && !version.is_empty() {
        before(&version, &[0, 17, 1]).then(|| {
            ("Ollama", written(&version), "`/api/create` gives parts of the server's memory, keys and prompts among them, to any caller (CVE-2026-7482)", "0.17.1")
        })
    } else if container.runs("llama.cpp")
        && let Some(build) = build_of(image)
    {
        llama_hole(build).map(|(what, floor)| ("llama.cpp", format!("b{build}"), what, floor))
    } else {
        if tensorrt || reach::serves(case, &["ollama", "llama.cpp"]) {
            unknown(container, sink, "the server");
        }
        return;
    };
    if let Some((server, version, what, floor)) = found {
        sink.find(
            image.place,
            format!("image {server}"),
            format!("{server} {version}: {what}"),
        )
        .fix(format!(
            "Upgrade to {server} {floor} or newer, and pin the image by digest."
        ));
    }
}

/// The worst that is known of a build of llama.cpp, and the first build without it.
const fn llama_hole(build: u32) -> Option<(&'static str, &'static str)> {
    match build {
        0..8146 => Some((
            "a model file overflows a buffer when it is loaded (CVE-2025-53630, CVE-2026-27940), and so does a request \
             with a negative `n_discard` (CVE-2026-21869)",
            "b8908",
        )),
        8146..8908 => Some((
            "a request with a negative `n_discard` writes beyond a buffer (CVE-2026-21869)",
            "b8908",
        )),
        _ => None,
    }
}

/// The build in a tag of llama.cpp, such as `server-cuda-b5200`.
fn build_of(image: &Image<'_>) -> Option<u32> {
    image
        .tag?
        .split('-')
        .find_map(|part| part.strip_prefix('b')?.parse().ok())
}
