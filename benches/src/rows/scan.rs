//! A thousand manifests, scanned by ours and by checkov, and how often each is right.
//!
//! Both are run as programs on the same files, which are made from the labelled corpus of `crates/posture`: each
//! file with namespaces of its own, so that no policy of one holds a pod of another. checkov runs its Kubernetes
//! checks only, without asking its platform for anything. The peak of memory is that of the largest process; checkov
//! divides its work over several.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use casemate_linux::usage;
use casemate_testkit::programs::checkout;
use casemate_testkit::{Programs, Tools};

use crate::measure::{alternate, median};
use crate::report::Line;

mod accuracy;

/// How many files are scanned.
const FILES: usize = 1_000;
/// The larger part of the memory that ours may take, in mebibytes.
const MEMORY: f64 = 200.0;

/// Wall time and memory of both, and the page about their verdicts.
pub(crate) fn measure() -> anyhow::Result<Vec<Line>> {
    let directory = tempfile::Builder::new()
        .prefix("casemate-bench-")
        .tempdir()?;
    let many = directory.path().join("many");
    write_files(&manifests()?, FILES, &many)?;
    let casemate = Programs::locate()?.path("casemate");
    let checkov = Tools::locate().checkov()?;
    let mut peaks = (Vec::new(), Vec::new());
    let report = directory.path().join("report");
    let (ours, theirs) = alternate(
        3,
        || {
            let (seconds, peak) = run(ours(&casemate, &many), &report)?;
            peaks.0.push(peak);
            Ok(seconds)
        },
        || {
            let (seconds, peak) = run(
                theirs(&checkov, &["kubernetes"], std::slice::from_ref(&many)),
                &report,
            )?;
            peaks.1.push(peak);
            Ok(seconds)
        },
    )?;
    let (our_peak, their_peak) = (median(peaks.0), median(peaks.1));
    accuracy::compare(&casemate, &checkov, directory.path())?;
    let memory = Line::told(
        "scan: peak memory of it",
        "MiB",
        our_peak,
        "checkov",
        their_peak,
    );
    Ok(vec![
        Line::cheaper(
            &format!("scan: {FILES} manifests"),
            "s",
            ours,
            "checkov",
            theirs,
            0.01,
        ),
        Line {
            bar: format!("under {MEMORY} MiB"),
            held: Some(our_peak < MEMORY),
            ..memory
        },
    ])
}

/// The kinds of operators in the corpus that checkov can read as well.
const OPERATORS: &[&str] = &[
    "inferenceservice",
    "servingruntime",
    "clusterservingruntime",
    "nimservice",
    "nimcache",
    "nimpipeline",
    "leaderworkerset",
    "rayservice",
    "dynamographdeployment",
];

/// One file of the corpus.
struct Manifest {
    /// Its name, with its kind, without slashes.
    name: String,
    text: String,
}

fn manifests() -> anyhow::Result<Vec<Manifest>> {
    let corpus = checkout().join("crates/posture/corpus");
    let mut found = Vec::new();
    for half in ["good", "bad"] {
        for kind in accuracy::CORE.iter().chain(OPERATORS) {
            let directory = corpus.join(half).join(kind);
            let mut paths: Vec<PathBuf> = fs::read_dir(&directory)
                .with_context(|| directory.display().to_string())?
                .map(|entry| entry.map(|entry| entry.path()))
                .collect::<Result<_, _>>()?;
            paths.sort();
            for path in paths {
                let file = path.file_name().unwrap_or_default().to_string_lossy();
                found.push(Manifest {
                    name: format!("{half}-{kind}-{file}"),
                    text: fs::read_to_string(&path)?,
                });
            }
        }
    }
    Ok(found)
}

/// Writes `count` files into `directory`, a hundred to a folder, from the manifests in turn.
fn write_files(manifests: &[Manifest], count: usize, directory: &Path) -> anyhow::Result<()> {
    for (number, manifest) in manifests.iter().cycle().take(count).enumerate() {
        let folder = directory.join(format!("{:02}", number / 100));
        fs::create_dir_all(&folder)?;
        let text = apart(&manifest.text, number);
        fs::write(folder.join(format!("{number:04}-{}", manifest.name)), text)?;
    }
    Ok(())
}

/// The text with namespaces of its own.
fn apart(text: &str, number: usize) -> String {
    let mut lines = String::with_capacity(text.len() + 256);
    let mut of_namespace = false;
    for line in text.lines() {
        let (content, comment) = line
            .split_once(" #")
            .map_or((line, None), |(content, rest)| (content, Some(rest)));
        let trimmed = content.trim_start();
        if let Some(kind) = line.strip_prefix("kind: ") {
            of_namespace = kind == "Namespace";
        }
        lines.push_str(content);
        if trimmed.starts_with("namespace: ") || (of_namespace && trimmed.starts_with("name: ")) {
            lines.push_str(&format!("-{number}"));
        }
        if let Some(comment) = comment {
            lines.push_str(" #");
            lines.push_str(comment);
        }
        lines.push('\n');
    }
    lines
}

fn ours(casemate: &Path, directory: &Path) -> Command {
    let mut command = Command::new(casemate);
    command.args(["scan", "--format", "json"]).arg(directory);
    command
}

fn theirs(checkov: &Path, framework: &[&str], directories: &[PathBuf]) -> Command {
    let mut command = Command::new(checkov);
    command.arg("--framework").args(framework);
    command.args([
        "--output",
        "json",
        "--compact",
        "--quiet",
        "--skip-download",
    ]);
    for directory in directories {
        command.arg("--directory").arg(directory);
    }
    command
}

/// Runs a scanner with its report in `report`; seconds, and mebibytes at the peak. Findings make it end with 1.
fn run(mut command: Command, report: &Path) -> anyhow::Result<(f64, f64)> {
    let name = command.get_program().display().to_string();
    command
        .stdin(Stdio::null())
        .stdout(fs::File::create(report)?)
        .stderr(Stdio::null());
    let start = Instant::now();
    let used = usage::wait(command.spawn().with_context(|| name.clone())?)?;
    let seconds = start.elapsed().as_secs_f64();
    ensure!(
        matches!(used.status.code(), Some(0 | 1)),
        "{name} ended with {}",
        used.status
    );
    #[expect(clippy::cast_precision_loss, reason = "memory is far below 2^52 bytes")]
    let peak = used.peak as f64 / (1024.0 * 1024.0);
    Ok((seconds, peak))
}
