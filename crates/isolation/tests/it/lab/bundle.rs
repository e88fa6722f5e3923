//! Bundles: a root file system, a configuration, a filter.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use serde_json::{Value, json};

use super::{ENGINE_CAPABILITIES, MODEL, Place, Seccomp, Variant, prober};

pub(super) fn make_root(variant: &Variant, root: &Path, outside: &Path) {
    for directory in [
        "proc",
        "dev",
        "sys",
        "tmp",
        "etc",
        "usr",
        "var/tmp",
        "run",
        "home",
        "root",
        "models/m",
        ".casemate",
    ] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    for directory in ["tmp", "var/tmp"] {
        // The runtime gives a mounted file system the mode of what it covers.
        fs::set_permissions(root.join(directory), fs::Permissions::from_mode(0o1777)).unwrap();
    }
    for name in ["bin", "sbin", "lib", "lib64"] {
        symlink(format!("usr/{name}"), root.join(name)).unwrap();
    }
    if variant.user_namespace {
        // The server's own user owns the root, so that only its mount keeps it from writing.
        for directory in ["", "etc", "root", "home", "var"] {
            let owner = Some(700_000 + variant.uid);
            std::os::unix::fs::chown(root.join(directory), owner, owner).unwrap();
        }
    }
    fs::write(root.join("etc/hosts"), "127.0.0.1 localhost\n").unwrap();
    fs::write(root.join(".casemate/probe"), "").unwrap();
    fs::create_dir_all(root.join(outside.strip_prefix("/").unwrap())).unwrap();
    let model = outside.parent().unwrap().join("model");
    fs::create_dir_all(&model).unwrap();
    let mut weights = b"GGUF\x03\0\0\0".to_vec();
    weights.resize(usize::try_from(MODEL).unwrap(), 7);
    fs::write(model.join("model.gguf"), &weights).unwrap();
    if variant.plain_model {
        weights.truncate(2 << 20);
        fs::write(root.join("var/forgotten.bin"), &weights).unwrap();
    }
}

pub(super) fn config(variant: &Variant, place: &Place, outside: &Path, network: &str) -> Value {
    let map = json!([{ "containerID": 0, "hostID": 700_000, "size": 65_536 }]);
    let mut namespaces = vec![
        json!({"type": "pid"}),
        json!({"type": "uts"}),
        json!({"type": "mount"}),
    ];
    namespaces.push(if variant.own_network {
        json!({"type": "network"})
    } else {
        json!({"type": "network", "path": network})
    });
    if variant.own_ipc {
        namespaces.push(json!({"type": "ipc"}));
    }
    if variant.user_namespace {
        namespaces.push(json!({"type": "user"}));
    }
    if variant.own_cgroup_view {
        namespaces.push(json!({"type": "cgroup"}));
    }
    let mut scratch = variant.scratch_options.clone();
    let size = format!("size={}", variant.scratch_bytes);
    scratch.push(&size);
    let mut view = vec!["rprivate"];
    view.extend(&variant.view_options);
    let mut mounts = vec![
        json!({"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]}),
        json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "noexec", "strictatime", "mode=755", "size=64k"]}),
        json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": scratch}),
        json!({"destination": "/usr", "type": "bind", "source": "/usr", "options": ["bind", "ro", "nosuid", "nodev"]}),
        json!({"destination": "/.casemate/probe", "type": "bind", "source": prober().unwrap(), "options": ["bind", "ro", "nosuid", "nodev"]}),
        json!({"destination": "/models/m", "type": "bind", "source": place.0.join("model"), "options": view}),
    ];
    if variant.host_directory {
        mounts.push(json!({"destination": outside, "type": "bind", "source": outside, "options": ["bind", "rw"]}));
        mounts.push(json!({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]}));
    }
    let mut linux = json!({
        "namespaces": namespaces,
        "cgroupsPath": format!("/{}", place.name()),
        "resources": {},
    });
    if variant.user_namespace {
        linux["uidMappings"] = map.clone();
        linux["gidMappings"] = map;
    }
    if let Some(pids) = variant.pids {
        linux["resources"]["pids"] = json!({"limit": pids});
    }
    if let Some(memory) = variant.memory {
        linux["resources"]["memory"] = json!({"limit": memory});
    }
    linux["resources"]["devices"] = if variant.extra_devices {
        json!([{"allow": true, "access": "rwm"}])
    } else {
        json!([{"allow": false, "access": "rwm"}])
    };
    if variant.extra_devices {
        linux["devices"] = json!([{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o666, "uid": 0, "gid": 0}]);
    }
    if variant.masked {
        linux["maskedPaths"] = json!(MASKED);
        linux["readonlyPaths"] = json!(READ_ONLY);
    }
    if let Some(filter) = filter(variant) {
        linux["seccomp"] = filter;
    }
    let sets = json!(variant.capabilities);
    let mut environment = vec!["PATH=/usr/bin:/bin", "HOME=/tmp"];
    environment.extend(&variant.environment);
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": {"uid": variant.uid, "gid": variant.uid},
            "args": ["/usr/bin/sh", "-c", if variant.leaked_directory { "exec /.casemate/probe" } else { "exec 3<&-; exec /.casemate/probe" }],
            "env": environment,
            "cwd": "/",
            "noNewPrivileges": variant.no_new_privileges,
            "capabilities": {"bounding": sets, "effective": sets, "permitted": sets, "inheritable": [], "ambient": []},
            "rlimits": [
                {"type": "RLIMIT_CORE", "hard": variant.core, "soft": 0},
                {"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024},
            ],
        },
        "root": {"path": "rootfs", "readonly": variant.read_only_root},
        "hostname": "lab",
        "mounts": mounts,
        "linux": linux,
    })
}

