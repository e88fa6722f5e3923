//! Tries calls that reach deep into the kernel: modules, eBPF, perf, handles, clocks, schedulers, terminals.

use casemate_core::finding::Category;
use casemate_linux::raw::Errno;

use super::capability;
use crate::attribute::Via;
use crate::check::Check;
use crate::primitive::{self, HERE};
use crate::trial::{Outcome, Trial};

const fn check(id: &'static str, title: &'static str, try_it: fn(&mut Trial<'_>)) -> Check {
    Check::new(Category::Escape, id, title, try_it)
        .control("raw calls are answered; in a weak sandbox the same calls succeed")
}

pub(crate) const CHECKS: &[Check] = &[
    check("ES-15", "loading kernel modules", modules)
        .techniques(&["T1547.006", "T1014"])
        .tries("init_module(), finit_module() and delete_module() with what is no module")
        .open_means("the stage can run code in the kernel"),
    check("ES-16", "reboot, swap, accounting, kexec", machine)
        .techniques(&["T1529", "T1068"])
        .tries("reboot() with a wrong magic number, swapon(), swapoff() and acct() of missing files, kexec_load() of nothing")
        .open_means("the stage can stop the machine or replace its kernel"),
    check("ES-43", "setting the clock", clock)
        .techniques(&["T1070.006"])
        .tries("adjtimex() that sets the tick to what it is")
        .open_means("certificates and tickets of the whole host can be made to expire or to live again"),
    check("ES-44", "setting the host name", host_name)
        .techniques(&["T1036"])
        .tries("sethostname() and setdomainname() of no bytes that are read")
        .open_means("the stage can pose as another host in logs"),
    check("ES-17", "eBPF", bpf)
        .techniques(&["T1068", "AML.T0107"])
        .tries("bpf(MAP_CREATE) of one element; bpf(PROG_LOAD) of two instructions")
        .open_means("the verifier, a frequent source of escapes, is reachable")
        .surface(),
    check("ES-18", "performance events", perf)
        .techniques(&["T1068"])
        .tries("perf_event_open() of a software and a hardware counter")
        .open_means("timing and addresses of others can be sampled, and a large attack surface is reachable")
        .surface(),
    check("ES-19", "userfaultfd", userfaultfd)
        .techniques(&["T1068"])
        .tries("userfaultfd() with and without the user-mode flag; /dev/userfaultfd")
        .open_means("kernel races can be stopped at will, which turns rare bugs into sure ones")
        .surface(),
    check("ES-20", "io_uring", io_uring)
        .techniques(&["T1068"])
        .tries("io_uring_setup() of one entry")
        .open_means("files and sockets can be used without any call that a filter sees")
        .surface(),
    check("ES-21", "opening files by handle", handles)
        .techniques(&["T1611"])
        .tries("name_to_handle_at() of an own file, then open_by_handle_at() with that valid handle; fanotify_init()")
        .open_means("any file of the file system can be opened, around every mount (`shocker`)"),
    check("ES-26", "personality, descriptor tables, ports", processor)
        .techniques(&["T1068"])
        .tries("personality(READ_IMPLIES_EXEC), modify_ldt(), iopl(3), ioperm()")
        .open_means("mitigations can be switched off and old processor features abused")
        .surface(),
    check("ES-37", "real-time scheduling and locked memory", scheduling)
        .techniques(&["T1496", "T1499"])
        .tries("sched_setscheduler(FIFO), setpriority(-20), ioprio_set(real time)")
        .open_means("the stage can starve its neighbours of processor and disk"),
    check("ES-34", "pushing characters into a terminal", terminal)
        .techniques(&["T1056"])
        .tries("ioctl(TIOCSTI) and ioctl(TIOCLINUX) on the standard streams and /dev/console")
        .open_means("whoever attaches a terminal to the stage can be made to type commands"),
];

fn modules(trial: &mut Trial<'_>) {
    trial.control_calls();
    let empty = primitive::path("");
    let missing = primitive::path("casemate_probe_missing");
    let via = |number| Via::call(number).capability(capability::SYS_MODULE);
    // With the privilege, each gets as far as complaining about what it was given.
    for (name, number) in [
        ("init_module", libc::SYS_init_module),
        ("finit_module", libc::SYS_finit_module),
        ("delete_module", libc::SYS_delete_module),
    ] {
        trial.step(name, |child| {
            let answer = match name {
                "init_module" => child.call(
                    number,
                    [
                        b"no module".as_slice().into(),
                        9.into(),
                        empty.as_c_str().into(),
                    ],
                ),
                "finit_module" => {
                    child.call(number, [(-1_i64).into(), empty.as_c_str().into(), 0.into()])
                }
                _ => child.call(number, [missing.as_c_str().into(), libc::O_NONBLOCK.into()]),
            };
            reached(
                answer,
                &[libc::ENOEXEC, libc::EBADF, libc::ENOENT, libc::EINVAL],
                via(number),
            )
        });
    }
}

/// Success, or an error that only a privileged caller gets to see, is open.
fn reached(answer: Result<i64, Errno>, privileged: &[i32], via: Via) -> Outcome {
    match answer {
        Ok(_) => Outcome::Open("it was served".to_owned()),
        Err(errno) if privileged.contains(&errno.0) => {
            Outcome::Open(format!("past the privilege check: {errno}"))
        }
        Err(errno) => Outcome::Refused(errno, via),
    }
}

fn machine(trial: &mut Trial<'_>) {
    trial.control_calls();
    let missing = primitive::path("/casemate-probe-missing");
    trial.step("reboot with a wrong magic number", |child| {
        let answer = child.call(libc::SYS_reboot, [1.into(), 2.into(), 3.into(), 0.into()]);
        reached(
            answer,
            &[libc::EINVAL],
            Via::call(libc::SYS_reboot).capability(capability::SYS_BOOT),
        )
    });
    for (name, number, needed) in [
        ("swapon", libc::SYS_swapon, capability::SYS_ADMIN),
        ("swapoff", libc::SYS_swapoff, capability::SYS_ADMIN),
        ("acct", libc::SYS_acct, capability::SYS_PACCT),
    ] {
        trial.step(name, |child| {
            let answer = child.call(number, [missing.as_c_str().into(), 0.into()]);
            reached(
                answer,
                &[libc::ENOENT, libc::EINVAL],
                Via::call(number).capability(needed),
            )
        });
    }
    trial.step("kexec_load of nothing", |child| {
        // Flags that no kernel knows: with the privilege it answers EINVAL and loads nothing.
        let answer = child.call(
            libc::SYS_kexec_load,
            [0.into(), 0.into(), 0.into(), 0xffff.into()],
        );
        reached(
            answer,
            &[libc::EINVAL],
            Via::call(libc::SYS_kexec_load).capability(capability::SYS_BOOT),
        )
    });
}

fn clock(trial: &mut Trial<'_>) {
    // `struct timex` is 208 bytes; `modes` is its first word, `tick` the one at 88.
    let mut state = [0_u8; 208];
    let read = trial
        .child
        .call(libc::SYS_adjtimex, [state.as_mut_slice().into()]);
    match read {
        Err(errno) if trial.scene.sweep.surely_filtered(libc::SYS_adjtimex, errno) => {
            trial.control_calls()
        }
        other => {
            trial.control(
                "adjtimex that only reads",
                other
                    .map(|_| String::new())
                    .map_err(|errno| errno.to_string()),
            );
        }
    }
    let mut wanted = [0_u8; 208];
    wanted.copy_from_slice(&state);
    if let Some(modes) = wanted.get_mut(..4) {
        modes.copy_from_slice(&libc::ADJ_TICK.to_ne_bytes());
    }
    let via = Via::call(libc::SYS_adjtimex).capability(capability::SYS_TIME);
    let _refused = trial.attempt("set the tick to what it is", via, |child| {
        child.call(libc::SYS_adjtimex, [wanted.as_mut_slice().into()])
    });
}

fn host_name(trial: &mut Trial<'_>) {
    trial.control_calls();
    for (name, number) in [
        ("sethostname", libc::SYS_sethostname),
        ("setdomainname", libc::SYS_setdomainname),
    ] {
        trial.step(name, |child| {
            // A bad address is looked at only after the privilege.
            let answer = child.call(number, [(-1_i64).into(), 1.into()]);
            reached(
                answer,
                &[libc::EFAULT],
                Via::call(number).capability(capability::SYS_ADMIN),
            )
        });
    }
}

fn bpf(trial: &mut Trial<'_>) {
    trial.control_calls();
    let via = || Via::call(libc::SYS_bpf).capability(capability::BPF);
    let _refused = trial.attempt("map", via(), |child| {
        let mut attributes = [0_u8; 128];
        for (word, value) in attributes.chunks_exact_mut(4).zip([2_u32, 4, 4, 1]) {
            word.copy_from_slice(&value.to_ne_bytes());
        }
        child.call(
            libc::SYS_bpf,
            [0.into(), attributes.as_mut_slice().into(), 128.into()],
        )
    });
    let _refused = trial.attempt("program", via(), |child| {
        // r0 = 0; exit
        let program = [0xb7_u8, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];
        let licence = primitive::path("GPL");
        let mut attributes = [0_u8; 128];
        for (word, value) in attributes.chunks_exact_mut(8).zip([
            (2_u64 << 32 | 1).to_ne_bytes(),
            primitive::pointer(&program),
            primitive::pointer(licence.as_bytes_with_nul()),
        ]) {
            word.copy_from_slice(&value);
        }
        child.call(
            libc::SYS_bpf,
            [5.into(), attributes.as_mut_slice().into(), 128.into()],
        )
    });
}

fn perf(trial: &mut Trial<'_>) {
    trial.control_calls();
    for (name, kind, config) in [
        ("software counter", 1_u32, 0_u64),
        ("hardware counter", 0, 0),
    ] {
        let via = Via::call(libc::SYS_perf_event_open)
            .capability(capability::PERFMON)
            .kernel(&[libc::ENOENT, libc::EOPNOTSUPP]);
        let _refused = trial.attempt(name, via, |child| {
            let mut attributes = [0_u8; 128];
            for (word, value) in attributes
                .chunks_exact_mut(8)
                .zip([u64::from(kind) | (128 << 32), config])
            {
                word.copy_from_slice(&value.to_ne_bytes());
            }
            // Disabled, and for user space only.
            if let Some(flags) = attributes.get_mut(40) {
                *flags = 0b0110_0001;
            }
            child.call(
                libc::SYS_perf_event_open,
                [
                    attributes.as_slice().into(),
                    0.into(),
                    (-1_i64).into(),
                    (-1_i64).into(),
                    0.into(),
                ],
            )
        });
    }
}

fn userfaultfd(trial: &mut Trial<'_>) {
    trial.control_calls();
    for (name, flags) in [
        ("for kernel and user faults", 0),
        ("for user faults only", 1),
    ] {
        let via = Via::call(libc::SYS_userfaultfd).capability(capability::SYS_PTRACE);
        let _refused = trial.attempt(name, via, |child| {
            child.call(libc::SYS_userfaultfd, [flags.into()])
        });
    }
    let path = "/dev/userfaultfd";
    let via = Via::call(libc::SYS_openat).path(path, libc::R_OK);
    let _refused = trial.attempt(path, via, |child| {
        primitive::open(child, path, libc::O_RDWR)
    });
}

fn io_uring(trial: &mut Trial<'_>) {
    trial.control_calls();
    let via = Via::call(libc::SYS_io_uring_setup).only_filter();
    let _refused = trial.attempt("io_uring_setup", via, |child| {
        let mut parameters = [0_u8; 120];
        child.call(
            libc::SYS_io_uring_setup,
            [1.into(), parameters.as_mut_slice().into()],
        )
    });
}

fn handles(trial: &mut Trial<'_>) {
    trial.control_calls();
    let mut handle = [0_u8; 136];
    if let Some(size) = handle.get_mut(..4) {
        size.copy_from_slice(&128_u32.to_ne_bytes());
    }
    let own = primitive::path(&trial.scene.order.grants.scratch);
    let mut mount = [0_u8; 4];
    let named = trial.child.call(
        libc::SYS_name_to_handle_at,
        [
            HERE.into(),
            own.as_c_str().into(),
            handle.as_mut_slice().into(),
            mount.as_mut_slice().into(),
            0.into(),
        ],
    );
    let at = primitive::open(
        trial.child,
        &trial.scene.order.grants.scratch,
        libc::O_RDONLY | libc::O_DIRECTORY,
    );
    let detail = match named {
        Ok(_) => "with a valid handle",
        Err(_) => "with a made-up handle, as name_to_handle_at is refused",
    };
    if named.is_err() {
        // Eight bytes of type 1: the usual inode and generation.
        for (byte, value) in handle.iter_mut().zip([8, 0, 0, 0, 1, 0, 0, 0, 2]) {
            *byte = value;
        }
    }
    trial.step(format_args!("open_by_handle_at {detail}"), |child| {
        let answer = child.call(
            libc::SYS_open_by_handle_at,
            [
                at.unwrap_or(HERE).into(),
                handle.as_mut_slice().into(),
                libc::O_RDONLY.into(),
            ],
        );
        reached(
            answer,
            &[libc::ESTALE],
            Via::call(libc::SYS_open_by_handle_at).capability(capability::DAC_READ_SEARCH),
        )
    });
    let via = Via::call(libc::SYS_fanotify_init).capability(capability::SYS_ADMIN);
    let _refused = trial.attempt("fanotify_init for contents", via, |child| {
        // Asking to hold others' opens is what needs privilege.
        child.call(libc::SYS_fanotify_init, [0x4.into(), libc::O_RDONLY.into()])
    });
}

fn processor(trial: &mut Trial<'_>) {
    trial.control_calls();
    let _refused = trial.attempt(
        "personality",
        Via::call(libc::SYS_personality).only_filter(),
        |child| child.call(libc::SYS_personality, [0x0040_0000.into()]),
    );
    let _refused = trial.attempt(
        "modify_ldt",
        Via::call(libc::SYS_modify_ldt).only_filter(),
        |child| {
            let mut table = [0_u8; 16];
            child.call(
                libc::SYS_modify_ldt,
                [0.into(), table.as_mut_slice().into(), 16.into()],
            )
        },
    );
    let via = |number| Via::call(number).capability(capability::SYS_RAWIO);
    let _refused = trial.attempt("iopl", via(libc::SYS_iopl), |child| {
        child.call(libc::SYS_iopl, [3.into()])
    });
    let _refused = trial.attempt("ioperm", via(libc::SYS_ioperm), |child| {
        child.call(libc::SYS_ioperm, [0x80.into(), 1.into(), 1.into()])
    });
}

fn scheduling(trial: &mut Trial<'_>) {
    trial.control_calls();
    let via = |number| Via::call(number).capability(capability::SYS_NICE);
    let _refused = trial.attempt(
        "real-time scheduler",
        via(libc::SYS_sched_setscheduler),
        |child| {
            let priority = 1_u32.to_ne_bytes();
            child.call(
                libc::SYS_sched_setscheduler,
                [
                    0.into(),
                    libc::SCHED_FIFO.into(),
                    priority.as_slice().into(),
                ],
            )
        },
    );
    let _refused = trial.attempt("priority -20", via(libc::SYS_setpriority), |child| {
        child.call(
            libc::SYS_setpriority,
            [0.into(), 0.into(), (-20_i64).into()],
        )
    });
    let _refused = trial.attempt("real-time disk class", via(libc::SYS_ioprio_set), |child| {
        child.call(libc::SYS_ioprio_set, [1.into(), 0.into(), (1 << 13).into()])
    });
}

fn terminal(trial: &mut Trial<'_>) {
    trial.control_calls();
    for (name, request, byte) in [("TIOCSTI", libc::TIOCSTI, b'\0'), ("TIOCLINUX", 0x541c, 3)] {
        let request = i64::try_from(request).unwrap_or(0);
        for path in ["/dev/console", "/dev/tty", "standard input"] {
            trial.step(format_args!("{name} on {path}"), |child| {
                let opened = if path == "standard input" {
                    Ok(0)
                } else {
                    primitive::open(
                        child,
                        path,
                        libc::O_RDWR | libc::O_NOCTTY | libc::O_NONBLOCK,
                    )
                };
                let descriptor = match opened {
                    Ok(descriptor) => descriptor,
                    Err(errno) => {
                        return Outcome::Refused(
                            errno,
                            Via::call(libc::SYS_openat).path(path, libc::R_OK | libc::W_OK),
                        );
                    }
                };
                match child.call(
                    libc::SYS_ioctl,
                    [descriptor.into(), request.into(), [byte].as_slice().into()],
                ) {
                    Ok(_) => Outcome::Open("the terminal took it".to_owned()),
                    Err(Errno(libc::ENOTTY | libc::EBADF)) => Outcome::Blocked(
                        casemate_core::finding::Layer::MissingNode,
                        "no terminal".to_owned(),
                    ),
                    Err(Errno(libc::EIO | libc::EINVAL)) => Outcome::Blocked(
                        casemate_core::finding::Layer::Kernel,
                        "switched off".to_owned(),
                    ),
                    Err(errno) => Outcome::Refused(
                        errno,
                        Via::call(libc::SYS_ioctl).capability(capability::SYS_ADMIN),
                    ),
                }
            });
        }
    }
}
