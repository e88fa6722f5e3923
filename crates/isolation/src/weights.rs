//! Tries to change weights, and to execute them.

pub(crate) mod copies;

use std::fs;

use casemate_core::finding::{Category, Layer};
use casemate_linux::raw::{Child, Errno};

use crate::attribute::Via;
use crate::check::Check;
use crate::primitive::{self, HERE};
use crate::trial::{Outcome, Trial};

const fn check(id: &'static str, title: &'static str, try_it: fn(&mut Trial<'_>)) -> Check {
    Check::new(Category::Weights, id, title, try_it)
}

pub(crate) const CHECKS: &[Check] = &[
    check("WT-02", "changing weights in the view", change_weights)
        .techniques(&["T1565.001", "AML.T0018", "AML.T0076"])
        .tries("opening for writing, new files and directories, modes, times, attributes, links; nothing is cut or removed")
        .open_means("a stage can poison the model that it and others serve")
        .control("a file of the view opens for reading"),
    check("WT-18", "changing weights through memory", change_mapped)
        .techniques(&["T1565.001", "AML.T0018"])
        .tries("a shared mapping made writable, and /proc/self/mem over a read-only mapping")
        .open_means("read-only mounts are gone around in memory")
        .control("a file of the view can be mapped for reading"),
    check("WT-08", "mount flags of the view", flags)
        .techniques(&["T1222"])
        .tries("the view's mount is asked for ro, nosuid, nodev, noexec and private propagation")
        .open_means("a signed model could carry programs or devices into the stage")
        .control("/proc/self/mountinfo lists the view"),
    check("WT-20", "programs in the view", execute)
        .techniques(&["T1204", "AML.T0018"])
        .tries("a file of the view is mapped for execution")
        .open_means("a model file can be executed")
        .control("a file of the view can be mapped for reading"),
];

/// A regular file in a granted view.
fn some_file(trial: &Trial<'_>) -> Option<(String, String)> {
    trial.scene.order.grants.models.iter().find_map(|model| {
        let mut open = vec![(model.path.clone(), 0)];
        while let Some((directory, depth)) = open.pop() {
            for name in primitive::names(&directory) {
                let path = format!("{directory}/{name}");
                match fs::symlink_metadata(&path) {
                    Ok(found) if found.is_file() => return Some((model.path.clone(), path)),
                    Ok(found) if found.is_dir() && depth < 4 => open.push((path, depth + 1)),
                    Ok(_) | Err(_) => {}
                }
            }
        }
        None
    })
}

/// The view and one of its files, or a step that says why there is none.
fn view(trial: &mut Trial<'_>) -> Option<(String, String)> {
    let found = some_file(trial);
    if found.is_none() {
        let granted = trial.scene.order.grants.models.len();
        trial.step("no file of a view", |_| {
            if granted == 0 {
                Outcome::Absent("the stage has no model".to_owned())
            } else {
                Outcome::Unsure("the view is empty or cannot be listed".to_owned())
            }
        });
    }
    found
}

fn change_weights(trial: &mut Trial<'_>) {
    let Some((root, file)) = view(trial) else {
        return;
    };
    let read = primitive::read_file(trial.child, &file, 4);
    trial.control(
        format_args!("{file} is read"),
        read.map(|_| String::new())
            .map_err(|errno| errno.to_string()),
    );
    let via = || Via::call(libc::SYS_openat).path(&file, libc::W_OK);
    for (name, flags) in [
        ("open for writing", libc::O_WRONLY),
        ("open for both", libc::O_RDWR),
        ("open for appending", libc::O_WRONLY | libc::O_APPEND),
    ] {
        let _refused = trial.attempt(name, via(), |child| primitive::open(child, &file, flags));
    }
    let new = format!("{root}/casemate-probe");
    let via_root = || Via::call(libc::SYS_openat).path(&root, libc::W_OK);
    if trial
        .attempt("make a file", via_root(), |child| {
            primitive::write_new(child, &new, b"").map(|()| 0)
        })
        .is_ok()
    {
        primitive::unlink(trial.child, &new);
    }
    if trial
        .attempt("make a directory", via_root(), |child| {
            primitive::mkdir(child, &new)
        })
        .is_ok()
    {
        primitive::rmdir(trial.child, &new);
    }
    let path = primitive::path(&file);
    let mode = {
        use std::os::unix::fs::PermissionsExt as _;
        fs::metadata(&file).map_or(0o444, |found| found.permissions().mode() & 0o7777)
    };
    let _refused = trial.attempt("set the mode to what it is", via(), |child| {
        child.call(
            libc::SYS_fchmodat,
            [HERE.into(), path.as_c_str().into(), mode.into()],
        )
    });
    let _refused = trial.attempt("set the times to what they are", via(), |child| {
        // Both left as they are, which still asks for the right to change them on a read-only mount.
        let omit: Vec<u8> = [0_i64, libc::UTIME_OMIT, 0, libc::UTIME_NOW]
            .iter()
            .flat_map(|word| word.to_ne_bytes())
            .collect();
        child.call(
            libc::SYS_utimensat,
            [
                HERE.into(),
                path.as_c_str().into(),
                omit.as_slice().into(),
                0.into(),
            ],
        )
    });
    let attribute = primitive::path("user.casemate-probe");
    let via_attribute = via().kernel(&[libc::EOPNOTSUPP]);
    if trial
        .attempt("set an attribute", via_attribute, |child| {
            child.call(
                libc::SYS_setxattr,
                [
                    path.as_c_str().into(),
                    attribute.as_c_str().into(),
                    b"1".as_slice().into(),
                    1.into(),
                    0.into(),
                ],
            )
        })
        .is_ok()
    {
        let _undone = trial.child.call(
            libc::SYS_removexattr,
            [path.as_c_str().into(), attribute.as_c_str().into()],
        );
    }
    let linked = primitive::path(&new);
    let via_link = || Via::call(libc::SYS_linkat).path(&root, libc::W_OK);
    if trial
        .attempt("link to another name", via_link(), |child| {
            child.call(
                libc::SYS_linkat,
                [
                    HERE.into(),
                    path.as_c_str().into(),
                    HERE.into(),
                    linked.as_c_str().into(),
                    0.into(),
                ],
            )
        })
        .is_ok()
    {
        primitive::unlink(trial.child, &new);
    }
    let outside = primitive::path(&format!(
        "{}/casemate-probe-link",
        trial.scene.order.grants.scratch
    ));
    let via_out = Via::call(libc::SYS_linkat)
        .path(&root, libc::W_OK)
        .kernel(&[libc::EXDEV]);
    let _refused = trial.attempt("link into scratch", via_out, |child| {
        child.call(
            libc::SYS_linkat,
            [
                HERE.into(),
                path.as_c_str().into(),
                HERE.into(),
                outside.as_c_str().into(),
                0.into(),
            ],
        )
    });
}

fn map(child: &Child, file: i64, protection: i32, flags: i32) -> Result<i64, Errno> {
    child.call(
        libc::SYS_mmap,
        [
            0.into(),
            4_096.into(),
            protection.into(),
            flags.into(),
            file.into(),
            0.into(),
        ],
    )
}

fn change_mapped(trial: &mut Trial<'_>) {
    let Some((_, path)) = view(trial) else { return };
    let file = primitive::open(trial.child, &path, libc::O_RDONLY);
    let mapped = file.and_then(|file| {
        map(trial.child, file, libc::PROT_READ, libc::MAP_SHARED)
            .or_else(|_| map(trial.child, file, libc::PROT_READ, libc::MAP_PRIVATE))
    });
    trial.control(
        format_args!("{path} is mapped"),
        mapped
            .map(|_| String::new())
            .map_err(|errno| errno.to_string()),
    );
    let (Ok(file), Ok(at)) = (file, mapped) else {
        return;
    };
    let via = |number| Via::call(number).kernel(&[libc::EACCES, libc::EIO, libc::ENODEV]);
    let _refused = trial.attempt("map shared and writable", via(libc::SYS_mmap), |child| {
        map(
            child,
            file,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
        )
    });
    if let Ok(shared) = map(trial.child, file, libc::PROT_READ, libc::MAP_SHARED) {
        let _refused = trial.attempt(
            "make the shared mapping writable",
            via(libc::SYS_mprotect),
            |child| {
                child.call(
                    libc::SYS_mprotect,
                    [
                        shared.into(),
                        4_096.into(),
                        (libc::PROT_READ | libc::PROT_WRITE).into(),
                    ],
                )
            },
        );
        trial.step("write to the shared mapping by /proc/self/mem", |child| {
            write_by_file(child, shared)
        });
    }
    trial.step(
        "write to a private mapping by /proc/self/mem, then read the file",
        |child| {
            let before = primitive::read_file(child, &path, 1);
            let written = write_by_file(child, at);
            let after = primitive::read_file(child, &path, 1);
            match (written, before == after) {
                (Outcome::Open(_), true) => {
                    Outcome::Blocked(Layer::Kernel, "only the own copy changed".to_owned())
                }
                (Outcome::Open(_), false) => Outcome::Open("the file changed".to_owned()),
                (other, _) => other,
            }
        },
    );
}

/// Writes the byte that is there already, so that nothing changes even when it works.
fn write_by_file(child: &Child, at: i64) -> Outcome {
    let via = Via::call(libc::SYS_openat)
        .path("/proc/self/mem", libc::W_OK)
        .kernel(&[libc::EIO, libc::EFAULT]);
    let file = match primitive::open(child, "/proc/self/mem", libc::O_RDWR) {
        Ok(file) => file,
        Err(errno) => return Outcome::Refused(errno, via),
    };
    let mut byte = [0_u8; 1];
    let read = child.call(
        libc::SYS_pread64,
        [file.into(), byte.as_mut_slice().into(), 1.into(), at.into()],
    );
    if let Err(errno) = read {
        return Outcome::Refused(errno, via);
    }
    match child.call(
        libc::SYS_pwrite64,
        [file.into(), byte.as_slice().into(), 1.into(), at.into()],
    ) {
        Ok(_) => Outcome::Open("it was written".to_owned()),
        Err(errno) => Outcome::Refused(errno, via),
    }
}

fn flags(trial: &mut Trial<'_>) {
    let models = trial.scene.order.grants.models.clone();
    if models.is_empty() {
        trial.step("no view", |_| {
            Outcome::Absent("the stage has no model".to_owned())
        });
        return;
    }
    for model in models {
        let mount = trial
            .scene
            .mounts
            .iter()
            .rfind(|mount| model.path == mount.at)
            .cloned();
        trial.control(
            format_args!("{} is a mount", model.path),
            mount
                .as_ref()
                .map(|mount| mount.kind.clone())
                .ok_or_else(|| "it is not".to_owned()),
        );
        let mount = mount.or_else(|| trial.scene.mount_of(&model.path).cloned());
        for flag in ["ro", "nosuid", "nodev", "noexec"] {
            let set = mount.as_ref().is_some_and(|mount| mount.has(flag));
            trial.step(format_args!("{flag} on {}", model.path), |_| {
                if set {
                    Outcome::Blocked(Layer::MountFlag, String::new())
                } else {
                    Outcome::Open("not set".to_owned())
                }
            });
        }
        let shared = mount.is_some_and(|mount| mount.shared);
        trial.step(format_args!("propagation of {}", model.path), |_| {
            if shared {
                Outcome::Open("mounts travel".to_owned())
            } else {
                Outcome::Blocked(Layer::MountFlag, "private".to_owned())
            }
        });
    }
}

fn execute(trial: &mut Trial<'_>) {
    let Some((_, path)) = view(trial) else { return };
    let file = primitive::open(trial.child, &path, libc::O_RDONLY);
    let mapped = file.and_then(|file| map(trial.child, file, libc::PROT_READ, libc::MAP_PRIVATE));
    trial.control(
        format_args!("{path} is mapped"),
        mapped
            .map(|_| String::new())
            .map_err(|errno| errno.to_string()),
    );
    let Ok(file) = file else { return };
    let via = Via::call(libc::SYS_mmap).path(&path, libc::X_OK);
    let _refused = trial.attempt("map for execution", via, |child| {
        map(
            child,
            file,
            libc::PROT_READ | libc::PROT_EXEC,
            libc::MAP_PRIVATE,
        )
    });
}
