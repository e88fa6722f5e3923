//! Looks for leftovers of the launcher: its programs, its descriptors, its plan, its variables.

use std::fs;

use casemate_core::finding::{Category, Layer};
use casemate_linux::raw::Errno;

use crate::attribute::Via;
use crate::check::Check;
use crate::primitive;
use crate::trial::{Outcome, Trial};

const fn check(id: &'static str, title: &'static str, try_it: fn(&mut Trial<'_>)) -> Check {
    Check::new(Category::Execution, id, title, try_it)
}

pub(crate) const CHECKS: &[Check] = &[
    check("PX-09", "the prober and the init program", own_programs)
        .techniques(&["T1565.002", "T1036"])
        .tries("the programs that the launcher brought in, and their directory, are opened for writing")
        .open_means("the stage can replace what will attest to its confinement")
        .control("an own file in scratch opens for writing"),
    check("PX-10", "inherited descriptors", descriptors)
        .techniques(&["T1611", "AML.T0105"])
        .tries("/proc/self/fd is listed; directories and sockets are looked for; the working directory is asked for (CVE-2024-21626)")
        .open_means("a descriptor that leads out of the sandbox was left open")
        .control("/proc/self/fd shows the standard streams"),
    check("PX-11", "the launcher's plan", plan)
        .techniques(&["T1565.002"])
        .tries("descriptors of all visible processes are searched for a plan that opens for writing")
        .open_means("the stage can rewrite the plan that its sandbox is compared with")
        .control("/proc/self/fd is listed"),
    check("PX-12", "variables that load code", variables)
        .techniques(&["T1574.006"])
        .tries("LD_*, PYTHON* and proxy variables are looked for in the own environment")
        .open_means("code or traffic is diverted before the server's first line")
        .control("the environment can be read"),
];

fn own_programs(trial: &mut Trial<'_>) {
    let own = format!(
        "{}/casemate-probe-{}",
        trial.scene.order.grants.scratch, trial.check
    );
    let made = primitive::write_new(trial.child, &own, b"own")
        .and_then(|()| primitive::open_for_writing(trial.child, &own));
    primitive::unlink(trial.child, &own);
    trial.control(
        "an own file opens for writing",
        made.map(|_| String::new())
            .map_err(|errno| errno.to_string()),
    );
    let program = fs::read_link("/proc/self/exe").map_or_else(
        |_| "/.casemate/probe".to_owned(),
        |path| path.to_string_lossy().into_owned(),
    );
    let directory = program
        .rsplit_once('/')
        .map_or("/", |(directory, _)| directory)
        .to_owned();
    for path in [program.clone(), format!("{directory}/init")] {
        // A running program answers ETXTBSY whatever its mount; the mount is asked by `access`.
        let via = Via::call(libc::SYS_openat).path(&path, libc::W_OK);
        trial.step(&path, |child| {
            match primitive::open_for_writing(child, &path) {
                Ok(_) => Outcome::Open("it opens for writing".to_owned()),
                Err(Errno(libc::ETXTBSY)) => match primitive::access(child, &path, libc::W_OK) {
                    Ok(_) => Outcome::Open(
                        "only that it runs just now keeps it from being written".to_owned(),
                    ),
                    Err(errno) => Outcome::Refused(errno, via),
                },
                Err(errno) => Outcome::Refused(errno, via),
            }
        });
    }
    let new = format!("{}/casemate-probe-new", directory.trim_end_matches('/'));
    let via = Via::call(libc::SYS_openat).path(
        if directory.is_empty() {
            "/"
        } else {
            &directory
        },
        libc::W_OK,
    );
    if trial
        .attempt(format_args!("a new file beside {program}"), via, |child| {
            primitive::write_new(child, &new, b"").map(|()| 0)
        })
        .is_ok()
    {
        primitive::unlink(trial.child, &new);
    }
}

fn descriptors(trial: &mut Trial<'_>) {
    let shown: Vec<i32> = primitive::names("/proc/self/fd")
        .iter()
        .filter_map(|name| name.parse().ok())
        .collect();
    trial.control(
        "/proc/self/fd",
        if shown.contains(&1) || shown.contains(&2) {
            Ok(format!("{} descriptors", shown.len()))
        } else {
            Err(format!("{shown:?}"))
        },
    );
    let own = trial.scene.own_descriptors.clone();
    let mut leaked = Vec::new();
    for descriptor in shown
        .into_iter()
        .filter(|descriptor| *descriptor > 2 && !own.contains(descriptor))
    {
        let Ok(link) = fs::read_link(format!("/proc/self/fd/{descriptor}")) else {
            continue;
        };
        let link = link.to_string_lossy().into_owned();
        // What reads this list, and the pipe to the prober, were opened here.
        let ours = link.starts_with("/proc/") || link.starts_with("pipe:");
        if !ours {
            leaked.push(format!("{descriptor} {link}"));
        }
    }
    trial.step("descriptors above 2", |_| {
        if leaked.is_empty() {
            Outcome::Blocked(Layer::MissingNode, "none but the prober's own".to_owned())
        } else {
            Outcome::Open(leaked.join(", "))
        }
    });
    for descriptor in 0..3 {
        let path = format!("/proc/self/fd/{descriptor}");
        trial.step(
            format_args!("standard stream {descriptor}"),
            |_| match fs::metadata(&path) {
                Ok(found) if found.is_dir() => Outcome::Open("a directory".to_owned()),
                Ok(found) if found.is_file() => Outcome::Open("a file".to_owned()),
                Ok(_) => Outcome::Blocked(
                    Layer::MissingNode,
                    "a pipe, a socket or a device".to_owned(),
                ),
                Err(_) => Outcome::Blocked(Layer::MissingNode, "closed".to_owned()),
            },
        );
    }
    trial.step("the working directory", |_| {
        match fs::read_link("/proc/self/cwd") {
            Ok(path) if path.to_string_lossy().starts_with("(unreachable)") => {
                Outcome::Open("outside of the root".to_owned())
            }
            Ok(_) => Outcome::Blocked(Layer::MissingNode, "inside".to_owned()),
            Err(error) => Outcome::Unsure(error.to_string()),
        }
    });
}

fn plan(trial: &mut Trial<'_>) {
    let own =
        fs::read_dir("/proc/self/fd").map(|entries| format!("{} descriptors", entries.count()));
    trial.control(
        "/proc/self/fd is listed",
        own.map_err(|error| error.to_string()),
    );
    let mut found = Vec::new();
    for pid in primitive::names("/proc")
        .into_iter()
        .filter(|name| name.parse::<u32>().is_ok())
        .take(64)
    {
        for name in primitive::names(&format!("/proc/{pid}/fd")) {
            let path = format!("/proc/{pid}/fd/{name}");
            let Ok(link) = fs::read_link(&path) else {
                continue;
            };
            if link.to_string_lossy().starts_with("/memfd:")
                && !link.to_string_lossy().contains("casemate-probe")
            {
                found.push(path);
            }
        }
    }
    let count = found.len();
    if count == 0 {
        trial.step("memory files of all processes", |_| {
            Outcome::Blocked(Layer::MissingNode, "none is left open".to_owned())
        });
    }
    for path in found.into_iter().take(8) {
        trial.step(format_args!("{path}"), |child| {
            match primitive::open(child, &path, libc::O_RDWR) {
                // It may open, and still take no write because of its seals. Nothing is written: the seals are asked.
                Ok(file) => match child.call(
                    libc::SYS_fcntl,
                    [file.into(), libc::F_GET_SEALS.into(), 0.into()],
                ) {
                    Ok(seals) if seals & i64::from(libc::F_SEAL_WRITE) != 0 => {
                        Outcome::Blocked(Layer::Kernel, "sealed against writing".to_owned())
                    }
                    Ok(_) => Outcome::Open("it opens for writing and has no seal".to_owned()),
                    Err(errno) => Outcome::Unsure(errno.to_string()),
                },
                Err(errno) => Outcome::Refused(
                    errno,
                    Via::call(libc::SYS_openat)
                        .path(&path, libc::W_OK)
                        .process(),
                ),
            }
        });
    }
}

fn variables(trial: &mut Trial<'_>) {
    let environment = trial.scene.environment.clone();
    trial.control(
        "the environment",
        Ok(format!("{} variables", environment.len())),
    );
    const NAMES: [&str; 12] = [
        "LD_PRELOAD",
        "LD_AUDIT",
        "LD_LIBRARY_PATH",
        "PYTHONSTARTUP",
        "PYTHONINSPECT",
        "GCONV_PATH",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
    ];
    let granted = trial.scene.order.grants.environment.clone();
    let found: Vec<&str> = environment
        .iter()
        .filter_map(|variable| variable.split_once('='))
        .map(|(name, _)| name)
        .filter(|name| NAMES.contains(name) && !granted.iter().any(|known| known == name))
        .collect();
    trial.step("variables that load code or divert traffic", |_| {
        if found.is_empty() {
            Outcome::Blocked(Layer::MissingNode, "none but the plan's".to_owned())
        } else {
            Outcome::Open(found.join(" "))
        }
    });
}
