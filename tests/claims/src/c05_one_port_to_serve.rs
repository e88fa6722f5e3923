//! C05: a stage's server can listen on the port it was given and on no other: no second door for the
//! gate to miss.

use casemate_testkit::needs_host;

use crate::lab::judge;
use crate::lab::sandbox::Lab;

#[test]
fn c05_another_port_cannot_be_bound() {
    needs_host!();
    let lab = Lab::new();
    let ours = lab.ours(&["bind", "8001"]);
    let without = lab.without(&["bind", "8001"], |plan| {
        plan.confinement.landlock.bind.push(8001)
    });
    judge(
        "C05",
        &ours,
        &without,
        lab.reference(&["bind", "8001"], |_| {}),
    );
}
