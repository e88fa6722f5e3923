use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use casemate_linux::rights::User;

use super::*;

const DIGEST: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// An OCI layout with one blob, or nothing when this is not root.
fn layout(name: &str) -> Option<PathBuf> {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return None;
    }
    let path = std::env::temp_dir().join(format!("casemated-image-{}-{name}", std::process::id()));
    fs::remove_dir_all(&path).ok();
    fs::create_dir_all(path.join(BLOBS)).unwrap();
    for name in ["oci-layout", "index.json"] {
        fs::write(path.join(name), name).unwrap();
    }
    fs::write(path.join(BLOBS).join(DIGEST), "abc").unwrap();
    fs::write(path.join(BLOBS).join("other"), "passed over").unwrap();
    for directory in ["", "blobs", BLOBS] {
        fs::set_permissions(path.join(directory), Permissions::from_mode(0o755)).unwrap();
    }
    fs::create_dir(path.join("store")).unwrap();
    Some(path)
}

fn copy(layout: &Path, bytes: u64) -> io::Result<Copy> {
    let asker = Asker::new(User {
        uid: 54_321,
        gid: 54_321,
        groups: Vec::new(),
    });
    let Opened::Directory(directory) = asker.open(&[], layout).unwrap() else {
        panic!("not a directory");
    };
    let bounds = Bounds {
        bytes,
        ..Bounds::default()
    };
    Copy::of(&asker, &directory, &layout.join("store"), &bounds)
}

#[test]
fn the_layout_of_a_user_is_copied_and_the_copy_goes_away() {
    let Some(layout) = layout("copied") else {
        return;
    };
    let made = copy(&layout, 1000).unwrap();
    let blob = fs::read(made.path.join(BLOBS).join(DIGEST)).unwrap();
    assert_eq!(blob, b"abc");
    assert!(!made.path.join(BLOBS).join("other").exists());
    drop(made);
    assert_eq!(fs::read_dir(layout.join("store")).unwrap().count(), 0);
    fs::remove_dir_all(&layout).unwrap();
}

#[test]
fn a_layout_with_a_link_to_a_file_or_with_a_file_of_root_is_refused() {
    let Some(layout) = layout("link") else { return };
    let index = layout.join("index.json");
    fs::remove_file(&index).unwrap();
    symlink("oci-layout", &index).unwrap();
    assert!(copy(&layout, 1000).is_err());
    fs::remove_file(&index).unwrap();
    fs::write(&index, "{}").unwrap();
    assert!(copy(&layout, 1000).is_ok());
    fs::set_permissions(&index, Permissions::from_mode(0o600)).unwrap();
    assert!(copy(&layout, 1000).is_err());
    fs::remove_dir_all(&layout).unwrap();
}

#[test]
fn a_layout_longer_than_allowed_is_not_copied() {
    let Some(layout) = layout("long") else { return };
    assert!(copy(&layout, 22).is_err());
    assert!(copy(&layout, 23).is_ok());
    fs::remove_dir_all(&layout).unwrap();
}

#[test]
fn an_answer_about_a_malformed_image_quotes_nothing_of_it() {
    let error = UnpackImageError::Document {
        document: "archive",
        reason: "numeric field was not a number: root:$y$secret".to_owned(),
    };
    let failure = refused(Path::new("/etc/shadow"), &error);
    assert!(!failure.message().contains("root:"));
    assert!(failure.message().contains("`/etc/shadow`"));
}
