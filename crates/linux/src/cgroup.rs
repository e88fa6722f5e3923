//! Control groups, of either version: limits, statistics, stopping all members at once.
//!
//! A [`Group`] has the same path in every hierarchy. On a machine with separate hierarchies
//! (version 1) each controller has its own directory; with the unified one (version 2) there is
//! one. Which it is, is read from the mount table.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::mount;
use crate::process::{self, Signal};

/// The controllers that are used here.
const CONTROLLERS: [&str; 5] = ["cpu", "cpuacct", "freezer", "memory", "pids"];

/// The control group hierarchies of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hierarchy {
    /// One directory for each controller.
    Separate(BTreeMap<String, PathBuf>),
    /// One directory for all.
    Unified(PathBuf),
}

/// What the members of a group may use together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory, with page cache and shared memory.
    pub memory_bytes: Option<u64>,
    /// Bytes of swap beside them. Read where the kernel counts it; always set to none.
    pub swap_bytes: Option<u64>,
    /// Processes and threads.
    pub processes: Option<u64>,
    /// Processors, in thousandths of one.
    pub milli_cpus: Option<u64>,
}

/// What the members of a group use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// How often the kernel had to kill a member for memory.
    pub memory_kills: u64,
    /// Processes and threads.
    pub processes: u64,
    /// Time spent on processors.
    pub cpu: Duration,
}

/// A control group.
#[derive(Clone, Debug)]
pub struct Group {
    hierarchy: Hierarchy,
    path: PathBuf,
}

impl Hierarchy {
    /// What this machine has. The unified hierarchy counts when it controls memory.
    ///
    /// # Errors
    /// When no control groups are mounted.
    pub fn detect() -> io::Result<Self> {
        let mounts = mount::list(Path::new("/"))?;
        let unified = mounts.iter().find(|mount| mount.file_system == "cgroup2");
        if let Some(unified) = unified {
            let controllers = fs::read_to_string(unified.point.join("cgroup.controllers"))?;
            if controllers
                .split_ascii_whitespace()
                .any(|name| name == "memory")
            {
                return Ok(Self::Unified(unified.point.clone()));
            }
        }
        let mut separate = BTreeMap::new();
        for mount in mounts.iter().filter(|mount| mount.file_system == "cgroup") {
            for name in CONTROLLERS {
                if mount.super_options.iter().any(|option| option == name) {
                    separate.insert(name.to_owned(), mount.point.clone());
                }
            }
        }
        if separate.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "no control groups are mounted",
            ));
        }
        Ok(Self::Separate(separate))
    }

    /// Whether it is version 2.
    #[must_use]
    pub const fn unified(&self) -> bool {
        matches!(self, Self::Unified(_))
    }
}

impl Group {
    /// The group at `path`, relative to the root of each hierarchy, whether it exists or not.
    ///
    /// # Errors
    /// When no control groups are mounted.
    pub fn at(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        let path = path.strip_prefix("/").unwrap_or(path).to_owned();
        Ok(Self {
            hierarchy: Hierarchy::detect()?,
            path,
        })
    }

    /// Makes the group in every hierarchy. One that exists is kept.
    ///
    /// # Errors
    /// When privilege is missing.
    pub fn create(&self) -> io::Result<()> {
        if let Hierarchy::Unified(root) = &self.hierarchy {
            delegate(root, &self.path)?;
        }
        self.directories().iter().try_for_each(fs::create_dir_all)
    }

