use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::time::{Duration, Instant};

use super::*;

const STRANGER: u32 = 54_321;

fn stranger() -> Asker {
    Asker::new(User {
        uid: STRANGER,
        gid: STRANGER,
        groups: Vec::new(),
    })
}

/// A directory that everybody may look into; nothing when this is not root.
fn scratch(name: &str) -> Option<PathBuf> {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return None;
    }
    let path = std::env::temp_dir().join(format!("casemated-asker-{}-{name}", std::process::id()));
    fs::remove_dir_all(&path).ok();
    fs::create_dir_all(&path).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    Some(path)
}

fn write(path: &Path, mode: u32) {
    fs::write(path, "content").unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_file_that_only_root_reads_is_opened_for_root_and_for_nobody_else() {
    let Some(place) = scratch("closed") else {
        return;
    };
    let (key, link) = (place.join("release.age"), place.join("link"));
    write(&key, 0o600);
    symlink(&key, &link).unwrap();
    for path in [&key, &link] {
        assert!(Asker::Root.open_file(&[], path).is_ok());
        let refused = stranger().open_file(&[], path).unwrap_err();
        assert!(matches!(refused, OpenNamedError::Open { .. }), "{refused}");
    }
    // The asker's own file is opened, though it is closed to others.
    chown(&key, Some(STRANGER), Some(STRANGER)).unwrap();
    assert!(stranger().open_file(&[], &link).is_ok());
    fs::remove_dir_all(&place).unwrap();
}

#[test]
fn the_files_of_a_sealed_model_are_opened_with_the_rights_of_whoever_asked() {
    let Some(place) = scratch("sealed") else {
        return;
    };
    let sealed = place.join("sealed");
    fs::create_dir(&sealed).unwrap();
    fs::set_permissions(&sealed, Permissions::from_mode(0o755)).unwrap();
    for name in ["header.json", "key.age", "index", "tags", "data"] {
        write(&sealed.join(name), 0o644);
    }
    assert!(stranger().open_sealed(&[], &sealed).is_ok());
    write(&sealed.join("data"), 0o600);
    assert!(Asker::Root.open_sealed(&[], &sealed).is_ok());
    let refused = stranger().open_sealed(&[], &sealed).unwrap_err();
    assert!(matches!(refused, OpenNamedError::Artifact(_)), "{refused}");
    fs::remove_dir_all(&place).unwrap();
}

#[test]
fn a_pipe_or_a_device_is_refused_at_once_even_for_root() {
    let Some(place) = scratch("pipe") else { return };
    let pipe = place.join("pipe");
    rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o666), 0).unwrap();
    let began = Instant::now();
    for path in [pipe.as_path(), Path::new("/dev/zero")] {
        for asker in [Asker::Root, stranger()] {
            let refused = asker.open_file(&[], path).unwrap_err();
            assert!(matches!(refused, OpenNamedError::Kind { .. }), "{refused}");
        }
    }
    assert!(began.elapsed() < Duration::from_secs(5));
    fs::remove_dir_all(&place).unwrap();
}

#[test]
fn the_daemons_own_directories_and_descriptors_are_refused_however_they_are_named() {
    let Some(place) = scratch("own") else { return };
    let run = place.join("run");
    fs::create_dir(&run).unwrap();
    let (view, link) = (run.join("weights"), place.join("link"));
    write(&view, 0o644);
    symlink(&view, &link).unwrap();
    for asker in [Asker::Root, stranger()] {
        for path in [&view, &link] {
            let refused = asker.open_file(&[&run], path).unwrap_err();
            assert!(matches!(refused, OpenNamedError::Ours { .. }), "{refused}");
        }
        assert!(asker.check_host_directory(&[&run], &run).is_err());
    }
    let file = File::open(&view).unwrap();
    let number = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    assert!(stranger().open_file(&[], &number).is_err());
    fs::remove_dir_all(&place).unwrap();
}

#[test]
fn a_host_directory_that_the_asker_could_replace_is_not_shown() {
    let Some(place) = scratch("host") else { return };
    // Below a directory that everybody may write.
    let refused = stranger().check_host_directory(&[], &place).unwrap_err();
    assert!(
        matches!(refused, OpenNamedError::Replaceable { .. }),
        "{refused}"
    );
    assert!(Asker::Root.check_host_directory(&[], &place).is_ok());
    assert!(
        stranger()
            .check_host_directory(&[], Path::new("/usr"))
            .is_ok()
    );
    assert!(
        stranger()
            .check_host_directory(&[], Path::new("/root"))
            .is_err()
    );
    let link = place.join("link");
    symlink("/usr", &link).unwrap();
    let refused = stranger().check_host_directory(&[], &link).unwrap_err();
    assert!(matches!(refused, OpenNamedError::Open { .. }), "{refused}");
    fs::remove_dir_all(&place).unwrap();
}
