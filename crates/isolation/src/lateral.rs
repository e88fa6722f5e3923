//! Tries to reach neighbours: their ports, sockets, processes, credentials and identities.

pub(crate) mod shared;

use std::fs;

use casemate_core::finding::{Category, EndpointKind, Layer};
use casemate_linux::raw::{Child, Errno};

use crate::attribute::Via;
use crate::check::Check;
use crate::primitive;
use crate::trial::{Outcome, Trial};

const fn check(id: &'static str, title: &'static str, try_it: fn(&mut Trial<'_>)) -> Check {
    Check::new(Category::Lateral, id, title, try_it)
}

pub(crate) const CHECKS: &[Check] = &[
    check("LA-01", "ports of a neighbour", neighbour_ports)
        .techniques(&["T1021", "AML.T0025"])
        .tries("connect() to listeners that stand for another stage's server and for the control plane")
        .open_means("stages can call each other around their gates")
        .control("connect() to an own listener on 127.0.0.1, or to a port that the plan grants"),
    check("LA-02", "socket files of a neighbour", neighbour_sockets)
        .techniques(&["T1559"])
        .tries("connect() to the witness's socket file by its path on the host")
        .open_means("a neighbour's endpoint can be called directly")
        .control("connect() to an own socket, by an abstract name"),
    check("LA-03", "processes of neighbours and of the host", neighbour_processes)
        .techniques(&["T1057", "AML.T0089"])
        .tries("/proc is walked for the canary process; kill(pid, 0) is asked for its number")
        .open_means("the stage sees, and may signal, processes that are not its own")
        .control("/proc lists the prober's own process"),
    check("LA-07", "user ids shared with the host", user_ids)
        .techniques(&["T1078"])
        .tries("/proc/self/uid_map is read")
        .open_means("a process that leaves the sandbox acts as a user that the host or a neighbour knows")
        .control("/proc/self/uid_map has a line"),
    check("LA-08", "kernel keyrings", keyrings)
        .techniques(&["T1003", "AML.T0090"])
        .tries("keyctl(GET_KEYRING_ID), add_key(), request_key() and /proc/keys")
        .open_means("keys that the host or a neighbour put into keyrings may be used or read")
        .control("raw calls are answered")
        .surface(),
    check("LA-09", "credentials in files and variables", credentials)
        .techniques(&["T1552.001", "AML.T0055"])
        .tries("well-known credential files are opened; names of environment variables are compared with patterns")
        .open_means("the stage holds a credential that it could use or send away")
        .control("/etc/passwd or /proc/self/status opens"),
    check("LA-13", "the control group tree", cgroups)
        .techniques(&["T1613"])
        .tries("/proc/self/cgroup is read; files of /sys/fs/cgroup are opened for writing")
        .open_means("the stage can see its neighbours' groups, or lift its own limits")
        .control("/proc/self/cgroup is read"),
];

fn neighbour_ports(trial: &mut Trial<'_>) {
    crate::egress::control_tcp(trial, libc::AF_INET);
    let targets: Vec<_> = trial
        .scene
        .order
        .endpoints(trial.check)
        .filter_map(casemate_core::finding::Endpoint::socket_address)
        .collect();
    if targets.is_empty() {
        trial.step("no canary was named", |_| Outcome::Unsure(String::new()));
    }
    let greeting = trial.greeting();
    for address in targets {
        if trial.may_send() {
            trial.step(address, |child| {
                crate::egress::reach_tcp(child, address, &greeting)
            });
        } else {
            trial.step(address, |_| {
                Outcome::Unsure("the budget of sends is used up".to_owned())
            });
        }
    }
}

fn neighbour_sockets(trial: &mut Trial<'_>) {
    let own = format!("\0casemate-probe-own-{}", trial.scene.order.nonce);
    let address = primitive::unix_address(own.as_bytes());
    let connected =
        primitive::socket(trial.child, libc::AF_UNIX, libc::SOCK_STREAM, 0).and_then(|listener| {
            let size = primitive::length(&address);
            trial.child.call(
                libc::SYS_bind,
                [listener.into(), address.as_slice().into(), size.into()],
            )?;
            trial
                .child
                .call(libc::SYS_listen, [listener.into(), 4.into()])?;
            let socket = primitive::socket(trial.child, libc::AF_UNIX, libc::SOCK_STREAM, 0)?;
            primitive::connect(trial.child, socket, &address)
        });
    trial.control(
        "connect to an own Unix socket",
        connected
            .map(|_| String::new())
            .map_err(|errno| errno.to_string()),
    );
    let paths: Vec<String> = trial
        .scene
        .order
        .endpoints(trial.check)
        .filter(|endpoint| endpoint.kind == EndpointKind::UnixPath)
        .map(|endpoint| endpoint.address.clone())
        .collect();
    if paths.is_empty() {
        trial.step("no canary was named", |_| Outcome::Unsure(String::new()));
    }
    let greeting = trial.greeting();
    for path in paths {
        if !trial.may_send() {
            trial.step(&path, |_| {
                Outcome::Unsure("the budget of sends is used up".to_owned())
            });
            continue;
        }
        let via = Via::call(libc::SYS_connect).path(&path, libc::W_OK);
        let _refused = trial.attempt(&path, via, |child| {
            let socket = primitive::socket(child, libc::AF_UNIX, libc::SOCK_STREAM, 0)?;
            primitive::connect(child, socket, &primitive::unix_address(path.as_bytes()))?;
            primitive::send_to(child, socket, &greeting, libc::MSG_NOSIGNAL, None)
        });
    }
}

fn neighbour_processes(trial: &mut Trial<'_>) {
    let own = trial
        .child
        .call(libc::SYS_getpid, [])
        .unwrap_or(-1)
        .to_string();
    trial.control(
        "/proc lists the own process",
        if primitive::names("/proc").contains(&own) {
            Ok(own)
        } else {
            Err(own)
        },
    );
    let Some(canary) = trial.scene.order.canaries.process.clone() else {
        trial.step("no canary was named", |_| Outcome::Unsure(String::new()));
        return;
    };
    trial.step(
        format_args!("a process named {} in /proc", canary.name),
        |_| match find_process(&canary.name) {
            Some(pid) => Outcome::Open(format!("it is process {pid}")),
            None => Outcome::Blocked(Layer::Pidns, "not in /proc".to_owned()),
        },
    );
    trial.step(format_args!("kill({}, 0)", canary.pid), |child| {
        let shown = fs::read_to_string(format!("/proc/{}/comm", canary.pid)).unwrap_or_default();
        match primitive::kill(child, i64::from(canary.pid), 0) {
            Err(errno @ Errno(libc::ESRCH)) => {
                Outcome::Refused(errno, Via::call(libc::SYS_kill).process())
            }
            Ok(_) | Err(Errno(libc::EPERM)) if !shown.is_empty() && shown.trim() != canary.name => {
                Outcome::Blocked(
                    Layer::Pidns,
                    "the number is a process of the stage".to_owned(),
                )
            }
            Ok(_) | Err(Errno(libc::EPERM)) if shown.trim() == canary.name => {
                Outcome::Open("the canary has this number here".to_owned())
            }
            Ok(_) | Err(Errno(libc::EPERM)) => {
                Outcome::Unsure("a process without a name".to_owned())
            }
            Err(errno) => Outcome::Refused(errno, Via::call(libc::SYS_kill).process()),
        }
    });
}

/// The id of the first process with this name.
pub(crate) fn find_process(name: &str) -> Option<u32> {
    primitive::names("/proc")
        .into_iter()
        .filter_map(|entry| entry.parse::<u32>().ok())
        .find(|pid| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|found| found.trim() == name)
        })
}

