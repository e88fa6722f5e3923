//! The published test vectors still read, by us and by the second reader in Python.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use casemate_weights::key_release::unwrap;
use casemate_weights::signing::load_public;
use casemate_weights::unlock::unlock;
use casemate_weights::verify::{Expectation, verify};
use casemate_weights::{no_progress, open};

use crate::lab::{Lab, contents, skip};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/format")
}

fn expectation() -> Expectation {
    let signers = vec![load_public(&fixtures().join("v1/signing.pub")).unwrap()];
    Expectation {
        signers,
        ..Expectation::default()
    }
}

#[test]
fn the_published_vector_still_opens() {
    let sealed = fixtures().join("v1/sealed");
    let verified = verify(&sealed, &expectation()).unwrap();
    let header = verified.header();
    let expected: serde_json::Value =
        serde_json::from_slice(&fs::read(fixtures().join("v1/expected.json")).unwrap()).unwrap();
    assert_eq!(header.root_digest.to_string(), expected["rootDigest"]);
    assert_eq!(header.artifact.to_string(), expected["artifactId"]);
    assert_eq!(verified.seal_digest().to_string(), expected["sealDigest"]);
    let key = unwrap(&verified, &fixtures().join("v1/identity.age")).unwrap();
    assert_eq!(
        casemate_weights::digest::hex(key.expose()),
        expected["dataKey"]
    );
    let model = unlock(verified, &key).unwrap();
    let output = tempfile::tempdir().unwrap();
    let opened = output.path().join("opened");
    open::decrypt_to(&model, &opened, &no_progress).unwrap();
    assert_eq!(contents(&opened), contents(&fixtures().join("v1/plain")));
}

#[test]
fn every_published_bad_vector_is_refused() {
    let list: serde_json::Value =
        serde_json::from_slice(&fs::read(fixtures().join("v1/bad.json")).unwrap()).unwrap();
    let bad = list.as_array().unwrap();
    assert!(bad.len() >= 8);
    for case in bad {
        let place = tempfile::tempdir().unwrap();
        for (name, bytes) in contents(&fixtures().join("v1/sealed")) {
            fs::write(place.path().join(name), bytes).unwrap();
        }
        let path = place.path().join(case["file"].as_str().unwrap());
        let mut bytes = fs::read(&path).unwrap();
        if let Some(at) = case["flip"].as_u64() {
            bytes[usize::try_from(at).unwrap()] ^= 1;
        }
        if let Some(length) = case["truncate"].as_u64() {
            bytes.truncate(usize::try_from(length).unwrap());
        }
        fs::write(&path, bytes).unwrap();
        let refused = verify(place.path(), &expectation())
            .map_err(drop)
            .and_then(|verified| {
                let key = unwrap(&verified, &fixtures().join("v1/identity.age")).map_err(drop)?;
                let model = unlock(verified, &key).map_err(drop)?;
                open::check(&model, open::Depth::Tags, &no_progress).map_err(drop)
            });
        assert!(refused.is_err(), "{case}");
    }
}

/// A Python that has the `cryptography` package.
fn python() -> Option<PathBuf> {
    let found = ["/opt/cmvenv/bin/python", "python3"]
        .into_iter()
        .map(PathBuf::from)
        .find(|path| {
            let import = Command::new(path)
                .args(["-c", "import cryptography"])
                .output();
            import.is_ok_and(|output| output.status.success())
        });
    if found.is_none() {
        skip("no python3 with the cryptography package");
    }
    found
}

fn read_in_python(python: &Path, sealed: &Path, signer: &Path, key: &str, output: &Path) -> bool {
    let read = Command::new(python)
        .arg(fixtures().join("read_sealed.py"))
        .args([sealed, signer, Path::new(key), output])
        .output()
        .unwrap();
    read.status.success()
}

