use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use casemate_core::event::{Event, Severity, kind};
use casemate_core::receipt::{Assurance, ReceiptKind, verify_chain};
use casemate_core::time::UnixTime;

use super::*;
use crate::keys::NodeKey;

fn scratch(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("casemated-store-{}-{name}", std::process::id()));
    std::fs::remove_dir_all(&path).ok();
    std::fs::create_dir_all(&path).unwrap();
    path
}

fn open(state: &Path) -> Store {
    let key = ReceiptKey::open(state, &NodeKey::open(state).unwrap()).unwrap();
    Store::open(state, Arc::new(key)).unwrap()
}

fn draft(subject: &str) -> Draft {
    Draft {
        time: UnixTime(7),
        kind: ReceiptKind::StageAttested,
        subject: subject.to_owned(),
        facts: BTreeMap::new(),
        assurance: Assurance::Software,
    }
}

#[test]
fn the_chain_goes_on_where_an_earlier_daemon_stopped() {
    let state = scratch("chain");
    open(&state)
        .record(vec![draft("one"), draft("two")])
        .unwrap();
    let store = open(&state);
    store.record(vec![draft("three")]).unwrap();
    let receipts = store.receipts().unwrap();
    assert_eq!(
        receipts
            .iter()
            .map(|receipt| receipt.seq)
            .collect::<Vec<_>>(),
        [0, 1, 2]
    );
    assert!(verify_chain(&receipts, |_, _| true).is_ok());
}

