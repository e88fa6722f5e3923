//! Tries to use more than the plan gives. Exhausting checks run only where the order allows it.

use std::fs;
use std::time::{Duration, Instant};

use casemate_core::finding::{Category, Layer};
use casemate_linux::raw::{Child, Errno};

use crate::check::Check;
use crate::primitive;
use crate::trial::{Outcome, Trial};

const fn check(id: &'static str, title: &'static str, try_it: fn(&mut Trial<'_>)) -> Check {
    Check::new(Category::Escape, id, title, try_it).techniques(&["T1499", "AML.T0029"])
}

pub(crate) const CHECKS: &[Check] = &[
    check("ES-36", "more processes than the plan gives", processes)
        .tries("fork() until it is refused or the planned number is passed; all are killed at once")
        .open_means("a fork bomb takes the whole host")
        .control("one process can be forked")
        .within(6_000),
    check("ES-54", "more memory than the plan gives", memory)
        .tries("anonymous memory is filled until the kernel refuses or the planned size is passed")
        .open_means("the stage can push the host and its neighbours out of memory")
        .control("16 MiB can be filled")
        .within(8_000),
    check("ES-55", "more scratch than the plan gives", scratch)
        .tries("the size of the scratch file system is compared with the plan's")
        .open_means("the stage can fill memory or disk of the host with files")
        .control("a file can be made in scratch"),
    check("ES-51", "resource limits of the process", resource_limits)
        .tries("/proc/self/limits is read; raising the core limit is tried")
        .open_means("crashes leave dumps of prompts and weights; descriptors can be exhausted")
        .control("/proc/self/limits has the lines"),
];

fn may_exhaust(trial: &mut Trial<'_>) -> bool {
    let allowed = trial.scene.order.grants.may_exhaust;
    if !allowed {
        trial.step("not tried", |_| {
            Outcome::Absent(
                "the stage may be serving; this is asked before it is admitted".to_owned(),
            )
        });
    }
    allowed
}

fn processes(trial: &mut Trial<'_>) {
    if !may_exhaust(trial) {
        return;
    }
    let Some(limit) = trial.scene.order.grants.limits.pids else {
        trial.step("no limit was named", |_| Outcome::Unsure(String::new()));
        return;
    };
    let goal = limit.saturating_add(16).min(8_192);
    let mut made = Vec::new();
    let mut refusal = None;
    for _ in 0..goal {
        match primitive::fork(trial.child) {
            Ok(None) => loop {
                primitive::rest(trial.child, 10_000);
            },
            Ok(Some(pid)) => made.push(pid),
            Err(errno) => {
                refusal = Some(errno);
                break;
            }
        }
    }
    for pid in &made {
        let _killed = primitive::kill(trial.child, *pid, libc::SIGKILL);
    }
    for pid in &made {
        let _reaped = primitive::wait(trial.child, *pid);
    }
    let count = made.len();
    trial.control(
        "one process",
        if count > 0 {
            Ok(String::new())
        } else {
            Err("none".to_owned())
        },
    );
    trial.step(
        format_args!("{goal} processes with a limit of {limit}"),
        |_| match refusal {
            None => Outcome::Open(format!("all {count} were made")),
            Some(Errno(libc::EAGAIN)) => {
                Outcome::Blocked(Layer::Cgroup, format!("refused after {count}"))
            }
            Some(errno) => Outcome::Unsure(format!("{errno} after {count}")),
        },
    );
}

/// Maps and fills `bytes`; false when the kernel refuses.
fn fill(child: &Child, bytes: u64) -> Result<i64, Errno> {
    let size = i64::try_from(bytes).unwrap_or(i64::MAX);
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let at = child.call(
        libc::SYS_mmap,
        [
            0.into(),
            size.into(),
            protection.into(),
            flags.into(),
            (-1_i64).into(),
            0.into(),
        ],
    )?;
    // Large pages are filled several times as fast; where there are none, small ones do.
    let _advised = child.call(
        libc::SYS_madvise,
        [at.into(), size.into(), libc::MADV_HUGEPAGE.into()],
    );
    child.call(
        libc::SYS_madvise,
        [at.into(), size.into(), libc::MADV_POPULATE_WRITE.into()],
    )
}

/// How long memory is filled; the check itself may take longer.
const PATIENCE: Duration = Duration::from_secs(3);

fn memory(trial: &mut Trial<'_>) {
    const PIECE: u64 = 16 << 20;
    const MOST: u64 = 4 << 30;
    if !may_exhaust(trial) {
        return;
    }
    let Some(limit) = trial.scene.order.grants.limits.memory_bytes else {
        trial.step("no limit was named", |_| Outcome::Unsure(String::new()));
        return;
    };
    if limit > MOST {
        trial.step("not tried", |_| {
            Outcome::Absent(format!(
                "filling {limit} bytes takes too long; the launcher compares the group's files"
            ))
        });
        return;
    }
    let control = fill(trial.child, PIECE);
    trial.control(
        "16 MiB",
        control
            .map(|_| String::new())
            .map_err(|errno| errno.to_string()),
    );
    let goal = limit.saturating_add(limit / 8).saturating_add(64 << 20);
    trial.step(
        format_args!("{goal} bytes with a limit of {limit}"),
        |child| {
            let filler = match primitive::fork(child) {
                Ok(None) => fill_up(child, goal, PIECE),
                Ok(Some(pid)) => primitive::wait(child, pid),
                Err(errno) => Err(errno),
            };
            match filler {
                Ok(0) => Outcome::Open("all of it was filled".to_owned()),
                Ok(status)
                    if libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL =>
                {
                    Outcome::Blocked(Layer::Cgroup, "killed at the limit".to_owned())
                }
                Ok(status) if libc::WIFEXITED(status) => match libc::WEXITSTATUS(status) {
                    libc::ENOMEM | libc::EFAULT | libc::EAGAIN => {
                        Outcome::Blocked(Layer::Cgroup, "refused at the limit".to_owned())
                    }
                    libc::ETIME => Outcome::Absent(format!(
                        "{} s were not enough to fill it; the launcher compares the group's files",
                        PATIENCE.as_secs()
                    )),
                    other => Outcome::Unsure(Errno(other).to_string()),
                },
                Ok(status) => Outcome::Unsure(format!("wait status {status}")),
                Err(errno) => Outcome::Unsure(errno.to_string()),
            }
        },
    );
}

fn fill_up(child: &Child, goal: u64, piece: u64) -> ! {
    // When the group has to kill somebody, it is to be this process.
    let _asked = primitive::open(child, "/proc/self/oom_score_adj", libc::O_WRONLY)
        .and_then(|file| primitive::write_all(child, file, b"1000"));
    let (mut filled, begun) = (0, Instant::now());
    while filled < goal {
        // A busy host, or one that takes idle memory back from its guests, hands it out slowly.
        if begun.elapsed() > PATIENCE {
            child.exit(libc::ETIME);
        }
        if let Err(errno) = fill(child, piece) {
            child.exit(errno.0);
        }
        filled += piece;
    }
    child.exit(0)
}

fn scratch(trial: &mut Trial<'_>) {
    let at = trial.scene.order.grants.scratch.clone();
    let name = format!("{at}/casemate-probe-{}", trial.check);
    let made = primitive::write_new(trial.child, &name, b"own");
    primitive::unlink(trial.child, &name);
    trial.control(
        "a file in scratch",
        made.map(|()| String::new())
            .map_err(|errno| errno.to_string()),
    );
    let planned = trial.scene.order.grants.limits.scratch_bytes;
    trial.step(format_args!("size of {at}"), |_| {
        let Ok(size) = rustix::fs::statvfs(at.as_str())
            .map(|found| found.f_blocks.saturating_mul(found.f_frsize))
        else {
            return Outcome::Unsure("it cannot be asked".to_owned());
        };
        match planned {
            None => Outcome::Unsure("no limit was named".to_owned()),
            Some(planned) if size <= planned.saturating_add(4_096) => {
                Outcome::Blocked(Layer::MountFlag, format!("{size} bytes"))
            }
            Some(planned) => Outcome::Open(format!("{size} bytes, planned are {planned}")),
        }
    });
}

fn resource_limits(trial: &mut Trial<'_>) {
    let text = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    trial.control(
        "/proc/self/limits",
        if text.contains("Max core file size") {
            Ok(String::new())
        } else {
            Err("no such lines".to_owned())
        },
    );
    let hard = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name))
            .map(|rest| {
                let value = rest.split_whitespace().nth(1).unwrap_or("unlimited");
                value.parse::<u64>().unwrap_or(u64::MAX)
            })
    };
    for (name, most) in [("Max core file size", 0), ("Max open files", 1 << 20)] {
        let found = hard(name);
        trial.step(name, |_| match found {
            Some(value) if value <= most => Outcome::Blocked(Layer::Rlimit, format!("{value}")),
            Some(u64::MAX) => Outcome::Open("unlimited".to_owned()),
            Some(value) => Outcome::Open(format!("{value}")),
            None => Outcome::Unsure("no such line".to_owned()),
        });
    }
    trial.step("raise the core limit", |child| {
        let wanted = [0xff_u8; 16];
        match child.call(
            libc::SYS_prlimit64,
            [0.into(), 4.into(), wanted.as_slice().into(), 0.into()],
        ) {
            Ok(_) if hard("Max core file size") == Some(u64::MAX) => {
                Outcome::Open("it never was limited".to_owned())
            }
            Ok(_) => Outcome::Open("it was raised".to_owned()),
            Err(Errno(libc::EPERM)) => {
                Outcome::Blocked(Layer::Rlimit, "the hard limit holds".to_owned())
            }
            Err(errno) => Outcome::Unsure(errno.to_string()),
        }
    });
}
