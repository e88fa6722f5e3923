//! What is on the host and belongs to no running stage: found on request, removed at the start.
//!
//! After a SIGKILL the kernel has ended every helper (they die with the daemon) and every mount of our
//! private namespace; what remains is walled-in stages, files and names. Processes are ended only when
//! number, start time and boot are the recorded ones.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use casemate_api::v1::Leftover;
use casemate_core::event::{Severity, kind};
use casemate_linux::process::{self, Signal};
use casemate_sandbox::cleanup;

use crate::host::Host;
use crate::journal::Journal;
use crate::processes;
use crate::settings::Settings;
use crate::store::Instance;

/// Everything of ours that none of `owned` accounts for. `launched` is every stage that this daemon ever
/// started; stages are written `enclosure.stage`.
pub(crate) fn find(
    settings: &Settings,
    journal: &Journal,
    host: &Host,
    launched: &BTreeSet<String>,
    owned: &[String],
) -> Vec<Leftover> {
    let belongs = |what: &str| owned.iter().any(|stage| names(what, stage));
    let mut found = Vec::new();
    let mut add = |kind: &str, what: String| {
        if !belongs(&what) {
            found.push(Leftover {
                kind: kind.to_owned(),
                what,
            });
        }
    };
    if let Ok(runc) = host.runc() {
        match cleanup::find(runc, host.places()) {
            Ok(lines) => {
                for line in lines {
                    let (kind, what) = split(&line);
                    add(kind, what.to_owned());
                }
            }
            Err(error) => add("file", crate::report(&error)),
        }
    }
    for (kind, directory) in [("socket", "mesh"), ("file", "logs")] {
        for path in entries(&settings.run_dir(directory)) {
            if !path.ends_with("issuer.sock") {
                add(kind, path);
            }
        }
    }
    // Another daemon's stages, with a run directory of its own, have groups beside ours.
    for group in groups() {
        if launched.iter().any(|stage| names(&group, stage)) {
            add("cgroup", group);
        }
    }
    for instance in journal.store().instances().unwrap_or_default() {
        if instance.name != "issuer" && alive(&instance) {
            add("process", format!("{} {}", instance.pid, instance.name));
        }
    }
    found
}

/// Removes what an earlier daemon left, before anything is launched.
pub(crate) fn sweep(settings: &Settings, journal: &Journal, host: &Host) {
    let removed = |what: String| {
        journal.add(
            journal
                .event(kind::LEFTOVER_REMOVED, Severity::Warning)
                .about(what),
        );
    };
    for instance in journal.store().instances().unwrap_or_default() {
        if alive(&instance) && end(&instance) {
            removed(format!("process {} ({})", instance.pid, instance.name));
        }
        if let Err(error) = journal
            .store()
            .remove_instance(instance.kind, &instance.name)
        {
            tracing::warn!(error = %crate::report(&error), "instance not forgotten");
        }
    }
    if let Ok(runc) = host.runc() {
        let swept = cleanup::sweep(runc, host.places());
        for id in swept.containers {
            removed(format!("container {id}"));
        }
        let paths = swept
            .bundles
            .iter()
            .chain(&swept.networks)
            .chain(&swept.views)
            .chain(&swept.images);
        for path in paths {
            removed(path.display().to_string());
        }
        for left in swept.left {
            tracing::error!(what = %left, "leftover not removed");
        }
    }
    remove_group();
    for directory in ["mesh", "logs"] {
        for path in entries(&settings.run_dir(directory)) {
            if fs::remove_file(&path).is_ok() {
                removed(path);
            }
        }
    }
}

/// Removes the control group above all stages from every hierarchy, unless somebody's stage is in it.
pub(crate) fn remove_group() {
    for path in above_groups() {
        match fs::remove_dir(&path) {
            Ok(()) => {}
            // Another daemon's stages, or nothing at all.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::ResourceBusy | ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty
                ) => {}
            Err(error) => {
                tracing::warn!(path = %path.display(), error = %error, "control group not removed")
            }
        }
    }
}

/// Whether `what` names a stage or a part of it: `chat.infer`, `.../chat.infer.log`, `chat.infer.model`.
fn names(what: &str, stage: &str) -> bool {
    what.split(['/', ' ']).any(|part| {
        part.strip_prefix(stage)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

/// `network namespace /run/...` into its kind and the rest.
fn split(line: &str) -> (&str, &str) {
    for (prefix, kind) in [
        ("container ", "container"),
        ("bundle ", "file"),
        ("network namespace ", "namespace"),
        ("view ", "file"),
        ("mount ", "mount"),
        ("unfinished image ", "file"),
    ] {
        if let Some(rest) = line.strip_prefix(prefix) {
            return (kind, rest);
        }
    }
    ("file", line)
}

/// The groups below ours, in every hierarchy.
fn groups() -> Vec<String> {
    let below = above_groups().into_iter().flat_map(|path| entries(&path));
    below.filter(|path| Path::new(path).is_dir()).collect()
}

/// The group above all stages, in every hierarchy, whether or not it exists.
fn above_groups() -> Vec<PathBuf> {
    let mut roots = entries(Path::new("/sys/fs/cgroup"));
    roots.push("/sys/fs/cgroup".to_owned());
    roots
        .into_iter()
        .map(|root| Path::new(&root).join("casemate"))
        .collect()
}

fn alive(instance: &Instance) -> bool {
    instance.boot == processes::boot_id()
        && processes::start_ticks(instance.pid) == Some(instance.start_ticks)
}

/// Ends a process; the descriptor is opened first and the start time compared after, so that no
/// stranger with the same number is hit.
fn end(instance: &Instance) -> bool {
    let Ok(descriptor) = process::open(instance.pid) else {
        return false;
    };
    if !alive(instance) {
        return false;
    }
    let killed = process::signal(&descriptor, Signal::KILL).is_ok();
    let gone = process::readable_within(std::os::fd::AsFd::as_fd(&descriptor), LONGEST_END);
    killed && gone.unwrap_or(false)
}

fn entries(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut paths: Vec<String> = entries
        .flatten()
        .map(|entry| entry.path().display().to_string())
        .collect();
    paths.sort();
    paths
}

const LONGEST_END: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_running_stage_is_no_leftover() {
        for what in [
            "chat.infer",
            "/run/casemate/logs/chat.infer.log",
            "/run/casemate/views/chat.infer.smollm2-135m",
            "/run/casemate/mesh/chat.infer.sock",
            "4711 chat.infer",
        ] {
            assert!(names(what, "chat.infer"), "{what}");
        }
    }

    #[test]
    fn a_longer_name_is_another_stage() {
        assert!(!names("/run/casemate/logs/chat.infer2.log", "chat.infer"));
        assert!(!names("chat.infe", "chat.infer"));
    }
}
