use casemate_core::finding::{Category, ControlResult, Layer, Step, Verdict};
use casemate_linux::raw::{ChildOutcome, PANICKED};

use super::*;
use crate::check::Check;

static CHECK: Check = Check::new(Category::Escape, "ES-00", "a check", |_| {});

fn step(verdict: Verdict) -> Record {
    let layer = (verdict == Verdict::Blocked).then_some(Layer::Seccomp);
    Record::Step(Step {
        tried: "it".into(),
        verdict,
        layer,
        errno: None,
        detail: String::new(),
    })
}

fn control(worked: bool) -> Record {
    Record::Control(ControlResult {
        tried: "own".into(),
        worked,
        detail: String::new(),
    })
}

fn verdict_of(records: Vec<Record>, outcome: ChildOutcome) -> Verdict {
    let mut attempted = Attempted::default();
    attempted.add(records, outcome);
    judge(&CHECK, attempted, 1).verdict
}

const DONE: ChildOutcome = ChildOutcome::Exited(0);

#[test]
fn a_refusal_with_a_working_control_is_blocked() {
    let records = vec![control(true), step(Verdict::Blocked), Record::End];
    assert_eq!(verdict_of(records, DONE), Verdict::Blocked);
}

#[test]
fn a_refusal_without_a_working_control_is_inconclusive() {
    let failed = vec![control(false), step(Verdict::Blocked), Record::End];
    assert_eq!(verdict_of(failed, DONE), Verdict::Inconclusive);
    assert_eq!(
        verdict_of(vec![step(Verdict::Blocked), Record::End], DONE),
        Verdict::Inconclusive
    );
}

#[test]
fn an_open_step_is_open_whatever_else_happened() {
    let records = vec![control(false), step(Verdict::Open), step(Verdict::Blocked)];
    assert_eq!(verdict_of(records, ChildOutcome::Overdue), Verdict::Open);
}

#[test]
fn a_bug_a_deadline_and_an_early_exit_are_inconclusive() {
    for outcome in [
        ChildOutcome::Exited(PANICKED),
        ChildOutcome::Overdue,
        ChildOutcome::Exited(3),
        DONE,
    ] {
        let records = vec![
            control(true),
            step(Verdict::Blocked),
            Record::Trying("next".into()),
        ];
        assert_eq!(verdict_of(records, outcome), Verdict::Inconclusive);
    }
    assert_eq!(
        verdict_of(vec![control(true), Record::End], DONE),
        Verdict::Inconclusive
    );
}

#[test]
fn a_step_killed_by_a_filter_is_blocked_and_the_check_goes_on_behind_it() {
    let mut attempted = Attempted::default();
    let killed = ChildOutcome::Killed {
        signal: libc::SIGSYS,
        dumped: false,
    };
    assert!(attempted.add(vec![control(true), Record::Trying("first".into())], killed));
    assert!(!attempted.add(
        vec![control(true), step(Verdict::Blocked), Record::End],
        DONE
    ));
    let finding = judge(&CHECK, attempted, 1);
    assert_eq!(
        (finding.verdict, finding.layer),
        (Verdict::Blocked, Some(Layer::Seccomp))
    );
    assert_eq!(finding.evidence.steps.len(), 2);
}

#[test]
fn nothing_to_attack_is_not_applicable() {
    assert_eq!(
        verdict_of(vec![step(Verdict::NotApplicable), Record::End], DONE),
        Verdict::NotApplicable
    );
}

#[test]
fn records_survive_their_own_text_and_rubbish_is_left_out() {
    let text = format!(
        "rubbish\n{}\n{{",
        serde_json::to_string(&step(Verdict::Open)).unwrap()
    );
    assert_eq!(decode(text.as_bytes()), [step(Verdict::Open)]);
}
