use std::time::Duration;

use super::hold::HeldMemory;
use super::*;

const LIMIT: Duration = Duration::from_secs(5);

#[test]
fn a_child_reports_what_the_kernel_answered() {
    let end = run_in_child(LIMIT, |child| {
        let pid = child.call(libc::SYS_getpid, []).unwrap();
        child.report(&pid.to_le_bytes());
    })
    .unwrap();
    assert_eq!(end.outcome, ChildOutcome::Exited(0));
    assert_ne!(
        i64::from_le_bytes(end.report.try_into().unwrap()),
        i64::from(std::process::id())
    );
}

#[test]
fn a_refused_call_gives_its_error_number() {
    let end = run_in_child(LIMIT, |child| {
        let answer = child.call(libc::SYS_close, [Argument::Number(-1)]);
        child.exit(answer.unwrap_err().0);
    })
    .unwrap();
    assert_eq!(end.outcome, ChildOutcome::Exited(libc::EBADF));
    assert_eq!(Errno(libc::EBADF).to_string(), "EBADF");
}

#[test]
fn a_child_that_never_ends_is_overdue() {
    let end = run_in_child(Duration::from_millis(100), |child| {
        child.report(b"before");
        loop {
            let _interrupted = child.call(libc::SYS_pause, []);
        }
    })
    .unwrap();
    assert_eq!(end.outcome, ChildOutcome::Overdue);
    assert_eq!(end.report, b"before");
}

#[test]
fn a_panic_in_a_child_is_an_exit_status_of_its_own() {
    let end = run_in_child(LIMIT, |_| panic!("a bug in a check")).unwrap();
    assert_eq!(end.outcome, ChildOutcome::Exited(101));
}

#[test]
fn a_signal_is_told_apart_from_an_exit() {
    let end = run_in_child(LIMIT, |child| {
        let pid = child.call(libc::SYS_getpid, []).unwrap();
        let _gone = child.call(libc::SYS_kill, [pid.into(), Argument::Number(9)]);
    })
    .unwrap();
    assert_eq!(
        end.outcome,
        ChildOutcome::Killed {
            signal: 9,
            dumped: false
        }
    );
}

#[cfg(target_arch = "x86_64")]
#[test]
fn the_32_bit_entry_point_answers_or_is_absent() {
    let end = run_in_child(LIMIT, |child| {
        let pid = child.call(libc::SYS_getpid, []).unwrap();
        let same = match child.call_i386(20, 0, 0) {
            Some(Ok(answer)) => answer == pid,
            Some(Err(Errno(errno))) => errno == libc::ENOSYS,
            None => true,
        };
        child.exit(i32::from(!same));
    })
    .unwrap();
    // A kernel without the entry point delivers SIGSEGV.
    assert!(matches!(
        end.outcome,
        ChildOutcome::Exited(0) | ChildOutcome::Killed { .. }
    ));
}

#[test]
fn held_memory_is_in_another_process_and_goes_with_its_value() {
    let held = HeldMemory::start("held-memory", b"a secret").unwrap();
    let comm = std::fs::read_to_string(format!("/proc/{}/comm", held.pid())).unwrap();
    assert!(!comm.is_empty() && held.length() == 8 && held.address() != 0);
    let pid = held.pid();
    drop(held);
    assert!(!std::path::Path::new(&format!("/proc/{pid}/comm")).exists());
}
