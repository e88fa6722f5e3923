//! C10: a stage that takes more memory than it was given is ended; nobody else is.

use casemate_testkit::needs_host;

use crate::lab::judge;
use crate::lab::sandbox::Lab;

#[test]
fn c10_more_memory_than_planned_is_not_given() {
    needs_host!();
    let lab = Lab::new();
    let ours = lab.ours(&["memory", "200"]);
    let without = lab.without(&["memory", "200"], |plan| {
        let memory = &mut plan.config.linux.resources.memory;
        memory.limit = 400 << 20;
        memory.swap = memory.swap.map(|_| 400 << 20);
    });
    judge(
        "C10",
        &ours,
        &without,
        lab.reference(&["memory", "200"], |_| {}),
    );
}
