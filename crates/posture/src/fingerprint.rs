//! Names for findings that stay the same when lines move and files are formatted anew.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use crate::place::Files;
use crate::rule::Finding;

/// The fingerprint of each finding, in their order: of rule, file, resource and subject, and which one it is
/// among those that agree in all of these.
#[must_use]
pub fn all(files: &Files, findings: &[Finding]) -> Vec<String> {
    let mut seen: BTreeMap<(&str, String, &str, &str), u64> = BTreeMap::new();
    findings
        .iter()
        .map(|finding| {
            let file = normal(files.name(finding.place.file));
            let key = (
                finding.rule,
                file.clone(),
                finding.resource.as_str(),
                finding.subject.as_str(),
            );
            let number = seen.entry(key).or_insert(0);
            let fingerprint = one(finding, &file, *number);
            *number += 1;
            fingerprint
        })
        .collect()
}

fn one(finding: &Finding, file: &str, number: u64) -> String {
    let mut hash = Sha256::new();
    for part in [finding.rule, file, &finding.resource, &finding.subject] {
        // With its length before it, no part can pretend to be the start of the next.
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.update(number.to_be_bytes());
    hash.finalize()
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// A path as it was given, written in one way: `./a//b` is `a/b`.
#[must_use]
pub fn normal(path: &str) -> String {
    let path = path.replace('\\', "/");
    let rooted = path.starts_with('/');
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    format!("{}{}", if rooted { "/" } else { "" }, parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::estate::Estate;
    use crate::scan::{Corpus, judge};

    fn fingerprints(name: &str, text: &str) -> Vec<String> {
        let mut corpus = Corpus::default();
        corpus.add_yaml(name, text);
        let findings = judge(&Estate::of(&corpus.files, &corpus.documents)).findings;
        assert!(!findings.is_empty());
        all(&corpus.files, &findings)
    }

    const POD: &str = "kind: Pod\napiVersion: v1\nmetadata: {name: a}\nspec:\n  containers:\n    - name: b\n      image: c:1\n      securityContext: {privileged: true}\n";

    #[test]
    fn moved_lines_and_another_format_change_nothing() {
        let moved = format!(
            "# a\n\n\n{}",
            POD.replace("{privileged: true}", "\n        privileged: yes # why")
        );
        assert_eq!(
            fingerprints("a.yaml", POD),
            fingerprints("./a.yaml", &moved)
        );
    }

    #[test]
    fn every_finding_has_its_own() {
        let twice = format!("{POD}---\n{POD}");
        let mut found = fingerprints("a.yaml", &twice);
        assert!(found.iter().all(|one| one.len() == 32));
        let count = found.len();
        found.sort();
        found.dedup();
        assert_eq!(found.len(), count);
    }

    #[test]
    fn another_file_is_another_finding() {
        assert_ne!(fingerprints("a.yaml", POD), fingerprints("b.yaml", POD));
    }
}
