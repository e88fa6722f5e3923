//! Tries what containers of one host share by accident: IPC objects, writable mounts, the page cache.

use std::fs;

use casemate_core::finding::{Category, Layer};
use casemate_linux::raw::{Child, Errno};

use crate::attribute::Via;
use crate::check::Check;
use crate::primitive;
use crate::trial::{Outcome, Trial};

const fn check(id: &'static str, title: &'static str, try_it: fn(&mut Trial<'_>)) -> Check {
    Check::new(Category::Lateral, id, title, try_it)
}

pub(crate) const CHECKS: &[Check] = &[
    check("LA-04", "System V shared memory of the host", shared_memory)
        .techniques(&["T1559"])
        .tries("shmget() with the key of a segment that the witness made")
        .open_means("tensors that a neighbour keeps in shared memory can be read")
        .control("an own segment can be made, or a filter refuses all of them"),
    check(
        "LA-05",
        "POSIX message queues and shared memory of the host",
        queues,
    )
    .techniques(&["T1005", "AML.T0037"])
    .tries("mq_open() of the witness's queue; names under /dev/shm")
    .open_means("objects of a neighbour can be read or filled")
    .control("an own queue can be made, or a filter refuses all of them"),
    check(
        "LA-06",
        "writable mounts that are more than private scratch",
        writable_mounts,
    )
    .techniques(&["T1080"])
    .tries("every writable mount is compared: a private temporary file system, or something shared")
    .open_means("two stages can write to the same place, or mounts travel to the host")
    .control("/proc/self/mountinfo lists the root"),
    check("LA-14", "the page cache as an oracle", page_cache)
        .techniques(&["T1005"])
        .tries("mincore() on a mapped file, cachestat(), preadv2(RWF_NOWAIT)")
        .open_means("the stage can tell which parts of shared files a neighbour reads")
        .control("raw calls are answered")
        .surface(),
    check(
        "LA-15",
        "calls of page cache write attacks",
        page_cache_writes,
    )
    .techniques(&["T1068", "T1565.001", "AML.T0018"])
    .tries("splice(), tee() and vmsplice() between own pipes")
    .open_means("bugs such as CVE-2022-0847 could change files that are mounted read-only")
    .control("pipe2() makes a pipe")
    .surface(),
];

fn shared_memory(trial: &mut Trial<'_>) {
    let number = libc::SYS_shmget;
    let own = trial.child.call(
        number,
        [0.into(), 4096.into(), (libc::IPC_CREAT | 0o600).into()],
    );
    if let Ok(id) = own {
        let _removed = trial.child.call(
            libc::SYS_shmctl,
            [id.into(), libc::IPC_RMID.into(), 0.into()],
        );
    }
    control_or_filter(trial, "an own segment", number, own);
    match trial.scene.order.canaries.shared_memory_key {
        None => trial.step("the host has no segments", |_| {
            Outcome::Absent("shmget() is not in this kernel".to_owned())
        }),
        Some(key) => trial.step(format_args!("key {key}"), |child| {
            match child.call(number, [key.into(), 0.into(), 0.into()]) {
                Ok(_) => Outcome::Open("the segment is there".to_owned()),
                Err(Errno(libc::ENOENT)) => {
                    Outcome::Blocked(Layer::Ipcns, "no such segment".to_owned())
                }
                Err(Errno(libc::EACCES)) => {
                    Outcome::Open("the segment is there, though not for us".to_owned())
                }
                Err(errno) => Outcome::Refused(errno, Via::call(number)),
            }
        }),
    }
}

/// A control for calls that a filter may refuse as a whole: then the filter is what is shown.
fn control_or_filter(trial: &Trial<'_>, tried: &str, number: i64, own: Result<i64, Errno>) {
    match own {
        Err(errno) if trial.scene.sweep.surely_filtered(number, errno) => trial.control_calls(),
        own => {
            trial.control(
                tried,
                own.map(|_| String::new())
                    .map_err(|errno| errno.to_string()),
            );
        }
    }
}

fn queues(trial: &mut Trial<'_>) {
    let number = libc::SYS_mq_open;
    let open = |child: &Child, name: &str, flags: i32| {
        let name = primitive::path(name);
        child.call(
            number,
            [
                name.as_c_str().into(),
                (flags | libc::O_CLOEXEC).into(),
                0o600.into(),
                0.into(),
            ],
        )
    };
    // The kernel takes names without the slash that the library strips.
    let own_name = format!("casemate-own-{}", trial.check);
    let own = open(trial.child, &own_name, libc::O_RDWR | libc::O_CREAT);
    if own.is_ok() {
        let name = primitive::path(&own_name);
        let _removed = trial
            .child
            .call(libc::SYS_mq_unlink, [name.as_c_str().into()]);
    }
    control_or_filter(trial, "an own queue", number, own);
    match trial.scene.order.canaries.message_queue.clone() {
        None => trial.step("the host has no queues", |_| {
            Outcome::Absent("mq_open() is not in this kernel".to_owned())
        }),
        Some(name) => trial.step(format_args!("queue {name}"), |child| {
            match open(child, name.trim_start_matches('/'), libc::O_RDONLY) {
                Ok(_) => Outcome::Open("the queue is there".to_owned()),
                Err(Errno(libc::ENOENT)) => {
                    Outcome::Blocked(Layer::Ipcns, "no such queue".to_owned())
                }
                Err(Errno(libc::EACCES)) => {
                    Outcome::Open("the queue is there, though not for us".to_owned())
                }
                Err(errno) => Outcome::Refused(errno, Via::call(number)),
            }
        }),
    }
    let foreign = [
        "nccl-",
        "psm_",
        "vllm",
        "cuda.shm.",
        "torch_",
        "casemate-canary",
    ];
    trial.step("names of others under /dev/shm", |_| {
        let found: Vec<String> = primitive::names("/dev/shm")
            .into_iter()
            .filter(|name| foreign.iter().any(|start| name.starts_with(start)))
            .collect();
        if found.is_empty() {
            Outcome::Blocked(Layer::Ipcns, String::new())
        } else {
            Outcome::Open(found.join(" "))
        }
    });
}

fn writable_mounts(trial: &mut Trial<'_>) {
    let mounts = trial.scene.mounts.clone();
    trial.control(
        "/proc/self/mountinfo lists the root",
        if mounts.iter().any(|mount| mount.at == "/") {
            Ok(format!("{} mounts", mounts.len()))
        } else {
            Err(String::new())
        },
    );
    let private = [
        "tmpfs", "proc", "devpts", "mqueue", "sysfs", "cgroup", "cgroup2", "ramfs",
    ];
    for mount in mounts
        .iter()
        .filter(|mount| !mount.has("ro") && !private.contains(&mount.kind.as_str()))
    {
        trial.step(&mount.at, |child| {
            match primitive::access(child, &mount.at, libc::W_OK) {
                Ok(_) if fs::metadata(&mount.at).is_ok_and(|found| found.is_dir()) => {
                    Outcome::Open(format!("a writable {}", mount.kind))
                }
                // A bound device node is no place to keep anything.
                Ok(_) => Outcome::Absent("a single node".to_owned()),
                Err(errno) => Outcome::Refused(
                    errno,
                    Via::call(libc::SYS_openat).path(&mount.at, libc::W_OK),
                ),
            }
        });
    }
    trial.step("mounts that travel", |_| {
        let shared: Vec<&str> = mounts
            .iter()
            .filter(|mount| mount.shared)
            .map(|mount| mount.at.as_str())
            .take(8)
            .collect();
        if shared.is_empty() {
            Outcome::Blocked(Layer::MountFlag, "all are private".to_owned())
        } else {
            Outcome::Open(shared.join(" "))
        }
    });
}

fn page_cache(trial: &mut Trial<'_>) {
    trial.control_calls();
    let mapped = primitive::open(trial.child, "/proc/self/exe", libc::O_RDONLY).and_then(|file| {
        let at = trial.child.call(
            libc::SYS_mmap,
            [
                0.into(),
                4096.into(),
                libc::PROT_READ.into(),
                libc::MAP_PRIVATE.into(),
                file.into(),
                0.into(),
            ],
        )?;
        Ok((file, at))
    });
    let Ok((file, at)) = mapped else {
        trial.step("map the own program", |_| {
            Outcome::Unsure("it cannot be mapped".to_owned())
        });
        return;
    };
    let _refused = trial.attempt("mincore", Via::call(libc::SYS_mincore), |child| {
        let mut pages = [0_u8; 8];
        child.call(
            libc::SYS_mincore,
            [at.into(), 4096.into(), pages.as_mut_slice().into()],
        )
    });
    let _refused = trial.attempt("cachestat", Via::call(CACHESTAT), |child| {
        let range = [0_u8; 16];
        let mut answer = [0_u8; 64];
        child.call(
            CACHESTAT,
            [
                file.into(),
                range.as_slice().into(),
                answer.as_mut_slice().into(),
                0.into(),
            ],
        )
    });
    trial.step("preadv2 without waiting", |child| {
        let mut buffer = [0_u8; 64];
        let place = primitive::iovec(buffer.as_mut_ptr() as u64, 64);
        match child.call(
            libc::SYS_preadv2,
            [
                file.into(),
                place.as_slice().into(),
                1.into(),
                0.into(),
                0.into(),
                libc::RWF_NOWAIT.into(),
            ],
        ) {
            Ok(_) => Outcome::Open("it tells cached pages apart".to_owned()),
            Err(Errno(libc::EAGAIN)) => Outcome::Open("it tells cached pages apart".to_owned()),
            Err(errno) => Outcome::Refused(errno, Via::call(libc::SYS_preadv2)),
        }
    });
}

/// Newer than the C library's table.
const CACHESTAT: i64 = 451;

fn page_cache_writes(trial: &mut Trial<'_>) {
    let pipe = |child: &Child| {
        let mut ends = [0_u8; 8];
        child.call(
            libc::SYS_pipe2,
            [ends.as_mut_slice().into(), libc::O_NONBLOCK.into()],
        )?;
        let [a, b, c, d, e, f, g, h] = ends;
        Ok((
            i64::from(i32::from_ne_bytes([a, b, c, d])),
            i64::from(i32::from_ne_bytes([e, f, g, h])),
        ))
    };
    let (first, second) = match (pipe(trial.child), pipe(trial.child)) {
        (Ok(first), Ok(second)) => (first, second),
        (Err(errno), _) | (_, Err(errno)) => {
            let errno: Errno = errno;
            trial.control("pipe2", Err(errno.to_string()));
            return;
        }
    };
    let filled = primitive::write_all(trial.child, first.1, b"own bytes");
    trial.control(
        "pipe2",
        filled
            .map(|()| String::new())
            .map_err(|errno| errno.to_string()),
    );
    let _refused = trial.attempt("tee", Via::call(libc::SYS_tee), |child| {
        child.call(
            libc::SYS_tee,
            [first.0.into(), second.1.into(), 4.into(), 0.into()],
        )
    });
    let _refused = trial.attempt("splice", Via::call(libc::SYS_splice), |child| {
        child.call(
            libc::SYS_splice,
            [
                first.0.into(),
                0.into(),
                second.1.into(),
                0.into(),
                4.into(),
                0.into(),
            ],
        )
    });
    let _refused = trial.attempt("vmsplice", Via::call(libc::SYS_vmsplice), |child| {
        let bytes = b"own bytes";
        let place = primitive::iovec(bytes.as_ptr() as u64, 9);
        child.call(
            libc::SYS_vmsplice,
            [second.1.into(), place.as_slice().into(), 1.into(), 0.into()],
        )
    });
}
