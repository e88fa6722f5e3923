//! What a launcher that was killed has left: found by where it keeps things, and taken away.
//!
//! Run it before anything is launched. It touches only what is below the directories it is given,
//! and the control groups that are named after our containers.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use casemate_linux::cgroup::{self, Group};
use casemate_linux::{mount, namespace};

use crate::bundle::Bundle;
use crate::plan::PARENT_GROUP;
use crate::runtime::{RunRuntimeError, Runc};

/// Where a launcher keeps things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// Bundles, one directory each.
    pub bundles: PathBuf,
    /// Named network namespaces, one file each.
    pub networks: PathBuf,
    /// Where views of models are mounted, one directory each.
    pub views: PathBuf,
    /// Unpacked images; only unfinished ones are removed.
    pub images: PathBuf,
}

/// What was there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Containers, killed and removed.
    pub containers: Vec<String>,
    /// Bundles.
    pub bundles: Vec<PathBuf>,
    /// Network namespaces.
    pub networks: Vec<PathBuf>,
    /// Views.
    pub views: Vec<PathBuf>,
    /// Unfinished images.
    pub images: Vec<PathBuf>,
    /// What could not be removed, and why.
    pub left: Vec<String>,
}

impl Swept {
    /// Whether nothing was there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Finds what an earlier launcher left, without touching it: containers, mounts, files, groups.
///
/// # Errors
/// When a place cannot be looked at.
pub fn find(runc: &Runc, places: &Places) -> Result<Vec<String>, RunRuntimeError> {
    let look = |source| RunRuntimeError::Prepare {
        act: "look for leftovers",
        source,
    };
    let mut found: Vec<String> = runc
        .containers()?
        .into_iter()
        .map(|id| format!("container {id}"))
        .collect();
    for (kind, place) in [
        ("bundle", &places.bundles),
        ("network namespace", &places.networks),
        ("view", &places.views),
    ] {
        for path in entries(place).map_err(look)? {
            found.push(format!("{kind} {}", path.display()));
        }
        for mount in mount::list(place).map_err(look)? {
            found.push(format!("mount {}", mount.point.display()));
        }
    }
    for path in unfinished(&places.images).map_err(look)? {
        found.push(format!("unfinished image {}", path.display()));
    }
    Ok(found)
}

/// Removes what an earlier launcher left. Goes on past what it cannot remove, and says so.
pub fn sweep(runc: &Runc, places: &Places) -> Swept {
    let mut swept = Swept::default();
    match runc.containers() {
        Ok(containers) => containers
            .iter()
            .for_each(|id| remove_container(runc, id, &mut swept)),
        Err(error) => swept.left.push(describe("containers", &error)),
    }
    each(&places.bundles, &mut swept, |swept, path| {
        Bundle::left_at(path.clone())
            .remove()
            .map_err(io::Error::other)?;
        swept.bundles.push(path);
        Ok(())
    });
    each(&places.networks, &mut swept, |swept, path| {
        namespace::remove_network(&path)?;
        swept.networks.push(path);
        Ok(())
    });
    each(&places.views, &mut swept, |swept, path| {
        mount::unmount_below(&path)?;
        fs::remove_dir(&path)?;
        swept.views.push(path);
        Ok(())
    });
    match unfinished(&places.images) {
        Ok(images) => {
            for path in images {
                match fs::remove_dir_all(&path) {
                    Ok(()) => swept.images.push(path),
                    Err(error) => swept
                        .left
                        .push(describe(&path.display().to_string(), &error)),
                }
            }
        }
        Err(error) => swept.left.push(describe("images", &error)),
    }
    if let Err(error) = remove_parent_group() {
        swept.left.push(describe("control groups", &error));
    }
    swept
}

fn remove_container(runc: &Runc, id: &str, swept: &mut Swept) {
    let kill = || -> io::Result<()> {
        let group = Group::at(Path::new(PARENT_GROUP).join(id))?;
        if group.exists() {
            group.kill_all(LONGEST_KILL)?;
        }
        runc.delete(id, true).map_err(io::Error::other)?;
        group.remove()
    };
    match kill() {
        Ok(()) => swept.containers.push(id.to_owned()),
        Err(error) => swept
            .left
            .push(describe(&format!("container {id}"), &error)),
    }
}

/// Removes the control group above all stages, if no stage is in it. For a launcher that ends in
/// good order; while stages are being launched it could take the ground from under one.
///
/// # Errors
/// When it is there, empty, and cannot be removed.
pub fn remove_parent_group() -> io::Result<()> {
    cgroup::remove_unused(PARENT_GROUP)
}

fn each(
    place: &Path,
    swept: &mut Swept,
    mut remove: impl FnMut(&mut Swept, PathBuf) -> io::Result<()>,
) {
    match entries(place) {
        Ok(paths) => {
            for path in paths {
                if let Err(error) = remove(swept, path.clone()) {
                    swept
                        .left
                        .push(describe(&path.display().to_string(), &error));
                }
            }
        }
        Err(error) => swept
            .left
            .push(describe(&place.display().to_string(), &error)),
    }
}

fn unfinished(images: &Path) -> io::Result<Vec<PathBuf>> {
    let hidden = |path: &PathBuf| {
        path.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.starts_with('.'))
    };
    Ok(entries(images)?.into_iter().filter(hidden).collect())
}

fn entries(place: &Path) -> io::Result<Vec<PathBuf>> {
    let directory = match fs::read_dir(place) {
        Ok(directory) => directory,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut paths = directory
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<Vec<PathBuf>>>()?;
    paths.sort();
    Ok(paths)
}

fn describe(what: &str, error: &dyn std::error::Error) -> String {
    let mut text = format!("{what}: {error}");
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

const LONGEST_KILL: Duration = Duration::from_secs(10);