fn user_ids(trial: &mut Trial<'_>) {
    let status = &trial.scene.status;
    let (root, mapped) = (status.root_is, status.mapped);
    trial.control(
        "/proc/self/uid_map",
        if mapped > 0 {
            Ok(format!("{mapped} ids"))
        } else {
            Err("empty".to_owned())
        },
    );
    trial.step("the host's id of user 0 inside", |_| match root {
        Some(0) => Outcome::Open("user 0 inside is user 0 of the host".to_owned()),
        Some(id) if id < 65_536 => Outcome::Open(format!("user 0 inside is user {id} of the host")),
        Some(id) => Outcome::Blocked(Layer::Userns, format!("user {id} of the host")),
        None => Outcome::Blocked(Layer::Userns, "user 0 is not mapped".to_owned()),
    });
    trial.step("how many ids are mapped", |_| {
        if mapped <= 65_536 {
            Outcome::Blocked(Layer::Userns, format!("{mapped}"))
        } else {
            Outcome::Open(format!("{mapped}, more than one stage's range"))
        }
    });
}

fn keyrings(trial: &mut Trial<'_>) {
    trial.control_calls();
    let get = |child: &Child, which: i64| {
        child.call(
            libc::SYS_keyctl,
            [
                i64::from(libc::KEYCTL_GET_KEYRING_ID).into(),
                which.into(),
                0.into(),
            ],
        )
    };
    let kernel: &[i32] = &[libc::ENOKEY, libc::EKEYREVOKED];
    let _refused = trial.attempt(
        "session keyring",
        Via::call(libc::SYS_keyctl).kernel(kernel),
        |child| get(child, -3),
    );
    let _refused = trial.attempt(
        "user keyring",
        Via::call(libc::SYS_keyctl).kernel(kernel),
        |child| get(child, -4),
    );
    let (kind, name) = (primitive::path("user"), primitive::path("casemate-probe"));
    let added = trial.attempt(
        "add_key to the process keyring",
        Via::call(libc::SYS_add_key),
        |child| {
            child.call(
                libc::SYS_add_key,
                [
                    kind.as_c_str().into(),
                    name.as_c_str().into(),
                    b"own".as_slice().into(),
                    3.into(),
                    (-2).into(),
                ],
            )
        },
    );
    if let Ok(key) = added {
        let _revoked = trial.child.call(
            libc::SYS_keyctl,
            [i64::from(libc::KEYCTL_REVOKE).into(), key.into()],
        );
    }
    let _refused = trial.attempt(
        "request_key",
        Via::call(libc::SYS_request_key).kernel(&[]),
        |child| {
            let missing = primitive::path("casemate-probe-missing");
            match child.call(
                libc::SYS_request_key,
                [
                    kind.as_c_str().into(),
                    missing.as_c_str().into(),
                    0.into(),
                    0.into(),
                ],
            ) {
                // Without a callout, a missing key is an answer: the call was served.
                Err(Errno(libc::ENOKEY)) => Ok(0),
                other => other,
            }
        },
    );
    trial.step("/proc/keys", |child| {
        match primitive::read_file(child, "/proc/keys", 256) {
            Ok(content) if content.is_empty() => {
                Outcome::Blocked(Layer::MountFlag, "masked or empty".to_owned())
            }
            Ok(_) => Outcome::Open("keys are listed".to_owned()),
            Err(errno) => Outcome::Refused(
                errno,
                Via::call(libc::SYS_openat).path("/proc/keys", libc::R_OK),
            ),
        }
    });
}

