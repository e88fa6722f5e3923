//! The whole catalogue in three containers that people run, and in one that is weak on purpose.

use std::fs;
use std::sync::Mutex;

use casemate_core::finding::Verdict;
use casemate_isolation::catalogue;
use casemate_isolation::conduct::Conducted;
use casemate_isolation::report::{Columns, Standing, table};

use crate::lab::{self, Variant};

/// Whole catalogues share two processors badly with each other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn whole(name: &str, variant: &Variant) -> Option<Conducted> {
    if let Some(reason) = lab::missing() {
        println!("skipped: {reason}");
        return None;
    }
    let _turn = ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let conducted = lab::probe(variant, &[]);
    println!("{name}\n{}", table(&conducted.findings, Columns(110)));
    if let Some(directory) = std::env::var_os("CASEMATE_PROBE_OUT") {
        let path = std::path::Path::new(&directory).join(format!("{name}.json"));
        fs::write(
            path,
            serde_json::to_vec_pretty(&conducted.findings).unwrap(),
        )
        .unwrap();
    }
    Some(conducted)
}

#[test]
fn a_hardened_container_holds_but_for_the_argued_list() {
    let Some(conducted) = whole("hardened", &Variant::hardened()) else {
        return;
    };
    // Landlock is put on by the stage's first process, which has no part in this test.
    let open: Vec<_> = conducted
        .findings
        .iter()
        .filter(|finding| Standing::of(finding) == Standing::Open && finding.check != "ES-38")
        .map(|finding| &finding.check)
        .collect();
    assert!(open.is_empty(), "{open:?}");
    let unknown = lab::with_verdict(&conducted, Verdict::Inconclusive);
    assert!(unknown.is_empty(), "{unknown:?}");
    assert!(conducted.end.millis < 10_000, "{} ms", conducted.end.millis);
}

#[test]
fn the_runtimes_default_is_told_apart() {
    let Some(conducted) = whole("runtime-default", &Variant::runtime_default()) else {
        return;
    };
    let open = lab::with_verdict(&conducted, Verdict::Open);
    for check in [
        "ES-01", "ES-20", "ES-23", "ES-24", "ES-25", "LA-08", "ME-01", "PX-02", "PX-03", "WT-08",
    ] {
        assert!(open.contains(&check), "{check} is not open: {open:?}");
    }
    assert!(open.len() >= 30, "{open:?}");
    assert!(!open.contains(&"EG-01"));
}

#[test]
fn an_engines_default_is_told_apart() {
    let Some(conducted) = whole("engine-default", &Variant::engine_default()) else {
        return;
    };
    let open = lab::with_verdict(&conducted, Verdict::Open);
    for check in [
        "EG-04", "EG-05", "EG-06", "ES-06", "ES-22", "ES-23", "ES-46", "ES-47", "PX-01", "PX-02",
        "PX-03",
    ] {
        assert!(open.contains(&check), "{check} is not open: {open:?}");
    }
    for check in ["ES-04", "ES-17", "ES-20"] {
        assert!(!open.contains(&check), "{check} is open: {open:?}");
    }
}

/// Checks that cannot open in a lab that must not harm the machine under it, or that this kernel has
/// nothing for; each with the reason.
const NEVER_OPEN_HERE: &[(&str, &str)] = &[
    ("EG-09", "this kernel may have no exotic families"),
    ("EG-10", "this kernel may have no crypto sockets"),
    ("EG-14", "the lab's network has no routes"),
    ("EG-15", "the lab's network has no routes"),
    ("EG-16", "the lab's network has only lo"),
    (
        "EG-17",
        "the prober refuses to run in the launcher's network namespace, and the witness's is one of the lab",
    ),
    ("EG-22", "no engine's socket is brought in"),
    ("EG-27", "no such device"),
    ("ES-15", "the lab does not give the capability for modules"),
    (
        "ES-16",
        "the lab does not give the capability for reboot; accounting answers where the kernel has it",
    ),
    ("ES-26", "modify_ldt and personality may be absent"),
    ("ES-28", "a running program is never writable"),
    ("ES-34", "there is no terminal"),
    ("ES-43", "the lab does not give the capability for clocks"),
    ("ES-53", "this kernel may have no x32"),
    ("LA-02", "depends on the host directory"),
    (
        "LA-03",
        "the prober refuses to run in the launcher's process namespace",
    ),
    (
        "LA-09",
        "the root file system has no credential files; variables are tried",
    ),
    ("ME-09", "this machine may have no swap"),
    ("ME-10", "the kernel always clears pages"),
    (
        "ME-15",
        "the prober refuses to run in the launcher's process namespace",
    ),
    ("PX-09", "the program is bound read-only by the lab"),
    ("PX-11", "no plan is brought in"),
    ("WT-18", "the kernel refuses it for everybody"),
];

#[test]
fn every_check_can_open() {
    let Some(conducted) = whole("weak", &Variant::weak()) else {
        return;
    };
    let closed: Vec<String> = conducted
        .findings
        .iter()
        .filter(|finding| finding.verdict != Verdict::Open)
        .filter(|finding| {
            !NEVER_OPEN_HERE
                .iter()
                .any(|(check, _)| *check == finding.check)
        })
        .map(|finding| {
            format!(
                "{} {}: {:?}",
                finding.check, finding.verdict, finding.evidence.steps
            )
        })
        .collect();
    assert!(closed.is_empty(), "{closed:#?}");
    for (check, _) in NEVER_OPEN_HERE {
        assert!(catalogue::entry(check).is_some(), "{check}");
    }
}
