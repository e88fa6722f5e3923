//! Tries to become somebody else, or to gain what the process does not have.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use casemate_core::finding::{Category, Layer};

use super::capability;
use crate::attribute::Via;
use crate::check::Check;
use crate::primitive;
use crate::trial::{Outcome, Trial};

const fn check(id: &'static str, title: &'static str, try_it: fn(&mut Trial<'_>)) -> Check {
    Check::new(Category::Escape, id, title, try_it).techniques(&["T1548.001"])
}

pub(crate) const CHECKS: &[Check] = &[
    check("ES-22", "no_new_privs", no_new_privs)
        .tries("the flag is read, by prctl() and from /proc/self/status")
        .open_means("a set-user-ID program in the image makes its caller root of the sandbox")
        .control("both ways of reading agree"),
    check("ES-23", "the stage's root is the host's root", host_root)
        .techniques(&["T1611"])
        .tries("the id map is read; a file of the kernel that belongs to the host's root is asked for its owner")
        .open_means("a process that leaves the sandbox is root of the host")
        .control("/proc/self/uid_map has a line"),
    check("ES-45", "set-user-ID programs and file capabilities", setuid_files)
        .tries("the usual program directories are searched for set-user-ID and set-group-ID files that would take effect")
        .open_means("an unprivileged process of the stage can gain privilege by executing them")
        .control("/proc/self/exe can be looked at"),
    check("ES-46", "capabilities", capabilities)
        .tries("the five capability sets are read; capset() asks for all")
        .open_means("parts of root's privilege are there to be abused")
        .control("/proc/self/status has the lines"),
    check("ES-47", "changing user and groups", change_user)
        .tries("setresuid(), setresgid() and setgroups() to ids that the process does not have")
        .open_means("processes of the stage can pose as each other or as root")
        .control("setresuid() to the own id works"),
    check("ES-52", "changing owners of files", change_owner)
        .tries("chown() of an own file to another user; setting the set-user-ID bit on an own program")
        .open_means("the stage can plant files that act with another's privilege")
        .control("an own file can be made in scratch"),
];

fn no_new_privs(trial: &mut Trial<'_>) {
    let read = trial.child.call(
        libc::SYS_prctl,
        [
            libc::PR_GET_NO_NEW_PRIVS.into(),
            0.into(),
            0.into(),
            0.into(),
            0.into(),
        ],
    );
    let shown = trial.scene.status.no_new_privs;
    let agree = match read {
        Ok(value) => (value == 1) == shown,
        // A filter may allow only the operations that servers use.
        Err(_) => true,
    };
    trial.control(
        "prctl and /proc/self/status agree",
        if agree {
            Ok(String::new())
        } else {
            Err(format!("{read:?}"))
        },
    );
    trial.step("the flag", |_| {
        if shown {
            Outcome::Blocked(Layer::NoNewPrivs, "set".to_owned())
        } else {
            Outcome::Open("not set".to_owned())
        }
    });
}

fn host_root(trial: &mut Trial<'_>) {
    let status = trial.scene.status.clone();
    trial.control(
        "/proc/self/uid_map",
        if status.mapped > 0 {
            Ok(String::new())
        } else {
            Err("empty".to_owned())
        },
    );
    trial.step("user 0 of the host has a name inside", |_| {
        match status.root_is {
            Some(0) => Outcome::Open(format!("as user 0; the own user is {}", status.uid)),
            Some(_) | None => Outcome::Blocked(Layer::Userns, "it does not".to_owned()),
        }
    });
    trial.step(
        "owner of /proc/sys/kernel/ostype",
        |_| match fs::metadata("/proc/sys/kernel/ostype").map(|found| found.uid()) {
            Ok(0) if status.uid == 0 => {
                Outcome::Open("the own user owns the kernel's files".to_owned())
            }
            Ok(0) if status.root_is == Some(0) => {
                Outcome::Blocked(Layer::Dac, "user 0, which is not the own".to_owned())
            }
            Ok(owner) => Outcome::Blocked(
                Layer::Userns,
                format!("user {owner}, which nobody inside is"),
            ),
            Err(error) => Outcome::Blocked(Layer::MissingNode, error.to_string()),
        },
    );
}

fn setuid_files(trial: &mut Trial<'_>) {
    let own = fs::metadata("/proc/self/exe")
        .map(|_| String::new())
        .map_err(|error| error.to_string());
    trial.control("/proc/self/exe", own);
    let mut found = Vec::new();
    for directory in [
        "/bin",
        "/sbin",
        "/usr/bin",
        "/usr/sbin",
        "/usr/local/bin",
        "/usr/lib/openssh",
        "/usr/libexec",
    ] {
        for name in primitive::names(directory).into_iter().take(5_000) {
            let path = format!("{directory}/{name}");
            let Ok(file) = fs::symlink_metadata(&path) else {
                continue;
            };
            if file.is_file() && file.mode() & 0o6000 != 0 {
                found.push(path);
            }
        }
    }
    let count = found.len();
    let ineffective = trial.scene.status.no_new_privs;
    let unmounted: Vec<String> = found
        .into_iter()
        .filter(|path| {
            !trial
                .scene
                .mount_of(path)
                .is_some_and(|mount| mount.has("nosuid"))
        })
        .take(8)
        .collect();
    trial.step(format_args!("{count} such files"), |_| {
        match (ineffective, unmounted.is_empty()) {
            (_, true) if count == 0 => Outcome::Blocked(Layer::MissingNode, String::new()),
            (_, true) => Outcome::Blocked(
                Layer::MountFlag,
                "all on mounts without set-user-ID".to_owned(),
            ),
            (true, false) => Outcome::Blocked(Layer::NoNewPrivs, "they have no effect".to_owned()),
            (false, false) => Outcome::Open(unmounted.join(" ")),
        }
    });
}

fn capabilities(trial: &mut Trial<'_>) {
    let status = trial.scene.status.clone();
    trial.control(
        "/proc/self/status",
        if status.effective == u64::MAX {
            Err("no such lines".to_owned())
        } else {
            Ok(String::new())
        },
    );
    for (name, set) in [
        ("effective", status.effective),
        ("permitted", status.permitted),
        ("inheritable", status.inheritable),
        ("bounding", status.bounding),
        ("ambient", status.ambient),
    ] {
        trial.step(format_args!("{name} set"), |_| {
            if set == 0 {
                Outcome::Blocked(Layer::Capability, "empty".to_owned())
            } else {
                Outcome::Open(format!("{set:#x}"))
            }
        });
    }
    let _refused = trial.attempt(
        "capset of all",
        Via::call(libc::SYS_capset).capability(capability::SYS_ADMIN),
        |child| {
            let mut header = [0_u8; 8];
            if let Some(version) = header.get_mut(..4) {
                version.copy_from_slice(&0x2008_0522_u32.to_ne_bytes());
            }
            let sets = [0xff_u8; 24];
            child.call(
                libc::SYS_capset,
                [header.as_mut_slice().into(), sets.as_slice().into()],
            )
        },
    );
}

fn change_user(trial: &mut Trial<'_>) {
    let (uid, gid) = (trial.scene.status.uid, trial.scene.status.gid);
    let own = trial
        .child
        .call(libc::SYS_setresuid, [uid.into(), uid.into(), uid.into()]);
    match own {
        Err(errno)
            if trial
                .scene
                .sweep
                .surely_filtered(libc::SYS_setresuid, errno) =>
        {
            trial.control_calls()
        }
        own => {
            trial.control(
                "setresuid to the own id",
                own.map(|_| String::new())
                    .map_err(|errno| errno.to_string()),
            );
        }
    }
    let other_user = if uid == 0 { 65_534 } else { 0 };
    let other_group = if gid == 0 { 65_534 } else { 0 };
    for (name, number, id) in [
        ("setresuid", libc::SYS_setresuid, other_user),
        ("setresgid", libc::SYS_setresgid, other_group),
    ] {
        trial.step(format_args!("{name} {id}"), |child| {
            let made = match primitive::fork(child) {
                Ok(None) => {
                    let answer = child.call(number, [id.into(), id.into(), id.into()]);
                    child.exit(answer.map_or_else(|errno| errno.0, |_| 0))
                }
                Ok(Some(pid)) => primitive::wait(child, pid),
                Err(errno) => Err(errno),
            };
            match made {
                Ok(0) => Outcome::Open("the id was taken on".to_owned()),
                // An id that is not mapped cannot be taken on by anybody.
                Ok(status)
                    if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == libc::EINVAL =>
                {
                    Outcome::Blocked(Layer::Userns, "no such id inside".to_owned())
                }
                Ok(status) if libc::WIFEXITED(status) => Outcome::Refused(
                    casemate_linux::raw::Errno(libc::WEXITSTATUS(status)),
                    Via::call(number).capability(capability::SETUID),
                ),
                Ok(status) => Outcome::Unsure(format!("wait status {status}")),
                Err(errno) => Outcome::Unsure(errno.to_string()),
            }
        });
    }
    let _refused = trial.attempt(
        "setgroups",
        Via::call(libc::SYS_setgroups).capability(capability::SETUID),
        |child| {
            let groups = 0_u32.to_ne_bytes();
            child.call(libc::SYS_setgroups, [1.into(), groups.as_slice().into()])
        },
    );
}

fn change_owner(trial: &mut Trial<'_>) {
    let at = format!(
        "{}/casemate-probe-{}",
        trial.scene.order.grants.scratch, trial.check
    );
    let made = primitive::write_new(trial.child, &at, b"own");
    trial.control(
        "an own file in scratch",
        made.map(|()| String::new())
            .map_err(|errno| errno.to_string()),
    );
    let path = primitive::path(&at);
    let other = if trial.scene.status.uid == 0 {
        65_534
    } else {
        0
    };
    let via = Via::call(libc::SYS_fchownat)
        .capability(capability::CHOWN)
        .kernel(&[libc::EINVAL]);
    let _refused = trial.attempt(format_args!("chown to {other}"), via, |child| {
        child.call(
            libc::SYS_fchownat,
            [
                primitive::HERE.into(),
                path.as_c_str().into(),
                other.into(),
                other.into(),
                0.into(),
            ],
        )
    });
    primitive::unlink(trial.child, &at);
    let nosuid = trial
        .scene
        .mount_of(&trial.scene.order.grants.scratch)
        .is_some_and(|mount| mount.has("nosuid"));
    trial.step("set-user-ID bits in scratch have an effect", |_| {
        if nosuid {
            Outcome::Blocked(Layer::MountFlag, "scratch is nosuid".to_owned())
        } else {
            Outcome::Open("scratch honours them".to_owned())
        }
    });
}
