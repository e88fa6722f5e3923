//! The options of `docker run`, `podman run` and `nerdctl run`: which take a value, and what compose calls them.

/// What an option does to the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// A switch: `true`, or what stands behind `=`.
    Switch,
    /// One value.
    One,
    /// A value that is added to a list.
    Many,
    /// `name=value`, added to a mapping.
    Pair,
    /// A mount in words: `type=bind,source=/a,target=/b`.
    Mount,
    /// A value that says nothing about safety.
    Ignored,
}

use Effect::{Ignored, Many, Mount, One, Pair, Switch};

/// An option by its long name, with what compose calls it.
pub(crate) fn of(name: &str) -> Option<(&'static str, Effect)> {
    TABLE
        .iter()
        .find(|(names, ..)| names.contains(&name))
        .map(|(_, key, effect)| (*key, *effect))
}

/// The long name of an option of one letter.
pub(crate) const fn long(letter: char) -> Option<&'static str> {
    Some(match letter {
        'a' => "attach",
        'c' => "cpu-shares",
        'd' => "detach",
        'e' => "env",
        'h' => "hostname",
        'i' => "interactive",
        'l' => "label",
        'm' => "memory",
        'p' => "publish",
        'P' => "publish-all",
        'q' => "quiet",
        't' => "tty",
        'u' => "user",
        'v' => "volume",
        'w' => "workdir",
        _ => return None,
    })
}

/// Options of the engine itself, before `run`, that take a value.
pub(crate) const ENGINE: &[&str] = &[
    "--config", "-c", "--context", "-H", "--host", "-l", "--log-level", "--tlscacert", "--tlscert", "--tlskey",
    "--root", "--runroot", "--url", "--connection", "--identity", "--namespace", "-n", "--address", "-a",
    "--snapshotter", "--storage-driver", "--storage-opt", "--cgroup-manager", "--tmpdir", "--module",
];

type Row = (&'static [&'static str], &'static str, Effect);

