use super::*;

fn plan() -> SealedPlan {
    let data = vec![
        MountFlag::ReadOnly,
        MountFlag::NoSetuid,
        MountFlag::NoDevices,
        MountFlag::NoExecute,
    ];
    SealedPlan {
        digest: "00".repeat(32),
        confinement: Confinement {
            identity: Identity {
                uid: 1000,
                gid: 1000,
            },
            uid_map: IdRange {
                inside: 0,
                outside: 600_000,
                count: 65_536,
            },
            gid_map: IdRange {
                inside: 0,
                outside: 600_000,
                count: 65_536,
            },
            mounts: vec![
                PlannedMount {
                    path: "/".to_owned(),
                    file_system: None,
                    flags: vec![MountFlag::ReadOnly],
                },
                PlannedMount {
                    path: "/proc".to_owned(),
                    file_system: Some("proc".to_owned()),
                    flags: vec![MountFlag::NoSetuid],
                },
                PlannedMount {
                    path: "/models/m".to_owned(),
                    file_system: None,
                    flags: data,
                },
            ],
            masked: vec!["/proc/kcore".to_owned(), "/proc/absent".to_owned()],
            read_only: vec!["/proc/sys".to_owned()],
            devices: vec![DeviceNode {
                path: "/dev/null".to_owned(),
                major: 1,
                minor: 3,
            }],
            interfaces: vec!["lo".to_owned()],
            limits: [(
                "Max core file size".to_owned(),
                Limit {
                    soft: Some(0),
                    hard: Some(0),
                },
            )]
            .into(),
            seccomp_filters: 1,
            landlock: LandlockRules {
                minimum_abi: 4,
                execute: Vec::new(),
                read: Vec::new(),
                write: Vec::new(),
                write_existing: Vec::new(),
                bind: Vec::new(),
                connect: Vec::new(),
            },
            denied_syscalls: Vec::new(),
            denied_prctl: Vec::new(),
            server: Server {
                arguments: vec!["/bin/true".to_owned()],
                environment: Vec::new(),
                directory: "/".to_owned(),
            },
        },
        namespaces: ExpectedNamespaces {
            network: 77,
            launcher: inodes(1),
        },
    }
}

fn inodes(first: u64) -> NamespaceInodes {
    NamespaceInodes {
        cgroup: first,
        ipc: first + 1,
        mount: first + 2,
        network: first + 3,
        pid: first + 4,
        user: first + 5,
        uts: first + 6,
    }
}

fn facts() -> Facts {
    let all = [
        MountFlag::ReadOnly,
        MountFlag::NoSetuid,
        MountFlag::NoDevices,
        MountFlag::NoExecute,
    ];
    let mount = |path: &str, file_system: &str, flags: &[MountFlag]| FoundMount {
        path: path.to_owned(),
        file_system: file_system.to_owned(),
        flags: flags.to_vec(),
    };
    let plan = plan().confinement;
    Facts {
        uids: vec![1000; 4],
        gids: vec![1000; 4],
        groups: vec![1000],
        uid_map: vec![plan.uid_map],
        gid_map: vec![plan.gid_map],
        capabilities: 0,
        no_new_privileges: true,
        seccomp_mode: 2,
        seccomp_filters: 1,
        unrefused: Vec::new(),
        mounts: vec![
            mount("/", "ext4", &all[..1]),
            mount("/proc", "proc", &all[1..]),
            mount("/models/m", "fuse.casemate", &all),
            mount("/proc/kcore", "devtmpfs", &[]),
            mount("/proc/sys", "proc", &all[..1]),
            mount("/dev/null", "devtmpfs", &[]),
        ],
        present: vec!["/proc/kcore".to_owned(), "/proc/sys".to_owned()],
        devices: plan.devices,
        interfaces: vec!["lo".to_owned()],
        limits: plan.limits,
        namespaces: NamespaceInodes {
            network: 77,
            ..inodes(100)
        },
        descriptors: vec![0, 1, 2, 3, 4],
        landlock_abi: 7,
    }
}

fn whats(change: impl FnOnce(&mut Facts)) -> Vec<String> {
    let mut facts = facts();
    change(&mut facts);
    plan()
        .differences(&facts)
        .into_iter()
        .map(|difference| difference.what)
        .collect()
}

#[test]
fn the_planned_sandbox_has_no_difference() {
    assert_eq!(plan().differences(&facts()), []);
}

#[test]
fn a_capability_in_any_set_is_a_difference() {
    assert_eq!(
        whats(|facts| facts.capabilities = 1 << 21),
        ["capabilities"]
    );
}

