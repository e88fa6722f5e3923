use std::io::{BufRead as _, BufReader, Write as _};
use std::thread;

use casemate_core::finding::{Budget, Canaries, Grants, Limits, Namespaces, ProbeRefusal, Verdict};

use super::*;

fn order(only: &[&str]) -> ProbeOrder {
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
        budget: Budget {
            total_millis: 1_000,
            ..Budget::default()
        },
        identity: "stage".to_owned(),
        only: only.iter().map(|&id| id.to_owned()).collect(),
    }
}

fn started(order: &ProbeOrder) -> ProbeMessage {
    ProbeMessage::Started(ProbeStart {
        nonce: order.nonce.clone(),
        kernel: "6.18".to_owned(),
        namespaces: order.expected,
        uid: 1000,
        gid: 1000,
        checks: 2,
    })
}

fn finding(id: &str, verdict: Verdict) -> ProbeMessage {
    let check = check::all().find(|check| check.id == "EG-01").unwrap();
    let mut finding = unfinished(check, "made up");
    finding.check = id.to_owned();
    finding.title = "the prober's own words".to_owned();
    finding.verdict = verdict;
    ProbeMessage::Finding(Box::new(finding))
}

fn done(order: &ProbeOrder) -> ProbeMessage {
    ProbeMessage::Done(ProbeEnd {
        nonce: order.nonce.clone(),
        checks: 2,
        millis: 1,
        sent: 0,
    })
}

/// Conducts against a prober that reads the order and then writes `messages`.
fn against(order: &ProbeOrder, messages: Vec<ProbeMessage>) -> Result<Conducted, ConductError> {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let prober = thread::spawn(move || {
        let mut line = Vec::new();
        BufReader::new(&theirs)
            .read_until(b'\n', &mut line)
            .unwrap();
        let mut writer = &theirs;
        for message in messages {
            let mut line = serde_json::to_vec(&message).unwrap();
            line.push(b'\n');
            writer.write_all(&line).unwrap();
        }
    });
    let conducted = conduct(&ours, order, None, &mut |_| {});
    drop(ours);
    prober.join().unwrap();
    conducted
}

#[test]
fn findings_keep_the_catalogues_words() {
    let order = order(&["EG-01"]);
    let all = vec![
        started(&order),
        finding("EG-01", Verdict::Blocked),
        done(&order),
    ];
    let conducted = against(&order, all).unwrap();
    assert_eq!(conducted.findings.len(), 1);
    assert_eq!(conducted.findings[0].title, "TCP over IPv4 to a canary");
    assert_eq!(conducted.summary().blocked, 1);
}

#[test]
fn a_check_that_is_left_out_is_inconclusive() {
    let order = order(&["EG-01", "EG-02"]);
    let all = vec![
        started(&order),
        finding("EG-01", Verdict::Blocked),
        done(&order),
    ];
    let conducted = against(&order, all).unwrap();
    assert_eq!(conducted.findings[1].check, "EG-02");
    assert_eq!(conducted.findings[1].verdict, Verdict::Inconclusive);
}

#[test]
fn a_check_that_was_not_ordered_or_comes_twice_is_refused() {
    let order = order(&["EG-01"]);
    let other = vec![
        started(&order),
        finding("EG-02", Verdict::Blocked),
        done(&order),
    ];
    assert!(matches!(
        against(&order, other),
        Err(ConductError::UnknownCheck(_))
    ));
    let twice = vec![
        started(&order),
        finding("EG-01", Verdict::Open),
        finding("EG-01", Verdict::Blocked),
    ];
    assert!(matches!(
        against(&order, twice),
        Err(ConductError::UnknownCheck(_))
    ));
}

#[test]
fn an_answer_to_another_order_is_refused() {
    let order = order(&["EG-01"]);
    let mut other = order.clone();
    other.nonce = "ef".repeat(32);
    assert!(matches!(
        against(&order, vec![started(&other)]),
        Err(ConductError::OtherOrder("nonce"))
    ));
    let mut elsewhere = order.clone();
    elsewhere.expected.net = 99;
    assert!(matches!(
        against(&order, vec![started(&elsewhere)]),
        Err(ConductError::OtherOrder("namespaces"))
    ));
}

#[test]
fn a_prober_that_dies_or_refuses_is_an_error_and_not_a_result() {
    let order = order(&["EG-01"]);
    assert!(matches!(
        against(&order, vec![started(&order)]),
        Err(ConductError::Ended { findings: 0 })
    ));
    let refused = ProbeMessage::Refused(ProbeRefusal {
        reason: "another place".to_owned(),
    });
    assert!(matches!(
        against(&order, vec![refused]),
        Err(ConductError::Refused(_))
    ));
    assert!(matches!(
        against(&order, vec![done(&order)]),
        Err(ConductError::OutOfTurn)
    ));
}
