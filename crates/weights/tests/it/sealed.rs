//! What is sealed comes out again, and says nothing on the way.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use casemate_weights::inspect::inspect;
use casemate_weights::key_release::Identity;
use casemate_weights::{no_progress, open};
use proptest::prelude::*;

use crate::lab::{Lab, contents, noise};

#[test]
fn a_sealed_model_opens_to_the_same_files() {
    let lab = Lab::new();
    let summary = lab.seal();
    assert_eq!(summary.files, 6);
    let model = lab.open();
    open::check(&model, open::Depth::Tags, &no_progress).unwrap();
    open::check(&model, open::Depth::Digests, &no_progress).unwrap();
    let output = lab.path("opened");
    open::decrypt_to(&model, &output, &no_progress).unwrap();
    assert_eq!(contents(&lab.source()), contents(&output));
    let mode = |name: &str| {
        fs::metadata(output.join(name))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!((mode("run.sh"), mode("config.json")), (0o755, 0o644));
}

#[test]
fn progress_ends_at_the_total() {
    let lab = Lab::new();
    let last = std::sync::Mutex::new(None);
    let recipients = [lab.recipient.clone()];
    let (source, output) = (lab.source(), lab.sealed());
    let request = casemate_weights::seal::SealRequest::new(
        &source,
        &output,
        "m@1".parse().unwrap(),
        &lab.signer,
        &recipients,
    );
    casemate_weights::seal::seal(&request, &|progress| {
        let mut last = last.lock().unwrap();
        if last.is_none_or(|before: casemate_weights::Progress| before.done < progress.done) {
            *last = Some(progress);
        }
    })
    .unwrap();
    let last = last.into_inner().unwrap().unwrap();
    assert_eq!(last.done, last.total);
}

#[test]
fn nothing_on_disk_shows_plaintext_or_a_file_name() {
    let lab = Lab::new();
    let marker = b"a line of plaintext that nobody may find on a copied disk";
    lab.add("customer-acme-finetune.safetensors", &marker.repeat(50));
    lab.seal();
    for (name, bytes) in contents(&lab.sealed()) {
        for secret in [
            &marker[..20],
            b"acme",
            b"vocab",
            b"weights/",
            b"config.json",
        ] {
            let found = bytes.windows(secret.len()).any(|window| window == secret);
            assert!(
                !found,
                "{} shows {}",
                name.display(),
                String::from_utf8_lossy(secret)
            );
        }
    }
}

#[test]
fn two_sealings_of_one_model_share_no_ciphertext() {
    let lab = Lab::new();
    lab.try_seal(&lab.path("one"), 1).unwrap();
    lab.try_seal(&lab.path("two"), 1).unwrap();
    let data = |name: &str| fs::read(lab.path(name).join("data")).unwrap();
    let (one, two) = (data("one"), data("two"));
    assert_eq!(one.len(), two.len());
    let pages = one.chunks(16).zip(two.chunks(16));
    assert_eq!(pages.filter(|(one, two)| one == two).count(), 0);
}

#[test]
fn inspect_tells_what_is_written_without_any_key() {
    let lab = Lab::new();
    let summary = lab.seal();
    let seen = inspect(&lab.sealed()).unwrap();
    assert_eq!(seen.model, "llama@2.1");
    assert_eq!(seen.root_digest, summary.header.root_digest);
    assert_eq!(seen.claimed_signer, Some(lab.public().fingerprint()));
    // age adds a stanza of a random kind, which readers must ignore, and so do we.
    assert_eq!(seen.recipients, ["X25519"]);
    assert!(seen.wrong_lengths.is_empty());
}

#[test]
fn a_key_can_be_released_to_each_of_several_recipients() {
    let lab = Lab::new();
    let (second, recipient) = casemate_weights::key_release::generate_identity();
    let recipients = [lab.recipient.clone(), recipient];
    let (source, output) = (lab.source(), lab.sealed());
    let model = "m@1".parse().unwrap();
    let request =
        casemate_weights::seal::SealRequest::new(&source, &output, model, &lab.signer, &recipients);
    casemate_weights::seal::seal(&request, &no_progress).unwrap();
    let second = Identity::parse(second.expose()).unwrap();
    let key = casemate_weights::key_release::unwrap_with(&lab.verify().unwrap(), &second).unwrap();
    assert_eq!(key.expose(), lab.key().expose());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Any file sizes, read chunk by chunk, give the plaintext back.
    #[test]
    fn every_chunk_equals_the_plaintext(sizes in proptest::collection::vec(0_usize..200_000, 1..5)) {
        let lab = Lab::new();
        fs::remove_dir_all(lab.source()).unwrap();
        for (number, size) in sizes.iter().enumerate() {
            lab.add(&format!("d{}/f{number}", number % 2), &noise(&format!("{number}"), *size));
        }
        lab.seal();
        let model = lab.open();
        let mut buffer = vec![0; 65536];
        for (ordinal, entry) in model.entries().iter().enumerate() {
            let plain = fs::read(lab.source().join(entry.path.as_str())).unwrap();
            let mut read = Vec::new();
            for chunk in 0..model.layout().extents[ordinal].chunks {
                read.extend_from_slice(model.read_chunk(ordinal, chunk, &mut buffer).unwrap());
            }
            prop_assert_eq!(read, plain);
        }
    }
}
