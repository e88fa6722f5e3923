//! What the issuer's user cannot see of it.

use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const USER: u32 = 54_321;

#[test]
fn the_program_is_closed_to_its_own_user_before_it_has_read_a_key() {
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        println!("skipped: needs root");
        return;
    }
    // Settings that never come: whatever is true now was true before the first key.
    let mut child = Command::new("/bin/sh")
        .args(["-c", "exec \"$0\" 3<&0"])
        .arg(env!("CARGO_BIN_EXE_casemate-issuer"))
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .uid(USER)
        .gid(USER)
        .spawn()
        .unwrap();
    let place = format!("/proc/{}", child.id());
    let until = Instant::now() + Duration::from_secs(10);
    // The kernel gives what a process shows of itself to root once nobody else may look.
    let hidden = loop {
        let program = std::fs::read_link(format!("{place}/exe")).unwrap_or_default();
        let is_issuer = program.ends_with("casemate-issuer");
        let owner = std::fs::metadata(format!("{place}/environ")).unwrap().uid();
        if is_issuer && owner == 0 {
            break true;
        }
        if Instant::now() > until {
            break false;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    assert!(child.try_wait().unwrap().is_none());
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(hidden);
}