#[test]
fn root_inside_is_a_difference() {
    assert_eq!(
        whats(|facts| facts.uids = vec![1000, 0, 1000, 1000]),
        ["user ids"]
    );
}

#[test]
fn a_wider_id_map_is_a_difference() {
    assert_eq!(whats(|facts| facts.uid_map[0].outside = 0), ["user id map"]);
    let more = IdRange {
        inside: 65_536,
        outside: 0,
        count: 1,
    };
    assert_eq!(whats(|facts| facts.gid_map.push(more)), ["group id map"]);
}

#[test]
fn a_filter_that_refuses_nothing_is_a_difference() {
    let found = whats(|facts| facts.unrefused.push("socket of family vsock".to_owned()));
    assert_eq!(found, ["calls not refused"]);
}

#[test]
fn a_missing_filter_or_flag_is_a_difference() {
    let found = whats(|facts| {
        facts.no_new_privileges = false;
        facts.seccomp_mode = 0;
        facts.seccomp_filters = 0;
    });
    assert_eq!(found, ["no_new_privs", "seccomp mode", "seccomp filters"]);
}

#[test]
fn a_mount_that_is_missing_weaker_or_not_planned_is_a_difference() {
    assert_eq!(
        whats(|facts| drop(facts.mounts.remove(2))),
        ["mount `/models/m`"]
    );
    let weaker = whats(|facts| facts.mounts[2].flags = vec![MountFlag::ReadOnly]);
    assert_eq!(weaker, ["mount `/models/m`: flags"]);
    let other = whats(|facts| {
        facts.mounts.push(FoundMount {
            path: "/host".to_owned(),
            file_system: "ext4".to_owned(),
            flags: Vec::new(),
        });
    });
    assert_eq!(other, ["mount `/host`"]);
}

#[test]
fn a_mount_over_a_planned_one_counts() {
    let found = whats(|facts| {
        facts.mounts.push(FoundMount {
            path: "/proc".to_owned(),
            file_system: "tmpfs".to_owned(),
            flags: vec![MountFlag::NoSetuid],
        });
    });
    assert_eq!(found, ["mount `/proc`: file system"]);
}

#[test]
fn a_masked_path_that_shows_is_a_difference_and_one_that_does_not_exist_is_not() {
    assert_eq!(
        whats(|facts| drop(facts.mounts.remove(3))),
        ["cover of `/proc/kcore`"]
    );
    let writable = whats(|facts| facts.mounts[4].flags = Vec::new());
    assert_eq!(writable, ["cover of `/proc/sys`"]);
}

#[test]
fn another_interface_device_or_descriptor_is_a_difference() {
    assert_eq!(
        whats(|facts| facts.interfaces.push("eth0".to_owned())),
        ["network interfaces"]
    );
    let device = DeviceNode {
        path: "/dev/kvm".to_owned(),
        major: 10,
        minor: 232,
    };
    assert_eq!(whats(|facts| facts.devices.push(device)), ["device nodes"]);
    assert_eq!(
        whats(|facts| facts.descriptors.push(9)),
        ["open descriptors"]
    );
}

#[test]
fn a_limit_that_is_missing_or_higher_is_a_difference() {
    assert_eq!(
        whats(|facts| {
            facts.limits.remove("Max core file size");
        }),
        ["resource limit `Max core file size`"]
    );
}

#[test]
fn a_shared_or_unexpected_namespace_is_a_difference() {
    assert_eq!(whats(|facts| facts.namespaces.user = 6), ["user namespace"]);
    assert_eq!(
        whats(|facts| facts.namespaces.network = 78),
        ["network namespace"]
    );
}

#[test]
fn an_old_landlock_is_a_difference() {
    assert_eq!(whats(|facts| facts.landlock_abi = 3), ["Landlock ABI"]);
}

#[test]
fn plans_reports_and_orders_survive_their_text() {
    let text = serde_json::to_string(&plan()).unwrap();
    assert_eq!(serde_json::from_str::<SealedPlan>(&text).unwrap(), plan());
    let order = serde_json::to_string(&InitOrder::Serve).unwrap();
    assert_eq!(order, r#"{"order":"serve"}"#);
    let report = InitReport::Executing { landlock_abi: 6 };
    let text = serde_json::to_string(&report).unwrap();
    assert_eq!(text, r#"{"report":"executing","landlock-abi":6}"#);
    assert_eq!(serde_json::from_str::<InitReport>(&text).unwrap(), report);
}

#[test]
fn a_plan_with_an_unknown_member_is_refused() {
    let text = serde_json::to_string(&plan())
        .unwrap()
        .replacen('{', r#"{"more":1,"#, 1);
    assert!(serde_json::from_str::<SealedPlan>(&text).is_err());
}
