use std::os::unix::fs::symlink;

use super::*;

fn fixed(path: &Path) -> FixedFile {
    FixedFile {
        name: path.display().to_string(),
        before: "a: 1\n".to_owned(),
        after: "a: 2\n".to_owned(),
    }
}

#[test]
fn a_plain_file_is_replaced_and_keeps_its_mode_and_mark() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.yaml");
    fs::write(&path, "\u{feff}a: 1\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    write(&fixed(&path)).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "\u{feff}a: 2\n");
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        1,
        "nothing is left beside it"
    );
}

#[test]
fn a_link_is_refused_and_its_target_stays() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target.yaml");
    fs::write(&target, "a: 1\n").unwrap();
    let link = folder.path().join("link.yaml");
    symlink(&target, &link).unwrap();
    assert!(matches!(
        write(&fixed(&link)),
        Err(WriteFixError::NotPlain { .. })
    ));
    assert_eq!(fs::read_to_string(&target).unwrap(), "a: 1\n");
}

#[test]
fn a_file_with_another_name_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.yaml");
    fs::write(&path, "a: 1\n").unwrap();
    fs::hard_link(&path, folder.path().join("b.yaml")).unwrap();
    assert!(matches!(
        write(&fixed(&path)),
        Err(WriteFixError::Shared { .. })
    ));
}

#[test]
fn a_file_that_changed_meanwhile_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.yaml");
    fs::write(&path, "a: 1 # mine\n").unwrap();
    assert!(matches!(
        write(&fixed(&path)),
        Err(WriteFixError::Changed { .. })
    ));
    assert_eq!(fs::read_to_string(&path).unwrap(), "a: 1 # mine\n");
}

#[test]
fn standard_input_is_no_file() {
    let mut file = fixed(Path::new("-"));
    file.name = "-".to_owned();
    assert!(matches!(write(&file), Err(WriteFixError::NotPlain { .. })));
}
