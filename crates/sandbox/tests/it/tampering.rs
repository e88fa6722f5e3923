//! A sandbox that is not the planned one never runs its server.

use casemate_core::confinement::Difference;
use casemate_sandbox::oci::Mount;
use casemate_sandbox::plan::{Plan, plan};
use casemate_sandbox::stage::RunStageError;

use crate::lab;

/// What the first process says about a plan whose runtime configuration was changed.
fn mismatches(
    slot: u16,
    change: impl Fn(&mut Plan) + Send + 'static,
    expected: &'static [&'static str],
) {
    lab::run(slot, move |lab| {
        let mut plan = plan(&lab.shell("echo served")).unwrap();
        change(&mut plan);
        let (created, output) = lab.create(&plan).unwrap();
        let error = created.confine().unwrap_err();
        lab.remove_network();
        let RunStageError::Mismatch(differences) = error else {
            panic!("{error:?}: {}", output.text())
        };
        let found: Vec<&str> = differences
            .iter()
            .map(|Difference { what, .. }| what.as_str())
            .collect();
        assert_eq!(found, expected, "{differences:?}");
        assert_eq!(output.text(), "");
    });
}

#[test]
fn a_capability_is_found() {
    mismatches(
        3100,
        |plan| {
            plan.config
                .process
                .capabilities
                .bounding
                .push("CAP_NET_RAW".to_owned())
        },
        &["capabilities"],
    );
}

#[test]
fn new_privileges_are_found() {
    mismatches(
        3101,
        |plan| {
            plan.config.process.no_new_privileges = false;
            // The runtime itself needs more calls then.
            plan.config.linux.seccomp.default_action = "SCMP_ACT_ALLOW";
        },
        &["no_new_privs", "calls not refused"],
    );
}

#[test]
fn another_group_is_found() {
    mismatches(
        3102,
        |plan| plan.config.process.user.gid = 1001,
        &["group ids"],
    );
}

#[test]
fn other_ids_outside_are_found() {
    mismatches(
        3103,
        |plan| plan.config.linux.uid_mappings[0].size = 65_000,
        &["user id map"],
    );
}

#[test]
fn a_mount_more_or_a_flag_less_is_found() {
    mismatches(
        3104,
        |plan| {
            plan.config.mounts.push(Mount {
                destination: "/tmp/more".to_owned(),
                kind: "tmpfs".to_owned(),
                source: "tmpfs".to_owned(),
                options: Vec::new(),
            });
            let scratch = plan
                .config
                .mounts
                .iter_mut()
                .find(|mount| mount.destination == "/tmp");
            scratch.unwrap().options.retain(|option| option != "noexec");
        },
        &["mount `/tmp`: flags", "mount `/tmp/more`"],
    );
}

#[test]
fn a_path_that_is_not_covered_is_found() {
    mismatches(
        3105,
        |plan| {
            plan.config
                .linux
                .masked_paths
                .retain(|path| path != "/proc/cmdline")
        },
        &["cover of `/proc/cmdline`"],
    );
}

#[test]
fn a_higher_limit_is_found() {
    mismatches(
        3106,
        |plan| {
            plan.config
                .process
                .rlimits
                .retain(|limit| limit.kind != "RLIMIT_CORE")
        },
        &["resource limit `Max core file size`"],
    );
}

#[test]
fn a_shared_namespace_is_found() {
    mismatches(
        3107,
        |plan| {
            plan.config
                .linux
                .namespaces
                .retain(|namespace| namespace.kind != "ipc")
        },
        &["ipc namespace"],
    );
}

#[test]
fn other_limits_of_the_control_group_are_found_before_anything_runs() {
    lab::run(3108, |lab| {
        let request = lab.shell("echo served");
        let mut tampered = plan(&request).unwrap();
        // The check compares what is in force with the plan; so the plan says less than is set.
        let network = lab.path("networks/stage");
        casemate_linux::namespace::create_network(&network).unwrap();
        let bundle =
            casemate_sandbox::bundle::Bundle::prepare(&tampered, &lab.path("bundles/stage"))
                .unwrap();
        tampered.config.linux.resources.pids.limit -= 1;
        let error = casemate_sandbox::stage::create(&lab.runc, &tampered, bundle, lab::Lab::null())
            .unwrap_err();
        lab.remove_network();
        assert!(matches!(error, RunStageError::Limits { .. }), "{error:?}");
    });
}

#[test]
fn a_stage_that_may_swap_is_found_before_anything_runs() {
    lab::run(3109, |lab| {
        let request = lab.shell("echo served");
        let planned = plan(&request).unwrap();
        if !request.host.swap_limit {
            println!("skipped: control groups do not limit swap here");
            return;
        }
        let mut tampered = planned.clone();
        tampered.config.linux.resources.memory.swap = Some(request.limits.memory_bytes * 2);
        let network = lab.path("networks/stage");
        casemate_linux::namespace::create_network(&network).unwrap();
        let bundle =
            casemate_sandbox::bundle::Bundle::prepare(&tampered, &lab.path("bundles/stage"))
                .unwrap();
        let error = casemate_sandbox::stage::create(&lab.runc, &planned, bundle, lab::Lab::null())
            .unwrap_err();
        lab.remove_network();
        assert!(matches!(error, RunStageError::Limits { .. }), "{error:?}");
    });
}
