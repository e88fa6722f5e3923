//! What is not sealed, and what is not believed, each with its reason.

use std::fs;
use std::os::unix::fs::symlink;

use casemate_core::secret::SecretKey;
use casemate_linux::{mount, namespace};
use casemate_weights::digest::Digest;
use casemate_weights::key_release::{KeyReleaseError, generate_identity, unwrap};
use casemate_weights::oms::walk::WalkError;
use casemate_weights::seal::SealModelError;
use casemate_weights::signing::generate_key;
use casemate_weights::unlock::{UnlockError, unlock};
use casemate_weights::verify::{Expectation, VerifyModelError, verify};

use crate::changed::assert_no_partials;
use crate::lab::{Lab, noise, skip};

#[test]
fn an_unknown_signer_is_refused() {
    let lab = Lab::new();
    lab.seal();
    for signers in [vec![], vec![generate_key().unwrap().public()]] {
        let expectation = Expectation {
            signers,
            ..Expectation::default()
        };
        let refused = verify(&lab.sealed(), &expectation);
        assert!(matches!(refused, Err(VerifyModelError::Header(_))));
    }
}

#[test]
fn an_older_epoch_is_refused_and_the_same_is_accepted() {
    let lab = Lab::new();
    lab.try_seal(&lab.sealed(), 4).unwrap();
    let at_least = |minimum_epoch| Expectation {
        minimum_epoch,
        ..lab.expectation()
    };
    verify(&lab.sealed(), &at_least(4)).unwrap();
    assert!(matches!(
        verify(&lab.sealed(), &at_least(5)),
        Err(VerifyModelError::OlderEpoch {
            found: 4,
            minimum: 5
        })
    ));
}

#[test]
fn another_model_version_or_digest_than_expected_is_refused() {
    let lab = Lab::new();
    lab.seal();
    let other = Expectation {
        model: "llama@2.2".parse().ok(),
        ..lab.expectation()
    };
    let refused = verify(&lab.sealed(), &other);
    assert!(matches!(refused, Err(VerifyModelError::OtherModel { .. })));
    let other = Expectation {
        root_digest: Some(Digest([1; 32])),
        ..lab.expectation()
    };
    let refused = verify(&lab.sealed(), &other);
    assert!(matches!(refused, Err(VerifyModelError::OtherDigest { .. })));
}

#[test]
fn a_wrong_identity_or_key_is_named_as_such() {
    let lab = Lab::new();
    lab.seal();
    let stranger = lab.path("stranger.age");
    fs::write(&stranger, generate_identity().0.expose()).unwrap();
    let refused = unwrap(&lab.verify().unwrap(), &stranger);
    assert!(matches!(refused, Err(KeyReleaseError::WrongIdentity)));
    let refused = unlock(lab.verify().unwrap(), &SecretKey::new([7; 32]));
    assert!(matches!(refused, Err(UnlockError::WrongKey)));
    fs::write(&stranger, "age-encryption.org/v1\n-> scrypt x 18\n").unwrap();
    let refused = unwrap(&lab.verify().unwrap(), &stranger);
    assert!(matches!(
        refused,
        Err(KeyReleaseError::EncryptedIdentity(_))
    ));
}

#[test]
fn links_pipes_and_empty_models_are_not_sealed() {
    let lab = Lab::new();
    symlink("/etc/passwd", lab.source().join("link")).unwrap();
    let refused = lab.try_seal(&lab.sealed(), 1).unwrap_err();
    assert!(matches!(
        refused,
        SealModelError::Walk(WalkError::Symlink(_))
    ));
    fs::remove_file(lab.source().join("link")).unwrap();
    symlink("/etc", lab.source().join("directory-link")).unwrap();
    let refused = lab.try_seal(&lab.sealed(), 1).unwrap_err();
    assert!(matches!(
        refused,
        SealModelError::Walk(WalkError::Symlink(_))
    ));
    fs::remove_file(lab.source().join("directory-link")).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(lab.source().join("socket")).unwrap();
    let refused = lab.try_seal(&lab.sealed(), 1).unwrap_err();
    assert!(matches!(
        refused,
        SealModelError::Walk(WalkError::Special(_))
    ));
    drop(socket);
    fs::remove_dir_all(lab.source()).unwrap();
    fs::create_dir_all(lab.source().join("only/directories")).unwrap();
    let refused = lab.try_seal(&lab.sealed(), 1).unwrap_err();
    assert!(matches!(refused, SealModelError::Walk(WalkError::Empty(_))));
    assert!(!lab.sealed().exists());
    assert_no_partials(&lab);
}

