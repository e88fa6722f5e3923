use super::*;

fn namespaces(base: u64) -> Namespaces {
    Namespaces {
        net: base,
        mnt: base + 1,
        pid: base + 2,
        user: base + 3,
        ipc: base + 4,
    }
}

fn order() -> ProbeOrder {
    ProbeOrder {
        nonce: "ab".repeat(32),
        expected: namespaces(100),
        host: namespaces(200),
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

fn parse(order: &ProbeOrder) -> Result<ProbeOrder, OrderError> {
    ProbeOrder::parse(&serde_json::to_vec(order).unwrap())
}

fn finding(verdict: Verdict) -> Finding {
    Finding {
        check: "EG-01".to_owned(),
        title: "a connection".to_owned(),
        category: Category::Egress,
        techniques: vec!["T1041".to_owned()],
        proof: Proof::Effect,
        verdict,
        layer: (verdict == Verdict::Blocked).then_some(Layer::Netns),
        evidence: Evidence::default(),
        control: None,
        millis: 1,
    }
}

#[test]
fn an_order_survives_its_own_text() {
    assert_eq!(parse(&order()).unwrap(), order());
}

#[test]
fn an_order_into_the_launchers_own_namespaces_is_refused() {
    for share in [0, 1, 2] {
        let mut shared = order();
        match share {
            0 => shared.expected.net = shared.host.net,
            1 => shared.expected.mnt = shared.host.mnt,
            _ => shared.expected.pid = shared.host.pid,
        }
        assert!(matches!(
            parse(&shared),
            Err(OrderError::SharesNamespace(_))
        ));
    }
}

#[test]
fn an_order_without_namespaces_or_with_a_short_nonce_is_refused() {
    let mut nameless = order();
    nameless.expected.user = 0;
    assert!(matches!(parse(&nameless), Err(OrderError::Namespaces)));
    let mut short = order();
    short.nonce.truncate(10);
    assert!(matches!(parse(&short), Err(OrderError::Nonce)));
}

#[test]
fn an_unknown_member_of_an_order_is_refused() {
    let text = serde_json::to_string(&order())
        .unwrap()
        .replacen('{', r#"{"force":true,"#, 1);
    assert!(matches!(
        ProbeOrder::parse(text.as_bytes()),
        Err(OrderError::Decode(_))
    ));
}

#[test]
fn what_the_witness_saw_outweighs_what_the_prober_said() {
    let seen = finding(Verdict::Blocked).witnessed(1);
    assert_eq!((seen.verdict, seen.layer), (Verdict::Open, None));
    assert_eq!(
        finding(Verdict::Inconclusive).witnessed(2).verdict,
        Verdict::Open
    );
    assert_eq!(
        finding(Verdict::Blocked).witnessed(0).verdict,
        Verdict::Blocked
    );
}

#[test]
fn the_worst_part_decides_the_whole() {
    use Verdict::{Blocked, Inconclusive, NotApplicable, Open};
    assert_eq!(Blocked.worst(Open), Open);
    assert_eq!(Open.worst(Inconclusive), Open);
    assert_eq!(NotApplicable.worst(Blocked), Blocked);
    assert_eq!(Blocked.worst(Inconclusive), Inconclusive);
}

#[test]
fn a_summary_counts_every_finding_once() {
    let all = [
        finding(Verdict::Open),
        finding(Verdict::Blocked),
        finding(Verdict::Blocked),
    ];
    let summary = Summary::of(&all);
    assert_eq!((summary.checks, summary.open, summary.blocked), (3, 1, 2));
}

#[test]
fn a_digest_is_the_known_one() {
    assert_eq!(
        sha256_hex(b"abc"),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
}
