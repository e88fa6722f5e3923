//! Tries to mount, to change the root, to make device nodes. Everything lands in scratch and is undone.

use casemate_core::finding::Category;
use casemate_linux::raw::{Argument, Child, Errno};

use super::capability;
use crate::attribute::Via;
use crate::check::Check;
use crate::primitive::{self, HERE};
use crate::trial::{Outcome, Trial};

const fn check(id: &'static str, title: &'static str, try_it: fn(&mut Trial<'_>)) -> Check {
    Check::new(Category::Escape, id, title, try_it).techniques(&["T1611", "AML.T0105"])
}

pub(crate) const CHECKS: &[Check] = &[
    check("ES-04", "mount()", mount)
        .tries("mount() of tmpfs, proc, sysfs, cgroup, overlay and a bind over an own directory in scratch; making / writable")
        .open_means("masks and read-only mounts can be covered or lifted")
        .control("a directory can be made in scratch"),
    check("ES-05", "the new mount calls", new_mount)
        .tries("fsopen(), fspick(), open_tree() with a copy, mount_setattr(), move_mount()")
        .open_means("the same around filters that know only mount()")
        .control("raw calls are answered; in a weak sandbox the same calls succeed"),
    check("ES-06", "chroot() and pivot_root()", change_root)
        .tries("chroot() into an own directory in scratch; pivot_root() onto itself")
        .open_means("path rules of programs that trust / can be fooled")
        .control("a directory can be made in scratch"),
    check("ES-07", "control group version 1 hooks", release_agent)
        .tries("mount() of cgroup hierarchies; release_agent opened for writing, never written")
        .open_means("the kernel can be told to run a program on the host when a group empties (CVE-2022-0492)")
        .control("a directory can be made in scratch"),
    check("ES-12", "making device nodes", device_nodes)
        .techniques(&["T1611"])
        .tries("mknod() of memory, disk and GPU devices in scratch, then opening them; removed at once")
        .open_means("raw disks or memory of the host can be opened")
        .control("a regular file can be made in scratch"),
];

fn directory(trial: &Trial<'_>) -> String {
    format!(
        "{}/casemate-probe-{}",
        trial.scene.order.grants.scratch, trial.check
    )
}

fn control_directory(trial: &Trial<'_>) -> String {
    let directory = directory(trial);
    let made = primitive::mkdir(trial.child, &directory).or_else(|errno| match errno {
        Errno(libc::EEXIST) => Ok(0),
        other => Err(other),
    });
    trial.control(
        format_args!("mkdir {directory}"),
        made.map(|_| String::new())
            .map_err(|errno| errno.to_string()),
    );
    directory
}

fn mount_call(
    child: &Child,
    source: &str,
    target: &str,
    kind: &str,
    flags: u64,
    data: &str,
) -> Result<i64, Errno> {
    let [source, target, kind, data] = [source, target, kind, data].map(primitive::path);
    child.call(
        libc::SYS_mount,
        [
            source.as_c_str().into(),
            target.as_c_str().into(),
            kind.as_c_str().into(),
            Argument::Number(flags.cast_signed()),
            data.as_c_str().into(),
        ],
    )
}

fn unmount(child: &Child, target: &str) {
    let target = primitive::path(target);
    let _undone = child.call(
        libc::SYS_umount2,
        [target.as_c_str().into(), libc::MNT_DETACH.into()],
    );
}

fn mount(trial: &mut Trial<'_>) {
    let at = control_directory(trial);
    let via = || Via::call(libc::SYS_mount).capability(capability::SYS_ADMIN);
    let overlay = format!("lowerdir=/,upperdir={at},workdir={at}");
    for (kind, source, flags, data) in [
        ("tmpfs", "tmpfs", 0, ""),
        ("proc", "proc", 0, ""),
        ("sysfs", "sysfs", 0, ""),
        ("cgroup2", "cgroup2", 0, ""),
        ("overlay", "overlay", 0, overlay.as_str()),
        ("bind of /", "/", libc::MS_BIND, ""),
    ] {
        let name = kind.split(' ').next().unwrap_or(kind);
        let mounted = trial.attempt(format_args!("mount {kind}"), via(), |child| {
            mount_call(child, source, &at, name, flags, data)
        });
        if mounted.is_ok() {
            unmount(trial.child, &at);
        }
    }
    let read_only = trial.scene.mount_of("/").is_some_and(|root| root.has("ro"));
    if read_only {
        let flags = libc::MS_REMOUNT | libc::MS_BIND;
        let made = trial.attempt("remount / writable", via(), |child| {
            mount_call(child, "/", "/", "", flags, "")
        });
        if made.is_ok() {
            let _undone = mount_call(trial.child, "/", "/", "", flags | libc::MS_RDONLY, "");
        }
    }
    primitive::rmdir(trial.child, &at);
}

fn new_mount(trial: &mut Trial<'_>) {
    trial.control_calls();
    let via = |number| Via::call(number).capability(capability::SYS_ADMIN);
    let kind = primitive::path("tmpfs");
    let root = primitive::path("/");
    let empty = primitive::path("");
    let _refused = trial.attempt("fsopen tmpfs", via(libc::SYS_fsopen), |child| {
        child.call(libc::SYS_fsopen, [kind.as_c_str().into(), 0.into()])
    });
    let _refused = trial.attempt("fspick /", via(libc::SYS_fspick), |child| {
        child.call(
            libc::SYS_fspick,
            [HERE.into(), root.as_c_str().into(), 0.into()],
        )
    });
    let copy = trial.attempt(
        "open_tree with a copy of /",
        via(libc::SYS_open_tree),
        |child| {
            child.call(
                libc::SYS_open_tree,
                [
                    HERE.into(),
                    root.as_c_str().into(),
                    i64::from(libc::OPEN_TREE_CLONE).into(),
                ],
            )
        },
    );
    let _refused = trial.attempt(
        "mount_setattr on /",
        via(libc::SYS_mount_setattr),
        |child| {
            // Sets what is already so: nothing is asked to change.
            let attributes = [0_u8; 32];
            let mut wanted = attributes;
            if let Some(first) = wanted.first_mut() {
                *first = 1;
            }
            let read_only = trial_is_read_only();
            let attributes = if read_only { wanted } else { attributes };
            child.call(
                libc::SYS_mount_setattr,
                [
                    HERE.into(),
                    root.as_c_str().into(),
                    0.into(),
                    attributes.as_slice().into(),
                    32.into(),
                ],
            )
        },
    );
    let tree = copy.unwrap_or(-1);
    let at = directory(trial);
    let _made = primitive::mkdir(trial.child, &at);
    let place = primitive::path(&at);
    let via = via(libc::SYS_move_mount).kernel(&[libc::EBADF]);
    let moved = trial.attempt("move_mount of the copy into scratch", via, |child| {
        let flags = i64::from(libc::MOVE_MOUNT_F_EMPTY_PATH);
        child.call(
            libc::SYS_move_mount,
            [
                tree.into(),
                empty.as_c_str().into(),
                HERE.into(),
                place.as_c_str().into(),
                flags.into(),
            ],
        )
    });
    if moved.is_ok() {
        unmount(trial.child, &at);
    }
    primitive::rmdir(trial.child, &at);
}

fn trial_is_read_only() -> bool {
    crate::scene::mounts()
        .iter()
        .any(|mount| mount.at == "/" && mount.has("ro"))
}

fn change_root(trial: &mut Trial<'_>) {
    let at = control_directory(trial);
    let inside = primitive::path(&at);
    let via = Via::call(libc::SYS_pivot_root)
        .capability(capability::SYS_ADMIN)
        .kernel(&[libc::EINVAL, libc::EBUSY]);
    let _refused = trial.attempt("pivot_root", via, |child| {
        child.call(
            libc::SYS_pivot_root,
            [inside.as_c_str().into(), inside.as_c_str().into()],
        )
    });
    primitive::rmdir(trial.child, &at);
    let _remade = primitive::mkdir(trial.child, &at);
    // Last, because nothing of the root is reachable after it.
    let via = Via::call(libc::SYS_chroot).capability(capability::SYS_CHROOT);
    trial.step("chroot", |child| {
        let made = match primitive::fork(child) {
            Ok(None) => {
                let answer = child.call(libc::SYS_chroot, [inside.as_c_str().into()]);
                child.exit(answer.map_or_else(|errno| errno.0, |_| 0))
            }
            Ok(Some(pid)) => primitive::wait(child, pid),
            Err(errno) => Err(errno),
        };
        match made {
            Ok(0) => Outcome::Open("the root is an own directory".to_owned()),
            Ok(status) if libc::WIFEXITED(status) => {
                Outcome::Refused(Errno(libc::WEXITSTATUS(status)), via)
            }
            Ok(status) => Outcome::Unsure(format!("wait status {status}")),
            Err(errno) => Outcome::Unsure(errno.to_string()),
        }
    });
    primitive::rmdir(trial.child, &at);
}

fn release_agent(trial: &mut Trial<'_>) {
    let at = control_directory(trial);
    let via = || {
        Via::call(libc::SYS_mount)
            .capability(capability::SYS_ADMIN)
            .kernel(&[libc::EBUSY, libc::ENODEV, libc::EINVAL])
    };
    for controller in ["rdma", "misc", "memory"] {
        let mounted = trial.attempt(format_args!("mount cgroup {controller}"), via(), |child| {
            mount_call(child, "cgroup", &at, "cgroup", 0, controller)
        });
        if mounted.is_ok() {
            let path = format!("{at}/release_agent");
            let via = Via::call(libc::SYS_openat).path(&path, libc::W_OK);
            let _refused = trial.attempt(&path, via, |child| {
                primitive::open_for_writing(child, &path)
            });
            unmount(trial.child, &at);
        }
    }
    for path in [
        "/sys/fs/cgroup/release_agent",
        "/sys/fs/cgroup/memory/release_agent",
        "/sys/fs/cgroup/devices/release_agent",
        "/sys/fs/cgroup/memory/notify_on_release",
    ] {
        super::files::try_writing(trial, path);
    }
    primitive::rmdir(trial.child, &at);
}

const NODES: &[(&str, u32, i64, i64)] = &[
    ("memory 1:1", libc::S_IFCHR, 1, 1),
    ("kernel log 1:11", libc::S_IFCHR, 1, 11),
    ("disk 8:0", libc::S_IFBLK, 8, 0),
    ("disk 254:0", libc::S_IFBLK, 254, 0),
    ("flash disk 259:0", libc::S_IFBLK, 259, 0),
    ("FUSE 10:229", libc::S_IFCHR, 10, 229),
    ("GPU 195:0", libc::S_IFCHR, 195, 0),
];

fn device_nodes(trial: &mut Trial<'_>) {
    let plain = directory(trial);
    let made = primitive::write_new(trial.child, &plain, b"");
    primitive::unlink(trial.child, &plain);
    trial.control(
        "a regular file in scratch",
        made.map(|()| String::new())
            .map_err(|errno| errno.to_string()),
    );
    let scratch = trial.scene.order.grants.scratch.clone();
    for &(name, kind, major, minor) in NODES {
        let at = format!("{scratch}/casemate-probe-node-{major}-{minor}");
        let path = primitive::path(&at);
        let device = (major << 8) | minor;
        let via = Via::call(libc::SYS_mknodat).capability(capability::MKNOD);
        trial.step(format_args!("node {name}"), |child| {
            let made = child.call(
                libc::SYS_mknodat,
                [
                    HERE.into(),
                    path.as_c_str().into(),
                    i64::from(kind | 0o600).into(),
                    device.into(),
                ],
            );
            match made {
                Err(errno) => Outcome::Refused(errno, via),
                Ok(_) => {
                    // The node alone is harmless where it cannot be opened; only its opening counts.
                    let opened = primitive::open(child, &at, libc::O_RDONLY | libc::O_NONBLOCK);
                    primitive::unlink(child, &at);
                    match opened {
                        Ok(_) => Outcome::Open("made and opened".to_owned()),
                        Err(Errno(libc::ENXIO | libc::ENODEV)) => Outcome::Open(
                            "made and allowed; the host has no such device".to_owned(),
                        ),
                        Err(Errno(libc::EPERM)) => Outcome::Blocked(
                            casemate_core::finding::Layer::Cgroup,
                            "made, but the device group refuses to open it".to_owned(),
                        ),
                        Err(Errno(libc::EACCES)) => Outcome::Blocked(
                            casemate_core::finding::Layer::MountFlag,
                            "made, but devices cannot be opened on this mount".to_owned(),
                        ),
                        Err(errno) => Outcome::Unsure(format!("made; opening gave {errno}")),
                    }
                }
            }
        });
    }
}
