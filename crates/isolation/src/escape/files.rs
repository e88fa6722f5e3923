//! Looks for files of the kernel and the host that a stage must not read or write. Files are opened,
//! never written.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};

use casemate_core::finding::{Category, Layer, sha256_hex};

use crate::attribute::Via;
use crate::check::Check;
use crate::primitive;
use crate::trial::{Outcome, Trial};

const fn check(id: &'static str, title: &'static str, try_it: fn(&mut Trial<'_>)) -> Check {
    Check::new(Category::Escape, id, title, try_it).techniques(&["T1611"])
}

pub(crate) const CHECKS: &[Check] = &[
    check("ES-09", "programs that the kernel starts on the host", kernel_helpers)
        .techniques(&["T1611", "T1068"])
        .tries("core_pattern, modprobe, hotplug, uevent_helper, binfmt_misc and others are opened for writing")
        .open_means("the kernel can be told to run a program of the stage as root of the host")
        .control("/dev/null opens for writing"),
    check("ES-10", "settings of the whole kernel", kernel_settings)
        .techniques(&["T1529"])
        .tries("every file under /proc/sys but the network's, and /proc/sysrq-trigger, is opened for writing")
        .open_means("the stage can change the host's kernel, or stop it")
        .control("/dev/null opens for writing"),
    check("ES-11", "files of /sys", sysfs)
        .tries("/sys is walked: files that open for writing, and directories that should be hidden")
        .open_means("devices, tracing or firmware of the host can be changed or read")
        .control("/dev/null opens for writing"),
    check("ES-13", "device nodes", devices)
        .techniques(&["T1611", "T1120"])
        .tries("everything under /dev is compared with the few nodes that a server needs")
        .open_means("the stage can use a device that nobody granted")
        .control("/dev/null is character device 1:3"),
    check("ES-28", "programs of the launcher and the runtime", launcher_programs)
        .tries("/proc/1/exe and /proc/self/exe are opened for writing (CVE-2019-5736)")
        .open_means("the stage can replace the program that starts the next stage")
        .control("an own file in scratch opens for writing"),
    check("ES-29", "masked paths", masked)
        .tries("paths that show the kernel are read; masks are checked to be what they claim (CVE-2025-31133)")
        .open_means("memory layout, keys or hardware of the host can be read")
        .control("/proc/self/status is read"),
    check("ES-35", "the kernel's log and symbols", kernel_information)
        .techniques(&["T1082"])
        .tries("syslog(), /dev/kmsg, addresses in /proc/kallsyms, sections of /sys/kernel")
        .open_means("exploits learn where the kernel's code lies")
        .control("/proc/self/status is read"),
    check("ES-50", "files of the host", host_files)
        .techniques(&["T1611", "T1005", "AML.T0105"])
        .tries("the witness's files and the launcher's own paths are opened, directly and through /proc/*/root and /proc/*/cwd")
        .open_means("the stage reads the host's disk: keys, sealed models, other stages")
        .control("an own file in scratch is read back"),
];

/// The control of checks that open files for writing.
pub(crate) fn control_null(trial: &Trial<'_>) {
    let opened = primitive::open_for_writing(trial.child, "/dev/null");
    trial.control(
        "/dev/null opens for writing",
        opened
            .map(|_| String::new())
            .map_err(|errno| errno.to_string()),
    );
}

fn control_status(trial: &Trial<'_>) {
    let own = primitive::read_file(trial.child, "/proc/self/status", 64);
    trial.control(
        "/proc/self/status is read",
        own.map(|_| String::new())
            .map_err(|errno| errno.to_string()),
    );
}

fn kernel_helpers(trial: &mut Trial<'_>) {
    control_null(trial);
    for path in [
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/modprobe",
        "/proc/sys/kernel/hotplug",
        "/proc/sys/kernel/poweroff_cmd",
        "/proc/sys/kernel/usermodehelper/bset",
        "/proc/sys/fs/binfmt_misc/register",
        "/proc/sys/vm/panic_on_oom",
        "/sys/kernel/uevent_helper",
        "/sys/kernel/debug",
        "/sys/kernel/security",
    ] {
        try_writing(trial, path);
    }
}

/// Takes one step: opens `path` for writing and closes it again. A mask takes writes and keeps none.
pub(crate) fn try_writing(trial: &mut Trial<'_>, path: &str) {
    if primitive::is_mask(path) {
        trial.step(path, |_| {
            Outcome::Blocked(Layer::MountFlag, "masked".to_owned())
        });
        return;
    }
    let via = Via::call(libc::SYS_openat)
        .path(path, libc::W_OK)
        .kernel(&[libc::EISDIR]);
    let _refused = trial.attempt(path, via, |child| primitive::open_for_writing(child, path));
}

/// Regular files below `root`, at most `limit` of them, without following links.
fn walk(root: &str, limit: usize, skip: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        let Ok(entries) = fs::read_dir(&directory) else {
            continue;
        };
        for entry in entries.flatten() {
            let path = entry.path().to_string_lossy().into_owned();
            if skip.contains(&path.as_str()) {
                continue;
            }
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            if kind.is_dir() {
                open.push(path);
            } else if kind.is_file() {
                found.push(path);
            }
            if found.len() >= limit {
                return found;
            }
        }
    }
    found
}

