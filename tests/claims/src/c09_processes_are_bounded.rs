//! C09: a stage has as many processes and threads as it was given, and a fork bomb ends there.

use casemate_testkit::needs_host;

use crate::lab::judge;
use crate::lab::sandbox::Lab;

#[test]
fn c09_more_threads_than_planned_cannot_be_started() {
    needs_host!();
    let lab = Lab::new();
    let ours = lab.ours(&["threads", "200"]);
    // The one control, the number of processes, is a limit of the control group and of each process.
    let without = lab.without(&["threads", "200"], |plan| {
        plan.config.linux.resources.pids.limit = 1000;
        for limit in &mut plan.config.process.rlimits {
            if limit.kind == "RLIMIT_NPROC" {
                (limit.soft, limit.hard) = (1000, 1000);
            }
        }
        let processes = plan.confinement.limits.get_mut("Max processes").unwrap();
        (processes.soft, processes.hard) = (Some(1000), Some(1000));
    });
    judge(
        "C09",
        &ours,
        &without,
        lab.reference(&["threads", "200"], |_| {}),
    );
}
