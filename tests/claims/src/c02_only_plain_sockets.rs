//! C02: a stage can make Unix, TCP and UDP sockets and no others: no crypto or kernel event sockets.

use casemate_sandbox::oci::SyscallRule;
use casemate_testkit::needs_host;

use crate::lab::sandbox::Lab;
use crate::lab::{Attempt, judge};

#[test]
fn c02_sockets_of_other_families_are_refused() {
    needs_host!();
    let lab = Lab::new();
    // Only families that an unprivileged process may open at all: where a capability is asked for
    // too, taking away the filter alone would show nothing.
    // Nor vsock, which the first process tries by itself: that sandbox would not start (C12).
    for (family, number) in [("alg-socket", 38), ("uevent-socket", 16)] {
        let ours = lab.ours(&[family]);
        let without = lab.without(&[family], |plan| {
            let rules = &mut plan.config.linux.seccomp.syscalls;
            let only_family =
                |rule: &&SyscallRule| rule.names == ["socket"] && rule.args.len() == 1;
            let mut rule = rules
                .iter()
                .find(only_family)
                .cloned()
                .expect("a rule for one family");
            rule.args[0].value = number;
            rules.push(rule);
        });
        let reference = lab.reference(&[family], |_| {});
        if let Some(Attempt::Stopped(reason)) = reference.as_ref().map(|held| &held.attempt)
            && reason.contains("not supported")
        {
            casemate_testkit::skipped(&format!("C02 {family}: this kernel has none: {reason}"));
            continue;
        }
        judge(&format!("C02 {family}"), &ours, &without, reference);
    }
}
