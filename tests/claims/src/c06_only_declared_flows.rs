//! C06: inside its own network namespace too, a stage can connect only to the ports of declared
//! flows, where its gate listens.

use casemate_testkit::needs_host;

use crate::lab::judge;
use crate::lab::sandbox::Lab;

#[test]
fn c06_another_loopback_port_cannot_be_reached() {
    needs_host!();
    let lab = Lab::new();
    let ours = lab.ours(&["connect", "9000"]);
    let without = lab.without(&["connect", "9000"], |plan| {
        plan.confinement.landlock.connect.push(9000)
    });
    judge(
        "C06",
        &ours,
        &without,
        lab.reference(&["connect", "9000"], |_| {}),
    );
}
