//! Tries to run foreign code: from writable places, from memory, by way of what the image brings.

pub(crate) mod leftovers;

use std::fs;

use casemate_core::finding::{Category, Layer};
use casemate_linux::raw::{Child, Errno};

use crate::attribute::Via;
use crate::check::Check;
use crate::primitive;
use crate::trial::{Outcome, Trial};

const fn check(id: &'static str, title: &'static str, try_it: fn(&mut Trial<'_>)) -> Check {
    Check::new(Category::Execution, id, title, try_it)
}

pub(crate) const CHECKS: &[Check] = &[
    check("PX-01", "writing to the root file system", write_root)
        .techniques(&["T1574", "T1525"])
        .tries("new files in /, /etc, /usr, /usr/lib and /usr/local, removed at once; /etc/ld.so.preload opened for writing")
        .open_means("an attacker can change programs and libraries, and stay after a restart")
        .control("a file can be made in scratch"),
    check("PX-02", "executing from writable places", execute_scratch)
        .techniques(&["T1059", "T1105"])
        .tries("a tiny program is written to each writable directory, executed, and mapped for execution")
        .open_means("downloaded tools can be run")
        .control("the prober's own program executes"),
    check("PX-03", "executing without a file", execute_memory)
        .techniques(&["T1620"])
        .tries("a tiny program in memfd_create() is executed by execveat() and by /proc/self/fd")
        .open_means("programs run that no file system ever showed")
        .control("the prober's own program executes"),
    check("PX-04", "memory that is writable and executable", writable_code)
        .techniques(&["T1055"])
        .tries("mmap() with both; mprotect() from writable to executable")
        .open_means("injected machine code can run; compilers of model servers need this too")
        .control("plain memory can be mapped")
        .surface(),
    check("PX-05", "shells and interpreters of the image", interpreters)
        .techniques(&["T1059"])
        .tries("/bin/sh, bash, python3, perl and gcc are executed to end at once")
        .open_means("an exploit finds its tools ready; a root file system without them is better")
        .control("the prober's own program executes")
        .surface(),
];

/// The smallest program: 64-bit, static, ends with status 42.
fn tiny_program() -> Option<Vec<u8>> {
    if !cfg!(target_arch = "x86_64") {
        return None;
    }
    // mov edi, 42; mov eax, 60; syscall
    let code = [0xbf, 42, 0, 0, 0, 0xb8, 60, 0, 0, 0, 0x0f, 0x05];
    let base = 0x40_0000_u64;
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let half = |file: &mut Vec<u8>, value: u16| file.extend(value.to_le_bytes());
    let word = |file: &mut Vec<u8>, value: u32| file.extend(value.to_le_bytes());
    let long = |file: &mut Vec<u8>, value: u64| file.extend(value.to_le_bytes());
    half(&mut file, 2);
    half(&mut file, 62);
    word(&mut file, 1);
    for value in [base + 120, 64, 0] {
        long(&mut file, value);
    }
    word(&mut file, 0);
    for value in [64, 56, 1, 0, 0, 0] {
        half(&mut file, value);
    }
    word(&mut file, 1);
    word(&mut file, 5);
    for value in [0, base, base, 132, 132, 0x1000] {
        long(&mut file, value);
    }
    file.extend(code);
    Some(file)
}

/// A null-ended array of pointers to texts.
fn pointers(texts: &[std::ffi::CString]) -> Vec<u8> {
    texts
        .iter()
        .flat_map(|text| primitive::pointer(text.as_bytes_with_nul()))
        .chain([0; 8])
        .collect()
}

/// What is to be executed.
enum Program<'a> {
    Path(&'a str),
    Descriptor(i64),
}

/// Executes in one more process and gives the exit status, or the error number of the execution.
fn execute(
    child: &Child,
    program: &Program<'_>,
    arguments: &[&str],
    stream: Option<i64>,
) -> Result<i32, Errno> {
    let texts: Vec<_> = arguments.iter().map(|text| primitive::path(text)).collect();
    let vector = pointers(&texts);
    let environment = pointers(&[]);
    if let Some(pid) = primitive::fork(child)? {
        let status = primitive::wait(child, pid)?;
        return match (libc::WIFEXITED(status), libc::WEXITSTATUS(status)) {
            (true, code) if code >= 128 => Err(Errno(code - 128)),
            (true, code) => Ok(code),
            (false, _) => Ok(256 + libc::WTERMSIG(status)),
        };
    }
    if let Some(stream) = stream {
        for standard in [0, 1, 2] {
            let _duplicated =
                child.call(libc::SYS_dup3, [stream.into(), standard.into(), 0.into()]);
        }
    }
    let failed = match program {
        Program::Path(path) => {
            let path = primitive::path(path);
            child.call(
                libc::SYS_execve,
                [
                    path.as_c_str().into(),
                    vector.as_slice().into(),
                    environment.as_slice().into(),
                ],
            )
        }
        Program::Descriptor(descriptor) => {
            let empty = primitive::path("");
            child.call(
                libc::SYS_execveat,
                [
                    (*descriptor).into(),
                    empty.as_c_str().into(),
                    vector.as_slice().into(),
                    environment.as_slice().into(),
                    libc::AT_EMPTY_PATH.into(),
                ],
            )
        }
    };
    child.exit(128 + failed.map_or_else(|errno| errno.0.min(127), |_| 0))
}

/// Runs a shell that ends with status 7.
pub(crate) fn run_shell(child: &Child, stream: Option<i64>) -> Result<i32, Errno> {
    execute(
        child,
        &Program::Path("/bin/sh"),
        &["sh", "-c", "exit 7"],
        stream,
    )
}

/// The prober's own program refuses at once without an order; that it starts at all is the control.
fn control_execute(trial: &Trial<'_>) {
    let path = fs::read_link("/proc/self/exe").map(|path| path.to_string_lossy().into_owned());
    let ran = path.map_err(|error| error.to_string()).and_then(|path| {
        execute(
            trial.child,
            &Program::Path(&path),
            &["casemate-probe", "--no-order"],
            None,
        )
        .map_err(|errno| errno.to_string())
    });
    trial.control(
        "the own program executes",
        ran.map(|status| format!("status {status}")),
    );
}

fn write_root(trial: &mut Trial<'_>) {
    let own = format!(
        "{}/casemate-probe-{}",
        trial.scene.order.grants.scratch, trial.check
    );
    let made = primitive::write_new(trial.child, &own, b"own");
    primitive::unlink(trial.child, &own);
    trial.control(
        "a file in scratch",
        made.map(|()| String::new())
            .map_err(|errno| errno.to_string()),
    );
    for directory in [
        "/",
        "/etc",
        "/usr",
        "/usr/lib",
        "/usr/local",
        "/var",
        "/root",
        "/home",
    ] {
        if fs::metadata(directory).is_err() {
            continue;
        }
        let path = format!("{}/casemate-probe-new", directory.trim_end_matches('/'));
        let via = Via::call(libc::SYS_openat).path(directory, libc::W_OK);
        if trial
            .attempt(format_args!("a file in {directory}"), via, |child| {
                primitive::write_new(child, &path, b"").map(|()| 0)
            })
            .is_ok()
        {
            primitive::unlink(trial.child, &path);
        }
    }
    let path = "/etc/ld.so.preload";
    let via = Via::call(libc::SYS_openat).path(path, libc::W_OK);
    let _refused = trial.attempt(path, via, |child| primitive::open_for_writing(child, path));
}

fn execute_scratch(trial: &mut Trial<'_>) {
    control_execute(trial);
    let Some(program) = tiny_program() else {
        trial.step("a tiny program", |_| {
            Outcome::Absent("not this processor".to_owned())
        });
        return;
    };
    let mut places = vec![
        trial.scene.order.grants.scratch.clone(),
        "/dev/shm".to_owned(),
        "/var/tmp".to_owned(),
        "/run".to_owned(),
        "/dev".to_owned(),
        "/".to_owned(),
    ];
    places.dedup();
    for place in places {
        let path = format!("{}/casemate-probe-tiny", place.trim_end_matches('/'));
        if let Err(errno) = primitive::write_new(trial.child, &path, &program) {
            trial.step(format_args!("write to {place}"), |_| {
                Outcome::Refused(errno, Via::call(libc::SYS_openat).path(&place, libc::W_OK))
            });
            continue;
        }
        let via = || Via::call(libc::SYS_execve).path(&path, libc::X_OK);
        trial.step(format_args!("execute from {place}"), |child| match execute(
            child,
            &Program::Path(&path),
            &["tiny"],
            None,
        ) {
            Ok(42) => Outcome::Open("it ran".to_owned()),
            Ok(status) => Outcome::Unsure(format!("status {status}")),
            Err(errno) => Outcome::Refused(errno, via()),
        });
        let file = primitive::open(trial.child, &path, libc::O_RDONLY);
        if let Ok(file) = file {
            let _refused = trial.attempt(
                format_args!("map for execution from {place}"),
                via(),
                |child| {
                    child.call(
                        libc::SYS_mmap,
                        [
                            0.into(),
                            4_096.into(),
                            (libc::PROT_READ | libc::PROT_EXEC).into(),
                            libc::MAP_PRIVATE.into(),
                            file.into(),
                            0.into(),
                        ],
                    )
                },
            );
        }
        primitive::unlink(trial.child, &path);
    }
}

fn execute_memory(trial: &mut Trial<'_>) {
    control_execute(trial);
    let Some(program) = tiny_program() else {
        trial.step("a tiny program", |_| {
            Outcome::Absent("not this processor".to_owned())
        });
        return;
    };
    let name = primitive::path("casemate-probe");
    let made = trial
        .child
        .call(libc::SYS_memfd_create, [name.as_c_str().into(), 0.into()])
        .and_then(|file| primitive::write_all(trial.child, file, &program).map(|()| file));
    let file = match made {
        Ok(file) => file,
        Err(errno) => {
            trial.step("memfd_create", |_| {
                Outcome::Refused(errno, Via::call(libc::SYS_memfd_create))
            });
            return;
        }
    };
    let inert =
        fs::read_to_string("/proc/sys/vm/memfd_noexec").is_ok_and(|setting| setting.trim() != "0");
    let judge = |result: Result<i32, Errno>, number: i64| match result {
        Ok(42) => Outcome::Open("it ran".to_owned()),
        Ok(status) => Outcome::Unsure(format!("status {status}")),
        // Such files have no mode to be refused by, and no mount that anybody could change.
        Err(Errno(libc::EACCES)) if inert => Outcome::Blocked(
            Layer::Kernel,
            "memory files are inert in this namespace".to_owned(),
        ),
        Err(Errno(libc::EACCES)) => Outcome::Blocked(Layer::Landlock, "EACCES".to_owned()),
        Err(errno) => Outcome::Refused(errno, Via::call(number).only_filter()),
    };
    trial.step("execveat of the descriptor", |child| {
        judge(
            execute(child, &Program::Descriptor(file), &["tiny"], None),
            libc::SYS_execveat,
        )
    });
    let path = format!("/proc/self/fd/{file}");
    trial.step("execve through /proc/self/fd", |child| {
        judge(
            execute(child, &Program::Path(&path), &["tiny"], None),
            libc::SYS_execve,
        )
    });
}

fn writable_code(trial: &mut Trial<'_>) {
    let map = |child: &Child, protection: i32| {
        child.call(
            libc::SYS_mmap,
            [
                0.into(),
                4_096.into(),
                protection.into(),
                (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS).into(),
                (-1_i64).into(),
                0.into(),
            ],
        )
    };
    let plain = map(trial.child, libc::PROT_READ | libc::PROT_WRITE);
    trial.control(
        "plain memory",
        plain
            .map(|_| String::new())
            .map_err(|errno| errno.to_string()),
    );
    let all = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
    let _refused = trial.attempt(
        "map with both",
        Via::call(libc::SYS_mmap).only_filter(),
        |child| map(child, all),
    );
    if let Ok(at) = plain {
        let _refused = trial.attempt(
            "make executable later",
            Via::call(libc::SYS_mprotect).only_filter(),
            |child| {
                child.call(
                    libc::SYS_mprotect,
                    [
                        at.into(),
                        4_096.into(),
                        (libc::PROT_READ | libc::PROT_EXEC).into(),
                    ],
                )
            },
        );
    }
}

fn interpreters(trial: &mut Trial<'_>) {
    control_execute(trial);
    for (path, arguments) in [
        ("/bin/sh", ["sh", "-c", "exit 7"].as_slice()),
        ("/bin/bash", &["bash", "-c", "exit 7"]),
        (
            "/usr/bin/python3",
            &["python3", "-S", "-E", "-c", "import os; os._exit(7)"],
        ),
        ("/usr/bin/perl", &["perl", "-e", "exit 7"]),
        ("/usr/bin/gcc", &["gcc", "--version"]),
        ("/bin/busybox", &["busybox", "true"]),
    ] {
        let via = Via::call(libc::SYS_execve).path(path, libc::X_OK);
        trial.step(path, |child| {
            match execute(child, &Program::Path(path), arguments, None) {
                Ok(_) => Outcome::Open("it ran".to_owned()),
                Err(errno) => Outcome::Refused(errno, via),
            }
        });
    }
}
