//! Tries memory beyond the stage's own processes: the machine's, what crashes leave, the canary outside.

use std::fs;

use casemate_core::finding::{Category, Layer, sha256_hex};

use super::{SECRET, peek};
use crate::attribute::Via;
use crate::check::Check;
use crate::lateral;
use crate::primitive;
use crate::trial::{Outcome, Trial};

const fn check(id: &'static str, title: &'static str, try_it: fn(&mut Trial<'_>)) -> Check {
    Check::new(Category::Memory, id, title, try_it)
}

pub(crate) const CHECKS: &[Check] = &[
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
        .tries("/proc/swaps and the SwapTotal of /proc/meminfo are read")
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
    trial.step("/proc/swaps and /proc/meminfo", |child| {
        let read = |path| primitive::read_file(child, path, 4_096).unwrap_or_default();
        judge_swap(&read("/proc/swaps"), &read("/proc/meminfo"))
    });
}

/// Sandboxes cover the table of swap areas with something empty, which says nothing about them; the
/// sum of their sizes is told in another place.
fn judge_swap(swaps: &[u8], memory: &[u8]) -> Outcome {
    let (swaps, memory) = (
        String::from_utf8_lossy(swaps),
        String::from_utf8_lossy(memory),
    );
    let areas = swaps
        .starts_with("Filename")
        .then(|| swaps.lines().skip(1).count());
    let total = memory.lines().find_map(|line| {
        let size = line.strip_prefix("SwapTotal:")?.split_whitespace().next()?;
        size.parse::<u64>().ok()
    });
    match (areas, total) {
        (Some(0), None | Some(0)) | (None, Some(0)) => {
            Outcome::Blocked(Layer::MissingNode, "the host has no swap".to_owned())
        }
        (None, None) => Outcome::Unsure("neither shows whether the host has swap".to_owned()),
        (Some(_), _) | (None, Some(_)) => Outcome::Unsure(
            "the host has swap; the group's limit on it shows only outside".to_owned(),
        ),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_covered_table_of_swap_areas_is_no_proof_that_there_is_none() {
        let header = b"Filename\tType\tSize\tUsed\tPriority\n".as_slice();
        let area = b"Filename\tType\tSize\tUsed\tPriority\n/dev/sda2 partition 9 0 -2\n".as_slice();
        let none = b"MemFree: 1 kB\nSwapTotal:       0 kB\n".as_slice();
        let some = b"SwapTotal: 2097148 kB\n".as_slice();
        for (swaps, memory) in [(header, none), (b"", none), (header, b"")] {
            let outcome = judge_swap(swaps, memory);
            assert!(
                matches!(outcome, Outcome::Blocked(..)),
                "{swaps:?} {memory:?}"
            );
        }
        for (swaps, memory) in [
            (b"".as_slice(), some),
            (b"", b""),
            (area, some),
            (area, none),
            (header, some),
        ] {
            let outcome = judge_swap(swaps, memory);
            assert!(
                matches!(outcome, Outcome::Unsure(_)),
                "{swaps:?} {memory:?}"
            );
        }
    }
}
