//! Versions of packages that have a public hole, as an image tells them by itself: variables, labels, Python's own
//! records. It is a short list of what model servers are made of, and no replacement for a scanner of packages.

use super::images::files;
use crate::estate::Document;
use crate::node::Node;
use crate::place::Place;
use crate::rule::{Severity, Sink};

/// A package below a version, with what is known about it.
struct Floor {
    name: &'static str,
    fixed: &'static [u64],
    severity: Severity,
    what: &'static str,
}

const fn floor(
    name: &'static str,
    fixed: &'static [u64],
    severity: Severity,
    what: &'static str,
) -> Floor {
    Floor {
        name,
        fixed,
        severity,
        what,
    }
}

/// Python packages, by normal name.
const PACKAGES: &[Floor] = &[
    floor(
        "vllm",
        &[0, 14, 1],
        Severity::Critical,
        "CVE-2026-22778 (a request runs code) and CVE-2026-22807 (a model's code runs with trust off)",
    ),
    floor(
        "torch",
        &[2, 6, 0],
        Severity::High,
        "CVE-2025-32434: `weights_only` loading runs code",
    ),
    floor(
        "llama-cpp-python",
        &[0, 2, 72],
        Severity::Critical,
        "CVE-2024-34359: a chat template runs code",
    ),
    floor(
        "tensorrt-llm",
        &[1, 2],
        Severity::High,
        "holes in its serialization between processes",
    ),
    floor(
        "keras",
        &[3, 11, 0],
        Severity::High,
        "CVE-2025-1550 and CVE-2025-8747: loading in safe mode runs code",
    ),
    floor(
        "skops",
        &[0, 13, 0],
        Severity::High,
        "CVE-2025-54412, CVE-2025-54413 and CVE-2025-54886: trusted loading runs code",
    ),
];

/// Variables by which NVIDIA's and other images say what they hold.
const VARIABLES: &[(&str, Floor)] = &[
    (
        "NVIDIA_TRITON_SERVER_VERSION",
        floor(
            "Triton",
            &[26, 4],
            Severity::Critical,
            "CVE-2026-24207: authentication is passed by",
        ),
    ),
    (
        "VLLM_VERSION",
        floor(
            "vllm",
            &[0, 14, 1],
            Severity::Critical,
            "CVE-2026-22778: a request runs code",
        ),
    ),
    (
        "PYTORCH_VERSION",
        floor(
            "torch",
            &[2, 6, 0],
            Severity::High,
            "CVE-2025-32434: `weights_only` loading runs code",
        ),
    ),
    (
        "OLLAMA_VERSION",
        floor(
            "Ollama",
            &[0, 17, 1],
            Severity::High,
            "CVE-2026-7482: a model file reads the server's memory",
        ),
    ),
];

pub(super) fn old(document: &Document, sink: &mut Sink<'_>) {
    let config = document.root.get("config");
    for item in config.map_or(&[][..], |config| config.list("Env")) {
        let (name, value) = item
            .text()
            .and_then(|text| text.split_once('='))
            .unwrap_or(("", ""));
        if let Some((_, floor)) = VARIABLES.iter().find(|(variable, _)| *variable == name) {
            compare(floor, value, &format!("`{name}`"), item.place, sink);
        }
    }
    for entry in config
        .and_then(|config| config.get("Labels"))
        .map_or(&[][..], Node::entries)
    {
        if entry.key == "com.nvidia.tritonserver.version" {
            // The server's own number: 2.68 is the release of 26.04.
            let floor = floor(
                "Triton",
                &[2, 68],
                Severity::Critical,
                "CVE-2026-24207: authentication is passed by",
            );
            compare(
                &floor,
                entry.value.text().unwrap_or(""),
                "its label",
                entry.value.place,
                sink,
            );
        }
    }
    for (file, path) in files(document) {
        let removed = file.boolean_at("removed") == Some(true);
        if removed || !path.ends_with(".dist-info/METADATA") {
            continue;
        }
        let head = file.text_at("head").unwrap_or("");
        let field = |name: &str| {
            head.lines()
                .take_while(|line| !line.is_empty())
                .find_map(|line| line.strip_prefix(name))
                .map(str::trim)
        };
        let (Some(name), Some(version)) = (field("Name:"), field("Version:")) else {
            continue;
        };
        let normal = name.to_ascii_lowercase().replace(['_', '.'], "-");
        if let Some(floor) = PACKAGES.iter().find(|floor| floor.name == normal) {
            compare(floor, version, &format!("`/{path}`"), file.place, sink);
        }
    }
}

fn compare(floor: &Floor, version: &str, by: &str, place: Place, sink: &mut Sink<'_>) {
    let have = numbers(version);
    if have.is_empty() || have.as_slice() >= floor.fixed {
        return;
    }
    let fixed = match floor.fixed {
        // Releases that are named by year and month.
        [year, month] if *year >= 20 => format!("{year}.{month:02}"),
        parts => parts
            .iter()
            .map(u64::to_string)
            .collect::<Vec<_>>()
            .join("."),
    };
    let message = format!(
        "{} {version} (by {by}): {}; fixed in {fixed}",
        floor.name, floor.what
    );
    sink.find(place, format!("package {}", floor.name), message)
        .severity(floor.severity)
        .fix(format!(
            "Build the image with {} {fixed} or later.",
            floor.name
        ));
}

/// The numbers a version starts with. A build of the fixed version that is named `1.2.0rc1` counts as that version.
fn numbers(version: &str) -> Vec<u64> {
    let version = version.trim().trim_start_matches('v');
    let end = version
        .find(|one: char| !one.is_ascii_digit() && one != '.')
        .unwrap_or(version.len());
    version
        .get(..end)
        .unwrap_or("")
        .split('.')
        .map_while(|part| part.parse().ok())
        .collect()
}
