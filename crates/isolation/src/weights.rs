//! Tries to change weights, to find them outside of their view, and to keep a copy.

use std::fs;
use std::time::{Duration, Instant};

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
    check("WT-01", "plain weights outside of the view", plain_weights)
        .techniques(&["T1552", "T1005", "AML.T0035"])
        .tries("the file system is walked for files of 1 MiB and more that begin or end like weights")
        .open_means("sealing the model was for nothing: it lies in the image or in a host directory as well")
        .control("a file with the mark of weights is recognised in scratch")
        .within(7_500),
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
    check("WT-03", "room to keep a copy", stash)
        .techniques(&["T1074.001", "AML.T0035", "AML.T0048.004"])
        .tries("free space of all writable mounts is added up and compared with the size of the weights")
        .open_means("weights can be kept where something fetches them later")
        .control("the view can be listed"),
    check("WT-07", "keys in variables, arguments and scratch", keys)
        .techniques(&["T1552", "AML.T0055"])
        .tries("variables and arguments of all visible processes, and small files in scratch, are searched for private keys")
        .open_means("whoever runs code in the stage can open the sealed model elsewhere")
        .control("a planted key is found in scratch"),
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

fn begins_like_weights(head: &[u8]) -> bool {
    // GGUF; a safetensors header after its 8-byte length; a zip archive with PyTorch's first member.
    head.starts_with(b"GGUF")
        || (head.get(8..10) == Some(b"{\"")
            && head.get(4..8) == Some(&[0; 4])
            && head.get(..4) != Some(&[0; 4]))
        || (head.starts_with(b"PK\x03\x04") && head.windows(8).any(|part| part == b"data.pkl"))
}

fn named_like_weights(name: &str) -> bool {
    [
        ".gguf",
        ".safetensors",
        ".ggml",
        ".onnx",
        ".pt",
        ".pth",
        ".ckpt",
        ".engine",
        ".plan",
    ]
    .iter()
    .any(|ending| name.ends_with(ending))
}

#[expect(
    clippy::disallowed_methods,
    reason = "bounds the walk by real time, decides nothing"
)]
fn now() -> Instant {
    Instant::now()
}

fn head(path: &str) -> Option<Vec<u8>> {
    use std::io::Read as _;
    let mut head = Vec::new();
    fs::File::open(path)
        .ok()?
        .take(256)
        .read_to_end(&mut head)
        .ok()?;
    Some(head)
}

