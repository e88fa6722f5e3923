//! C02: a stage can make Unix, TCP and UDP sockets and no others: no packet, vsock, crypto or kernel
//! event sockets.

use casemate_testkit::needs_host;

use crate::lab::sandbox::Lab;
use crate::lab::{Attempt, judge};

#[test]
fn c02_sockets_of_other_families_are_refused() {
    needs_host!();
    let lab = Lab::new();
    // Only families that an unprivileged process may open at all: where a capability is asked for
    // too, taking away the filter alone would show nothing.
    for family in ["vsock", "alg-socket", "uevent-socket"] {
        let ours = lab.ours(&[family]);
        let without = lab.without(&[family], |plan| {
            for rule in &mut plan.config.linux.seccomp.syscalls {
                if rule.names == ["socket"] {
                    rule.args.clear();
                }
            }
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
