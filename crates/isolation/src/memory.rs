//! Tries to read the memory of other processes: a peer of the same user, process 1, the canary outside.

use std::fs;

use casemate_core::finding::{Category, Layer, sha256_hex};
use casemate_linux::raw::{Child, Errno};

use crate::attribute::Via;
use crate::check::Check;
use crate::escape::capability;
use crate::lateral;
use crate::primitive;
use crate::trial::{Outcome, Trial};

const fn check(id: &'static str, title: &'static str, try_it: fn(&mut Trial<'_>)) -> Check {
    Check::new(Category::Memory, id, title, try_it)
        .control("the peer is alive and holds a secret that this process no longer has")
}

pub(crate) const CHECKS: &[Check] = &[
    check("ME-01", "attaching to a peer", attach)
        .techniques(&["T1055.008", "AML.T0090"])
        .tries("ptrace(ATTACH) and PEEKDATA on a process of the same user that is no child")
        .open_means("one exploited worker reads weights and prompts of all workers"),
    check("ME-02", "reading a peer's memory by call", read_by_call)
        .techniques(&["T1055", "T1003.007"])
        .tries("process_vm_readv() of a peer and of process 1; process_vm_writev() of a peer")
        .open_means("the same, without stopping the peer"),
    check("ME-03", "reading a peer's memory by file", read_by_file)
        .techniques(&["T1055.009", "T1003.007"])
        .tries("/proc/PID/mem of a peer and of process 1, which no call filter sees")
        .open_means("processes of one stage can read each other"),
    check("ME-04", "what /proc shows of a peer", shown_by_proc)
        .techniques(&["T1003.007", "AML.T0090"])
        .tries("environ, maps, auxv, fd, cwd and root of a peer and of process 1")
        .open_means("processes of one stage can learn each other's layout, files and variables"),
    check("ME-05", "taking a peer's descriptors", take_descriptors)
        .techniques(&["T1055"])
        .tries("pidfd_open() and pidfd_getfd() of a peer's standard output")
        .open_means("open models and devices can be taken from another process"),
    check("ME-06", "looking at and dropping a peer's memory", handle_memory)
        .techniques(&["T1055"])
        .tries("kcmp(), process_madvise() and process_mrelease() of a peer")
        .open_means("object addresses leak, or a peer's pages are dropped at will"),
    check("ME-07", "memory of the machine", machine_memory)
        .techniques(&["T1003"])
        .tries("/proc/kcore, /dev/mem, /proc/kpagecount, and frame numbers in /proc/self/pagemap")
        .open_means("memory of everybody on the host can be read or located")
        .control("/proc/self/status is read"),
    check("ME-08", "core dumps", core_dump)
        .techniques(&["T1003", "T1005", "AML.T0037"])
        .tries("a process with its limit raised as far as it goes ends by SIGABRT in scratch; a dump is looked for")
        .open_means("weights, prompts and keys of a crashed server end up on a disk")
        .control("the process ended by the signal"),
    check("ME-09", "swap", swap)
        .techniques(&["T1003"])
        .tries("/proc/swaps is read")
        .open_means("weights may be written to a disk when memory is short")
        .control("/proc/self/status is read"),
    check("ME-10", "fresh pages", fresh_pages)
        .techniques(&["T1005"])
        .tries("32 MiB of new anonymous memory are searched for anything but zero")
        .open_means("memory of ended processes reaches the next one")
        .control("a page that was written to is seen as such"),
    check("ME-15", "the canary's memory outside", canary_memory)
        .techniques(&["T1055", "T1003.007", "AML.T0090"])
        .tries("the secret of the witness's process is looked for at its address, in its pid and in every process that /proc shows")
        .open_means("memory of other stages and of the host's daemons can be read")
        .control("own memory is read by the same way"),
];

/// A process of the same user that is not a child of this one, with a secret in its memory.
struct Peer {
    pid: i64,
    address: u64,
    secret: Vec<u8>,
}

const SECRET: usize = 32;

/// Makes a peer by way of a process in between, so that it is no descendant any more.
fn peer(child: &Child, nonce: &str) -> Result<Peer, Errno> {
    let mut held: Vec<u8> = nonce.bytes().rev().cycle().take(SECRET).collect();
    let mut ends = [0_u8; 8];
    child.call(
        libc::SYS_pipe2,
        [ends.as_mut_slice().into(), libc::O_CLOEXEC.into()],
    )?;
    let [a, b, c, d, e, f, g, h] = ends;
    let (read, write) = (
        i32::from_ne_bytes([a, b, c, d]),
        i32::from_ne_bytes([e, f, g, h]),
    );
    if let Some(between) = primitive::fork(child)? {
        let mut number = [0_u8; 8];
        child.call(
            libc::SYS_read,
            [read.into(), number.as_mut_slice().into(), 8.into()],
        )?;
        primitive::wait(child, between)?;
        let secret = held.clone();
        let address = held.as_ptr() as u64;
        held.fill(0);
        // The place stays reserved, and holds nothing of the secret here any more.
        held.leak();
        return Ok(Peer {
            pid: i64::from_ne_bytes(number),
            address,
            secret,
        });
    }
    match primitive::fork(child) {
        Ok(None) => loop {
            primitive::rest(child, 10_000);
        },
        Ok(Some(pid)) => {
            let _told = primitive::write_all(child, i64::from(write), &pid.to_ne_bytes());
            child.exit(0)
        }
        Err(errno) => child.exit(errno.0),
    }
}

impl Peer {
    fn end(&self, child: &Child) {
        let _gone = primitive::kill(child, self.pid, libc::SIGKILL);
    }

    fn judge(&self, read: &[u8]) -> Outcome {
        if read == self.secret {
            Outcome::Open("the peer's secret was read".to_owned())
        } else {
            Outcome::Unsure("something was read, but not the secret".to_owned())
        }
    }
}

fn with_peer(trial: &mut Trial<'_>, act: impl FnOnce(&mut Trial<'_>, &Peer)) {
    let made = peer(trial.child, &trial.scene.order.nonce);
    let alive = made
        .as_ref()
        .map_err(|errno| *errno)
        .and_then(|peer| primitive::kill(trial.child, peer.pid, 0));
    trial.control(
        "a peer is alive",
        alive
            .map(|_| String::new())
            .map_err(|errno| errno.to_string()),
    );
    if let Ok(peer) = made {
        act(trial, &peer);
        peer.end(trial.child);
    }
}

