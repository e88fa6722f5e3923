//! How often the rules are right: precision and recall on labelled files, by group of rules.
//!
//! `corpus/good` holds manifests as they should be: nothing of medium severity or above may be found in them.
//! `corpus/bad` holds the same kind of manifests with mistakes; the line of each says which rule has to find it
//! (`finds AI-nnn`), and files of formats without comments say it in their name (`root.AI-112.json`). Each file is
//! scanned alone.
//!
//! The labels were written from the catalogue of rules before anything was scanned. Where the first scan disagreed,
//! each case was judged by hand, and the rule or the label was put right (a port opened to the outside has more
//! consequences than the one that was meant). So this keeps what was reached; it does not tell how the rules do on
//! files that nobody here has seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use casemate_posture::estate::Estate;
use casemate_posture::rule::{Group, Severity};
use casemate_posture::scan::{Corpus, judge};
use casemate_posture::{catalogue, input};

/// What is asked of all rules together.
const PRECISION: f64 = 0.97;
const RECALL: f64 = 0.95;

#[derive(Clone, Copy, Debug, Default)]
struct Score {
    right: u32,
    wrong: u32,
    missed: u32,
}

impl Score {
    fn precision(self) -> f64 {
        share(self.right, self.right + self.wrong)
    }

    fn recall(self) -> f64 {
        share(self.right, self.right + self.missed)
    }

    const fn add(&mut self, other: Self) {
        self.right += other.right;
        self.wrong += other.wrong;
        self.missed += other.missed;
    }
}

fn share(part: u32, whole: u32) -> f64 {
    if whole == 0 {
        1.0
    } else {
        f64::from(part) / f64::from(whole)
    }
}

fn directory(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(kind)
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// A rule and a line of a file; line 0 where the label counts for the whole file.
type Mark = (String, u32);

fn labels(path: &Path) -> BTreeSet<Mark> {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let of_file = name.split('.').filter(|part| part.starts_with("AI-"));
    let mut marks: BTreeSet<Mark> = of_file.map(|rule| (rule.to_owned(), 0)).collect();
    for (number, line) in (1..).zip(fs::read_to_string(path).unwrap().lines()) {
        let rules = line.split_once("# finds ").map_or("", |(_, rules)| rules);
        marks.extend(
            rules
                .split_whitespace()
                .map(|rule| (rule.to_owned(), number)),
        );
    }
    marks
}

fn read(path: &Path) -> Corpus {
    let mut corpus = Corpus::default();
    input::add(&mut corpus, path);
    corpus
}

/// What is found in a file: rule, line, severity.
fn found(path: &Path) -> Vec<(String, u32, Severity, String)> {
    let corpus = read(path);
    let estate = Estate::of(&corpus.files, &corpus.documents);
    let findings = judge(&estate).findings;
    findings
        .into_iter()
        .map(|one| {
            (
                one.rule.to_owned(),
                one.place.line,
                one.severity,
                one.message,
            )
        })
        .collect()
}

#[test]
fn the_corpus_is_large_and_has_every_kind() {
    let (good, bad) = (files(&directory("good")), files(&directory("bad")));
    assert!(
        good.len() >= 75 && good.len() + bad.len() >= 150,
        "{} good, {} bad",
        good.len(),
        bad.len()
    );
    for kind in [
        "pod",
        "deployment",
        "statefulset",
        "daemonset",
        "job",
        "cronjob",
        "replicaset",
        "inferenceservice",
        "servingruntime",
        "clusterservingruntime",
        "nimservice",
        "nimcache",
        "nimpipeline",
        "leaderworkerset",
        "rayservice",
        "dynamographdeployment",
        "compose",
        "docker-run",
        "toolkit",
        "image-configuration",
        "rbac",
        "network-policy",
        "ingress",
        "enclosure",
    ] {
        for half in ["good", "bad"] {
            assert!(
                directory(half).join(kind).is_dir(),
                "{half}/{kind} has no file"
            );
        }
    }
    for path in bad {
        assert!(!labels(&path).is_empty(), "{} has no label", path.display());
    }
}

#[test]
fn every_file_is_understood() {
    for half in ["good", "bad"] {
        for path in files(&directory(half)) {
            let corpus = read(&path);
            assert!(
                corpus.errors.is_empty(),
                "{}: {:?}",
                path.display(),
                corpus.errors
            );
            assert!(
                !corpus.documents.is_empty(),
                "{} was not understood",
                path.display()
            );
        }
    }
}

#[test]
fn nothing_of_weight_is_found_in_good_manifests() {
    let mut faults = Vec::new();
    for path in files(&directory("good")) {
        for (rule, line, severity, message) in found(&path) {
            if severity >= Severity::Medium {
                faults.push(format!(
                    "{}:{line}: {rule} {}: {message}",
                    path.display(),
                    severity.as_str()
                ));
            }
        }
    }
    assert!(
        faults.is_empty(),
        "{} findings:\n{}",
        faults.len(),
        faults.join("\n")
    );
}

#[test]
fn precision_and_recall_hold_their_floors() {
    let mut scores: BTreeMap<Group, Score> = BTreeMap::new();
    let mut faults = String::new();
    for path in files(&directory("good"))
        .into_iter()
        .chain(files(&directory("bad")))
    {
        let wanted = labels(&path);
        let mut missing = wanted.clone();
        for (rule, line, severity, message) in found(&path) {
            let mark = [(rule.clone(), line), (rule.clone(), 0)]
                .into_iter()
                .find(|mark| wanted.contains(mark));
            let score = scores.entry(group(&rule)).or_default();
            match mark {
                // Several findings on one labelled line count once.
                Some(mark) => score.right += u32::from(missing.remove(&mark)),
                None if severity >= Severity::Medium => {
                    score.wrong += 1;
                    writeln!(
                        faults,
                        "{}:{line}: {rule} is not expected: {message}",
                        path.display()
                    )
                    .unwrap();
                }
                None => {}
            }
        }
        for (rule, line) in missing {
            scores.entry(group(&rule)).or_default().missed += 1;
            writeln!(faults, "{}:{line}: {rule} is missed", path.display()).unwrap();
        }
    }
    let mut total = Score::default();
    for (group, score) in &scores {
        println!(
            "{:<12} right {:>4}  wrong {:>3}  missed {:>3}  precision {:.3}  recall {:.3}",
            format!("{group:?}"),
            score.right,
            score.wrong,
            score.missed,
            score.precision(),
            score.recall()
        );
        total.add(*score);
    }
    println!("{faults}");
    println!(
        "all: precision {:.3}, recall {:.3}",
        total.precision(),
        total.recall()
    );
    assert!(
        total.precision() >= PRECISION,
        "precision {:.3}\n{faults}",
        total.precision()
    );
    assert!(
        total.recall() >= RECALL,
        "recall {:.3}\n{faults}",
        total.recall()
    );
    for (group, score) in scores {
        assert!(
            score.precision() >= 0.95,
            "{group:?}: precision {:.3}\n{faults}",
            score.precision()
        );
        assert!(
            score.recall() >= 0.9,
            "{group:?}: recall {:.3}\n{faults}",
            score.recall()
        );
    }
}

fn group(rule: &str) -> Group {
    catalogue::find(rule)
        .unwrap_or_else(|| panic!("there is no rule {rule}"))
        .group
}
