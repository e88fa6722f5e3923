//! Every fix that a rule offers can be made: in its own fixtures, where it was found, without losing a comment.

use std::fs;
use std::path::{Path, PathBuf};

use casemate_posture::estate::Estate;
use casemate_posture::scan::{Corpus, judge};
use casemate_posture::{fix, input};

fn fixtures() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let mut all: Vec<PathBuf> = fs::read_dir(root)
        .unwrap()
        .filter_map(|rule| fs::read_dir(rule.unwrap().path()).ok())
        .flatten()
        .map(|file| file.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|end| end == "yaml" || end == "json")
        })
        .collect();
    all.sort();
    all
}

fn read(path: &Path) -> Corpus {
    let mut corpus = Corpus::default();
    input::add(&mut corpus, path);
    corpus
}

fn comments(text: &str) -> usize {
    text.lines().filter(|line| line.contains('#')).count()
}

#[test]
fn every_offered_fix_is_made_and_leaves_its_finding_nowhere() {
    let mut faults = Vec::new();
    let mut made = 0;
    for path in fixtures() {
        let corpus = read(&path);
        let fixed = fix::fix(&corpus, &|_| true);
        made += fixed.applied.len();
        for left in &fixed.left {
            faults.push(format!(
                "{}: {} {} not fixed: {}",
                path.display(),
                left.finding.rule,
                left.finding.subject,
                left.reason
            ));
        }
        let mut again = Corpus::default();
        for file in &fixed.files {
            if comments(&file.after) < comments(&file.before) {
                faults.push(format!(
                    "{}: a comment was lost:\n{}",
                    path.display(),
                    file.after
                ));
            }
            again.add_yaml(&file.name, &file.after);
        }
        if let Some(error) = again.errors.first() {
            faults.push(format!("{}: broken: {}", path.display(), error.message));
        }
    }
    assert!(made > 0);
    assert!(faults.is_empty(), "{} of {made}: {faults:#?}", faults.len());
}

#[test]
fn what_was_fixed_stays_fixed() {
    for path in fixtures() {
        let corpus = read(&path);
        let fixed = fix::fix(&corpus, &|_| true);
        let [file] = fixed.files.as_slice() else {
            continue;
        };
        let mut after = Corpus::default();
        after.add_yaml(&file.name, &file.after);
        let again = fix::fix(&after, &|_| true);
        assert!(
            again.files.is_empty(),
            "{}: fixing twice changes again:\n{}",
            path.display(),
            file.after
        );
        let changeable = judge(&Estate::of(&after.files, &after.documents))
            .findings
            .iter()
            .filter(|finding| fix::is_possible(&after, finding))
            .count();
        assert!(
            changeable <= fixed.left.len(),
            "{}: {changeable} findings could still be fixed",
            path.display()
        );
    }
}

/// The same document as other editors would save it.
fn variants(text: &str) -> [(&'static str, String); 3] {
    [
        ("with other line ends", text.replace('\n', "\r\n")),
        ("without a last line end", text.trim_end().to_owned()),
        (
            "behind another document",
            format!("# first\nkind: ConfigMap\napiVersion: v1\nmetadata: {{name: a}}\n---\n{text}"),
        ),
    ]
}

#[test]
fn fixes_hold_however_the_file_was_saved() {
    let mut faults = Vec::new();
    for path in fixtures() {
        let text = fs::read_to_string(&path).unwrap_or_default();
        let mut plain = Corpus::default();
        plain.add_yaml("a.yaml", &text);
        let expected = fix::fix(&plain, &|_| true);
        for (how, variant) in variants(&text) {
            let mut corpus = Corpus::default();
            corpus.add_yaml("a.yaml", &variant);
            let fixed = fix::fix(&corpus, &|_| true);
            if fixed.applied.len() != expected.applied.len() {
                faults.push(format!("{} {how}: {:?}", path.display(), fixed.left));
            }
            for file in &fixed.files {
                let mixed =
                    how == "with other line ends" && file.after.replace("\r\n", "").contains('\n');
                let ended = how == "without a last line end" && file.after.ends_with('\n');
                if mixed || ended || comments(&file.after) < comments(&file.before) {
                    faults.push(format!("{} {how}:\n{}", path.display(), file.after));
                }
            }
        }
    }
    assert!(
        faults.is_empty(),
        "{} faults, such as {:#?}",
        faults.len(),
        &faults[..faults.len().min(4)]
    );
}