fn attach(trial: &mut Trial<'_>) {
    const PEEK: i64 = libc::PTRACE_PEEKDATA as i64;
    with_peer(trial, |trial, peer| {
        let via = || Via::call(libc::SYS_ptrace).process();
        let attached = trial.attempt("ptrace attach", via(), |child| {
            child.call(
                libc::SYS_ptrace,
                [
                    i64::from(libc::PTRACE_ATTACH).into(),
                    peer.pid.into(),
                    0.into(),
                    0.into(),
                ],
            )
        });
        if attached.is_ok() {
            let _stopped = primitive::wait(trial.child, peer.pid);
            trial.step("ptrace peek", |child| {
                let mut word = [0_u8; 8];
                let address = peer.address.cast_signed();
                match child.call(
                    libc::SYS_ptrace,
                    [
                        PEEK.into(),
                        peer.pid.into(),
                        address.into(),
                        word.as_mut_slice().into(),
                    ],
                ) {
                    Ok(_) if peer.secret.starts_with(&word) => {
                        Outcome::Open("the peer's secret was read".to_owned())
                    }
                    Ok(_) => Outcome::Unsure("something else was read".to_owned()),
                    Err(errno) => Outcome::Refused(errno, via()),
                }
            });
        }
    });
}

fn read_by_call(trial: &mut Trial<'_>) {
    with_peer(trial, |trial, peer| {
        let via = || Via::call(libc::SYS_process_vm_readv).process();
        for (name, pid) in [("a peer", peer.pid), ("process 1", 1)] {
            trial.step(format_args!("process_vm_readv of {name}"), |child| {
                let mut buffer = [0_u8; SECRET];
                let here = primitive::iovec(buffer.as_mut_ptr() as u64, SECRET as u64);
                let there = primitive::iovec(peer.address, SECRET as u64);
                let read = child.call(
                    libc::SYS_process_vm_readv,
                    [
                        pid.into(),
                        here.as_slice().into(),
                        1.into(),
                        there.as_slice().into(),
                        1.into(),
                        0.into(),
                    ],
                );
                match read {
                    Ok(_) if pid == 1 => Outcome::Open("memory of process 1 was read".to_owned()),
                    Ok(_) => peer.judge(&buffer),
                    // Process 1 has nothing at the peer's address, but was asked.
                    Err(Errno(libc::EFAULT)) => {
                        Outcome::Open("it would be served; nothing is at that address".to_owned())
                    }
                    Err(errno) => Outcome::Refused(errno, via()),
                }
            });
        }
        trial.step("process_vm_writev of a peer", |child| {
            let bytes = peer.secret.clone();
            let here = primitive::iovec(bytes.as_ptr() as u64, SECRET as u64);
            let there = primitive::iovec(peer.address, SECRET as u64);
            let written = child.call(
                libc::SYS_process_vm_writev,
                [
                    peer.pid.into(),
                    here.as_slice().into(),
                    1.into(),
                    there.as_slice().into(),
                    1.into(),
                    0.into(),
                ],
            );
            match written {
                Ok(_) => Outcome::Open("the peer's memory was written".to_owned()),
                Err(errno) => {
                    Outcome::Refused(errno, Via::call(libc::SYS_process_vm_writev).process())
                }
            }
        });
    });
}

