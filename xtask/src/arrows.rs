//! Which crate may depend on which, and what else holds for every crate.
//!
//! The table is the architecture: an edge that is not in it fails the build. The same check keeps
//! lint inheritance, file lengths and the one place for `unsafe`.

use std::collections::BTreeSet;
use std::fs;

use anyhow::bail;
use cargo_metadata::{DependencyKind, MetadataCommand};

use crate::shell;

/// Checks everything and prints each thing that does not hold.
pub(crate) fn run() -> anyhow::Result<()> {
    let mut faults = Vec::new();
    let metadata = MetadataCommand::new()
        .current_dir(shell::root())
        .no_deps()
        .other_options(vec![])
        .exec()?;
    let ours: BTreeSet<&str> = metadata
        .packages
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    for package in &metadata.packages {
        let name = package.name.as_str();
        let Some((_, allowed)) = ARROWS.iter().find(|(from, _)| *from == name) else {
            faults.push(format!("{name} is not in the table of xtask/src/arrows.rs"));
            continue;
        };
        for dependency in &package.dependencies {
            let to = dependency.name.as_str();
            // A test may use the testkit; nothing that ships may.
            let in_test = dependency.kind == DependencyKind::Development && to == TESTKIT;
            let takes_out = dependency.features.iter().any(|name| name == REMOVAL);
            if takes_out && (name != CLAIMS || dependency.kind != DependencyKind::Development) {
                faults.push(format!(
                    "{name} asks for `{REMOVAL}`; only {CLAIMS} may, to test"
                ));
            }
            if ours.contains(to) && !in_test && !allowed.contains(&to) {
                faults.push(format!("{name} -> {to} is not an arrow of the design"));
            }
        }
        let manifest = fs::read_to_string(&package.manifest_path)?;
        if !manifest.contains("[lints]\nworkspace = true") {
            faults.push(format!("{name} does not inherit the workspace's lints"));
        }
    }
    check_files(&mut faults)?;
    for fault in &faults {
        println!("{fault}");
    }
    if !faults.is_empty() {
        bail!("{} faults", faults.len());
    }
    println!(
        "arrows: {} crates, every edge is in the table",
        metadata.packages.len()
    );
    Ok(())
}

fn check_files(faults: &mut Vec<String>) -> anyhow::Result<()> {
    for path in shell::files(&shell::root(), "rs")? {
        let text = fs::read_to_string(&path)?;
        let name = shell::relative(&path);
        let lines = text.lines().count();
        if lines > LONGEST {
            faults.push(format!(
                "{name} has {lines} lines; split it by job at {LONGEST}"
            ));
        }
        let may = name.starts_with("crates/linux/") || name == "xtask/src/arrows.rs";
        let uses = text.lines().any(|line| {
            let code = line.split("//").next().unwrap_or(line);
            code.contains("unsafe {") || code.contains("unsafe fn") || code.contains("unsafe impl")
        });
        if uses && !may {
            faults.push(format!("{name} has `unsafe`; only crates/linux may"));
        }
    }
    Ok(())
}

const LONGEST: usize = 600;
const TESTKIT: &str = "casemate-testkit";
const CLAIMS: &str = "casemate-claims";
/// The feature with which single checks can be taken out of a decision.
const REMOVAL: &str = "controls-removed";

/// From, and to what.
const ARROWS: &[(&str, &[&str])] = &[
    // Foundations.
    ("casemate-core", &[]),
    ("casemate-linux", &[]),
    ("casemate-api", &["casemate-core"]),
    // Engines: never each other.
    ("casemate-identity", &["casemate-core"]),
    ("casemate-weights", &["casemate-core", "casemate-linux"]),
    ("casemate-sandbox", &["casemate-core", "casemate-linux"]),
    ("casemate-isolation", &["casemate-core", "casemate-linux"]),
    ("casemate-posture", &["casemate-core", "casemate-linux"]),
    // Programs: never each other.
    (
        "casemate-cli",
        &[
            "casemate-api",
            "casemate-core",
            "casemate-identity",
            "casemate-isolation",
            "casemate-posture",
            "casemate-weights",
        ],
    ),
    (
        "casemate-node",
        &[
            "casemate-api",
            "casemate-core",
            "casemate-identity",
            "casemate-isolation",
            "casemate-linux",
            "casemate-sandbox",
            "casemate-weights",
        ],
    ),
    (
        "casemate-gate",
        &[
            "casemate-api",
            "casemate-core",
            "casemate-identity",
            "casemate-linux",
        ],
    ),
    (
        "casemate-issuer",
        &[
            "casemate-api",
            "casemate-core",
            "casemate-identity",
            "casemate-linux",
        ],
    ),
    (
        "casemate-vault",
        &[
            "casemate-api",
            "casemate-core",
            "casemate-linux",
            "casemate-weights",
        ],
    ),
    ("casemate-init", &["casemate-core", "casemate-linux"]),
    (
        "casemate-probe",
        &["casemate-core", "casemate-isolation", "casemate-linux"],
    ),
    // Not shipped.
    ("redact", &[]),
    ("stand-in", &["casemate-linux"]),
    ("chat-demo", &["casemate-isolation", TESTKIT]),
    (TESTKIT, LIBRARIES),
    ("casemate-claims", LIBRARIES_AND_TESTKIT),
    ("casemate-e2e", LIBRARIES_AND_TESTKIT),
    ("casemate-fuzz", FUZZED),
    ("casemate-benches", LIBRARIES_AND_TESTKIT),
    ("xtask", &[]),
    (
        "xtask-generate",
        &[
            "casemate-api",
            "casemate-core",
            "casemate-isolation",
            "casemate-posture",
        ],
    ),
];

const LIBRARIES: &[&str] = &[
    "casemate-api",
    "casemate-core",
    "casemate-identity",
    "casemate-isolation",
    "casemate-linux",
    "casemate-posture",
    "casemate-sandbox",
    "casemate-weights",
];

const LIBRARIES_AND_TESTKIT: &[&str] = &[
    "casemate-api",
    "casemate-core",
    "casemate-identity",
    "casemate-isolation",
    "casemate-linux",
    "casemate-posture",
    "casemate-sandbox",
    TESTKIT,
    "casemate-weights",
];

/// The libraries, and the one program whose parser of hostile bytes is its own.
const FUZZED: &[&str] = &[
    "casemate-core",
    "casemate-gate",
    "casemate-identity",
    "casemate-isolation",
    "casemate-posture",
    "casemate-sandbox",
    "casemate-weights",
];
