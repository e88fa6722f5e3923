//! C08: files of the kernel that tell of the host are covered by something empty.

use casemate_testkit::needs_host;

use crate::lab::judge;
use crate::lab::sandbox::{Lab, forget};

#[test]
fn c08_files_that_tell_of_the_host_read_as_empty() {
    needs_host!();
    let lab = Lab::new();
    for path in ["/proc/interrupts", "/proc/diskstats", "/proc/zoneinfo"] {
        let ours = lab.ours(&["read", path]);
        let without = lab.without(&["read", path], |plan| {
            forget(&mut plan.config.linux.masked_paths, |masked| masked == path);
            forget(&mut plan.confinement.masked, |masked| masked == path);
        });
        judge(
            &format!("C08 {path}"),
            &ours,
            &without,
            lab.reference(&["read", path], |_| {}),
        );
    }
}