/// Reads `length` bytes at `address` through a memory file.
fn peek(child: &Child, path: &str, address: u64, length: usize) -> Result<Vec<u8>, Errno> {
    let file = primitive::open(child, path, libc::O_RDONLY)?;
    let mut buffer = vec![0; length];
    let size = primitive::length(&buffer);
    let read = child.call(
        libc::SYS_pread64,
        [
            file.into(),
            buffer.as_mut_slice().into(),
            size.into(),
            address.cast_signed().into(),
        ],
    );
    primitive::close(child, file);
    buffer.truncate(usize::try_from(read?).unwrap_or(0));
    Ok(buffer)
}

fn read_by_file(trial: &mut Trial<'_>) {
    with_peer(trial, |trial, peer| {
        for (name, pid) in [("a peer", peer.pid), ("process 1", 1)] {
            let path = format!("/proc/{pid}/mem");
            let via = Via::call(libc::SYS_openat)
                .path(&path, libc::R_OK)
                .process();
            trial.step(format_args!("mem of {name}"), |child| {
                match peek(child, &path, peer.address, SECRET) {
                    Ok(read) if pid != 1 => peer.judge(&read),
                    Ok(_) | Err(Errno(libc::EIO)) => {
                        Outcome::Open("memory of process 1 opens".to_owned())
                    }
                    Err(errno) => Outcome::Refused(errno, via),
                }
            });
        }
    });
}

fn shown_by_proc(trial: &mut Trial<'_>) {
    with_peer(trial, |trial, peer| {
        for (name, pid) in [("a peer", peer.pid), ("process 1", 1)] {
            for file in ["environ", "maps", "auxv"] {
                let path = format!("/proc/{pid}/{file}");
                let via = Via::call(libc::SYS_openat)
                    .path(&path, libc::R_OK)
                    .process();
                trial.step(
                    format_args!("{file} of {name}"),
                    |child| match primitive::read_file(child, &path, 256) {
                        Ok(content) if content.is_empty() => Outcome::Absent("empty".to_owned()),
                        Ok(_) => Outcome::Open("readable".to_owned()),
                        Err(errno) => Outcome::Refused(errno, via),
                    },
                );
            }
            for link in ["cwd", "root", "fd/1"] {
                let path = format!("/proc/{pid}/{link}");
                trial.step(format_args!("{link} of {name}"), |_| {
                    match fs::read_link(&path) {
                        Ok(_) => Outcome::Open("readable".to_owned()),
                        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                            Outcome::Absent("not there".to_owned())
                        }
                        Err(_) => Outcome::Blocked(
                            Layer::Dac,
                            "refused by the rules for tracing".to_owned(),
                        ),
                    }
                });
            }
        }
    });
}

fn take_descriptors(trial: &mut Trial<'_>) {
    with_peer(trial, |trial, peer| {
        let process = trial
            .child
            .call(libc::SYS_pidfd_open, [peer.pid.into(), 0.into()]);
        match process {
            Err(errno) => trial.step("pidfd_open of a peer", |_| {
                Outcome::Refused(errno, Via::call(libc::SYS_pidfd_open).process())
            }),
            Ok(process) => {
                let via = Via::call(libc::SYS_pidfd_getfd).process();
                let _refused = trial.attempt("pidfd_getfd of a peer's output", via, |child| {
                    child.call(libc::SYS_pidfd_getfd, [process.into(), 1.into(), 0.into()])
                });
            }
        }
    });
}

