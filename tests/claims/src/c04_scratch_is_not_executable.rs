//! C04: what a stage writes it cannot execute, so nothing brought in through a request runs.

use casemate_testkit::needs_host;

use crate::lab::judge;
use crate::lab::sandbox::{Lab, forget};

#[test]
fn c04_a_program_that_was_brought_in_does_not_run() {
    needs_host!();
    let lab = Lab::new();
    let ours = lab.ours(&["execute", "/tmp"]);
    // The one control, that scratch space is not executable, stands in three places: the mount's
    // options, what the first process expects, and Landlock.
    let without = lab.without(&["execute", "/tmp"], |plan| {
        for mount in &mut plan.config.mounts {
            if mount.destination == "/tmp" {
                forget(&mut mount.options, |option| option == "noexec");
            }
        }
        for mount in &mut plan.confinement.mounts {
            if mount.path == "/tmp" {
                forget(&mut mount.flags, |flag| {
                    *flag == casemate_core::confinement::MountFlag::NoExecute
                });
            }
        }
        plan.confinement.landlock.execute.push("/tmp".to_owned());
    });
    // runc's default has a read-only root and no scratch; Docker's is writable, so that is allowed.
    let reference = lab.reference(&["execute", "/tmp"], |config| {
        config["root"]["readonly"] = false.into();
    });
    judge("C04", &ours, &without, reference);
}
