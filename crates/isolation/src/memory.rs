//! Tries to read the memory of other processes of the stage: a peer of the same user, and process 1.

pub(crate) mod machine;

use std::fs;

use casemate_core::finding::{Category, Layer};
use casemate_linux::raw::{Child, Errno};

use crate::attribute::Via;
use crate::check::Check;
use crate::escape::capability;
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
    check(
        "ME-06",
        "looking at and dropping a peer's memory",
        handle_memory,
    )
    .techniques(&["T1055"])
    .tries("kcmp(), process_madvise() and process_mrelease() of a peer")
    .open_means("object addresses leak, or a peer's pages are dropped at will"),
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
