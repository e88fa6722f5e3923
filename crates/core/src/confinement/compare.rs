//! The comparison of a plan with what was found.

use std::collections::BTreeSet;
use std::fmt::Debug;

use super::{
    CONTROL_DESCRIPTOR, Difference, Facts, FoundMount, IdRange, MountFlag, PLAN_DESCRIPTOR,
    PlannedMount, SealedPlan,
};

pub(super) fn differences(plan: &SealedPlan, facts: &Facts) -> Vec<Difference> {
    let mut found = Differences(Vec::new());
    identity(plan, facts, &mut found);
    privileges(plan, facts, &mut found);
    mounts(plan, facts, &mut found);
    surroundings(plan, facts, &mut found);
    namespaces(plan, facts, &mut found);
    found.0
}

struct Differences(Vec<Difference>);

impl Differences {
    fn add(&mut self, what: impl Into<String>, expected: impl Debug, found: impl Debug) {
        self.0.push(Difference {
            what: what.into(),
            expected: format!("{expected:?}"),
            found: format!("{found:?}"),
        });
    }

    fn equal<T: Debug + PartialEq>(&mut self, what: &str, expected: T, found: T) {
        if expected != found {
            self.add(what, expected, found);
        }
    }
}

fn identity(plan: &SealedPlan, facts: &Facts, found: &mut Differences) {
    let planned = &plan.confinement;
    found.equal("user ids", &vec![planned.identity.uid; 4], &facts.uids);
    found.equal("group ids", &vec![planned.identity.gid; 4], &facts.gids);
    let foreign: Vec<u32> = facts
        .groups
        .iter()
        .copied()
        .filter(|group| *group != planned.identity.gid)
        .collect();
    found.equal("supplementary groups", Vec::new(), foreign);
    map("user id map", planned.uid_map, &facts.uid_map, found);
    map("group id map", planned.gid_map, &facts.gid_map, found);
}

fn map(what: &str, planned: IdRange, facts: &[IdRange], found: &mut Differences) {
    found.equal(what, [planned].as_slice(), facts);
}

fn privileges(plan: &SealedPlan, facts: &Facts, found: &mut Differences) {
    found.equal("capabilities", 0, facts.capabilities);
    found.equal("no_new_privs", true, facts.no_new_privileges);
    found.equal("seccomp mode", 2, facts.seccomp_mode);
    let planned = &plan.confinement;
    if facts.seccomp_filters < planned.seccomp_filters.max(1) {
        let expected = format!("at least {}", planned.seccomp_filters.max(1));
        found.add("seccomp filters", expected, facts.seccomp_filters);
    }
    found.equal("calls not refused", &Vec::new(), &facts.unrefused);
    if facts.landlock_abi < planned.landlock.minimum_abi {
        let expected = format!("at least {}", planned.landlock.minimum_abi);
        found.add("Landlock ABI", expected, facts.landlock_abi);
    }
    for (name, limit) in &planned.limits {
        let actual = facts.limits.get(name);
        if actual != Some(limit) {
            found.add(format!("resource limit `{name}`"), limit, actual);
        }
    }
}

fn mounts(plan: &SealedPlan, facts: &Facts, found: &mut Differences) {
    let planned = &plan.confinement;
    for mount in &planned.mounts {
        match top(&facts.mounts, &mount.path) {
            Some(actual) => compare_mount(mount, actual, found),
            None => found.add(format!("mount `{}`", mount.path), "mounted", "not mounted"),
        }
    }
    for path in &planned.masked {
        covered(path, facts, &["devtmpfs"], found);
    }
    for path in &planned.read_only {
        covered(path, facts, &[], found);
    }
    let known: BTreeSet<&str> = planned
        .mounts
        .iter()
        .map(|mount| mount.path.as_str())
        .chain(planned.masked.iter().map(String::as_str))
        .chain(planned.read_only.iter().map(String::as_str))
        .chain(planned.devices.iter().map(|device| device.path.as_str()))
        .collect();
    for mount in &facts.mounts {
        if !known.contains(mount.path.as_str()) {
            found.add(
                format!("mount `{}`", mount.path),
                "not planned",
                &mount.file_system,
            );
        }
    }
}

fn compare_mount(planned: &PlannedMount, actual: &FoundMount, found: &mut Differences) {
    let what = format!("mount `{}`", planned.path);
    if let Some(kind) = &planned.file_system
        && *kind != actual.file_system
    {
        found.add(format!("{what}: file system"), kind, &actual.file_system);
    }
    if planned
        .flags
        .iter()
        .any(|flag| !actual.flags.contains(flag))
    {
        found.add(format!("{what}: flags"), &planned.flags, &actual.flags);
    }
}

/// A masked or read-only path that exists must be a mount of its own that cannot be written.
///
/// The kernel's null device, from one of the `harmless` file systems, is the usual cover of a
/// single masked file: it can be written, to no effect.
fn covered(path: &str, facts: &Facts, harmless: &[&str], found: &mut Differences) {
    if !facts.present.iter().any(|present| present == path) {
        return;
    }
    let expected = [MountFlag::ReadOnly];
    match top(&facts.mounts, path) {
        Some(mount) if mount.flags.contains(&MountFlag::ReadOnly) => {}
        Some(mount) if harmless.contains(&mount.file_system.as_str()) => {}
        Some(mount) => found.add(format!("cover of `{path}`"), expected, &mount.flags),
        None => found.add(format!("cover of `{path}`"), expected, "not covered"),
    }
}

/// The last mount at a path is the one that is seen.
fn top<'facts>(mounts: &'facts [FoundMount], path: &str) -> Option<&'facts FoundMount> {
    mounts.iter().rev().find(|mount| mount.path == path)
}

fn surroundings(plan: &SealedPlan, facts: &Facts, found: &mut Differences) {
    let planned = &plan.confinement;
    found.equal(
        "network interfaces",
        sorted(&planned.interfaces),
        sorted(&facts.interfaces),
    );
    found.equal(
        "device nodes",
        sorted(&planned.devices),
        sorted(&facts.devices),
    );
    let expected = [0, 1, 2, PLAN_DESCRIPTOR, CONTROL_DESCRIPTOR];
    found.equal(
        "open descriptors",
        sorted(&expected),
        sorted(&facts.descriptors),
    );
}

fn sorted<T: Clone + Ord>(values: &[T]) -> Vec<T> {
    let mut values = values.to_vec();
    values.sort();
    values
}

fn namespaces(plan: &SealedPlan, facts: &Facts, found: &mut Differences) {
    let (launcher, own) = (plan.namespaces.launcher, facts.namespaces);
    found.equal("network namespace", plan.namespaces.network, own.network);
    let pairs = [
        ("cgroup", launcher.cgroup, own.cgroup),
        ("ipc", launcher.ipc, own.ipc),
        ("mount", launcher.mount, own.mount),
        ("network", launcher.network, own.network),
        ("pid", launcher.pid, own.pid),
        ("user", launcher.user, own.user),
        ("uts", launcher.uts, own.uts),
    ];
    for (kind, outside, inside) in pairs {
        if outside == inside {
            found.add(
                format!("{kind} namespace"),
                "one of its own",
                "the launcher's",
            );
        }
    }
}
