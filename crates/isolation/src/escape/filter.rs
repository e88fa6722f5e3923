//! Asks what the system call filter and Landlock leave reachable.

use std::net::SocketAddr;

use casemate_core::finding::{Category, Layer};
use casemate_linux::raw::Errno;

use crate::attribute::Via;
use crate::check::Check;
use crate::primitive;
use crate::sweep::{Answer, HIGHEST};
use crate::trial::{Outcome, Trial};

const fn check(id: &'static str, title: &'static str, try_it: fn(&mut Trial<'_>)) -> Check {
    Check::new(Category::Escape, id, title, try_it).techniques(&["T1068"])
}

pub(crate) const CHECKS: &[Check] = &[
    check("ES-24", "a system call filter that refuses what it does not know", filter)
        .tries("the mode in /proc/self/status; a number that no kernel has; how many of all numbers answer")
        .open_means("every bug in every system call of the kernel is reachable")
        .control("getppid() answers, close(-1) gives EBADF"),
    check("ES-48", "classes of system calls that no model server needs", classes)
        .tries("every number from 0 to 534 with arguments that no kernel accepts; the answers are grouped")
        .open_means("the named part of the kernel is reachable attack surface")
        .control("getppid() answers, close(-1) gives EBADF")
        .surface(),
    check("ES-25", "the 32-bit entry point", int80)
        .techniques(&["T1068", "AML.T0107"])
        .tries("getpid by int 0x80; where it answers, socketcall would hide address families behind a pointer")
        .open_means("filters for 64-bit calls are gone around")
        .control("the 64-bit getpid answers"),
    check("ES-53", "the x32 entry point", x32)
        .techniques(&["T1068", "AML.T0107"])
        .tries("getpid with bit 30 of the number set")
        .open_means("filters for 64-bit calls are gone around")
        .control("the 64-bit getpid answers"),
    check("ES-38", "Landlock", landlock)
        .techniques(&["T1068", "AML.T0107"])
        .tries("binding a TCP port that the plan does not grant, and renaming between directories of scratch, which file modes allow; how many layers can be stacked")
        .open_means("file and port rules rest on mounts and modes alone")
        .control("a TCP socket can be made; files can be made in scratch"),
];

fn filter(trial: &mut Trial<'_>) {
    trial.control_calls();
    let status = trial.scene.status.clone();
    trial.step("a filter is installed", |_| match status.seccomp_mode {
        2 => Outcome::Blocked(
            Layer::Seccomp,
            format!("{} filters", status.seccomp_filters),
        ),
        mode => Outcome::Open(format!("mode {mode}")),
    });
    let never = trial.scene.sweep.never();
    trial.step("a number that no kernel has", |_| match never {
        Answer::Killed => Outcome::Blocked(Layer::Seccomp, "the process is killed".to_owned()),
        Answer::Refused(libc::ENOSYS) if status.seccomp_mode == 2 => {
            // The kernel's own answer; a filter may give the same on purpose.
            Outcome::Absent("ENOSYS, which filter and kernel both answer".to_owned())
        }
        Answer::Refused(libc::ENOSYS) => Outcome::Absent("the kernel's own answer".to_owned()),
        Answer::Refused(errno) => Outcome::Blocked(Layer::Seccomp, Errno(errno).to_string()),
        Answer::Reached | Answer::Skipped => Outcome::Unsure("no answer".to_owned()),
    });
    let reached = (0..=HIGHEST)
        .filter(|number| trial.scene.sweep.reaches(*number))
        .count();
    trial.step("numbers from 0 to 534 that reach the kernel", |_| {
        if reached > 350 {
            Outcome::Open(format!("{reached}"))
        } else {
            Outcome::Blocked(Layer::Seccomp, format!("{reached}"))
        }
    });
}

/// Calls that a model server has no use for, by what they reach.
const CLASSES: &[(&str, &[i64])] = &[
    (
        "modules",
        &[
            libc::SYS_init_module,
            libc::SYS_finit_module,
            libc::SYS_delete_module,
        ],
    ),
    (
        "kexec and reboot",
        &[
            libc::SYS_kexec_load,
            libc::SYS_kexec_file_load,
            libc::SYS_reboot,
        ],
    ),
    (
        "mounting",
        &[
            libc::SYS_mount,
            libc::SYS_umount2,
            libc::SYS_pivot_root,
            libc::SYS_fsopen,
            libc::SYS_fsconfig,
            libc::SYS_fsmount,
            libc::SYS_fspick,
            libc::SYS_move_mount,
            libc::SYS_open_tree,
            libc::SYS_mount_setattr,
        ],
    ),
    ("namespaces", &[libc::SYS_unshare, libc::SYS_setns]),
    (
        "tracing other processes",
        &[
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_process_vm_writev,
            libc::SYS_kcmp,
            libc::SYS_pidfd_getfd,
            libc::SYS_process_madvise,
        ],
    ),
    ("eBPF and perf", &[libc::SYS_bpf, libc::SYS_perf_event_open]),
    (
        "asynchronous rings",
        &[
            libc::SYS_io_uring_setup,
            libc::SYS_io_uring_enter,
            libc::SYS_io_uring_register,
        ],
    ),
    ("userfaultfd", &[libc::SYS_userfaultfd]),
    (
        "keyrings",
        &[libc::SYS_keyctl, libc::SYS_add_key, libc::SYS_request_key],
    ),
    (
        "file handles",
        &[libc::SYS_open_by_handle_at, libc::SYS_name_to_handle_at],
    ),
    (
        "watching whole file systems",
        &[libc::SYS_fanotify_init, libc::SYS_fanotify_mark],
    ),
    (
        "clocks",
        &[
            libc::SYS_settimeofday,
            libc::SYS_clock_settime,
            libc::SYS_clock_adjtime,
        ],
    ),
    (
        "swap, quota, accounting",
        &[
            libc::SYS_swapon,
            libc::SYS_swapoff,
            libc::SYS_quotactl,
            libc::SYS_acct,
        ],
    ),
    (
        "processor",
        &[libc::SYS_modify_ldt, libc::SYS_iopl, libc::SYS_ioperm],
    ),
    (
        "page cache plumbing",
        &[libc::SYS_splice, libc::SYS_tee, libc::SYS_vmsplice],
    ),
    (
        "moving pages of processes",
        &[libc::SYS_move_pages, libc::SYS_migrate_pages],
    ),
    (
        "obsolete",
        &[
            libc::SYS_uselib,
            libc::SYS__sysctl,
            libc::SYS_sysfs,
            libc::SYS_ustat,
            libc::SYS_lookup_dcookie,
            libc::SYS_remap_file_pages,
        ],
    ),
];

fn classes(trial: &mut Trial<'_>) {
    trial.control_calls();
    for &(name, numbers) in CLASSES {
        let reached: Vec<String> = numbers
            .iter()
            .filter(|number| trial.scene.sweep.reaches(**number))
            .map(ToString::to_string)
            .collect();
        let absent = numbers
            .iter()
            .all(|number| trial.scene.sweep.answer(*number) == Answer::Refused(libc::ENOSYS));
        let filtered = trial.scene.status.seccomp_mode == 2;
        trial.step(name, |_| {
            if !reached.is_empty() {
                Outcome::Open(format!("numbers {}", reached.join(" ")))
            } else if absent && !filtered {
                Outcome::Absent("this kernel does not have them".to_owned())
            } else if filtered {
                Outcome::Blocked(Layer::Seccomp, String::new())
            } else {
                Outcome::Blocked(
                    Layer::Capability,
                    "refused before arguments are looked at".to_owned(),
                )
            }
        });
    }
}

fn control_pid(trial: &Trial<'_>) -> i64 {
    let own = trial.child.call(libc::SYS_getpid, []);
    trial.control(
        "the 64-bit getpid",
        own.map(|pid| pid.to_string())
            .map_err(|errno| errno.to_string()),
    );
    own.unwrap_or(-1)
}

fn int80(trial: &mut Trial<'_>) {
    let own = control_pid(trial);
    trial.step("getpid by int 0x80", |child| {
        match child.call_i386(20, 0, 0) {
            None => Outcome::Absent("not this processor".to_owned()),
            Some(Ok(pid)) if pid == own => Outcome::Open("it answers".to_owned()),
            Some(Ok(other)) => Outcome::Unsure(format!("it answers {other}")),
            Some(Err(Errno(libc::ENOSYS))) => Outcome::Blocked(Layer::Seccomp, "ENOSYS".to_owned()),
            Some(Err(errno)) => Outcome::Refused(errno, Via::call(libc::SYS_getpid).only_filter()),
        }
    });
}

fn x32(trial: &mut Trial<'_>) {
    let own = control_pid(trial);
    trial.step("getpid with bit 30", |child| {
        match child.call(0x4000_0000 | libc::SYS_getpid, []) {
            Ok(pid) if pid == own => Outcome::Open("it answers".to_owned()),
            Ok(other) => Outcome::Unsure(format!("it answers {other}")),
            Err(Errno(libc::ENOSYS)) => Outcome::Absent("this kernel does not have it".to_owned()),
            Err(errno) => Outcome::Refused(errno, Via::call(libc::SYS_getpid).only_filter()),
        }
    });
}

/// Landlock shows only in what it refuses: one refusal that file modes and namespaces do not explain is
/// enough to say that it is on.
fn landlock(trial: &mut Trial<'_>) {
    let scratch = trial.scene.order.grants.scratch.clone();
    let made = primitive::socket(trial.child, libc::AF_INET, libc::SOCK_STREAM, 0);
    trial.control(
        "a TCP socket",
        made.map(|_| String::new())
            .map_err(|errno| errno.to_string()),
    );
    let port = (40_961..40_999)
        .find(|port| Some(*port) != trial.scene.order.grants.serves)
        .unwrap_or(40_961);
    let mut signs = Vec::new();
    let mut missing = Vec::new();
    if let Ok(socket) = made {
        let address = primitive::socket_address(SocketAddr::from(([127, 0, 0, 1], port)));
        let size = primitive::length(&address);
        match trial.child.call(
            libc::SYS_bind,
            [socket.into(), address.as_slice().into(), size.into()],
        ) {
            Err(Errno(libc::EACCES)) => signs.push("binding an ungranted TCP port is refused"),
            _ => missing.push("any TCP port can be bound"),
        }
    }
    let directory = format!("{scratch}/casemate-probe-ll");
    let (from, to) = (
        format!("{scratch}/casemate-probe-ll-file"),
        format!("{directory}/file"),
    );
    let ready = primitive::mkdir(trial.child, &directory).is_ok()
        && primitive::write_new(trial.child, &from, b"own").is_ok();
    if ready {
        let (old, new) = (primitive::path(&from), primitive::path(&to));
        let here = primitive::HERE;
        match trial.child.call(
            libc::SYS_renameat2,
            [
                here.into(),
                old.as_c_str().into(),
                here.into(),
                new.as_c_str().into(),
                0.into(),
            ],
        ) {
            Err(Errno(libc::EXDEV)) => {
                signs.push("renaming between directories of one mount is refused")
            }
            _ => missing.push("files can be moved between directories"),
        }
    }
    primitive::unlink(trial.child, &from);
    primitive::unlink(trial.child, &to);
    primitive::rmdir(trial.child, &directory);
    match layers_left(trial) {
        Some(left) if left < 16 => signs.push("layers are already stacked"),
        Some(_) => missing.push("sixteen layers can be stacked"),
        None => {}
    }
    trial.step("a sign of Landlock", |_| {
        if signs.is_empty() {
            Outcome::Open(missing.join("; "))
        } else {
            Outcome::Blocked(Layer::Landlock, signs.join("; "))
        }
    });
}

/// How many more layers the kernel lets this process stack; sixteen when it has none.
fn layers_left(trial: &Trial<'_>) -> Option<u32> {
    let nnp = trial.child.call(
        libc::SYS_prctl,
        [
            libc::PR_SET_NO_NEW_PRIVS.into(),
            1.into(),
            0.into(),
            0.into(),
            0.into(),
        ],
    );
    if nnp.is_err() && !trial.scene.status.no_new_privs {
        return None;
    }
    // Handles only the making of block devices, which is of no use here anyway.
    let mut rules = [0_u8; 8];
    if let Some(second) = rules.get_mut(1) {
        *second = 8;
    }
    let mut stacked = 0;
    for _ in 0..16 {
        let ruleset = trial
            .child
            .call(
                libc::SYS_landlock_create_ruleset,
                [rules.as_slice().into(), 8.into(), 0.into()],
            )
            .ok()?;
        let restricted = trial
            .child
            .call(libc::SYS_landlock_restrict_self, [ruleset.into(), 0.into()]);
        primitive::close(trial.child, ruleset);
        match restricted {
            Ok(_) => stacked += 1,
            Err(Errno(libc::E2BIG)) => return Some(stacked),
            Err(_) => return None,
        }
    }
    Some(stacked)
}