/// Opens each of `paths` for writing and judges all of them as one step.
fn writable(trial: &mut Trial<'_>, tried: &str, paths: &[String]) {
    if paths.is_empty() {
        trial.step(tried, |_| {
            Outcome::Blocked(Layer::MissingNode, "nothing there".to_owned())
        });
        return;
    }
    trial.step(tried, |child| {
        let mut open = Vec::new();
        let mut refusal = None;
        for path in paths {
            match primitive::open_for_writing(child, path) {
                Ok(_) if primitive::is_mask(path) => {}
                Ok(_) => open.push(path.as_str()),
                Err(errno) => refusal = refusal.or(Some((path, errno))),
            }
        }
        match (open.is_empty(), refusal) {
            (false, _) => {
                open.truncate(5);
                Outcome::Open(open.join(" "))
            }
            (true, Some((path, errno))) => {
                Outcome::Refused(errno, Via::call(libc::SYS_openat).path(path, libc::W_OK))
            }
            (true, None) => Outcome::Unsure("nothing was tried".to_owned()),
        }
    });
}

fn kernel_settings(trial: &mut Trial<'_>) {
    control_null(trial);
    // The network's settings belong to the namespace; another check asks for them.
    let settings = walk("/proc/sys", 4_000, &["/proc/sys/net"]);
    writable(
        trial,
        &format!("{} files under /proc/sys", settings.len()),
        &settings,
    );
    for path in [
        "/proc/sysrq-trigger",
        "/proc/irq/default_smp_affinity",
        "/proc/mtrr",
        "/proc/asound",
        "/proc/bus/pci",
    ] {
        // A mask is the null device, which opens for writing and leads nowhere.
        if is_null_device(path) {
            trial.step(path, |_| {
                Outcome::Blocked(Layer::MountFlag, "masked by the null device".to_owned())
            });
            continue;
        }
        try_writing(trial, path);
    }
}

fn is_null_device(path: &str) -> bool {
    fs::metadata(path).is_ok_and(|found| {
        found.file_type().is_char_device() && found.rdev() == libc::makedev(1, 3)
    })
}

fn sysfs(trial: &mut Trial<'_>) {
    control_null(trial);
    let files = walk("/sys", 6_000, &[]);
    if files.is_empty() && fs::symlink_metadata("/sys/kernel").is_ok() {
        trial.step("files under /sys", |_| {
            Outcome::Blocked(Layer::Landlock, "mounted, but cannot be listed".to_owned())
        });
    } else {
        writable(trial, &format!("{} files under /sys", files.len()), &files);
    }
    for directory in [
        "/sys/firmware",
        "/sys/kernel/debug",
        "/sys/kernel/tracing",
        "/sys/fs/bpf",
        "/sys/firmware/efi/efivars",
        "/sys/bus/pci/devices",
        "/sys/module",
    ] {
        trial.step(directory, |_| {
            match fs::read_dir(directory).map(Iterator::count) {
                Ok(0) => Outcome::Blocked(Layer::MountFlag, "empty or masked".to_owned()),
                Ok(count) => Outcome::Open(format!("{count} entries")),
                Err(_) => Outcome::Blocked(Layer::MissingNode, String::new()),
            }
        });
    }
}

const EXPECTED_NODES: &[&str] = &[
    "null", "zero", "full", "random", "urandom", "tty", "ptmx", "console",
];

#[rustfmt::skip]
const WELL_KNOWN_NODES: &[&str] = &[
    "mem", "kmem", "port", "kmsg", "kvm", "fuse", "net/tun", "loop-control", "loop0", "vhost-net",
    "vhost-vsock", "vsock", "uinput", "userfaultfd", "ppp", "rtc0", "hpet", "cpu_dma_latency",
    "mapper/control", "sda", "vda", "xvda", "nvme0", "nvme0n1", "dri/card0", "dri/renderD128",
    "vfio/vfio", "infiniband/uverbs0", "nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm",
    "nvidia-uvm-tools", "nvidia-modeset", "snd/seq", "input/event0", "hwrng", "autofs", "btrfs-control",
];