fn handle_memory(trial: &mut Trial<'_>) {
    with_peer(trial, |trial, peer| {
        let own = trial.child.call(libc::SYS_getpid, []).unwrap_or(0);
        let _refused = trial.attempt("kcmp", Via::call(libc::SYS_kcmp).process(), |child| {
            child.call(
                libc::SYS_kcmp,
                [own.into(), peer.pid.into(), 1.into(), 0.into(), 0.into()],
            )
        });
        let process = trial
            .child
            .call(libc::SYS_pidfd_open, [peer.pid.into(), 0.into()])
            .unwrap_or(-1);
        let via = Via::call(libc::SYS_process_madvise)
            .process()
            .capability(capability::SYS_NICE);
        trial.step("process_madvise", |child| {
            let page = primitive::iovec(peer.address & !0xfff, 4_096);
            let cold = i64::from(libc::MADV_COLD);
            match child.call(
                libc::SYS_process_madvise,
                [
                    process.into(),
                    page.as_slice().into(),
                    1.into(),
                    cold.into(),
                    0.into(),
                ],
            ) {
                Ok(_) => Outcome::Open("the peer's page was aged".to_owned()),
                Err(Errno(libc::EBADF)) => Outcome::Blocked(
                    Layer::Seccomp,
                    "no process descriptor can be had".to_owned(),
                ),
                Err(errno) => Outcome::Refused(errno, via),
            }
        });
        trial.step("process_mrelease", |child| {
            match child.call(libc::SYS_process_mrelease, [process.into(), 0.into()]) {
                Ok(_) => Outcome::Open("the peer's memory was released".to_owned()),
                // It is served only for a process that is being killed.
                Err(Errno(libc::EINVAL)) => {
                    Outcome::Blocked(Layer::Kernel, "the peer is not dying".to_owned())
                }
                Err(Errno(libc::EBADF)) => Outcome::Blocked(
                    Layer::Seccomp,
                    "no process descriptor can be had".to_owned(),
                ),
                Err(errno) => {
                    Outcome::Refused(errno, Via::call(libc::SYS_process_mrelease).process())
                }
            }
        });
    });
}

fn machine_memory(trial: &mut Trial<'_>) {
    let own = primitive::read_file(trial.child, "/proc/self/status", 64);
    trial.control(
        "/proc/self/status is read",
        own.map(|_| String::new())
            .map_err(|errno| errno.to_string()),
    );
    for path in [
        "/proc/kcore",
        "/dev/mem",
        "/dev/kmem",
        "/dev/port",
        "/proc/kpagecount",
        "/proc/vmcore",
    ] {
        let via = Via::call(libc::SYS_openat).path(path, libc::R_OK);
        trial.step(path, |child| match primitive::read_file(child, path, 8) {
            Ok(content) if content.is_empty() => {
                Outcome::Blocked(Layer::MountFlag, "masked".to_owned())
            }
            Ok(_) => Outcome::Open("readable".to_owned()),
            Err(errno) => Outcome::Refused(errno, via),
        });
    }
    trial.step("frame numbers in /proc/self/pagemap", |child| {
        let own = [1_u8; 8];
        let entry = (own.as_ptr() as u64 >> 12) * 8;
        match peek(child, "/proc/self/pagemap", entry, 8) {
            Ok(bytes) => {
                let word = bytes.try_into().map(u64::from_ne_bytes).unwrap_or(0);
                if word & ((1 << 55) - 1) == 0 {
                    Outcome::Blocked(Layer::Capability, "frame numbers are hidden".to_owned())
                } else {
                    Outcome::Open("frame numbers are shown".to_owned())
                }
            }
            Err(errno) => Outcome::Refused(
                errno,
                Via::call(libc::SYS_openat).path("/proc/self/pagemap", libc::R_OK),
            ),
        }
    });
}

fn core_dump(trial: &mut Trial<'_>) {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    if pattern.starts_with(['|', '@']) {
        trial.step("a crash", |_| {
            Outcome::Unsure(
                "the host hands dumps to a program of its own, whatever the limit says; look there"
                    .to_owned(),
            )
        });
        return;
    }
    let at = primitive::path(&trial.scene.order.grants.scratch);
    let made = match primitive::fork(trial.child) {
        Ok(None) => {
            let child = trial.child;
            let _moved = child.call(libc::SYS_chdir, [at.as_c_str().into()]);
            let wanted = [0xff_u8; 16];
            let _raised = child.call(
                libc::SYS_prlimit64,
                [0.into(), 4.into(), wanted.as_slice().into(), 0.into()],
            );
            let own = child.call(libc::SYS_getpid, []).unwrap_or(0);
            let _ended = primitive::kill(child, own, libc::SIGABRT);
            child.exit(0)
        }
        Ok(Some(pid)) => primitive::wait(trial.child, pid).map(|status| (pid, status)),
        Err(errno) => Err(errno),
    };
    match made {
        Ok((pid, status)) if libc::WIFSIGNALED(status) => {
            trial.control("ended by a signal", Ok(libc::WTERMSIG(status).to_string()));
            for name in ["core".to_owned(), format!("core.{pid}")] {
                primitive::unlink(
                    trial.child,
                    &format!("{}/{name}", trial.scene.order.grants.scratch),
                );
            }
            trial.step("a dump", |_| {
                if libc::WCOREDUMP(status) {
                    Outcome::Open("the kernel wrote one".to_owned())
                } else {
                    Outcome::Blocked(Layer::Rlimit, "none was written".to_owned())
                }
            });
        }
        Ok((_, status)) => {
            trial.control("ended by a signal", Err(format!("wait status {status}")));
        }
        Err(errno) => {
            trial.control("a process to crash", Err(errno.to_string()));
        }
    }
}

