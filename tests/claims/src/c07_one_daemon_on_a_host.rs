//! C07: a host has one daemon. Two would give their stages the same users and group names.

use casemate_testkit::{Node, needs_host};

use crate::lab::{Attempt, judge};

#[test]
fn c07_a_second_daemon_is_refused_whatever_directories_it_is_given() {
    needs_host!();
    let first = Node::start().unwrap();
    let second = Node::start();
    if let Err(error) = &second {
        let words = format!("{error:?}");
        let named = format!("process {}", first.pid().unwrap());
        for word in ["another casemated", &named, "stop it first"] {
            assert!(words.contains(word), "`{word}` is not in: {words}");
        }
    }
    let ours = match second {
        Ok(_) => Attempt::Worked,
        Err(_) => Attempt::Stopped("the lock of the first one".to_owned()),
    };
    // A `/run` of its own, in which nobody holds the lock.
    let script = r#"mount -t tmpfs run /run && exec "$@""#;
    let through = [
        "unshare",
        "--mount",
        "--propagation=private",
        "sh",
        "-c",
        script,
        "sh",
    ];
    let without = Node::start_through(&through, &[]);
    judge("C07", &ours, &Attempt::of(&without), None);
    // The first one did not notice.
    first.run_casemate(&["status"]).unwrap();
}