#[test]
fn the_second_reader_opens_the_vector_and_what_is_sealed_now() {
    let Some(python) = python() else { return };
    let lab = Lab::new();
    lab.seal();
    fs::write(lab.path("signing.pub"), lab.public().to_pem()).unwrap();
    let key = casemate_weights::digest::hex(lab.key().expose());
    let opened = lab.path("opened");
    assert!(read_in_python(
        &python,
        &lab.sealed(),
        &lab.path("signing.pub"),
        &key,
        &opened
    ));
    assert_eq!(contents(&opened), contents(&lab.source()));

    let expected: serde_json::Value =
        serde_json::from_slice(&fs::read(fixtures().join("v1/expected.json")).unwrap()).unwrap();
    let (sealed, signer) = (
        fixtures().join("v1/sealed"),
        fixtures().join("v1/signing.pub"),
    );
    let (key, opened) = (expected["dataKey"].as_str().unwrap(), lab.path("vector"));
    assert!(read_in_python(&python, &sealed, &signer, key, &opened));
    assert_eq!(contents(&opened), contents(&fixtures().join("v1/plain")));

    let data = lab.sealed().join("data");
    let mut bytes = fs::read(&data).unwrap();
    bytes[9000] ^= 1;
    fs::write(&data, bytes).unwrap();
    let key = casemate_weights::digest::hex(lab.key().expose());
    let again = lab.path("again");
    assert!(!read_in_python(
        &python,
        &lab.sealed(),
        &lab.path("signing.pub"),
        &key,
        &again
    ));
}

/// Makes the vectors anew: `cargo test -p casemate-weights --test it -- --ignored make_vectors`.
#[test]
#[ignore = "writes the published vectors; run by hand when the format changes"]
fn make_vectors() {
    let lab = Lab::new();
    fs::remove_dir_all(lab.source()).unwrap();
    lab.add(
        "config.json",
        b"{\"architectures\":[\"LlamaForCausalLM\"]}\n",
    );
    lab.add("empty", b"");
    lab.add(
        "weights/model.bin",
        &crate::lab::noise("vector", 65536 + 100),
    );
    let summary = lab.seal();
    let place = fixtures().join("v1");
    fs::remove_dir_all(&place).ok();
    for (from, to) in [(lab.source(), "plain"), (lab.sealed(), "sealed")] {
        for (name, bytes) in contents(&from) {
            let path = place.join(to).join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }
    fs::copy(lab.identity(), place.join("identity.age")).unwrap();
    fs::write(place.join("signing.pub"), lab.public().to_pem()).unwrap();
    let expected = serde_json::json!({
        "model": summary.header.model.to_string(),
        "epoch": summary.header.epoch,
        "chunkSize": summary.header.chunk_size,
        "artifactId": summary.header.artifact.to_string(),
        "rootDigest": summary.header.root_digest,
        "sealDigest": summary.seal_digest,
        "keyCommitment": summary.header.key_commitment,
        "dataKey": casemate_weights::digest::hex(lab.key().expose()),
    });
    let text = serde_json::to_string_pretty(&expected).unwrap() + "\n";
    fs::write(place.join("expected.json"), text).unwrap();
    let size = |name: &str| fs::metadata(lab.sealed().join(name)).unwrap().len();
    let bad = serde_json::json!([
        {"why": "a byte of the bundle", "file": "header.json", "flip": 40},
        {"why": "a byte of the signature", "file": "header.json", "flip": size("header.json") - 40},
        {"why": "a byte of an age stanza", "file": "key.age", "flip": 60},
        {"why": "a byte of the index", "file": "index", "flip": 1000},
        {"why": "a tag", "file": "tags", "flip": 17},
        {"why": "a missing tag", "file": "tags", "truncate": size("tags") - 16},
        {"why": "the first byte of the first file", "file": "data", "flip": 0},
        {"why": "a byte of the padding", "file": "data", "flip": 4095},
        {"why": "a byte of the last chunk", "file": "data", "flip": size("data") - 4096},
        {"why": "the last page missing", "file": "data", "truncate": size("data") - 4096},
    ]);
    let text = serde_json::to_string_pretty(&bad).unwrap() + "\n";
    fs::write(place.join("bad.json"), text).unwrap();
}
