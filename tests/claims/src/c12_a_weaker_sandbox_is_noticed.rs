//! C12: the first process of a stage notices every sandbox that is weaker than the sealed plan, and
//! nothing runs in it.

use casemate_sandbox::plan::Plan;
use casemate_sandbox::stage::RunStageError;
use casemate_testkit::needs_host;

use crate::lab::sandbox::{Lab, forget};
use crate::lab::{Attempt, judge};

#[test]
fn c12_each_weakening_ends_the_launch() {
    needs_host!();
    let lab = Lab::new();
    let (confined, _) = lab.confined(&["nothing"], |_| {}).unwrap();
    confined.destroy().unwrap();
    for (name, weaken) in WEAKENINGS {
        let ours = match lab.confined(&["nothing"], weaken) {
            Ok((confined, _)) => {
                confined.destroy().unwrap();
                Attempt::Worked
            }
            Err(RunStageError::Mismatch(differences)) => {
                Attempt::Stopped(format!("{} differences", differences.len()))
            }
            // A fact that it cannot read ends the launch as well.
            Err(RunStageError::Failed(reason)) => Attempt::Stopped(reason),
            Err(other) => panic!("{name}: ended for another reason: {other:?}"),
        };
        // The same runtime with the same configuration, and nobody who looks.
        let without = lab.reference(&["nothing"], |_| {}).unwrap().attempt;
        judge(&format!("C12 {name}"), &ours, &without, None);
    }
}

type Weaken = fn(&mut Plan);

const WEAKENINGS: &[(&str, Weaken)] = &[
    ("a capability", |plan| {
        let capabilities = &mut plan.config.process.capabilities;
        capabilities.bounding.push("CAP_NET_RAW".to_owned());
    }),
    ("no seccomp filter", |plan| {
        let seccomp = &mut plan.config.linux.seccomp;
        seccomp.default_action = "SCMP_ACT_ALLOW";
        seccomp.syscalls.clear();
    }),
    ("an executable scratch", |plan| {
        for mount in &mut plan.config.mounts {
            if mount.destination == "/tmp" {
                forget(&mut mount.options, |option| option == "noexec");
            }
        }
    }),
    ("an unmasked file", |plan| {
        forget(&mut plan.config.linux.masked_paths, |path| {
            path == "/proc/interrupts"
        });
    }),
    ("a mount more", |plan| {
        let mut mount = plan.config.mounts[0].clone();
        mount.destination = "/dev/shm/more".to_owned();
        mount.kind = "tmpfs".to_owned();
        mount.source = "tmpfs".to_owned();
        mount.options = vec!["nosuid".to_owned()];
        plan.config.mounts.push(mount);
    }),
    ("core dumps", |plan| {
        for limit in &mut plan.config.process.rlimits {
            if limit.kind == "RLIMIT_CORE" {
                (limit.soft, limit.hard) = (1 << 20, 1 << 20);
            }
        }
    }),
    ("another user", |plan| plan.config.process.user.uid = 1001),
    ("the host's control groups", |plan| {
        forget(&mut plan.config.linux.namespaces, |namespace| {
            namespace.kind == "cgroup"
        });
    }),
];
