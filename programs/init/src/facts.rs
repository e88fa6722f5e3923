//! What this process finds around itself.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use casemate_core::confinement::{
    DeviceNode, Facts, FoundMount, IdRange, Limit, MountFlag, NamespaceInodes, PLAN_DESCRIPTOR,
    SealedPlan,
};
use casemate_linux::namespace::{self, Kind};
use casemate_linux::{landlock, mount, proc};

/// Reads everything that the plan speaks of.
pub(crate) fn gather(plan: &SealedPlan) -> io::Result<Facts> {
    let status = proc::status("self")?;
    let planned = &plan.confinement;
    let covers = planned.masked.iter().chain(&planned.read_only);
    let unrefused = unrefused()?;
    let mut descriptors = proc::descriptors()?;
    // The plan was read and closed; it is known to have been there.
    descriptors.push(PLAN_DESCRIPTOR);
    Ok(Facts {
        uids: status.uids,
        gids: status.gids,
        groups: status.groups,
        uid_map: id_map("uid_map")?,
        gid_map: id_map("gid_map")?,
        capabilities: status.capabilities.union(),
        no_new_privileges: status.no_new_privileges,
        seccomp_mode: status.seccomp_mode,
        seccomp_filters: status.seccomp_filters,
        unrefused,
        mounts: mount::list(Path::new("/"))?.iter().map(found).collect(),
        present: covers.filter(|path| present(path)).cloned().collect(),
        devices: devices(Path::new("/dev"))?,
        interfaces: proc::interfaces("self")?,
        limits: proc::limits("self")?
            .into_iter()
            .map(|(name, (soft, hard))| (name, Limit { soft, hard }))
            .collect(),
        namespaces: namespaces()?,
        descriptors,
        landlock_abi: landlock::supported(),
    })
}

/// Tries two harmless calls that no stage has. The kernel says how many filters there are, not what
/// they do: one that allows everything counts as well as ours.
fn unrefused() -> io::Result<Vec<String>> {
    let (reader, writer) = rustix::pipe::pipe()?;
    let (other_reader, other_writer) = rustix::pipe::pipe()?;
    let nothing = rustix::pipe::SpliceFlags::NONBLOCK;
    let splice = rustix::pipe::splice(&reader, None, &other_writer, None, 0, nothing).map(drop);
    drop((writer, other_reader));
    let family = rustix::net::AddressFamily::VSOCK;
    let socket = rustix::net::socket(family, rustix::net::SocketType::STREAM, None).map(drop);
    let tried = [("splice", splice), ("socket of family vsock", socket)];
    let refused = Err(rustix::io::Errno::PERM);
    Ok(tried
        .into_iter()
        .filter(|(_, answer)| *answer != refused)
        .map(|(name, _)| name.to_owned())
        .collect())
}

fn id_map(file: &str) -> io::Result<Vec<IdRange>> {
    let lines = proc::id_map("self", file)?.into_iter();
    Ok(lines
        .map(|line| IdRange {
            inside: line.inside,
            outside: line.outside,
            count: line.count,
        })
        .collect())
}

fn found(mount: &mount::Mount) -> FoundMount {
    let has = mount.flags();
    let flags = [
        (has.read_only, MountFlag::ReadOnly),
        (has.no_setuid, MountFlag::NoSetuid),
        (has.no_devices, MountFlag::NoDevices),
        (has.no_execute, MountFlag::NoExecute),
    ];
    FoundMount {
        path: mount.point.to_string_lossy().into_owned(),
        file_system: mount.file_system.clone(),
        flags: flags
            .into_iter()
            .filter_map(|(set, flag)| set.then_some(flag))
            .collect(),
    }
}

/// Anything but a clear "no" counts as there.
fn present(path: &str) -> bool {
    match fs::symlink_metadata(path) {
        Ok(_) => true,
        Err(error) => !matches!(
            error.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
        ),
    }
}

/// Every device node at or below a directory.
fn devices(directory: &Path) -> io::Result<Vec<DeviceNode>> {
    let mut nodes = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        // Not as the directory says: it names the files below the mounts of the nodes.
        let metadata = fs::symlink_metadata(&path)?;
        let kind = metadata.file_type();
        if kind.is_dir() {
            nodes.extend(devices(&path)?);
        } else if kind.is_char_device() || kind.is_block_device() {
            let number = metadata.rdev();
            nodes.push(DeviceNode {
                path: path.to_string_lossy().into_owned(),
                major: rustix::fs::major(number),
                minor: rustix::fs::minor(number),
            });
        }
    }
    Ok(nodes)
}

fn namespaces() -> io::Result<NamespaceInodes> {
    let inode = |kind| namespace::inode("self", kind);
    Ok(NamespaceInodes {
        cgroup: inode(Kind::Cgroup)?,
        ipc: inode(Kind::Ipc)?,
        mount: inode(Kind::Mount)?,
        network: inode(Kind::Network)?,
        pid: inode(Kind::Pid)?,
        user: inode(Kind::User)?,
        uts: inode(Kind::Uts)?,
    })
}