    /// Whether the group exists in any hierarchy.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.directories()
            .iter()
            .any(|directory| directory.is_dir())
    }

    /// Sets limits; swap is forbidden together with a limit on memory.
    ///
    /// # Errors
    /// When a controller is missing or refuses.
    pub fn limit(&self, limits: &Limits) -> io::Result<()> {
        let unified = self.hierarchy.unified();
        if let Some(bytes) = limits.memory_bytes {
            if unified {
                self.write("memory", "memory.max", &bytes.to_string())?;
                self.write_if_there("memory", "memory.swap.max", "0")?;
            } else {
                self.write("memory", "memory.limit_in_bytes", &bytes.to_string())?;
                self.write_if_there("memory", "memory.memsw.limit_in_bytes", &bytes.to_string())?;
                self.write_if_there("memory", "memory.swappiness", "0")?;
            }
        }
        if let Some(count) = limits.processes {
            self.write("pids", "pids.max", &count.to_string())?;
        }
        if let Some(milli) = limits.milli_cpus {
            let quota = milli.saturating_mul(PERIOD_MICROSECONDS) / 1000;
            if unified {
                self.write("cpu", "cpu.max", &format!("{quota} {PERIOD_MICROSECONDS}"))?;
            } else {
                self.write("cpu", "cpu.cfs_period_us", &PERIOD_MICROSECONDS.to_string())?;
                self.write("cpu", "cpu.cfs_quota_us", &quota.to_string())?;
            }
        }
        Ok(())
    }

    /// The limits that are in force, whoever set them.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn limits(&self) -> io::Result<Limits> {
        let unified = self.hierarchy.unified();
        let memory = if unified {
            "memory.max"
        } else {
            "memory.limit_in_bytes"
        };
        // Version 1 says "no limit" with the largest number of pages that fits.
        let bounded = |bytes: &u64| *bytes < 1 << 60;
        let memory_bytes = number(&self.read("memory", memory)?).filter(bounded);
        let swap_bytes = if unified {
            self.read_if_there("memory", "memory.swap.max")?
                .and_then(|text| number(&text))
        } else {
            // Here the limit is one on memory and swap together.
            self.read_if_there("memory", "memory.memsw.limit_in_bytes")?
                .and_then(|text| number(&text))
                .filter(bounded)
                .map(|both| both.saturating_sub(memory_bytes.unwrap_or(both)))
        };
        let processes = number(&self.read("pids", "pids.max")?);
        let (quota, period) = if unified {
            let text = self.read("cpu", "cpu.max")?;
            let mut parts = text.split_ascii_whitespace();
            (parts.next().and_then(number), parts.next().and_then(number))
        } else {
            let quota = self.read("cpu", "cpu.cfs_quota_us")?;
            (
                number(&quota),
                number(&self.read("cpu", "cpu.cfs_period_us")?),
            )
        };
        let milli_cpus = match (quota, period) {
            (Some(quota), Some(period)) => quota.saturating_mul(1000).checked_div(period),
            _ => None,
        };
        Ok(Limits {
            memory_bytes,
            swap_bytes,
            processes,
            milli_cpus,
        })
    }

    /// What the members use.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn statistics(&self) -> io::Result<Statistics> {
        let unified = self.hierarchy.unified();
        let memory = if unified {
            "memory.current"
        } else {
            "memory.usage_in_bytes"
        };
        let kills = if unified {
            "memory.events"
        } else {
            "memory.oom_control"
        };
        let cpu = if unified {
            Duration::from_micros(field(&self.read("cpu", "cpu.stat")?, "usage_usec"))
        } else {
            Duration::from_nanos(number(&self.read("cpuacct", "cpuacct.usage")?).unwrap_or(0))
        };
        Ok(Statistics {
            memory_bytes: number(&self.read("memory", memory)?).unwrap_or(0),
            memory_kills: field(&self.read("memory", kills)?, "oom_kill"),
            processes: number(&self.read("pids", "pids.current")?).unwrap_or(0),
            cpu,
        })
    }

    /// Descriptors through which a process joins the group by writing `0`; for
    /// [`crate::process::Command::cgroup`].
    ///
    /// # Errors
    /// When the group does not exist.
    pub fn doors(&self) -> io::Result<Vec<OwnedFd>> {
        let open = |directory: PathBuf| {
            let file = OpenOptions::new()
                .write(true)
                .open(directory.join("cgroup.procs"))?;
            Ok(File::into(file))
        };
        self.directories().into_iter().map(open).collect()
    }

    /// The ids of the member processes.
    ///
    /// # Errors
    /// When the group does not exist.
    pub fn members(&self) -> io::Result<Vec<i32>> {
        let mut members = Vec::new();
        for directory in self.directories() {
            match fs::read_to_string(directory.join("cgroup.procs")) {
                Ok(text) => {
                    members.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()))
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        members.sort_unstable();
        members.dedup();
        Ok(members)
    }

    /// Stops every member where it is.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn freeze(&self) -> io::Result<()> {
        self.set_frozen(true)
    }

    /// Lets every member go on.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn thaw(&self) -> io::Result<()> {
        self.set_frozen(false)
    }

    fn set_frozen(&self, frozen: bool) -> io::Result<()> {
        match (&self.hierarchy, frozen) {
            (Hierarchy::Unified(_), true) => self.write("freezer", "cgroup.freeze", "1"),
            (Hierarchy::Unified(_), false) => self.write("freezer", "cgroup.freeze", "0"),
            (Hierarchy::Separate(_), true) => self.write("freezer", "freezer.state", "FROZEN"),
            (Hierarchy::Separate(_), false) => self.write("freezer", "freezer.state", "THAWED"),
        }
    }

    /// Kills every member, also those that are made meanwhile, and waits until there are none.
    ///
    /// # Errors
    /// `TimedOut` when members are left after `longest`.
    pub fn kill_all(&self, longest: Duration) -> io::Result<()> {
        let began = Instant::now();
        let unified_kill =
            self.hierarchy.unified() && self.write("freezer", "cgroup.kill", "1").is_ok();
        loop {
            let members = self.members()?;
            if members.is_empty() {
                return Ok(());
            }
            if !unified_kill {
                self.kill_frozen(&members);
            }
            if began.elapsed() > longest {
                let left = format!("{} processes do not end", members.len());
                return Err(io::Error::new(io::ErrorKind::TimedOut, left));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Version 1 has no killing of a whole group; frozen members cannot make new ones meanwhile.
    fn kill_frozen(&self, members: &[i32]) {
        let frozen = self.freeze();
        for pid in self.members().as_deref().unwrap_or(members) {
            // One that has ended meanwhile is what was wanted.
            if let Ok(process) = process::open(*pid) {
                drop(process::signal(&process, Signal::KILL));
            }
        }
        if frozen.is_ok() {
            drop(self.thaw());
        }
    }

    /// Removes the group and its subgroups, which must have no members.
    ///
    /// # Errors
    /// `ResourceBusy` when there are members. A group that does not exist is no error.
    pub fn remove(&self) -> io::Result<()> {
        self.directories()
            .iter()
            .try_for_each(|directory| remove_tree(directory))
    }

    fn directories(&self) -> Vec<PathBuf> {
        match &self.hierarchy {
            Hierarchy::Unified(root) => vec![root.join(&self.path)],
            Hierarchy::Separate(roots) => {
                let mut all: Vec<PathBuf> =
                    roots.values().map(|root| root.join(&self.path)).collect();
                all.sort();
                all.dedup();
                all
            }
        }
    }

    fn file(&self, controller: &str, name: &str) -> io::Result<PathBuf> {
        let root = match &self.hierarchy {
            Hierarchy::Unified(root) => root,
            Hierarchy::Separate(roots) => roots.get(controller).ok_or_else(|| {
                let reason = format!("no control group hierarchy has `{controller}`");
                io::Error::new(io::ErrorKind::NotFound, reason)
            })?,
        };
        Ok(root.join(&self.path).join(name))
    }

    fn read(&self, controller: &str, name: &str) -> io::Result<String> {
        fs::read_to_string(self.file(controller, name)?)
    }

    fn read_if_there(&self, controller: &str, name: &str) -> io::Result<Option<String>> {
        match self.read(controller, name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        }
    }

    fn write(&self, controller: &str, name: &str, value: &str) -> io::Result<()> {
        fs::write(self.file(controller, name)?, value)
    }

    fn write_if_there(&self, controller: &str, name: &str, value: &str) -> io::Result<()> {
        match self.write(controller, name, value) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            other => other,
        }
    }
}

/// Removes a group that has neither members nor subgroups from every hierarchy of this machine,
/// also from those that are not used here. Where it is in use, or not there, nothing happens.
///
/// # Errors
/// When it cannot be looked at, or cannot be removed for another reason.
pub fn remove_unused(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref();
    let path = path.strip_prefix("/").unwrap_or(path);
    let mounts = mount::list(Path::new("/"))?;
    for mount in mounts
        .iter()
        .filter(|mount| mount.file_system.starts_with("cgroup"))
    {
        match fs::remove_dir(mount.point.join(path)) {
            Ok(()) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound
                        | io::ErrorKind::ResourceBusy
                        | io::ErrorKind::DirectoryNotEmpty
                ) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// In version 2 a group has the controllers that each group above it hands down.
fn delegate(root: &Path, path: &Path) -> io::Result<()> {
    let mut group = root.to_owned();
    for part in path.components() {
        for controller in ["+cpu", "+memory", "+pids"] {
            fs::write(group.join("cgroup.subtree_control"), controller)?;
        }
        group.push(part);
        fs::create_dir_all(&group)?;
    }
    Ok(())
}

fn remove_tree(directory: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(directory)
}

fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

fn field(text: &str, name: &str) -> u64 {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(key, _)| *key == name)
        .and_then(|(_, value)| number(value))
        .unwrap_or(0)
}

const PERIOD_MICROSECONDS: u64 = 100_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Command;

    fn group(name: &str) -> Option<Group> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root");
            return None;
        }
        let group = Group::at(format!("casemate-test-{}-{name}", std::process::id()));
        match group {
            Ok(group) => Some(group),
            Err(error) => {
                println!("skipped: {error}");
                None
            }
        }
    }

    #[test]
    fn limits_that_are_set_are_in_force() {
        let Some(group) = group("limits") else { return };
        group.create().unwrap();
        let limits = Limits {
            memory_bytes: Some(64 << 20),
            swap_bytes: Some(0),
            processes: Some(17),
            milli_cpus: Some(1500),
        };
        let set = group.limit(&limits);
        let found = group.limits();
        group.remove().unwrap();
        set.unwrap();
        let found = found.unwrap();
        // Kernels that do not count swap have no file for it.
        let swap_bytes = found.swap_bytes.and(limits.swap_bytes);
        assert_eq!(
            found,
            Limits {
                swap_bytes,
                ..limits
            }
        );
        assert!(!group.exists());
    }

    #[test]
    fn all_members_are_killed_together() {
        let Some(group) = group("kill") else { return };
        group.create().unwrap();
        let mut command = Command::new("/bin/sh");
        command
            .argument("-c")
            .argument("sleep 60 & sleep 60 & wait");
        command.variable("PATH", "/usr/bin:/bin");
        for door in group.doors().unwrap() {
            command.cgroup(door);
        }
        let child = command.spawn().unwrap();
        assert!(group.members().unwrap().contains(&child.id()));
        assert!(group.statistics().unwrap().processes >= 1);
        // The child ends as a zombie that is no member; its own children are reaped by init.
        group.kill_all(Duration::from_secs(10)).unwrap();
        assert!(!child.wait().unwrap().success());
        group.remove().unwrap();
    }
}
