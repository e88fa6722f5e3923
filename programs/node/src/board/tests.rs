use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::control;

fn board(name: &str, held_back: &HeldBack) -> Board {
    let log = std::env::temp_dir().join(format!("casemated-board-{}-{name}", std::process::id()));
    Board::new(
        "chat".parse().unwrap(),
        "infer".parse().unwrap(),
        "spiffe://example.test/enclosure/chat/stage/infer"
            .parse()
            .unwrap(),
        StageLog::create(&log).unwrap(),
        Declared::default(),
        held_back.clone(),
    )
}

/// A line, the gate's end of it, and whether the gate was ended.
fn line() -> (Arc<Line>, UnixStream, Arc<AtomicBool>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (control, _lines) = control::split::<wire::FromGate>(ours).unwrap();
    let ended = Arc::new(AtomicBool::new(false));
    let end = Arc::clone(&ended);
    let line = Line::new(Arc::new(control), move || end.store(true, Ordering::SeqCst));
    (Arc::new(line), theirs, ended)
}

fn heard(gate: UnixStream) -> Vec<wire::ToGate> {
    BufReader::new(gate)
        .lines()
        .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
        .collect()
}

fn revocation(jti: &str) -> Revocation {
    Revocation {
        at: UnixTime(7),
        jti: Some(jti.to_owned()),
        sub: None,
    }
}

#[test]
fn a_gate_that_starts_during_a_revocation_hears_of_it() {
    let board = board("introduce", &HeldBack::default());
    let (line, gate, _) = line();
    // Whoever revokes comes between the copy of the list and its end: he must find the gate already.
    board
        .introduce(&line, || {
            assert!(board.revoke(&revocation("late")));
            vec![revocation("early")]
        })
        .unwrap();
    line.close();
    assert_eq!(
        heard(gate),
        ["late", "early"].map(|jti| revoke(revocation(jti)))
    );
}

#[test]
fn a_gate_that_cannot_be_told_of_a_revocation_is_ended() {
    let board = board("untold", &HeldBack::default());
    let (line, gate, ended) = line();
    board.introduce(&line, Vec::new).unwrap();
    drop(gate);
    assert!(!board.revoke(&revocation("one")));
    assert!(ended.load(Ordering::SeqCst));
}

#[test]
fn a_gate_that_cannot_be_told_to_close_is_ended() {
    let board = board("unclosed", &HeldBack::default());
    let (line, gate, ended) = line();
    board.introduce(&line, Vec::new).unwrap();
    board.set_admitting(true).unwrap();
    drop(gate);
    assert!(board.set_admitting(false).is_err());
    assert!(ended.load(Ordering::SeqCst));
}

#[test]
fn the_end_of_holding_back_does_not_open_a_gate_whose_stage_is_launched_again() {
    let held_back = HeldBack::default();
    let board = board("relaunch", &held_back);
    let (line, gate, _) = line();
    board.introduce(&line, Vec::new).unwrap();
    board.set_admitting(true).unwrap();
    held_back.set(true);
    board.renew_door().unwrap();
    board.set_admitting(false).unwrap();
    held_back.set(false);
    board.renew_door().unwrap();
    line.close();
    assert_eq!(
        heard(gate),
        [true, false, false, false].map(wire::ToGate::Admit)
    );
}

#[test]
fn what_a_gate_heard_last_is_what_is_true() {
    for round in 0..300 {
        let held_back = HeldBack::default();
        let board = board(&format!("race-{round}"), &held_back);
        let (line, gate, _) = line();
        board.introduce(&line, Vec::new).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| board.set_admitting(true).unwrap());
            scope.spawn(|| {
                held_back.set(true);
                board.renew_door().unwrap();
            });
        });
        line.close();
        assert_eq!(heard(gate).last(), Some(&wire::ToGate::Admit(false)));
        board.log.remove();
    }
}
