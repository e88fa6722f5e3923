use std::time::Duration;

use super::hold::{HeldMemory, HeldQueue, HeldSegment};
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
    let held = HeldMemory::start("held-memory", b"a secret", None, None).unwrap();
    let comm = std::fs::read_to_string(format!("/proc/{}/comm", held.pid())).unwrap();
    assert!(!comm.is_empty() && held.length() == 8 && held.address() != 0);
    let pid = held.pid();
    drop(held);
    assert!(!std::path::Path::new(&format!("/proc/{pid}/comm")).exists());
}

#[test]
fn a_killed_starter_leaves_no_segment_and_no_queue() {
    let key = i32::try_from(std::process::id()).unwrap() | 0x4000_0000;
    let name = format!("/casemate-test-{}", std::process::id());
    let end = run_in_child(LIMIT, |_child| {
        let segment = HeldSegment::make(key).unwrap();
        let queue = HeldQueue::make(&name).unwrap();
        let memory = HeldMemory::start("held", b"x", Some(&segment), Some(&queue)).unwrap();
        let comm = format!("/proc/{}/comm", memory.pid());
        while std::fs::read_to_string(&comm).unwrap() != "held\n" {
            std::thread::yield_now();
        }
        // SAFETY: raise takes no pointer.
        unsafe { libc::raise(libc::SIGKILL) };
    })
    .unwrap();
    assert!(matches!(
        end.outcome,
        ChildOutcome::Killed { signal: 9, .. }
    ));
    let started = std::time::Instant::now();
    loop {
        // Making them anew succeeds only once the old ones are gone; these go when dropped.
        let made = (HeldSegment::make(key), HeldQueue::make(&name));
        match made {
            (Ok(_segment), Ok(_queue)) => break,
            made => assert!(started.elapsed() < LIMIT, "{made:?}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
