use std::path::PathBuf;

use super::*;

fn scratch(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("casemated-keys-{}-{name}", std::process::id()));
    fs::remove_dir_all(&path).ok();
    fs::create_dir_all(&path).unwrap();
    path
}

#[test]
fn a_sealed_file_opens_only_under_its_own_key_and_name() {
    let (here, there) = (scratch("here"), scratch("there"));
    let (ours, theirs) = (
        NodeKey::open(&here).unwrap(),
        NodeKey::open(&there).unwrap(),
    );
    let path = here.join("ca.sealed");
    ours.seal(&path, &Secret::new(b"secret".to_vec())).unwrap();

    assert_eq!(ours.unseal(&path).unwrap().unwrap().expose(), b"secret");
    assert!(matches!(
        theirs.unseal(&path),
        Err(KeepKeyError::Unseal { .. })
    ));
    let renamed = here.join("receipt-key.sealed");
    fs::copy(&path, &renamed).unwrap();
    assert!(matches!(
        ours.unseal(&renamed),
        Err(KeepKeyError::Unseal { .. })
    ));
}

#[test]
fn a_sealed_file_with_any_byte_changed_does_not_open() {
    let here = scratch("changed");
    let key = NodeKey::open(&here).unwrap();
    let path = here.join("x.sealed");
    key.seal(&path, &Secret::new(b"secret".to_vec())).unwrap();
    let good = fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&path, &bad).unwrap();
        assert!(key.unseal(&path).is_err(), "byte {at}");
    }
}

#[test]
fn the_same_node_key_is_found_again() {
    let here = scratch("again");
    let first = ReceiptKey::open(&here, &NodeKey::open(&here).unwrap()).unwrap();
    let second = ReceiptKey::open(&here, &NodeKey::open(&here).unwrap()).unwrap();
    assert_eq!(first.id(), second.id());
}

#[test]
fn secrets_are_readable_by_their_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let here = scratch("mode");
    NodeKey::open(&here).unwrap();
    let mode = fs::metadata(here.join("node.key"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}