const CREDENTIAL_FILES: &[&str] = &[
    "/var/run/secrets/kubernetes.io/serviceaccount/token",
    "/var/run/secrets/eks.amazonaws.com/serviceaccount/token",
    "/root/.kube/config",
    "/root/.docker/config.json",
    "/root/.aws/credentials",
    "/root/.config/gcloud/application_default_credentials.json",
    "/root/.ssh/id_ed25519",
    "/root/.ssh/id_rsa",
    "/root/.netrc",
    "/root/.cache/huggingface/token",
    "/root/.ngc/config",
    "/etc/kubernetes/admin.conf",
    "/var/lib/casemate/node.key",
];

fn credentials(trial: &mut Trial<'_>) {
    let own = primitive::read_file(trial.child, "/proc/self/status", 64);
    trial.control(
        "/proc/self/status",
        own.map(|_| String::new())
            .map_err(|errno| errno.to_string()),
    );
    let homes = trial
        .scene
        .environment
        .iter()
        .find_map(|variable| variable.strip_prefix("HOME="))
        .filter(|home| *home != "/root")
        .map(|home| {
            [
                ".ssh/id_ed25519",
                ".netrc",
                ".aws/credentials",
                ".kube/config",
                ".cache/huggingface/token",
            ]
            .map(|name| format!("{home}/{name}"))
        });
    let files = CREDENTIAL_FILES
        .iter()
        .map(|&path| path.to_owned())
        .chain(homes.into_iter().flatten());
    for path in files.collect::<Vec<_>>() {
        let via = Via::call(libc::SYS_openat).path(&path, libc::R_OK);
        trial.step(&path, |child| {
            match primitive::open(child, &path, libc::O_RDONLY | libc::O_NONBLOCK) {
                Ok(_) => Outcome::Open("it opens".to_owned()),
                Err(errno) => Outcome::Refused(errno, via),
            }
        });
    }
    let granted = trial.scene.order.grants.environment.clone();
    let named: Vec<String> = trial
        .scene
        .environment
        .iter()
        .filter_map(|variable| variable.split_once('='))
        .filter(|(name, value)| {
            looks_secret(name, value) && !granted.iter().any(|known| known == name)
        })
        .map(|(name, _)| name.to_owned())
        .collect();
    trial.step("names of environment variables", |_| {
        if named.is_empty() {
            Outcome::Blocked(
                Layer::MissingNode,
                "none looks like a credential".to_owned(),
            )
        } else {
            Outcome::Open(named.join(" "))
        }
    });
}

