use std::path::PathBuf;

use super::*;
use crate::image::Image;
use crate::image::ImageConfig;

fn request() -> StageRequest {
    StageRequest {
        id: "chat.infer".to_owned(),
        slot: 3,
        root: RootFileSystem::HostDirectories(vec!["/usr".into(), "/opt/llama".into()]),
        kept: vec!["/run/casemate".into(), "/srv/casemate/state".into()],
        command: vec![
            "/opt/llama/bin/serve".to_owned(),
            "--port".to_owned(),
            "8000".to_owned(),
        ],
        environment: vec![("HF_HUB_OFFLINE".to_owned(), "1".to_owned())],
        directory: None,
        models: vec![ModelView {
            name: "smollm2".to_owned(),
            view: "/run/casemate/views/chat.smollm2".into(),
        }],
        programs: "/run/casemate/programs".into(),
        network: "/run/casemate/netns/chat.infer".into(),
        serves: 8000,
        flows: vec![FlowPort {
            stage: "post-process".to_owned(),
            port: 18_001,
        }],
        writable: vec!["/var/cache/model".to_owned()],
        limits: StageLimits::default(),
        host: HostFacts {
            unified_cgroups: false,
            swap_limit: true,
            swaps: true,
            most_open_files: None,
            most_locked_bytes: Some(8 << 20),
            most_processes: None,
        },
    }
}

fn refused(change: impl FnOnce(&mut StageRequest)) -> PlanStageError {
    let mut request = request();
    change(&mut request);
    plan(&request).unwrap_err()
}

#[test]
fn the_runtime_is_told_this() {
    insta::assert_json_snapshot!("config", plan(&request()).unwrap().config);
}

#[test]
fn the_first_process_checks_this() {
    insta::assert_json_snapshot!("confinement", plan(&request()).unwrap().confinement);
}

#[test]
fn an_image_is_planned_with_its_own_command_and_variables() {
    let mut request = request();
    request.command = Vec::new();
    request.environment = vec![("MODE".to_owned(), "ours".to_owned())];
    request.root = RootFileSystem::Image(Image {
        digest: format!("sha256:{}", "0".repeat(64)),
        root: "/var/lib/casemate/images/0/rootfs".into(),
        top_level: vec![
            "app".to_owned(),
            "etc".to_owned(),
            "proc".to_owned(),
            "usr".to_owned(),
        ],
        config: ImageConfig {
            environment: vec!["PATH=/app/bin".to_owned(), "MODE=theirs".to_owned()],
            entrypoint: vec!["/app/serve".to_owned()],
            command: vec!["--all".to_owned()],
            directory: Some("/app".to_owned()),
        },
    });
    let plan = plan(&request).unwrap();
    let server = &plan.confinement.server;
    assert_eq!(server.arguments, ["/app/serve", "--all"]);
    assert_eq!(server.directory, "/app");
    assert!(server.environment.contains(&"PATH=/app/bin".to_owned()));
    assert!(server.environment.contains(&"MODE=ours".to_owned()));
    assert!(!server.environment.contains(&"MODE=theirs".to_owned()));
    let execute = &plan.confinement.landlock.execute;
    assert_eq!(execute, &["/app", "/etc", "/usr", "/.casemate"]);
}

#[test]
fn a_plan_is_the_same_each_time_and_another_for_any_change() {
    let first = plan(&request()).unwrap();
    assert_eq!(plan(&request()).unwrap(), first);
    let mut other = request();
    other.limits.processes += 1;
    assert_ne!(plan(&other).unwrap().digest, first.digest);
}

#[test]
fn ranges_of_ids_do_not_touch() {
    let range = |slot| {
        let plan = plan(&StageRequest { slot, ..request() }).unwrap();
        plan.confinement.uid_map
    };
    assert_eq!(range(0).outside + range(0).count, range(1).outside);
    assert!(
        range(MOST_SLOTS - 1)
            .outside
            .checked_add(RANGE_LENGTH)
            .is_some()
    );
    let beyond = refused(|request| request.slot = MOST_SLOTS);
    assert_eq!(beyond, PlanStageError::Slot(MOST_SLOTS));
}

#[test]
fn no_plan_gives_a_capability_or_a_namespace_of_the_host() {
    let config = plan(&request()).unwrap().config;
    assert_eq!(config.process.capabilities, Capabilities::default());
    let kinds: Vec<&str> = config
        .linux
        .namespaces
        .iter()
        .map(|namespace| namespace.kind)
        .collect();
    assert_eq!(kinds, ["user", "pid", "mount", "ipc", "uts", "cgroup"]);
}