fn devices(trial: &mut Trial<'_>) {
    let null =
        fs::metadata("/dev/null").map(|found| (found.rdev(), found.file_type().is_char_device()));
    trial.control(
        "/dev/null is character device 1:3",
        match null {
            Ok((primitive::NULL_DEVICE, true)) => Ok(String::new()),
            Ok((device, _)) => Err(format!("device {device:#x}")),
            Err(error) => Err(error.to_string()),
        },
    );
    let mut strange = Vec::new();
    let mut open = vec!["/dev".to_owned()];
    let mut seen = 0;
    while let Some(directory) = open.pop() {
        for name in primitive::names(&directory) {
            let path = format!("{directory}/{name}");
            let Ok(found) = fs::symlink_metadata(&path) else {
                continue;
            };
            let kind = found.file_type();
            if kind.is_dir() && open.len() < 100 && name != "pts" {
                open.push(path);
            } else if kind.is_char_device() || kind.is_block_device() {
                seen += 1;
                if directory != "/dev" || !EXPECTED_NODES.contains(&name.as_str()) {
                    strange.push(path);
                }
            }
        }
    }
    let listed = fs::read_dir("/dev").is_ok();
    // Where the directory cannot be listed, an attacker still asks for names; looking is not refused.
    for name in WELL_KNOWN_NODES.iter().filter(|_| !listed) {
        let path = format!("/dev/{name}");
        seen += usize::from(
            fs::symlink_metadata(&path)
                .map(|_| strange.push(path))
                .is_ok(),
        );
    }
    let how = if listed {
        "listed"
    } else {
        "asked for by name, as /dev cannot be listed"
    };
    trial.step(format_args!("{seen} device nodes, {how}"), |_| {
        if strange.is_empty() {
            Outcome::Blocked(Layer::MissingNode, "none but the expected ones".to_owned())
        } else {
            strange.truncate(10);
            Outcome::Open(strange.join(" "))
        }
    });
    for path in [
        "/dev/mem",
        "/dev/kmem",
        "/dev/port",
        "/dev/kvm",
        "/dev/fuse",
        "/dev/net/tun",
        "/dev/vhost-vsock",
        "/dev/loop-control",
        "/dev/mapper/control",
    ] {
        let via = Via::call(libc::SYS_openat).path(path, libc::R_OK);
        let _refused = trial.attempt(path, via, |child| {
            primitive::open(child, path, libc::O_RDONLY | libc::O_NONBLOCK)
        });
    }
}

fn launcher_programs(trial: &mut Trial<'_>) {
    let own = format!(
        "{}/casemate-probe-{}",
        trial.scene.order.grants.scratch, trial.check
    );
    let made = primitive::write_new(trial.child, &own, b"own")
        .and_then(|()| primitive::open_for_writing(trial.child, &own));
    primitive::unlink(trial.child, &own);
    trial.control(
        "an own file opens for writing",
        made.map(|_| String::new())
            .map_err(|errno| errno.to_string()),
    );
    for path in ["/proc/1/exe", "/proc/self/exe"] {
        // A running program is never writable; that its mount is not either is asked of its path.
        let via = Via::call(libc::SYS_openat).path(path, libc::W_OK).process();
        let _refused = trial.attempt(path, via, |child| primitive::open_for_writing(child, path));
    }
}

fn masked(trial: &mut Trial<'_>) {
    control_status(trial);
    for path in [
        "/proc/kcore",
        "/proc/keys",
        "/proc/key-users",
        "/proc/latency_stats",
        "/proc/timer_list",
        "/proc/sched_debug",
        "/proc/kpagecount",
        "/proc/kpageflags",
        "/proc/vmallocinfo",
        "/proc/slabinfo",
        "/proc/iomem",
        "/proc/ioports",
    ] {
        trial.step(path, |child| match primitive::read_file(child, path, 64) {
            Ok(content) if content.iter().all(|byte| *byte == 0) => {
                Outcome::Blocked(Layer::MountFlag, "masked".to_owned())
            }
            // Without privilege the kernel shows these with every address as zero.
            Ok(content) if content.starts_with(b"00000000-0") && path.ends_with("iomem") => {
                Outcome::Blocked(Layer::Capability, "addresses are hidden".to_owned())
            }
            Ok(content) if content.starts_with(b"0000-0000") => {
                Outcome::Blocked(Layer::Capability, "addresses are hidden".to_owned())
            }
            Ok(_) => Outcome::Open("readable".to_owned()),
            Err(errno) => {
                Outcome::Refused(errno, Via::call(libc::SYS_openat).path(path, libc::R_OK))
            }
        });
    }
    for path in [
        "/proc/acpi",
        "/proc/scsi",
        "/proc/asound",
        "/sys/firmware",
        "/sys/devices/virtual/powercap",
    ] {
        trial.step(path, |_| match fs::read_dir(path).map(Iterator::count) {
            Ok(0) => Outcome::Blocked(Layer::MountFlag, "empty".to_owned()),
            Ok(count) => Outcome::Open(format!("{count} entries")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Outcome::Blocked(Layer::MissingNode, String::new())
            }
            Err(_) => Outcome::Blocked(Layer::Dac, "cannot be listed".to_owned()),
        });
    }
}