/// Whether a variable looks like a credential. Names are reported, values never.
pub(crate) fn looks_secret(name: &str, value: &str) -> bool {
    const WORDS: [&str; 8] = [
        "TOKEN",
        "SECRET",
        "PASSWORD",
        "PASSWD",
        "CREDENTIAL",
        "API_KEY",
        "ACCESS_KEY",
        "PRIVATE_KEY",
    ];
    const VALUES: [&str; 6] = [
        "AGE-SECRET-KEY-",
        "-----BEGIN",
        "hf_",
        "nvapi-",
        "ghp_",
        "eyJ",
    ];
    let upper = name.to_ascii_uppercase();
    !value.is_empty()
        && (WORDS.iter().any(|word| upper.contains(word))
            || VALUES.iter().any(|start| value.starts_with(start)))
}

fn cgroups(trial: &mut Trial<'_>) {
    let own = fs::read_to_string("/proc/self/cgroup");
    trial.control(
        "/proc/self/cgroup",
        own.as_ref()
            .map(|_| String::new())
            .map_err(ToString::to_string),
    );
    let groups = own.unwrap_or_default();
    trial.step("paths of the own groups", |_| {
        let outside: Vec<&str> = groups
            .lines()
            .filter_map(|line| line.splitn(3, ':').nth(2))
            .filter(|path| *path != "/")
            .collect();
        if outside.is_empty() {
            Outcome::Blocked(
                Layer::Cgroup,
                "the own group is the root of the view".to_owned(),
            )
        } else {
            Outcome::Open(format!(
                "{} groups by their path on the host",
                outside.len()
            ))
        }
    });
    for name in [
        "cgroup.procs",
        "memory.max",
        "pids.max",
        "cgroup.subtree_control",
        "memory/cgroup.procs",
        "pids/pids.max",
        "devices/devices.allow",
    ] {
        let path = format!("/sys/fs/cgroup/{name}");
        crate::escape::files::try_writing(trial, &path);
    }
}

#[cfg(test)]
mod tests {
    use super::looks_secret;

    #[test]
    fn a_variable_is_suspect_by_its_name_or_its_value() {
        assert!(looks_secret("HF_TOKEN", "x") && looks_secret("A", "AGE-SECRET-KEY-1QQ"));
        assert!(
            !looks_secret("PATH", "/usr/bin") && !looks_secret("TOKENIZERS_PARALLELISM_TOKEN", "")
        );
    }
}
