//! Precision and recall of both scanners on the rules that they share, file by file.
#![expect(clippy::print_stdout, reason = "the bench prints what it measured")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use casemate_testkit::programs::checkout;
use serde_json::Value;

use super::{Manifest, apart, manifests, ours, run, theirs};

/// A rule of ours and the checks of checkov that look for the same.
struct Shared {
    rule: &'static str,
    what: &'static str,
    checks: &'static [&'static str],
}

const SHARED: &[Shared] = &[
    Shared {
        rule: "AI-092",
        what: "privileged",
        checks: &["CKV_K8S_16"],
    },
    Shared {
        rule: "AI-093",
        what: "host IPC",
        checks: &["CKV_K8S_18"],
    },
    Shared {
        rule: "AI-095",
        what: "host PID, network, port",
        checks: &["CKV_K8S_17", "CKV_K8S_19", "CKV_K8S_26"],
    },
    Shared {
        rule: "AI-096",
        what: "runs as root",
        checks: &["CKV_K8S_23"],
    },
    Shared {
        rule: "AI-097",
        what: "escalation, capabilities, seccomp",
        checks: &[
            "CKV_K8S_20",
            "CKV_K8S_25",
            "CKV_K8S_31",
            "CKV_K8S_37",
            "CKV_K8S_39",
        ],
    },
    Shared {
        rule: "AI-098",
        what: "writable root file system",
        checks: &["CKV_K8S_22"],
    },
    Shared {
        rule: "AI-099",
        what: "memory limit",
        checks: &["CKV_K8S_13"],
    },
    Shared {
        rule: "AI-101",
        what: "runtime's socket",
        checks: &["CKV_K8S_27"],
    },
    Shared {
        rule: "AI-102",
        what: "API token",
        checks: &["CKV_K8S_38"],
    },
    Shared {
        rule: "AI-103",
        what: "no network policy",
        checks: &["CKV2_K8S_6"],
    },
    Shared {
        rule: "AI-107",
        what: "image tag and digest",
        checks: &["CKV_K8S_14", "CKV_K8S_43"],
    },
    Shared {
        rule: "AI-109",
        what: "secret in plain text",
        checks: &["CKV_SECRET_"],
    },
];

/// Files of which both say whether something is wrong, by rule.
#[derive(Clone, Copy, Debug, Default)]
struct Score {
    right: u32,
    wrong: u32,
    missed: u32,
}

impl Score {
    const fn count(&mut self, wanted: bool, said: bool) {
        match (wanted, said) {
            (true, true) => self.right += 1,
            (false, true) => self.wrong += 1,
            (true, false) => self.missed += 1,
            (false, false) => {}
        }
    }

    fn shares(self) -> String {
        let share = |part: u32, whole: u32| {
            if whole == 0 {
                "-".to_owned()
            } else {
                format!("{:.2}", f64::from(part) / f64::from(whole))
            }
        };
        format!(
            "{} | {}",
            share(self.right, self.right + self.wrong),
            share(self.right, self.right + self.missed)
        )
    }
}

/// What each file is said to have wrong, by the start of its name.
type Verdicts = BTreeMap<String, BTreeSet<String>>;

/// Scans the corpus with both, prints the table, and writes the page when asked to.
pub(super) fn compare(casemate: &Path, checkov: &Path, directory: &Path) -> anyhow::Result<()> {
    let manifests = manifests()?;
    let files = directory.join("corpus");
    // A folder each: checkov judges a folder at a time, and takes the policies of one namespace for those of all.
    let mut folders = Vec::new();
    for (number, manifest) in manifests.iter().enumerate() {
        let folder = files.join(format!("{number:04}"));
        fs::create_dir_all(&folder)?;
        let text = apart(&manifest.text, number);
        fs::write(folder.join(format!("{number:04}-{}", manifest.name)), text)?;
        folders.push(folder);
    }
    let report = directory.join("verdicts.json");
    run(ours(casemate, &files), &report)?;
    let ours = our_verdicts(&read(&report)?);
    run(
        theirs(checkov, &["kubernetes", "secrets"], &folders),
        &report,
    )?;
    let theirs = their_verdicts(&read(&report)?);
    let core = |manifest: &Manifest| {
        CORE.iter()
            .any(|kind| manifest.name.contains(&format!("-{kind}-")))
    };
    let mut page = String::from(HEAD);
    for (title, chosen) in [
        (
            "Kinds of Kubernetes itself",
            manifests.iter().map(core).collect::<Vec<bool>>(),
        ),
        (
            "All kinds, those of operators among them",
            vec![true; manifests.len()],
        ),
    ] {
        table(&mut page, title, &manifests, &chosen, [&ours, &theirs])?;
    }
    println!("{page}");
    if std::env::var_os("CASEMATE_BENCH_WRITE").is_some() {
        fs::write(checkout().join("docs/reference/scan-precision.md"), page)?;
    }
    Ok(())
}