#[test]
fn receipts_of_many_threads_form_one_chain() {
    let state = scratch("threads");
    let store = Arc::new(open(&state));
    let threads: Vec<_> = (0..8)
        .map(|number| {
            let store = Arc::clone(&store);
            std::thread::spawn(move || {
                for _ in 0..10 {
                    store.record(vec![draft(&number.to_string())]).unwrap();
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let receipts = store.receipts().unwrap();
    assert_eq!(receipts.len(), 80);
    assert!(verify_chain(&receipts, |_, _| true).is_ok());
}

#[test]
fn a_full_disk_refuses_the_receipt_and_the_chain_stays_whole() {
    let state = scratch("full");
    let key = ReceiptKey::open(&state, &NodeKey::open(&state).unwrap()).unwrap();
    let store = Store::open(&state, Arc::new(key)).unwrap();
    store.record(vec![draft("before")]).unwrap();
    // The page limit of SQLite stands in for the disk: it fails with the same error.
    let limited = connection(&state.join("casemated.db"), "FULL").unwrap();
    limited.pragma_update(None, "max_page_count", 12).unwrap();
    let key = ReceiptKey::open(&state, &NodeKey::open(&state).unwrap()).unwrap();
    let writer = receipts::Writer::start(limited, Arc::new(key)).unwrap();
    let mut big = draft("big");
    big.facts.insert("filler".to_owned(), "x".repeat(200_000));
    assert!(matches!(writer.record(vec![big]), Err(StoreError::Full)));
    writer.record(vec![draft("after")]).unwrap();
    assert!(verify_chain(&store.receipts().unwrap(), |_, _| true).is_ok());
}

#[test]
fn events_come_back_in_order_after_a_number() {
    let store = open(&scratch("events"));
    for _ in 0..3 {
        store
            .add_event(Event::new(UnixTime(1), kind::NODE_STARTED, Severity::Info))
            .unwrap();
    }
    let page = store.events(1, 10).unwrap();
    assert_eq!(
        page.iter().map(|(number, _)| *number).collect::<Vec<_>>(),
        [2, 3]
    );
}

#[test]
fn an_epoch_never_goes_back() {
    let store = open(&scratch("epochs"));
    store.raise_epoch("m@1", 5).unwrap();
    store.raise_epoch("m@1", 3).unwrap();
    assert_eq!(store.minimum_epoch("m@1").unwrap(), 5);
}

#[test]
fn revocations_come_back_with_their_time_after_a_restart() {
    let state = scratch("revocations");
    let revocation = Revocation {
        at: UnixTime(1_000_000),
        jti: Some("ticket".to_owned()),
        sub: Some("spiffe://example.test/user/eve".parse().unwrap()),
    };
    open(&state).add_revocation(&revocation).unwrap();
    assert_eq!(open(&state).revocations().unwrap(), [revocation]);
}

#[test]
fn a_revocation_that_cannot_be_read_is_an_error() {
    let store = open(&scratch("revocation-broken"));
    store
        .rows()
        .execute(
            "INSERT INTO revocations (time, jti, sub) VALUES (1, NULL, 'eve')",
            [],
        )
        .unwrap();
    assert!(matches!(
        store.revocations(),
        Err(StoreError::Revocation(_))
    ));
    store
        .rows()
        .execute_batch("DROP TABLE revocations")
        .unwrap();
    assert!(store.revocations().is_err());
}

#[test]
fn noise_pushes_out_noise_of_its_own_stage_and_nothing_else() {
    let state = scratch("rings");
    let mut store = open(&state);
    let (enclosure, stage) = ("chat".parse().unwrap(), "infer".parse().unwrap());
    let at = |kind| Event::new(UnixTime(1), kind, Severity::Warning).at(&enclosure, Some(&stage));
    let other = "redact".parse().unwrap();
    let elsewhere = Event::new(UnixTime(1), kind::REQUEST_REFUSED, Severity::Warning)
        .at(&enclosure, Some(&other));
    store.add_event(at(kind::PROBE_OPEN)).unwrap();
    store.add_event(at(kind::REQUEST_ADMITTED)).unwrap();
    store.add_event(elsewhere.clone()).unwrap();
    let flood = 120_000;
    for number in 0..flood {
        // A daemon that starts again goes on counting.
        if number == flood / 2 {
            store.events(0, 1).unwrap();
            store = open(&state);
        }
        let kind = [kind::CONNECTION_REFUSED, kind::REQUEST_REFUSED][number % 2];
        store.add_event(at(kind)).unwrap();
    }
    let found = store.events(0, 1_000_000).unwrap();
    let (first, noise) = found.split_at(3);
    assert_eq!(first[0].1.kind, kind::PROBE_OPEN);
    assert_eq!(first[1].1.kind, kind::REQUEST_ADMITTED);
    assert_eq!(first[2].1, elsewhere);
    assert!(noise.len() <= 11_000, "{}", noise.len());
    assert_eq!(noise.last().unwrap().0, 3 + flood as u64);
}

#[test]
fn events_of_an_earlier_version_are_kept() {
    let state = scratch("old-events");
    let old = connection(&state.join("casemated.db"), "FULL").unwrap();
    let event = Event::new(UnixTime(1), kind::NODE_STARTED, Severity::Info);
    old.execute_batch(
        "CREATE TABLE events (number INTEGER PRIMARY KEY AUTOINCREMENT, json TEXT NOT NULL) STRICT",
    )
    .unwrap();
    old.execute(
        "INSERT INTO events (json) VALUES (?1)",
        [serde_json::to_string(&event).unwrap()],
    )
    .unwrap();
    assert_eq!(open(&state).events(0, 10).unwrap(), [(1, event)]);
}

#[test]
fn a_revocation_reaches_everything_issued_before_it_also_when_the_clock_went_back() {
    struct Set(UnixTime);
    impl casemate_core::time::Clock for Set {
        fn now(&self) -> UnixTime {
            self.0
        }
    }
    let state = scratch("newest");
    let store = Arc::new(open(&state));
    let journal = |now| crate::journal::Journal::new(Arc::clone(&store), Arc::new(Set(now)));
    let at = |now| journal(UnixTime(now)).now_or_newest().unwrap();
    assert_eq!(at(50), UnixTime(50));
    for time in [100, 9_000, 60] {
        let issued = Draft {
            time: UnixTime(time),
            ..draft("ticket")
        };
        store.record(vec![issued]).unwrap();
    }
    assert_eq!(at(70), UnixTime(9_000));
    assert_eq!(at(9_001), UnixTime(9_001));
}
