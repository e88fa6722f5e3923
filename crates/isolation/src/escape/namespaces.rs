//! Tries to make and to enter namespaces.

use casemate_core::finding::Category;
use casemate_linux::raw::Child;

use super::capability;
use crate::attribute::Via;
use crate::check::Check;
use crate::primitive;
use crate::trial::{Outcome, Trial};

const fn check(id: &'static str, title: &'static str, try_it: fn(&mut Trial<'_>)) -> Check {
    Check::new(Category::Escape, id, title, try_it)
        .techniques(&["T1611", "AML.T0105"])
        .control("raw calls are answered; in a weak sandbox the same calls succeed")
}

pub(crate) const CHECKS: &[Check] = &[
    check("ES-01", "unshare() into new namespaces", unshare)
        .tries(
            "unshare() of the user namespace, alone and with others, and of each other namespace",
        )
        .open_means(
            "the stage becomes root of its own namespaces and reaches kernel code meant for root",
        ),
    check("ES-02", "clone() into a new user namespace", clone)
        .tries("clone() and clone3() with CLONE_NEWUSER")
        .open_means("the same by another call, as filters often forget clone3()"),
    check("ES-03", "setns() into existing namespaces", setns)
        .tries("setns() on the namespaces of process 1, by file and by process descriptor")
        .open_means("the stage can enter the namespaces of any process whose files it reaches"),
];

const NAMESPACES: &[(&str, i32)] = &[
    ("user", libc::CLONE_NEWUSER),
    ("user and mount", libc::CLONE_NEWUSER | libc::CLONE_NEWNS),
    ("user and network", libc::CLONE_NEWUSER | libc::CLONE_NEWNET),
    ("mount", libc::CLONE_NEWNS),
    ("network", libc::CLONE_NEWNET),
    ("process", libc::CLONE_NEWPID),
    ("ipc", libc::CLONE_NEWIPC),
    ("host name", libc::CLONE_NEWUTS),
    ("cgroup", libc::CLONE_NEWCGROUP),
];

fn via_flags(number: i64, flags: i32) -> Via {
    let via = Via::call(number).kernel(&[libc::ENOSPC, libc::EUSERS]);
    // A user namespace needs no capability; what refuses it is a filter.
    if flags & libc::CLONE_NEWUSER != 0 {
        via.only_filter()
    } else {
        via.capability(capability::SYS_ADMIN)
    }
}

fn unshare(trial: &mut Trial<'_>) {
    trial.control_calls();
    for &(name, flags) in NAMESPACES {
        trial.step(format_args!("unshare {name}"), |child| {
            // In a process of its own, so that one success does not give the next its privilege.
            let made = in_grandchild(child, |child| {
                child
                    .call(libc::SYS_unshare, [flags.into()])
                    .map_or_else(|errno| errno.0, |_| 0)
            });
            judge(made, via_flags(libc::SYS_unshare, flags))
        });
    }
}

/// Runs `act` in one more process and gives its exit status, an error number or zero.
fn in_grandchild(child: &Child, act: impl FnOnce(&Child) -> i32) -> Result<i32, String> {
    match primitive::fork(child) {
        Ok(None) => {
            let status = act(child);
            child.exit(status)
        }
        Ok(Some(pid)) => primitive::wait(child, pid).map_err(|errno| errno.to_string()),
        Err(errno) => Err(errno.to_string()),
    }
}

fn judge(made: Result<i32, String>, via: Via) -> Outcome {
    match made {
        Ok(0) => Outcome::Open("it was made".to_owned()),
        Ok(status) if libc::WIFEXITED(status) => {
            Outcome::Refused(casemate_linux::raw::Errno(libc::WEXITSTATUS(status)), via)
        }
        Ok(status) if libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGSYS => {
            Outcome::Blocked(casemate_core::finding::Layer::Seccomp, "SIGSYS".to_owned())
        }
        Ok(status) => Outcome::Unsure(format!("wait status {status}")),
        Err(reason) => Outcome::Unsure(format!("no process to try it in: {reason}")),
    }
}

fn clone(trial: &mut Trial<'_>) {
    trial.control_calls();
    for (name, flags) in [
        ("user", libc::CLONE_NEWUSER),
        ("user and mount", libc::CLONE_NEWUSER | libc::CLONE_NEWNS),
    ] {
        let made = trial.attempt(
            format_args!("clone {name}"),
            via_flags(libc::SYS_clone, flags),
            |child| {
                let pid = child.call(
                    libc::SYS_clone,
                    [(i64::from(flags) | i64::from(libc::SIGCHLD)).into()],
                )?;
                if pid == 0 {
                    child.exit(0);
                }
                Ok(pid)
            },
        );
        if let Ok(pid) = made {
            let _reaped = primitive::wait(trial.child, pid);
        }
    }
    let made = trial.attempt(
        "clone3 user",
        via_flags(libc::SYS_clone3, libc::CLONE_NEWUSER),
        |child| {
            let mut arguments = [0_u64; 11];
            {
                let [flags, _, _, _, signal, ..] = &mut arguments;
                *flags = u64::try_from(libc::CLONE_NEWUSER).unwrap_or(0);
                *signal = u64::try_from(libc::SIGCHLD).unwrap_or(0);
            }
            let bytes: Vec<u8> = arguments
                .iter()
                .flat_map(|word| word.to_ne_bytes())
                .collect();
            let pid = child.call(libc::SYS_clone3, [bytes.as_slice().into(), 88.into()])?;
            if pid == 0 {
                child.exit(0);
            }
            Ok(pid)
        },
    );
    if let Ok(pid) = made {
        let _reaped = primitive::wait(trial.child, pid);
    }
}

fn setns(trial: &mut Trial<'_>) {
    trial.control_calls();
    for name in ["net", "mnt", "ipc", "uts", "pid", "cgroup"] {
        let path = format!("/proc/1/ns/{name}");
        let file = primitive::open(trial.child, &path, libc::O_RDONLY).or_else(|_| {
            primitive::open(
                trial.child,
                &format!("/proc/self/ns/{name}"),
                libc::O_RDONLY,
            )
        });
        match file {
            Err(errno) => trial.step(&path, |_| {
                Outcome::Refused(
                    errno,
                    Via::call(libc::SYS_openat)
                        .path(&path, libc::R_OK)
                        .process(),
                )
            }),
            Ok(file) => {
                let via = Via::call(libc::SYS_setns)
                    .capability(capability::SYS_ADMIN)
                    .kernel(&[libc::EINVAL]);
                let _refused = trial.attempt(format_args!("setns {path}"), via, |child| {
                    child.call(libc::SYS_setns, [file.into(), 0.into()])
                });
                primitive::close(trial.child, file);
            }
        }
    }
    let process = trial.child.call(libc::SYS_pidfd_open, [1.into(), 0.into()]);
    let via = Via::call(libc::SYS_setns).capability(capability::SYS_ADMIN);
    match process {
        Err(errno) => trial.step("process descriptor of process 1", |_| {
            Outcome::Refused(errno, Via::call(libc::SYS_pidfd_open).process())
        }),
        Ok(process) => {
            let _refused = trial.attempt("setns by process descriptor", via, |child| {
                child.call(libc::SYS_setns, [process.into(), libc::CLONE_NEWIPC.into()])
            });
        }
    }
}
