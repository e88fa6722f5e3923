use std::collections::BTreeMap;

use casemate_core::finding::{
    Budget, Canaries, Grants, Layer, Limits, Namespaces, ProbeEnd, ProbeOrder, ProbeStart, Step,
};

use super::*;
use crate::check;
use crate::conduct::Conducted;
use crate::evidence::Circumstances;
use crate::run::unfinished;

fn finding(id: &str, verdict: Verdict) -> Finding {
    let check = check::all().find(|check| check.id == id).unwrap();
    let mut finding = unfinished(check, "the time was up");
    finding.verdict = verdict;
    if verdict == Verdict::Blocked {
        finding.layer = Some(Layer::Netns);
    }
    finding.evidence.steps = vec![Step {
        tried: "connect <script>".to_owned(),
        verdict,
        layer: finding.layer,
        errno: None,
        detail: "seen & noted".to_owned(),
    }];
    finding
}

fn statement(findings: Vec<Finding>) -> Statement {
    let spaces = |base| Namespaces {
        net: base,
        mnt: base + 1,
        pid: base + 2,
        user: base + 3,
        ipc: base + 4,
    };
    let order = ProbeOrder {
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
    };
    let start = ProbeStart {
        nonce: order.nonce.clone(),
        kernel: "6.18".to_owned(),
        namespaces: order.expected,
        uid: 1000,
        gid: 1000,
        checks: 1,
    };
    let end = ProbeEnd {
        nonce: order.nonce.clone(),
        checks: 1,
        millis: 1,
        sent: 0,
    };
    let circumstances = Circumstances {
        stage: "chat/infer".to_owned(),
        plan_sha256: "ab".repeat(32),
        runtime: "runc".to_owned(),
        programs: BTreeMap::new(),
        started: 100,
        finished: 101,
    };
    Statement::of(
        &order,
        &Conducted {
            start,
            findings,
            end,
        },
        None,
        circumstances,
    )
}

#[test]
fn an_open_check_is_expected_only_when_it_is_on_the_list_and_unwitnessed() {
    assert_eq!(
        Standing::of(&finding("PX-04", Verdict::Open)),
        Standing::ExpectedOpen
    );
    assert_eq!(
        Standing::of(&finding("EG-01", Verdict::Open)),
        Standing::Open
    );
    assert_eq!(
        Standing::of(&finding("PX-04", Verdict::Open).witnessed(1)),
        Standing::Open
    );
    assert_eq!(
        Standing::of(&finding("PX-04", Verdict::Inconclusive)),
        Standing::Unknown
    );
}

#[test]
fn the_table_names_every_check_and_argues_what_is_open() {
    let findings = [
        finding("EG-01", Verdict::Blocked),
        finding("ES-01", Verdict::Inconclusive),
        finding("PX-04", Verdict::Open),
        finding("PX-02", Verdict::Open),
    ];
    let text = table(&findings, Columns(100));
    for part in [
        "EG-01",
        "netns",
        "could not tell ES-01",
        "left open because",
        "OPEN PX-02",
        "4 checks: 1 blocked, 2 open, 1 inconclusive",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    assert!(
        text.lines().all(|line| line.chars().count() <= 112),
        "{text}"
    );
}

#[test]
fn the_page_needs_nothing_from_elsewhere_and_escapes_what_it_shows() {
    let page = html(&statement(vec![
        finding("EG-01", Verdict::Blocked),
        finding("PX-02", Verdict::Open),
    ]));
    assert!(page.contains("connect &lt;script&gt;") && page.contains("seen &amp; noted"));
    for outside in ["http://", "https://", "<script", "src=", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.contains("lang=\"en\"") && page.contains("scope=\"col\""));
}

#[test]
fn the_json_lists_what_is_open_and_unexpected() {
    let text = json(&statement(vec![
        finding("PX-04", Verdict::Open),
        finding("PX-02", Verdict::Open),
    ]));
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["unexpected_open"], serde_json::json!(["PX-02"]));
    assert_eq!(value["expected_open"][0]["check"], "PX-04");
}
