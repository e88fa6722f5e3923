//! C02: a stage can make Unix, TCP and UDP sockets and no others: no packet, vsock, crypto or kernel
//! event sockets.

use casemate_testkit::needs_host;

use crate::lab::judge;
use crate::lab::sandbox::Lab;

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
        judge(&format!("C02 {family}"), &ours, &without, lab.reference(&[family], |_| {}));
    }
}