fn swap(trial: &mut Trial<'_>) {
    let own = primitive::read_file(trial.child, "/proc/self/status", 64);
    trial.control(
        "/proc/self/status is read",
        own.map(|_| String::new())
            .map_err(|errno| errno.to_string()),
    );
    trial.step("/proc/swaps", |child| {
        match primitive::read_file(child, "/proc/swaps", 4_096) {
            Ok(content) => match content
                .split(|byte| *byte == b'\n')
                .skip(1)
                .filter(|line| !line.is_empty())
                .count()
            {
                0 => Outcome::Blocked(Layer::MissingNode, "the host has no swap".to_owned()),
                count => Outcome::Unsure(format!(
                    "the host has {count} swap areas; the group's swap limit shows only outside"
                )),
            },
            Err(errno) => Outcome::Refused(
                errno,
                Via::call(libc::SYS_openat).path("/proc/swaps", libc::R_OK),
            ),
        }
    });
}

fn fresh_pages(trial: &mut Trial<'_>) {
    let written = vec![7_u8; 4_096];
    trial.control(
        "a written page",
        if written.iter().all(|byte| *byte == 7) {
            Ok(String::new())
        } else {
            Err(String::new())
        },
    );
    trial.step("32 MiB of new memory", |_| {
        // Allocated as zeroes, which the library takes from the kernel unwritten at this size.
        let fresh = vec![0_u8; 32 << 20];
        match fresh.iter().position(|byte| *byte != 0) {
            None => Outcome::Blocked(Layer::Kernel, "all zero".to_owned()),
            Some(at) => Outcome::Open(format!("a foreign byte at {at}")),
        }
    });
}

fn canary_memory(trial: &mut Trial<'_>) {
    let own = [0x5a_u8; SECRET];
    let read = peek(trial.child, "/proc/self/mem", own.as_ptr() as u64, SECRET);
    trial.control(
        "own memory by /proc/self/mem",
        match read {
            Ok(bytes) if bytes == own => Ok(String::new()),
            Ok(_) => Err("something else was read".to_owned()),
            // Where even this is refused, the raw path still shows that files of /proc open.
            Err(errno) => primitive::read_file(trial.child, "/proc/self/status", 64)
                .map(|_| format!("mem gave {errno}, status is read"))
                .map_err(|errno| errno.to_string()),
        },
    );
    let Some(canary) = trial.scene.order.canaries.process.clone() else {
        trial.step("no canary was named", |_| Outcome::Unsure(String::new()));
        return;
    };
    let length = usize::try_from(canary.length).unwrap_or(0).min(4_096);
    let named = lateral::find_process(&canary.name).map(u64::from);
    let mut pids: Vec<u64> = primitive::names("/proc")
        .iter()
        .filter_map(|name| name.parse().ok())
        .take(64)
        .collect();
    pids.extend(named);
    pids.push(u64::from(canary.pid));
    pids.dedup();
    trial.step(
        format_args!("the secret in {} processes", pids.len()),
        |child| {
            for pid in pids {
                let by_file = peek(child, &format!("/proc/{pid}/mem"), canary.address, length);
                if by_file.is_ok_and(|read| sha256_hex(&read) == canary.sha256) {
                    return Outcome::Open(format!("read from process {pid} by file"));
                }
                let mut buffer = vec![0_u8; length];
                let here = primitive::iovec(buffer.as_mut_ptr() as u64, canary.length);
                let there = primitive::iovec(canary.address, canary.length);
                let by_call = child.call(
                    libc::SYS_process_vm_readv,
                    [
                        pid.cast_signed().into(),
                        here.as_slice().into(),
                        1.into(),
                        there.as_slice().into(),
                        1.into(),
                        0.into(),
                    ],
                );
                if by_call.is_ok() && sha256_hex(&buffer) == canary.sha256 {
                    return Outcome::Open(format!("read from process {pid} by call"));
                }
            }
            match named {
                None => Outcome::Blocked(Layer::Pidns, "the canary is not among them".to_owned()),
                Some(pid) => {
                    Outcome::Blocked(Layer::Dac, format!("process {pid} is seen but not read"))
                }
            }
        },
    );
}
