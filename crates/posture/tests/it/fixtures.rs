//! Every rule finds what its failing fixtures say, on the line where they say it, and nothing in the others.
//!
//! A line that a rule must find carries `finds AI-nnn` in a comment (several names are separated by blanks). A
//! format without comments says it for the whole file by being named `fail-*`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use casemate_posture::estate::Estate;
use casemate_posture::scan::{Corpus, judge};
use casemate_posture::{catalogue, input};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// The fixtures of a rule whose names start with `start`.
fn files(rule: &str, start: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(directory().join(rule))
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            name.starts_with(start)
        })
        .collect();
    found.sort();
    found
}

/// The lines on which `rule` finds something in `path`.
fn lines_found(rule: &str, path: &Path) -> BTreeSet<u32> {
    let mut corpus = Corpus::default();
    input::add(&mut corpus, path);
    assert!(
        corpus.errors.is_empty(),
        "{}: {:?}",
        path.display(),
        corpus.errors
    );
    let estate = Estate::of(&corpus.files, &corpus.documents);
    judge(&estate)
        .findings
        .iter()
        .filter(|finding| finding.rule == rule)
        .map(|finding| finding.place.line)
        .collect()
}

fn lines_expected(rule: &str, text: &str) -> BTreeSet<u32> {
    (1..)
        .zip(text.lines())
        .filter(|(_, line)| {
            line.split_once("finds ")
                .is_some_and(|(_, names)| names.split_whitespace().any(|name| name == rule))
        })
        .map(|(number, _)| number)
        .collect()
}

#[test]
fn every_rule_has_fixtures_of_both_kinds() {
    let mut faults = Vec::new();
    for rule in catalogue::all() {
        for start in ["fail-", "pass-"] {
            let count = files(rule.id, start).len();
            if count < 2 {
                faults.push(format!(
                    "{}: {count} fixtures `{start}*`, two are wanted",
                    rule.id
                ));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn failing_fixtures_are_found_where_they_say() {
    let mut faults = Vec::new();
    for rule in catalogue::all() {
        for path in files(rule.id, "fail-") {
            let found = lines_found(rule.id, &path);
            let text = fs::read(&path).unwrap_or_default();
            let expected = lines_expected(rule.id, &String::from_utf8_lossy(&text));
            let without_comments = expected.is_empty()
                && !found.is_empty()
                && path
                    .extension()
                    .is_none_or(|end| end != "yaml" && end != "sh" && end != "toml");
            if found != expected && !without_comments || found.is_empty() {
                faults.push(format!(
                    "{}: found on {found:?}, expected on {expected:?}",
                    path.display()
                ));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn passing_fixtures_hold() {
    let mut faults = Vec::new();
    for rule in catalogue::all() {
        for path in files(rule.id, "pass-") {
            let found = lines_found(rule.id, &path);
            if !found.is_empty() {
                faults.push(format!("{}: found on {found:?}", path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn names_of_rules_are_unique() {
    let names: Vec<&str> = catalogue::all().map(|rule| rule.id).collect();
    let unique: BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(names.len(), unique.len());
}
