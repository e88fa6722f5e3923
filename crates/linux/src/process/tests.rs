use std::fs::File;
use std::io::Read as _;

use super::*;

fn output_of(command: &mut Command) -> (String, Exit) {
    let (reader, writer) = io::pipe().unwrap();
    command.descriptor(1, writer);
    let child = command.spawn().unwrap();
    command.descriptors.clear();
    let mut text = String::new();
    File::from(OwnedFd::from(reader))
        .read_to_string(&mut text)
        .unwrap();
    (text, child.wait().unwrap())
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.argument("-c").argument(script);
    command
}

fn privileged() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skipped: needs root");
    }
    root
}

#[test]
fn a_child_gets_its_arguments_and_environment_and_nothing_else() {
    let mut command = Command::new("/usr/bin/env");
    command.variable("ONLY", "this");
    assert_eq!(
        output_of(&mut command),
        ("ONLY=this\n".to_owned(), Exit::Status(0))
    );
}

#[test]
fn a_child_has_only_the_descriptors_it_was_given() {
    let extra = File::open("/dev/null").unwrap();
    let _kept = rustix::io::dup(&extra).unwrap();
    let mut command =
        shell("for fd in 0 1 2 3 4 5 6 7 8 9 10; do [ -e /proc/$$/fd/$fd ] && echo $fd; done");
    command.descriptor(7, extra);
    let (text, _) = output_of(&mut command);
    let numbers: Vec<&str> = text.lines().collect();
    assert_eq!(numbers, ["0", "1", "2", "7"]);
}

#[test]
fn descriptors_that_swap_numbers_both_arrive() {
    let (reader_a, writer_a) = io::pipe().unwrap();
    let (reader_b, writer_b) = io::pipe().unwrap();
    let mut command = shell("echo a >&5; echo b >&6");
    command.descriptor(5, writer_a).descriptor(6, writer_b);
    command.spawn().unwrap().wait().unwrap();
    drop(command);
    let (mut a, mut b) = (String::new(), String::new());
    File::from(OwnedFd::from(reader_a))
        .read_to_string(&mut a)
        .unwrap();
    File::from(OwnedFd::from(reader_b))
        .read_to_string(&mut b)
        .unwrap();
    assert_eq!((a.as_str(), b.as_str()), ("a\n", "b\n"));
}

#[test]
fn a_program_that_is_not_there_is_an_error_of_the_step_that_executes() {
    let error = Command::new("/nowhere").spawn().unwrap_err();
    assert!(
        matches!(
            error,
            SpawnError::Prepare {
                step: Step::Execute,
                ..
            }
        ),
        "{error:?}"
    );
}

#[test]
fn a_killed_child_ends_by_its_signal() {
    let child = shell("sleep 60").spawn().unwrap();
    assert_eq!(child.try_wait().unwrap(), None);
    assert_eq!(child.kill().unwrap(), Exit::Signal(9));
}

#[test]
fn a_confined_child_has_its_identity_and_no_privilege_left() {
    if !privileged() {
        return;
    }
    let mut command = shell("id -u; id -g; id -G; grep -E '^(Cap|NoNewPrivs)' /proc/self/status");
    command
        .variable("PATH", "/usr/bin:/bin")
        .identity(521_000, 521_000, &[520_000])
        .confined();
    command.dies_with_parent().limit(Resource::Core, 0);
    let (text, _) = output_of(&mut command);
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("521000"));
    assert_eq!(lines.next(), Some("521000"));
    assert_eq!(lines.next(), Some("521000 520000"));
    for line in lines {
        let (name, value) = line.split_once('\t').unwrap();
        let expected = if name == "NoNewPrivs:" {
            "1"
        } else {
            "0000000000000000"
        };
        assert_eq!(value, expected, "{name}");
    }
}

#[test]
fn a_child_in_new_namespaces_is_process_one_there() {
    if !privileged() {
        return;
    }
    let mut command = shell("echo $$");
    command.unshare(&[Kind::Pid, Kind::Mount, Kind::Ipc, Kind::Uts]);
    assert_eq!(output_of(&mut command).0, "1\n");
}

#[test]
fn a_child_dies_with_the_thread_that_started_it() {
    let child = std::thread::spawn(|| {
        let mut command = shell("sleep 60");
        command.dies_with_parent();
        command.spawn().unwrap()
    });
    let child = child.join().unwrap();
    assert_eq!(
        child.wait_for(Duration::from_secs(10)).unwrap(),
        Some(Exit::Signal(9))
    );
}
