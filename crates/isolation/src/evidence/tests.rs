use casemate_core::finding::{Budget, Canaries, Grants, Layer, Limits, ProbeEnd, ProbeStart};

use super::*;
use crate::check;
use crate::run::unfinished;

fn order() -> ProbeOrder {
    let spaces = |base| Namespaces {
        net: base,
        mnt: base + 1,
        pid: base + 2,
        user: base + 3,
        ipc: base + 4,
    };
    ProbeOrder {
        nonce: "cd".repeat(32),
        expected: spaces(10),
        host: spaces(20),
        links: vec!["lo".to_owned()],
        canaries: Canaries::default(),
        grants: Grants {
            serves: None,
            connects: Vec::new(),
            scratch: "/tmp".to_owned(),
            models: Vec::new(),
            limits: Limits::default(),
            environment: Vec::new(),
            may_exhaust: false,
        },
        budget: Budget::default(),
        identity: "stage".to_owned(),
        only: Vec::new(),
    }
}

fn findings() -> Vec<Finding> {
    check::all()
        .take(5)
        .map(|check| {
            let mut finding = unfinished(check, "made up");
            finding.verdict = Verdict::Blocked;
            finding.layer = Some(Layer::Netns);
            finding
        })
        .collect()
}

fn statement() -> Statement {
    let order = order();
    let conducted = Conducted {
        start: ProbeStart {
            nonce: order.nonce.clone(),
            kernel: "6.18".to_owned(),
            namespaces: order.expected,
            uid: 1000,
            gid: 1000,
            checks: 5,
        },
        findings: findings(),
        end: ProbeEnd {
            nonce: order.nonce.clone(),
            checks: 5,
            millis: 9,
            sent: 3,
        },
    };
    let circumstances = Circumstances {
        stage: "chat/infer".to_owned(),
        plan_sha256: "ab".repeat(32),
        runtime: "runc 1.1.5".to_owned(),
        programs: BTreeMap::from([("probe".to_owned(), "cd".repeat(32))]),
        started: 100,
        finished: 110,
    };
    Statement::of(&order, &conducted, None, circumstances)
}

/// A stand-in for a key: what matters here is which bytes are signed.
fn stamp(bytes: &[u8]) -> Vec<u8> {
    sha256_hex(bytes).into_bytes()
}

fn sealed(statement: &Statement) -> Vec<u8> {
    let signed = Envelope::seal::<()>(&statement.canonical_bytes(), "key", |bytes| {
        Ok(stamp(bytes))
    });
    serde_json::to_vec(&signed.unwrap()).unwrap()
}

fn open(envelope: &[u8]) -> Result<Statement, VerifyEvidenceError> {
    verify(envelope, None, |bytes, signature| signature == stamp(bytes))
}

#[test]
fn a_sealed_statement_verifies_and_comes_back_whole() {
    let statement = statement();
    assert_eq!(open(&sealed(&statement)).unwrap(), statement);
}

#[test]
fn a_changed_byte_of_the_payload_does_not_verify() {
    let mut envelope: Envelope = serde_json::from_slice(&sealed(&statement())).unwrap();
    envelope.payload.replace_range(
        40..41,
        if envelope.payload.get(40..41) == Some("A") {
            "B"
        } else {
            "A"
        },
    );
    let text = serde_json::to_vec(&envelope).unwrap();
    assert!(matches!(open(&text), Err(VerifyEvidenceError::Signature)));
}

#[test]
fn a_finding_that_is_dropped_changed_or_moved_breaks_the_chain() {
    let mut dropped = statement();
    dropped.predicate.findings.remove(1);
    let mut changed = statement();
    changed.predicate.findings[2].finding.verdict = Verdict::NotApplicable;
    let mut moved = statement();
    moved.predicate.findings.swap(0, 1);
    for broken in [dropped, changed, moved] {
        assert!(matches!(
            open(&sealed(&broken)),
            Err(VerifyEvidenceError::BrokenChain(_))
        ));
    }
}

#[test]
fn findings_cut_off_at_the_end_are_noticed_by_the_summary() {
    let mut cut = statement();
    cut.predicate.findings.pop();
    assert!(matches!(
        open(&sealed(&cut)),
        Err(VerifyEvidenceError::WrongSummary)
    ));
}

#[test]
fn a_witness_that_was_reached_is_not_argued_away() {
    let mut denied = statement();
    denied.predicate.arrivals.insert("EG-01".to_owned(), 1);
    assert!(matches!(
        open(&sealed(&denied)),
        Err(VerifyEvidenceError::WitnessDenied(_))
    ));
}

#[test]
fn evidence_of_another_order_is_refused() {
    let envelope = sealed(&statement());
    let result = verify(&envelope, Some("00"), |bytes, signature| {
        signature == stamp(bytes)
    });
    assert!(matches!(result, Err(VerifyEvidenceError::OtherNonce)));
}

#[test]
fn a_payload_that_is_not_canonical_is_refused() {
    let loose = serde_json::to_vec_pretty(&statement()).unwrap();
    let envelope = Envelope::seal::<()>(&loose, "key", |bytes| Ok(stamp(bytes))).unwrap();
    let text = serde_json::to_vec(&envelope).unwrap();
    assert!(matches!(
        open(&text),
        Err(VerifyEvidenceError::NotCanonical)
    ));
}

#[test]
fn canonical_text_is_sorted_and_has_no_spaces() {
    let value = serde_json::json!({"b": [1, {"z": null, "a": "x y"}], "a": true});
    assert_eq!(
        canonical_bytes(&value),
        br#"{"a":true,"b":[1,{"a":"x y","z":null}]}"#
    );
}

#[test]
fn the_signed_bytes_are_those_of_the_dsse_specification() {
    assert_eq!(
        pre_authentication("http://example.com/HelloWorld", b"hello world"),
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    );
}
