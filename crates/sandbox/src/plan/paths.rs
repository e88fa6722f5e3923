//! Paths inside a sandbox: which are plain, which are covered, which devices there are.

use std::path::{Component, Path};

use casemate_core::confinement::DeviceNode;

use super::PlanStageError;

/// Covered by something empty. Docker's list, and what else tells of the host or acts on it.
pub const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/buddyinfo",
    "/proc/bus",
    "/proc/cmdline",
    "/proc/config.gz",
    "/proc/consoles",
    "/proc/diskstats",
    "/proc/driver",
    "/proc/dynamic_debug",
    "/proc/fb",
    "/proc/fs",
    "/proc/interrupts",
    "/proc/iomem",
    "/proc/ioports",
    "/proc/irq",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/key-users",
    "/proc/keys",
    "/proc/kmsg",
    "/proc/kpagecgroup",
    "/proc/kpagecount",
    "/proc/kpageflags",
    "/proc/latency_stats",
    "/proc/mdstat",
    "/proc/modules",
    "/proc/mtrr",
    "/proc/pagetypeinfo",
    "/proc/partitions",
    "/proc/pressure",
    "/proc/sched_debug",
    "/proc/schedstat",
    "/proc/scsi",
    "/proc/slabinfo",
    "/proc/softirqs",
    "/proc/swaps",
    "/proc/sysrq-trigger",
    "/proc/sysvipc",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/tty",
    "/proc/vmallocinfo",
    "/proc/zoneinfo",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

/// Shown, and never written.
pub const READ_ONLY: &[&str] = &["/proc/sys"];

/// Devices that every runtime provides.
const DEVICES: &[(&str, u32, u32)] = &[
    ("/dev/full", 1, 7),
    ("/dev/null", 1, 3),
    ("/dev/random", 1, 8),
    ("/dev/tty", 5, 0),
    ("/dev/urandom", 1, 9),
    ("/dev/zero", 1, 5),
];

pub(super) fn devices() -> Vec<DeviceNode> {
    let node = |(path, major, minor): &(&str, u32, u32)| DeviceNode {
        path: (*path).to_owned(),
        major: *major,
        minor: *minor,
    };
    DEVICES.iter().map(node).collect()
}

/// Devices, and `/proc`, where a thread writes its own name.
pub(super) fn write_existing() -> Vec<String> {
    std::iter::once("/proc")
        .chain(DEVICES.iter().map(|(path, ..)| *path))
        .map(str::to_owned)
        .collect()
}

pub(super) fn owned(paths: &[&str]) -> Vec<String> {
    paths.iter().map(|path| (*path).to_owned()).collect()
}

/// The text of a path that is absolute and has no `.`, `..`, doubled or trailing `/`, or byte that a
/// mount table would have to escape.
pub(super) fn text(path: &Path) -> Result<String, PlanStageError> {
    let text = path.to_string_lossy().into_owned();
    plain(&text)?;
    Ok(text)
}

pub(super) fn plain(path: &str) -> Result<(), PlanStageError> {
    let parsed = Path::new(path);
    let normal = parsed
        .components()
        .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    let rebuilt: std::path::PathBuf = parsed.components().collect();
    let letters = path.chars().all(|letter| {
        !letter.is_control() && !matches!(letter, ' ' | '\\' | ',' | ':' | '\u{fffd}')
    });
    if parsed.is_absolute()
        && normal
        && letters
        && rebuilt.as_os_str() == parsed.as_os_str()
        && path.len() < 4096
    {
        Ok(())
    } else {
        Err(PlanStageError::Path(path.to_owned()))
    }
}