#[test]
fn what_is_dangerous_is_not_on_the_list_of_system_calls() {
    let allowed: Vec<&str> = plan(&request())
        .unwrap()
        .config
        .linux
        .seccomp
        .syscalls
        .into_iter()
        .filter(|rule| rule.action == "SCMP_ACT_ALLOW" && rule.args.is_empty())
        .flat_map(|rule| rule.names)
        .collect();
    for call in [
        "ptrace",
        "process_vm_readv",
        "splice",
        "tee",
        "vmsplice",
        "io_uring_setup",
        "bpf",
        "userfaultfd",
        "keyctl",
        "add_key",
        "modify_ldt",
        "personality",
        "name_to_handle_at",
        "open_by_handle_at",
        "mount",
        "umount2",
        "unshare",
        "setns",
        "clone",
        "clone3",
        "socket",
        "socketpair",
        "execveat",
        "memfd_create",
        "perf_event_open",
        "pidfd_getfd",
        "kcmp",
        "chroot",
        "mknod",
        "kexec_load",
        "init_module",
        "process_madvise",
        "move_mount",
    ] {
        assert!(!allowed.contains(&call), "{call} is allowed");
    }
    for name in allowed.iter().chain(&["clone3"]) {
        assert!(
            casemate_linux::seccomp::number(name).is_some() || *name == "getsid",
            "{name}?"
        );
    }
}

#[test]
fn directories_that_show_the_host_are_refused() {
    for path in [
        "/",
        "/etc",
        "/proc",
        "/proc/1",
        "/sys",
        "/dev",
        "/run",
        "/root",
        "/home",
        "/tmp/x",
        "/.casemate",
    ] {
        let error = refused(|request| {
            request.root = RootFileSystem::HostDirectories(vec![PathBuf::from(path)]);
        });
        assert!(
            matches!(error, PlanStageError::Forbidden { .. }),
            "{path}: {error:?}"
        );
    }
}

#[test]
fn paths_that_are_not_plain_are_refused() {
    for path in [
        "usr",
        "/usr/../etc",
        "/usr/./lib",
        "/usr//lib",
        "/usr/",
        "/a b",
        "/a,b",
        "/a:b",
        "/a\nb",
        "",
    ] {
        let error = refused(|request| {
            request.root = RootFileSystem::HostDirectories(vec![PathBuf::from(path)]);
        });
        assert_eq!(error, PlanStageError::Path(path.to_owned()));
    }
}

#[test]
fn mounts_that_hide_each_other_are_refused() {
    let nested = ["/usr".into(), "/usr/lib".into()];
    let error = refused(|request| request.root = RootFileSystem::HostDirectories(nested.to_vec()));
    assert_eq!(error, PlanStageError::Overlap("/usr/lib".to_owned()));
    let error = refused(|request| request.writable = vec!["/opt".to_owned()]);
    assert_eq!(error, PlanStageError::Overlap("/opt".to_owned()));
    let error = refused(|request| request.models.push(request.models[0].clone()));
    assert!(matches!(error, PlanStageError::Overlap(_)));
}

#[test]
fn names_that_could_be_paths_or_options_are_refused() {
    for id in ["", "-x", "../x", "a/b", "a b", &"x".repeat(64)] {
        assert_eq!(
            refused(|request| request.id = id.to_owned()),
            PlanStageError::Id(id.to_owned())
        );
    }
    let error = refused(|request| request.models[0].name = "../etc".to_owned());
    assert!(matches!(error, PlanStageError::Path(_)));
    let error = refused(|request| request.environment = vec![("A=B".to_owned(), String::new())]);
    assert!(matches!(error, PlanStageError::Variable(_)));
}

#[test]
fn a_stage_without_a_command_or_with_a_privileged_port_is_refused() {
    assert_eq!(
        refused(|request| request.command.clear()),
        PlanStageError::NoCommand
    );
    assert_eq!(
        refused(|request| request.serves = 80),
        PlanStageError::Port(80)
    );
    let error = refused(|request| request.limits.memory_bytes = 1);
    assert!(matches!(error, PlanStageError::TooLittle { .. }));
}

#[test]
fn what_the_launcher_keeps_is_not_planned_for_a_stage() {
    for path in [
        "/srv",
        "/srv/casemate",
        "/srv/casemate/state",
        "/srv/casemate/state/images",
    ] {
        let refusal =
            refused(|request| request.root = RootFileSystem::HostDirectories(vec![path.into()]));
        assert!(
            matches!(&refusal, PlanStageError::Forbidden { reason, .. } if reason.contains("keeps")),
            "{path}: {refusal}"
        );
    }
}

#[test]
fn a_host_that_swaps_and_cannot_limit_it_gets_no_plan() {
    let refusal = refused(|request| request.host.swap_limit = false);
    assert_eq!(refusal, PlanStageError::Swap);
    let mut request = request();
    request.host.swap_limit = false;
    request.host.swaps = false;
    assert_eq!(
        plan(&request).unwrap().config.linux.resources.memory.swap,
        None
    );
}
