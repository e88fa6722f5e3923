//! Looks for weights and keys where they must not be, and for room to keep a copy.

use std::fs;
use std::time::{Duration, Instant};

use casemate_core::finding::{Category, Layer};

use crate::check::Check;
use crate::primitive;
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
];

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
    let places: Vec<String> = trial
        .scene
        .mounts
        .iter()
        .map(|mount| mount.at.clone())
        .filter(|at| {
            !granted.contains(at) && !["/", "/proc", "/sys", "/dev"].contains(&at.as_str())
        })
        .filter(|at| {
            !at.starts_with("/proc/") && !at.starts_with("/dev/") && !at.starts_with("/sys/")
        })
        .collect();
    trial.step("all files but the view's", |_| {
        let deadline = now() + Duration::from_millis(6_000);
        let (mut looked, mut found) = (0_u64, Vec::new());
        let mut open = vec!["/".to_owned()];
        let mut refused = 0_u32;
        if fs::read_dir("/").is_err() {
            open = PLACES
                .iter()
                .map(|&place| place.to_owned())
                .chain(places.clone())
                .collect();
            open.sort();
            open.dedup();
        }
        while let Some(directory) = open.pop() {
            if now() > deadline {
                return Outcome::Unsure(format!(
                    "{looked} files in the time for this check, not all"
                ));
            }
            let Ok(entries) = fs::read_dir(&directory) else {
                refused += 1;
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
        if looked == 0 {
            return Outcome::Unsure("no directory could be listed".to_owned());
        }
        if found.is_empty() {
            let detail = format!("none among {looked} files; {refused} directories refused");
            Outcome::Blocked(Layer::MissingNode, detail)
        } else {
            found.truncate(5);
            Outcome::Open(found.join(" "))
        }
    });
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

/// Where to begin when the root itself cannot be listed.
const PLACES: &[&str] = &[
    "/usr",
    "/opt",
    "/home",
    "/root",
    "/var",
    "/srv",
    "/mnt",
    "/data",
    "/etc",
    "/run",
    "/tmp",
    "/models",
    "/app",
    "/workspace",
    "/model-store",
    "/cache",
];

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