#[test]
fn names_that_collide_elsewhere_are_not_sealed() {
    let lab = Lab::new();
    lab.add("CONFIG.json", b"{}");
    let refused = lab.try_seal(&lab.sealed(), 1).unwrap_err();
    assert!(matches!(refused, SealModelError::Walk(WalkError::Path(_))));
}

#[test]
fn nothing_that_exists_is_replaced() {
    let lab = Lab::new();
    lab.seal();
    let before = fs::read(lab.sealed().join("header.json")).unwrap();
    assert!(matches!(
        lab.try_seal(&lab.sealed(), 2),
        Err(SealModelError::Exists(_))
    ));
    assert_eq!(fs::read(lab.sealed().join("header.json")).unwrap(), before);
    assert!(matches!(
        lab.try_seal(&lab.path(".."), 1),
        Err(SealModelError::Output(_))
    ));
    assert_no_partials(&lab);
}

#[test]
fn the_top_level_git_files_are_left_out_and_named() {
    let lab = Lab::new();
    lab.add(".git/config", b"x");
    lab.add(".gitattributes", b"*.bin filter=lfs");
    let summary = lab.seal();
    assert_eq!(summary.ignored, [".git", ".gitattributes"]);
    assert_eq!(summary.files, 6);
}

#[test]
fn a_full_disk_leaves_nothing_under_the_final_name() {
    if !rustix::process::geteuid().is_root() {
        return skip("a small file system can be mounted by root only");
    }
    let lab = Lab::new();
    lab.add("big.bin", &noise("big", 3 << 20));
    let small = lab.path("small");
    fs::create_dir(&small).unwrap();
    // Only this thread sees the mount, and it ends with it.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            namespace::isolate_mounts().unwrap();
            mount::memory(&small, 1 << 20, 0o700, mount::Flags::SCRATCH).unwrap();
            let refused = lab.try_seal(&small.join("model.sealed"), 1).unwrap_err();
            assert!(
                matches!(refused, SealModelError::NoSpace { .. }),
                "{refused:?}"
            );
            assert_eq!(fs::read_dir(&small).unwrap().count(), 0);
            mount::unmount(&small).unwrap();
        });
    });
}

#[test]
fn what_a_killed_sealing_left_is_removed_by_the_next_one_to_the_same_place_and_nothing_else_is() {
    let lab = Lab::new();
    let partial = |name: &str| {
        let path = lab.path(name);
        fs::create_dir(&path).unwrap();
        fs::write(path.join("data"), b"half").unwrap();
        path
    };
    let dead = partial(".model.sealed.0123456789abcdef.partial");
    let living = partial(".model.sealed.fedcba9876543210.partial");
    let elsewhere = partial(".other.sealed.0123456789abcdef.partial");
    let somebodys = partial(".model.sealed.draft.partial");
    let file = lab.path(".model.sealed.00000000000000aa.partial");
    fs::write(&file, b"a file").unwrap();
    let link = lab.path(".model.sealed.00000000000000bb.partial");
    symlink(&elsewhere, &link).unwrap();
    let held = fs::File::open(&living).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();

    let summary = lab.try_seal(&lab.sealed(), 1).unwrap();
    assert_eq!(summary.swept, std::slice::from_ref(&dead));
    assert!(!dead.exists());
    for kept in [&living, &elsewhere, &somebodys] {
        assert!(kept.join("data").exists(), "{}", kept.display());
    }
    assert!(file.exists() && link.is_symlink());
    // Once its holder is gone it goes too, whether the place is sealed to or opened to.
    drop(held);
    fs::remove_dir_all(lab.sealed()).unwrap();
    assert_eq!(lab.try_seal(&lab.sealed(), 1).unwrap().swept, [living]);
}

#[test]
fn two_sealings_to_one_place_at_once_end_with_one_model_and_nothing_beside_it() {
    let lab = Lab::new();
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let sealing: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| lab.try_seal(&lab.sealed(), 1)))
            .collect();
        sealing.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let (done, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!(done.len(), 1);
    for outcome in refused {
        let refusal = outcome.unwrap_err();
        assert!(matches!(refusal, SealModelError::Exists(_)), "{refusal:?}");
    }
    assert_no_partials(&lab);
    lab.open();
}
