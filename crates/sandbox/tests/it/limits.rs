//! A stage that misbehaves takes only itself down; a launcher that dies leaves nothing behind.

use std::time::Duration;

use casemate_linux::process::Exit;
use casemate_sandbox::cleanup::{self, Places};

use crate::lab::{self, wait_for};

#[test]
fn a_fork_bomb_stays_in_its_stage() {
    lab::run(3200, |lab| {
        let script = "bomb() { bomb | bomb & }; while true; do bomb 2>/dev/null; done";
        let (serving, _) = lab.serve(&lab.shell(script));
        wait_for("the bomb", Duration::from_secs(20), || {
            (serving.statistics().unwrap().processes > 40 || serving.exit().unwrap().is_some())
                .then_some(())
        });
        assert!(serving.statistics().unwrap().processes <= 64);
        // This process can still start others.
        assert!(
            std::process::Command::new("/bin/true")
                .status()
                .unwrap()
                .success()
        );
        serving.stop(Duration::ZERO).unwrap();
        lab.remove_network();
    });
}

#[test]
fn a_stage_that_eats_memory_is_killed_alone() {
    lab::run(3201, |lab| {
        let mut request = lab.shell("x=0123456789abcdef; while true; do x=$x$x; done");
        request.limits.memory_bytes = 64 << 20;
        let (serving, _) = lab.serve(&request);
        wait_for("the kernel's killer", Duration::from_secs(60), || {
            serving.exit().unwrap()
        });
        serving.stop(Duration::ZERO).unwrap();
        lab.remove_network();
    });
}

#[test]
fn scratch_space_counts_as_memory_and_is_bounded() {
    lab::run(3202, |lab| {
        let mut request = lab.shell("head -c 100M /dev/zero > /tmp/x; stat -c %s /tmp/x");
        request.limits.scratch_bytes = 1 << 20;
        let text = lab.output(&request);
        assert!(text.contains("No space left"), "{text}");
        assert!(text.trim_end().ends_with("1048576"), "{text}");
    });
}

#[test]
fn a_stage_left_by_its_launcher_goes_on_and_is_swept_up() {
    lab::run(3203, |lab| {
        let (serving, _) = lab.serve(&lab.shell("exec sleep 600"));
        let process = casemate_linux::process::open(serving.process()).unwrap();
        serving.leave();
        use std::os::fd::AsFd as _;
        let gone =
            |longest| casemate_linux::process::readable_within(process.as_fd(), longest).unwrap();
        assert!(!gone(Duration::from_millis(100)));
        let places = Places {
            bundles: lab.path("bundles"),
            networks: lab.path("networks"),
            views: lab.path("views"),
            images: lab.path("images"),
        };
        std::fs::create_dir(lab.path("images/.image-1-0")).unwrap();
        assert!(!cleanup::find(&lab.runc, &places).unwrap().is_empty());
        let swept = cleanup::sweep(&lab.runc, &places);
        assert!(gone(Duration::from_secs(10)));
        assert_eq!(swept.left, Vec::<String>::new());
        assert_eq!(
            (
                swept.containers.len(),
                swept.bundles.len(),
                swept.networks.len()
            ),
            (1, 1, 1)
        );
        assert_eq!(
            cleanup::find(&lab.runc, &places).unwrap(),
            Vec::<String>::new()
        );
        assert!(cleanup::sweep(&lab.runc, &places).is_empty());
    });
}

#[test]
fn a_server_that_ends_is_seen_to_end() {
    lab::run(3204, |lab| {
        casemate_linux::process::adopt_orphans().unwrap();
        let (serving, _) = lab.serve(&lab.shell("exit 7"));
        let exit = wait_for("the end", Duration::from_secs(10), || {
            serving.exit().unwrap()
        });
        assert_eq!(exit, Exit::Status(7));
        serving.stop(Duration::ZERO).unwrap();
        lab.remove_network();
    });
}