fn filter(variant: &Variant) -> Option<Value> {
    match variant.seccomp {
        Seccomp::None => None,
        Seccomp::Engine => Some(engine_filter()),
        Seccomp::Hardened => {
            let mut filter: Value =
                serde_json::from_str(include_str!("hardened-seccomp.json")).unwrap();
            if !variant.no_new_privileges {
                // Then the runtime has to install the filter before it gives up its capabilities.
                let needed = json!({"names": ["capset", "setgroups"], "action": "SCMP_ACT_ALLOW"});
                filter["syscalls"].as_array_mut().unwrap().push(needed);
            }
            Some(filter)
        }
    }
}

/// The profile that container engines install with themselves, for this processor and no extra
/// capability; a filter of the best-known refusals where there is none.
fn engine_filter() -> Value {
    let Ok(text) = fs::read("/usr/share/containers/seccomp.json") else {
        let refused = [
            "mount",
            "umount2",
            "unshare",
            "setns",
            "bpf",
            "perf_event_open",
            "keyctl",
            "add_key",
            "request_key",
            "userfaultfd",
            "init_module",
            "finit_module",
            "delete_module",
            "kexec_load",
            "open_by_handle_at",
            "reboot",
            "swapon",
            "swapoff",
            "io_uring_setup",
        ];
        return json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": refused, "action": "SCMP_ACT_ERRNO"}]});
    };
    let profile: Value = serde_json::from_slice(&text).unwrap();
    let applies = |rule: &&Value| {
        let lists = |side: &str, what: &str, any: &dyn Fn(&str) -> bool| {
            rule[side][what]
                .as_array()
                .map(|list| list.iter().filter_map(Value::as_str).any(any))
        };
        let held = |name: &str| ENGINE_CAPABILITIES.contains(&name);
        lists("includes", "arches", &|arch| arch == "amd64") != Some(false)
            && lists("includes", "caps", &held) != Some(false)
            && lists("excludes", "arches", &|arch| arch == "amd64") != Some(true)
            && lists("excludes", "caps", &held) != Some(true)
    };
    let rules: Vec<Value> = profile["syscalls"]
        .as_array()
        .unwrap()
        .iter()
        .filter(applies)
        .map(|rule| {
            let mut kept =
                json!({"names": rule["names"], "action": rule["action"], "args": rule["args"]});
            if rule["errnoRet"].is_number() {
                kept["errnoRet"] = rule["errnoRet"].clone();
            }
            kept
        })
        .collect();
    json!({
        "defaultAction": profile["defaultAction"],
        "defaultErrnoRet": profile["defaultErrnoRet"],
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": rules,
    })
}

const MASKED: [&str; 14] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/proc/kpagecount",
    "/proc/kpageflags",
    "/proc/key-users",
    "/proc/kallsyms",
];

const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];