fn plain_weights(trial: &mut Trial<'_>) {
    let own = format!(
        "{}/casemate-probe-{}",
        trial.scene.order.grants.scratch, trial.check
    );
    let made = primitive::write_new(trial.child, &own, b"GGUF\x03\0\0\0");
    let recognised = head(&own).is_some_and(|head| begins_like_weights(&head));
    primitive::unlink(trial.child, &own);
    trial.control(
        "a file with the mark of weights",
        match made {
            Ok(()) if recognised => Ok(String::new()),
            Ok(()) => Err("it was not recognised".to_owned()),
            Err(errno) => Err(errno.to_string()),
        },
    );
    let granted: Vec<String> = trial
        .scene
        .order
        .grants
        .models
        .iter()
        .map(|model| model.path.clone())
        .collect();
    trial.step("all files but the view's", |_| {
        let deadline = now() + Duration::from_millis(6_000);
        let (mut looked, mut found) = (0_u64, Vec::new());
        let mut open = vec!["/".to_owned()];
        while let Some(directory) = open.pop() {
            if now() > deadline {
                return Outcome::Unsure(format!(
                    "{looked} files in the time for this check, not all"
                ));
            }
            let Ok(entries) = fs::read_dir(&directory) else {
                continue;
            };
            for entry in entries.flatten() {
                let path = entry.path().to_string_lossy().into_owned();
                let Ok(kind) = entry.file_type() else {
                    continue;
                };
                if kind.is_dir() {
                    let elsewhere = ["/proc", "/sys", "/dev"].contains(&path.as_str())
                        || granted.contains(&path);
                    if !elsewhere {
                        open.push(path);
                    }
                } else if kind.is_file() {
                    looked += 1;
                    let named = named_like_weights(&path);
                    let large = || entry.metadata().is_ok_and(|file| file.len() >= 1 << 20);
                    if large()
                        && (named || head(&path).is_some_and(|head| begins_like_weights(&head)))
                    {
                        found.push(path);
                    }
                }
            }
        }
        if found.is_empty() {
            Outcome::Blocked(Layer::MissingNode, format!("none among {looked} files"))
        } else {
            found.truncate(5);
            Outcome::Open(found.join(" "))
        }
    });
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

fn stash(trial: &mut Trial<'_>) {
    let models = trial.scene.order.grants.models.clone();
    let Some(model) = models.iter().min_by_key(|model| model.bytes).cloned() else {
        trial.step("no view", |_| {
            Outcome::Absent("the stage has no model".to_owned())
        });
        return;
    };
    let listed = fs::read_dir(&model.path)
        .map(|_| String::new())
        .map_err(|error| error.to_string());
    trial.control(format_args!("{} is listed", model.path), listed);
    let mut room = 0_u64;
    let mut places = Vec::new();
    for mount in trial.scene.mounts.iter().filter(|mount| !mount.has("ro")) {
        if ["proc", "sysfs", "cgroup", "cgroup2", "devpts", "mqueue"].contains(&mount.kind.as_str())
        {
            continue;
        }
        let name = format!("{}/casemate-probe-{}", mount.at, trial.check);
        if primitive::write_new(trial.child, &name, b"").is_err() {
            continue;
        }
        primitive::unlink(trial.child, &name);
        if let Ok(found) = rustix::fs::statvfs(mount.at.as_str()) {
            let free = found.f_bavail.saturating_mul(found.f_frsize);
            room = room.saturating_add(free);
            places.push(format!("{} {free}", mount.at));
        }
    }
    trial.step(
        format_args!("room for {} bytes of weights", model.bytes),
        |_| {
            let detail = format!("{room} bytes: {}", places.join(", "));
            if room < model.bytes {
                Outcome::Blocked(Layer::MountFlag, detail)
            } else {
                Outcome::Open(detail)
            }
        },
    );
}

fn has_key(text: &[u8]) -> bool {
    [
        b"AGE-SECRET-KEY-1".as_slice(),
        b"-----BEGIN PRIVATE KEY",
        b"-----BEGIN EC PRIVATE KEY",
        b"-----BEGIN OPENSSH PRIVATE KEY",
    ]
    .iter()
    .any(|mark| text.windows(mark.len()).any(|part| part == *mark))
}

fn keys(trial: &mut Trial<'_>) {
    let scratch = trial.scene.order.grants.scratch.clone();
    let planted = format!("{scratch}/casemate-probe-{}", trial.check);
    let made = primitive::write_new(trial.child, &planted, b"-----BEGIN PRIVATE KEY (planted)");
    let seen =
        primitive::read_file(trial.child, &planted, 256).is_ok_and(|content| has_key(&content));
    primitive::unlink(trial.child, &planted);
    trial.control(
        "a planted key is found",
        match made {
            Ok(()) if seen => Ok(String::new()),
            Ok(()) => Err("it was not".to_owned()),
            Err(errno) => Err(errno.to_string()),
        },
    );
    let pids: Vec<String> = primitive::names("/proc")
        .into_iter()
        .filter(|name| name.parse::<u32>().is_ok())
        .take(64)
        .collect();
    for file in ["environ", "cmdline"] {
        let found: Vec<&str> = pids
            .iter()
            .filter(|pid| {
                primitive::read_file(trial.child, &format!("/proc/{pid}/{file}"), 1 << 16)
                    .is_ok_and(|content| has_key(&content))
            })
            .map(String::as_str)
            .collect();
        trial.step(format_args!("{file} of {} processes", pids.len()), |_| {
            if found.is_empty() {
                Outcome::Blocked(Layer::MissingNode, String::new())
            } else {
                Outcome::Open(format!("processes {}", found.join(" ")))
            }
        });
    }
    let files: Vec<String> = [scratch.as_str(), "/dev/shm", "/run", "/root", "/home"]
        .iter()
        .flat_map(|directory| {
            primitive::names(directory)
                .into_iter()
                .take(200)
                .map(move |name| format!("{directory}/{name}"))
        })
        .filter(|path| {
            fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() < 1 << 16)
        })
        .filter(|path| fs::read(path).is_ok_and(|content| has_key(&content)))
        .collect();
    trial.step("small files in scratch and homes", |_| {
        if files.is_empty() {
            Outcome::Blocked(Layer::MissingNode, String::new())
        } else {
            Outcome::Open(files.join(" "))
        }
    });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_known_by_their_first_bytes() {
        assert!(begins_like_weights(b"GGUF\x03\0\0\0"));
        assert!(begins_like_weights(
            b"\x80\x01\0\0\0\0\0\0{\"__metadata__\":{}}"
        ));
        assert!(
            !begins_like_weights(b"\x7fELF\x02\x01\x01\0\0\0\0\0") && !begins_like_weights(b"")
        );
    }

    #[test]
    fn a_private_key_is_known_anywhere_in_a_text() {
        assert!(has_key(b"x=AGE-SECRET-KEY-1QQQ") && has_key(b"a\n-----BEGIN PRIVATE KEY-----"));
        assert!(!has_key(b"-----BEGIN CERTIFICATE-----"));
    }
}