const TABLE: &[Row] = &[
    (&["privileged"], "privileged", Switch),
    (&["read-only"], "read_only", Switch),
    (&["init"], "init", Switch),
    (&["tty"], "tty", Switch),
    (&["interactive"], "stdin_open", Switch),
    (&["detach"], "x-detach", Switch),
    (&["rm"], "x-rm", Switch),
    (&["publish-all"], "x-publish-all", Switch),
    (&["oom-kill-disable"], "oom_kill_disable", Switch),
    (&["disable-content-trust"], "x-disable-content-trust", Switch),
    (&["no-healthcheck"], "x-no-healthcheck", Switch),
    (&["use-api-socket"], "use_api_socket", Switch),
    (&["sig-proxy"], "x-sig-proxy", Switch),
    (&["quiet"], "x-quiet", Switch),
    (&["replace"], "x-replace", Switch),
    (&["env-host"], "x-env-host", Switch),
    (&["http-proxy"], "x-http-proxy", Switch),
    (&["no-hosts"], "x-no-hosts", Switch),
    (&["no-hostname"], "x-no-hostname", Switch),
    (&["rmi"], "x-rmi", Switch),
    (&["read-only-tmpfs"], "x-read-only-tmpfs", Switch),
    (&["rootfs"], "x-rootfs", Switch),
    (&["tls-verify"], "x-tls-verify", Switch),
    (&["unsetenv-all"], "x-unsetenv-all", Switch),
    (&["passwd"], "x-passwd", Switch),
    (&["help"], "x-help", Switch),
    (&["name"], "container_name", One),
    (&["hostname"], "hostname", One),
    (&["network", "net"], "network_mode", One),
    (&["ipc"], "ipc", One),
    (&["pid"], "pid", One),
    (&["uts"], "uts", One),
    (&["userns"], "userns_mode", One),
    (&["cgroupns"], "cgroup", One),
    (&["cgroup-parent"], "cgroup_parent", One),
    (&["gpus"], "gpus", One),
    (&["shm-size"], "shm_size", One),
    (&["user"], "user", One),
    (&["workdir"], "working_dir", One),
    (&["restart"], "restart", One),
    (&["runtime"], "runtime", One),
    (&["memory"], "mem_limit", One),
    (&["memory-swap"], "memswap_limit", One),
    (&["memory-reservation"], "mem_reservation", One),
    (&["memory-swappiness"], "mem_swappiness", One),
    (&["cpus"], "cpus", One),
    (&["cpu-shares"], "cpu_shares", One),
    (&["cpu-period"], "cpu_period", One),
    (&["cpu-quota"], "cpu_quota", One),
    (&["cpuset-cpus"], "cpuset", One),
    (&["pids-limit"], "pids_limit", One),
    (&["oom-score-adj"], "oom_score_adj", One),
    (&["platform"], "platform", One),
    (&["pull"], "pull_policy", One),
    (&["stop-signal"], "stop_signal", One),
    (&["volume-driver"], "volume_driver", One),
    (&["systemd"], "x-systemd", One),
    (&["pod"], "x-pod", One),
    (&["log-driver"], "x-log-driver", One),
    (&["health-cmd"], "x-health-cmd", One),
    (&["cap-add"], "cap_add", Many),
    (&["cap-drop"], "cap_drop", Many),
    (&["device"], "devices", Many),
    (&["device-cgroup-rule"], "device_cgroup_rules", Many),
    (&["security-opt"], "security_opt", Many),
    (&["group-add"], "group_add", Many),
    (&["publish"], "ports", Many),
    (&["expose"], "expose", Many),
    (&["volume"], "volumes", Many),
    (&["tmpfs"], "tmpfs", Many),
    (&["env-file"], "env_file", Many),
    (&["volumes-from"], "volumes_from", Many),
    (&["secret"], "secrets", Many),
    (&["add-host"], "extra_hosts", Many),
    (&["dns"], "dns", Many),
    (&["dns-search"], "dns_search", Many),
    (&["dns-option", "dns-opt"], "dns_opt", Many),
    (&["link"], "links", Many),
    (&["entrypoint"], "entrypoint", Many),
    (&["env"], "environment", Pair),
    (&["label"], "labels", Pair),
    (&["annotation"], "annotations", Pair),
    (&["sysctl"], "sysctls", Pair),
    (&["ulimit"], "ulimits", Pair),
    (&["log-opt"], "x-log-opt", Pair),
    (&["storage-opt"], "storage_opt", Pair),
    (&["mount"], "volumes", Mount),
    (
        &[
            "attach", "blkio-weight", "blkio-weight-device", "cidfile", "cpu-count", "cpu-percent", "cpu-rt-period",
            "cpu-rt-runtime", "cpuset-mems", "detach-keys", "device-read-bps", "device-read-iops",
            "device-write-bps", "device-write-iops", "domainname", "health-interval", "health-retries",
            "health-start-interval", "health-start-period", "health-timeout", "io-maxbandwidth", "io-maxiops", "ip",
            "ip6", "isolation", "kernel-memory", "label-file", "link-local-ip", "mac-address", "network-alias",
            "net-alias", "stop-timeout", "arch", "os", "variant", "authfile", "hooks-dir", "image-volume",
            "init-path", "pod-id-file", "preserve-fds", "sdnotify", "seccomp-policy", "subgidname", "subuidname",
            "timeout", "tz", "umask", "uidmap", "gidmap", "conmon-pidfile", "decryption-key", "chrootdirs",
            "env-merge", "unsetenv", "requires", "retry", "retry-delay", "group-entry", "passwd-entry",
            "cgroup-conf", "cgroups", "personality", "shm-size-systemd", "rdt-class", "verify", "cosign-key",
            "ipfs-address", "pidfile", "pid-file", "umask", "log-uri", "health-log-destination",
        ],
        "",
        Ignored,
    ),
];
