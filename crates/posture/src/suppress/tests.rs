use super::*;
use crate::estate::Estate;
use crate::scan::{Corpus, judge};

// 2026-11-22.
const NOW: UnixTime = UnixTime(1_795_305_600);

fn pod(annotation: &str) -> String {
    format!(
        "kind: Pod\napiVersion: v1\nmetadata:\n  name: llm\n  annotations:\n    {ANNOTATION}: {annotation:?}\nspec:\n  containers:\n    - name: b\n      image: c:1\n      securityContext: {{privileged: true}}\n"
    )
}

/// Whether the privileged container is suppressed, and what does not count.
fn suppressed(text: &str, listed: &str) -> (Option<String>, Vec<String>) {
    let mut corpus = Corpus::default();
    corpus.add_yaml("deploy/a.yaml", text);
    let estate = Estate::of(&corpus.files, &corpus.documents);
    let mut all = annotations(&estate, NOW);
    all.extend(file(".casemate-scan.yaml", listed, NOW));
    let findings = judge(&estate).findings;
    let finding = findings
        .iter()
        .find(|finding| finding.rule == "AI-092")
        .unwrap();
    let reason = all
        .of(finding, "deploy/a.yaml", "f00d")
        .map(|one| one.reason.clone());
    (
        reason,
        all.void.iter().map(|void| void.message.clone()).collect(),
    )
}

#[test]
fn an_annotation_with_reason_and_date_suppresses() {
    let (reason, void) = suppressed(&pod("AI-092 until 2026-11-22: the node is its own"), "");
    assert_eq!(reason.as_deref(), Some("the node is its own"));
    assert_eq!(void, Vec::<String>::new());
}

#[test]
fn an_annotation_without_reason_date_or_rule_is_told_and_suppresses_nothing() {
    for (words, part) in [
        ("AI-092 until 2027-01-31", "no `reason`"),
        ("AI-092 until 2027-01-31:  ", "no `reason`"),
        ("AI-092: because", "no date"),
        ("AI-092 until never: because", "no date"),
        ("AI-092 until 2026-11-21: because", "expired on 2026-11-21"),
        ("AI-999 until 2027-01-31: because", "no rule"),
    ] {
        let (reason, void) = suppressed(&pod(words), "");
        assert_eq!(reason, None, "{words}");
        assert_eq!(void.len(), 1, "{words}");
        assert!(void[0].contains(part), "{words}: {void:?}");
    }
}

#[test]
fn an_annotation_is_for_its_own_resource_alone() {
    let text = format!(
        "{}---\n{}",
        pod("AI-092 until 2027-01-31: x").replace("name: llm", "name: other"),
        pod("AI-001 until 2020-01-01: x")
    );
    let mut corpus = Corpus::default();
    corpus.add_yaml("a.yaml", &text);
    let estate = Estate::of(&corpus.files, &corpus.documents);
    let all = annotations(&estate, NOW);
    let findings = judge(&estate).findings;
    let hit: Vec<bool> = findings
        .iter()
        .filter(|finding| finding.rule == "AI-092")
        .map(|finding| all.of(finding, "a.yaml", "").is_some())
        .collect();
    assert_eq!(hit, [true, false]);
}

#[test]
fn a_file_suppresses_by_rule_and_pattern() {
    let entry = |line: &str| {
        format!(
            "suppressions:\n  - rule: AI-092\n    {line}\n    reason: r\n    expires: 2027-01-31\n"
        )
    };
    let plain = pod("");
    for (line, held) in [
        ("file: \"deploy/*.yaml\"", true),
        ("file: \"other/**\"", false),
        ("resource: Pod/llm", true),
        ("resource: Pod/llm/b", true),
        ("resource: \"Pod/*\"", true),
        ("resource: Pod/other", false),
        ("fingerprint: f00d", true),
        ("fingerprint: beef", false),
    ] {
        let (reason, void) = suppressed(&plain, &entry(line));
        assert_eq!(
            (reason.is_some(), void.len()),
            (held, 0),
            "{line}: {void:?}"
        );
    }
}

#[test]
fn a_misspelt_or_boundless_entry_suppresses_nothing() {
    for entry in [
        "suppressions:\n  - rule: AI-092\n    resourse: x\n    reason: r\n    expires: 2027-01-31\n",
        "suppressions:\n  - rule: AI-092\n    reason: r\n    expires: 2027-01-31\n",
        "ignore:\n  - AI-092\n",
        "suppressions: [\n",
    ] {
        let (reason, void) = suppressed(&pod(""), entry);
        assert_eq!(reason, None, "{entry}");
        assert_eq!(void.len(), 1, "{entry}: {void:?}");
    }
}

#[test]
fn a_baseline_reads_what_it_wrote() {
    let baseline = Baseline::of([("abc".to_owned(), "AI-092 a.yaml".to_owned())]);
    let read = Baseline::read(&baseline.text().unwrap()).unwrap();
    assert!(read.knows("abc") && !read.knows("abd"));
    assert!(matches!(
        Baseline::read("{\"version\": 2, \"findings\": {}}"),
        Err(ReadBaselineError::Version(2))
    ));
    assert!(Baseline::read("[]").is_err());
}
