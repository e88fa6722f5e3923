//! C03: a stage cannot make itself root of a user namespace of its own, the usual first step to the
//! kernel's less used code.

use casemate_testkit::needs_host;

use crate::lab::judge;
use crate::lab::sandbox::{Lab, forget};

#[test]
fn c03_a_user_namespace_is_refused() {
    needs_host!();
    let lab = Lab::new();
    let ours = lab.ours(&["user-namespace"]);
    // The one control is the filter on system calls; it stands in the runtime's filter and in the
    // one that the first process adds.
    let without = lab.without(&["user-namespace"], |plan| {
        plan.config.linux.seccomp.syscalls[0].names.push("unshare");
        forget(&mut plan.confinement.denied_syscalls, |name| {
            name == "unshare"
        });
    });
    judge(
        "C03",
        &ours,
        &without,
        lab.reference(&["user-namespace"], |_| {}),
    );
}