const HEAD: &str = "# Scan: precision and recall\n\n\
Written by `cargo xtask bench scan`. A file of the labelled corpus (`crates/posture/corpus`) counts once for each rule:\n\
the labels say whether something is wrong in it, and each scanner says whether it found that. Ours counts from medium\n\
severity. Precision is the share of right ones among what is found, recall the share of what is wrong that is found.\n\
Only rules that both have are compared; `files` is how many files have the fault, so a share of few files says little.\n\n\
The corpus was written for this project and our rules were mended against it, so our own numbers are a floor that is\n\
kept, not an estimate for files that nobody here has seen. checkov knows no kinds of operators; the second table has\n\
them.\n";

/// The kinds that checkov has checks for.
pub(super) const CORE: &[&str] = &[
    "pod",
    "deployment",
    "statefulset",
    "daemonset",
    "job",
    "cronjob",
    "replicaset",
    "rbac",
    "network-policy",
    "ingress",
];

fn table(
    page: &mut String,
    title: &str,
    manifests: &[Manifest],
    chosen: &[bool],
    verdicts: [&Verdicts; 2],
) -> anyhow::Result<()> {
    let count = chosen.iter().filter(|chosen| **chosen).count();
    writeln!(page, "\n## {title} ({count} files)\n")?;
    writeln!(
        page,
        "| rule | what | files | ours: precision | recall | checkov | precision | recall |\n|---|---|---|---|---|---|---|---|"
    )?;
    let mut totals = [Score::default(); 2];
    for shared in SHARED {
        let mut scores = [Score::default(); 2];
        let mut positive = 0;
        for (number, manifest) in manifests.iter().enumerate() {
            if chosen.get(number) != Some(&true) {
                continue;
            }
            let wanted = is_labelled(&manifest.text, shared.rule);
            positive += u32::from(wanted);
            let key = format!("{number:04}");
            let says = |verdicts: &Verdicts, names: &[&str]| {
                let said = verdicts.get(&key);
                said.is_some_and(|said| {
                    said.iter().any(|one| {
                        names.iter().any(|name| {
                            one == name || (name.ends_with('_') && one.starts_with(name))
                        })
                    })
                })
            };
            let [mine, other] = verdicts;
            let said = [says(mine, &[shared.rule]), says(other, shared.checks)];
            for ((score, total), said) in scores.iter_mut().zip(&mut totals).zip(said) {
                score.count(wanted, said);
                total.count(wanted, said);
            }
        }
        let [mine, other] = scores;
        let checks = shared
            .checks
            .join(", ")
            .replace("CKV_SECRET_", "CKV_SECRET_*");
        writeln!(
            page,
            "| {} | {} | {positive} | {} | {checks} | {} |",
            shared.rule,
            shared.what,
            mine.shares(),
            other.shares()
        )?;
    }
    let [mine, other] = totals;
    writeln!(
        page,
        "| all | | | {} | | {} |",
        mine.shares(),
        other.shares()
    )?;
    Ok(())
}

fn is_labelled(text: &str, rule: &str) -> bool {
    text.lines().any(|line| {
        line.split_once("# finds ")
            .is_some_and(|(_, rules)| rules.split_whitespace().any(|one| one == rule))
    })
}

/// The reports in a file: checkov writes one after the other for several folders.
fn read(report: &Path) -> anyhow::Result<Vec<Value>> {
    let text = fs::read_to_string(report)?;
    serde_json::Deserializer::from_str(&text)
        .into_iter()
        .collect::<Result<_, _>>()
        .context("a scanner's report is not JSON")
}

/// The number that a file's name starts with.
fn number(path: &str) -> Option<String> {
    let name = path.rsplit('/').next()?;
    name.split('-').next().map(str::to_owned)
}

fn our_verdicts(reports: &[Value]) -> Verdicts {
    let mut verdicts = Verdicts::new();
    let findings = reports
        .iter()
        .filter_map(|report| report.get("findings").and_then(Value::as_array));
    for finding in findings.flatten() {
        if text(finding, "severity") != "low" {
            note(&mut verdicts, text(finding, "file"), text(finding, "rule"));
        }
    }
    verdicts
}

/// checkov's reports: one object, or a list of them when several frameworks had something to say.
fn their_verdicts(reports: &[Value]) -> Verdicts {
    let mut verdicts = Verdicts::new();
    let parts = reports.iter().flat_map(|report| {
        report
            .as_array()
            .map_or_else(|| vec![report], |parts| parts.iter().collect())
    });
    for part in parts {
        let failed = part
            .pointer("/results/failed_checks")
            .and_then(Value::as_array);
        for check in failed.into_iter().flatten() {
            note(
                &mut verdicts,
                text(check, "file_path"),
                text(check, "check_id"),
            );
        }
    }
    verdicts
}

fn text<'value>(value: &'value Value, key: &str) -> &'value str {
    value.get(key).and_then(Value::as_str).unwrap_or("")
}

fn note(verdicts: &mut Verdicts, path: &str, said: &str) {
    if let Some(file) = number(path) {
        verdicts.entry(file).or_default().insert(said.to_owned());
    }
}