fn kernel_information(trial: &mut Trial<'_>) {
    control_status(trial);
    let via = Via::call(libc::SYS_syslog).capability(super::capability::SYSLOG);
    let _refused = trial.attempt("syslog: size of the log", via, |child| {
        child.call(libc::SYS_syslog, [10.into(), 0.into(), 0.into()])
    });
    let via = Via::call(libc::SYS_openat).path("/dev/kmsg", libc::R_OK);
    let _refused = trial.attempt("/dev/kmsg", via, |child| {
        primitive::open(child, "/dev/kmsg", libc::O_RDONLY | libc::O_NONBLOCK)
    });
    trial.step(
        "addresses in /proc/kallsyms",
        |child| match primitive::read_file(child, "/proc/kallsyms", 4_096) {
            Ok(content) if content.is_empty() => {
                Outcome::Blocked(Layer::MountFlag, "masked".to_owned())
            }
            Ok(content) => {
                let hidden = content
                    .split(|byte| *byte == b'\n')
                    .filter_map(|line| line.get(..16))
                    .all(|address| address.iter().all(|digit| *digit == b'0'));
                if hidden {
                    Outcome::Blocked(Layer::Capability, "all are zero".to_owned())
                } else {
                    Outcome::Open("addresses are shown".to_owned())
                }
            }
            Err(errno) => Outcome::Refused(
                errno,
                Via::call(libc::SYS_openat).path("/proc/kallsyms", libc::R_OK),
            ),
        },
    );
    for path in [
        "/sys/kernel/notes",
        "/sys/kernel/vmcoreinfo",
        "/sys/kernel/btf/vmlinux",
    ] {
        let via = Via::call(libc::SYS_openat).path(path, libc::R_OK);
        let _refused = trial.attempt(path, via, |child| {
            primitive::open(child, path, libc::O_RDONLY)
        });
    }
}

fn host_files(trial: &mut Trial<'_>) {
    let own = format!(
        "{}/casemate-probe-{}",
        trial.scene.order.grants.scratch, trial.check
    );
    let read = primitive::write_new(trial.child, &own, b"own")
        .and_then(|()| primitive::read_file(trial.child, &own, 16));
    primitive::unlink(trial.child, &own);
    trial.control(
        "an own file is read back",
        match read {
            Ok(content) if content == b"own" => Ok(String::new()),
            Ok(_) => Err("something else came back".to_owned()),
            Err(errno) => Err(errno.to_string()),
        },
    );
    let files = trial.scene.order.canaries.files.clone();
    if files.is_empty() {
        trial.step("no canary was named", |_| Outcome::Unsure(String::new()));
    }
    let mut roots = vec![
        String::new(),
        "/proc/self/root".to_owned(),
        "/proc/1/root".to_owned(),
        "/proc/1/cwd/../../../../..".to_owned(),
    ];
    roots.extend(
        primitive::names("/proc")
            .into_iter()
            .filter_map(|name| name.parse::<u32>().ok())
            .filter(|pid| *pid > 1)
            .take(8)
            .map(|pid| format!("/proc/{pid}/root")),
    );
    for file in files {
        for root in &roots {
            let path = format!("{root}{}", file.path);
            let via = Via::call(libc::SYS_openat)
                .path(&path, libc::R_OK)
                .process();
            trial.step(&path, |child| {
                match primitive::read_file(child, &path, 4_096) {
                    Ok(content) if sha256_hex(&content) == file.sha256 => {
                        Outcome::Open("the witness's content was read".to_owned())
                    }
                    Ok(_) => {
                        Outcome::Blocked(Layer::MissingNode, "a file of the stage's own".to_owned())
                    }
                    Err(errno) => Outcome::Refused(errno, via),
                }
            });
        }
    }
    for path in trial.scene.order.canaries.hidden_paths.clone() {
        trial.step(
            format_args!("the launcher's {path}"),
            |_| match fs::symlink_metadata(&path) {
                Ok(_) => Outcome::Open("it is there".to_owned()),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    Outcome::Blocked(Layer::MissingNode, String::new())
                }
                Err(error) => Outcome::Blocked(Layer::Dac, error.to_string()),
            },
        );
    }
}
