use std::collections::BTreeMap;

use casemate_core::finding::{Category, Evidence, Namespaces, Proof, Summary, Verdict};
use casemate_identity::jws::SigningKey;
use casemate_identity::svid::KeyPair;
use casemate_isolation::evidence::{Envelope, Statement, chain};

use super::*;

fn finding(check: &str, verdict: Verdict) -> Finding {
    Finding {
        check: check.to_owned(),
        title: "a way out".to_owned(),
        category: Category::Egress,
        techniques: Vec::new(),
        proof: Proof::Effect,
        verdict,
        layer: None,
        evidence: Evidence::default(),
        control: None,
        millis: 1,
    }
}

#[test]
fn what_could_not_be_told_never_counts_as_held() {
    let exit = |verdicts: &[Verdict]| {
        let findings: Vec<Finding> = verdicts
            .iter()
            .map(|verdict| finding("XX-99", *verdict))
            .collect();
        exit_of(findings.iter())
    };
    assert_eq!(
        exit(&[Verdict::Blocked, Verdict::NotApplicable]),
        Exit::Held
    );
    assert_eq!(
        exit(&[Verdict::Inconclusive, Verdict::Blocked]),
        Exit::Unclear
    );
    assert_eq!(exit(&[Verdict::Open, Verdict::Inconclusive]), Exit::Found);
    assert_eq!(
        exit(&[Verdict::Inconclusive, Verdict::Open, Verdict::Blocked]),
        Exit::Found
    );
    assert_eq!(exit(&[]), Exit::Unclear);
}

/// A report of one stage, signed by a new key.
fn signed(findings: Vec<Finding>) -> (Report, String) {
    let nonce = "0".repeat(64);
    let statement = Statement {
        kind: casemate_isolation::evidence::STATEMENT_TYPE.to_owned(),
        predicate_type: casemate_isolation::evidence::PREDICATE_TYPE.to_owned(),
        subject: vec![casemate_isolation::evidence::Subject {
            name: "chat/infer".to_owned(),
            digest: BTreeMap::from([("sha256".to_owned(), "0".repeat(64))]),
        }],
        predicate: casemate_isolation::evidence::Predicate {
            nonce: nonce.clone(),
            identity: "stage".to_owned(),
            order_sha256: "0".repeat(64),
            runtime: "runc".to_owned(),
            kernel: "6.1".to_owned(),
            namespaces: Namespaces::default(),
            programs: BTreeMap::new(),
            started: 1,
            finished: 2,
            catalogues: String::new(),
            arrivals: BTreeMap::new(),
            strangers: 0,
            sent: 0,
            send_budget: 0,
            summary: Summary::of(&findings),
            expected_open: BTreeMap::new(),
            findings: chain(&nonce, &findings),
        },
    };
    let pair = KeyPair::generate().expect("a key");
    let key_pem = pair.public_pem();
    let key = SigningKey::new(pair);
    let sealed = Envelope::seal(&statement.canonical_bytes(), "id", |bytes| key.sign(bytes));
    let stage = StageReport {
        enclosure: "chat".to_owned(),
        stage: "infer".to_owned(),
        findings,
        evidence: serde_json::to_value(sealed.expect("is signed")).ok(),
    };
    let report = Report {
        summary: ProbeSummary::default(),
        millis: 1,
        stages: vec![stage],
    };
    (report, key_pem)
}

#[test]
fn findings_are_believed_when_the_node_signed_these() {
    let (report, key) = signed(vec![finding("EG-01", Verdict::Blocked)]);
    let statements = evidence::statements(&report, &key).expect("holds");
    assert_eq!(statements.len(), 1);
}

#[test]
fn other_findings_another_stage_another_key_or_none_are_found() {
    let blocked = || signed(vec![finding("EG-01", Verdict::Blocked)]);
    let (mut report, key) = signed(vec![finding("EG-01", Verdict::Open)]);
    report.stages[0].findings[0].verdict = Verdict::Blocked;
    assert!(
        evidence::statements(&report, &key).is_err(),
        "a verdict was changed"
    );
    let (mut report, key) = blocked();
    report.stages[0].stage = "redact".to_owned();
    assert!(
        evidence::statements(&report, &key).is_err(),
        "it is about another stage"
    );
    let (mut report, key) = blocked();
    report.stages[0].evidence = None;
    assert!(
        evidence::statements(&report, &key).is_err(),
        "it is not signed"
    );
    let (report, _) = blocked();
    let (_, other) = blocked();
    assert!(
        evidence::statements(&report, &other).is_err(),
        "another key signed it"
    );
}
