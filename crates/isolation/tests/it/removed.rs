//! Takes one control away from the hardened container: the checks that rest on it must open, and hold
//! with it. This is the table of `casemate_isolation::catalogue`, tried.

use casemate_core::finding::Verdict;

use crate::lab::{self, Seccomp, Variant};

/// Probes `checks` with the control and without it.
fn opens(checks: &[&str], remove: impl Fn(&mut Variant)) {
    if let Some(reason) = lab::missing() {
        println!("skipped: {reason}");
        return;
    }
    let hardened = Variant::hardened();
    let held = lab::probe(&hardened, checks);
    let mut weakened = hardened;
    remove(&mut weakened);
    let without = lab::probe(&weakened, checks);
    for check in checks {
        let (with, without) = (lab::finding(&held, check), lab::finding(&without, check));
        println!(
            "{check} {}: with {} by {:?}, without {}",
            with.title, with.verdict, with.layer, without.verdict
        );
        assert_eq!(with.verdict, Verdict::Blocked, "{with:#?}");
        assert_eq!(without.verdict, Verdict::Open, "{without:#?}");
    }
}

#[test]
fn without_an_own_network_the_witness_is_reached() {
    opens(
        &[
            "EG-01", "EG-02", "EG-03", "EG-08", "EG-12", "EG-21", "EG-32", "LA-01",
        ],
        |variant| {
            variant.own_network = false;
        },
    );
}

#[test]
fn without_a_filter_the_kernels_surface_is_open() {
    const CHECKS: [&str; 18] = [
        "EG-11", "EG-19", "EG-33", "ES-01", "ES-02", "ES-18", "ES-19", "ES-20", "ES-24", "ES-25",
        "ES-26", "ES-48", "LA-08", "LA-15", "ME-01", "ME-02", "ME-05", "ME-06",
    ];
    opens(&CHECKS, |variant| variant.seccomp = Seccomp::None);
}

#[test]
fn with_capabilities_there_is_privilege_to_abuse() {
    opens(&["ES-46", "ES-47"], |variant| {
        variant.capabilities = vec!["CAP_SETUID", "CAP_SETGID", "CAP_CHOWN"];
        variant.uid = 0;
    });
}

#[test]
fn without_a_read_only_root_it_is_written() {
    opens(&["PX-01"], |variant| {
        variant.read_only_root = false;
    });
}

#[test]
fn without_noexec_scratch_a_foreign_program_runs() {
    opens(&["PX-02"], |variant| {
        variant.scratch_options = vec!["nosuid", "nodev", "mode=1777"]
    });
}

#[test]
fn without_a_user_namespace_root_is_the_hosts() {
    opens(&["ES-23", "LA-07"], |variant| {
        variant.user_namespace = false
    });
}

#[test]
fn without_masks_the_kernel_is_shown() {
    opens(&["ES-29"], |variant| variant.masked = false);
}

#[test]
fn without_no_new_privs_the_flag_is_missed() {
    opens(&["ES-22"], |variant| variant.no_new_privileges = false);
}

#[test]
fn without_a_limit_of_processes_they_multiply() {
    opens(&["ES-36"], |variant| variant.pids = None);
}

#[test]
fn without_a_limit_of_memory_it_is_filled() {
    opens(&["ES-54"], |variant| variant.memory = None);
}

#[test]
fn without_a_limit_of_scratch_a_model_fits() {
    opens(&["ES-55", "WT-03"], |variant| {
        variant.scratch_bytes = 64 << 20
    });
}

#[test]
fn without_a_core_limit_a_crash_leaves_a_dump() {
    opens(&["ES-51"], |variant| variant.core = u64::MAX);
}

#[test]
fn without_flags_the_view_is_writable_and_executable() {
    opens(&["WT-08", "WT-20"], |variant| {
        variant.view_options = vec!["bind"]
    });
}

#[test]
fn with_the_hosts_directory_inside_its_files_are_read() {
    opens(&["ES-50", "LA-02"], |variant| variant.host_directory = true);
}

#[test]
fn with_a_leaked_directory_it_is_found() {
    opens(&["PX-10"], |variant| variant.leaked_directory = true);
}

#[test]
fn without_the_setting_for_memory_files_they_run() {
    opens(&["PX-03"], |variant| variant.memory_files_execute = true);
}

#[test]
fn without_an_own_ipc_namespace_segments_are_shared() {
    opens(&["LA-04"], |variant| variant.own_ipc = false);
}

#[test]
fn with_more_devices_they_are_found() {
    opens(&["ES-13"], |variant| variant.extra_devices = true);
}

#[test]
fn with_a_forgotten_model_it_is_found() {
    opens(&["WT-01"], |variant| variant.plain_model = true);
}

#[test]
fn with_a_secret_in_a_variable_it_is_found() {
    opens(&["LA-09", "PX-12"], |variant| {
        variant.environment = vec!["API_TOKEN=x", "LD_PRELOAD_X=", "LD_LIBRARY_PATH=/x"]
    });
}
