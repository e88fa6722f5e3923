//! Other people's tools read what we write, and we read what they write.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use casemate_weights::bundle::Bundle;
use casemate_weights::oms::{ModelSigningError, sign_directory, verify_directory};
use casemate_weights::signing::{load_private, load_public};
use casemate_weights::{no_progress, open};

use crate::lab::{Lab, skip};

/// The reference implementation of OpenSSF model signing, when it is installed and runs.
fn model_signing() -> Option<PathBuf> {
    let candidates = [
        "/opt/cmvenv/bin/model_signing",
        ".casemate/venv/bin/model_signing",
    ];
    let program = candidates
        .into_iter()
        .map(PathBuf::from)
        .chain([PathBuf::from("model_signing")])
        .find(|path| {
            Command::new(path)
                .arg("--version")
                .output()
                .is_ok_and(|o| o.status.success())
        });
    if program.is_none() {
        skip("model-signing is not installed (pip install model-signing pyOpenSSL)");
    }
    program
}

fn run(program: &Path, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).output().unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn the_python_tool_verifies_our_bundle_over_the_opened_model() {
    let Some(python) = model_signing() else {
        return;
    };
    let lab = Lab::new();
    lab.add(".gitattributes", b"left out");
    lab.seal();
    let model = lab.open();
    let opened = lab.path("opened");
    open::decrypt_to(&model, &opened, &no_progress).unwrap();
    let (signature, public) = (lab.path("model.sig"), lab.path("signing.pub"));
    fs::write(&signature, model.signature().to_json()).unwrap();
    fs::write(&public, lab.public().to_pem()).unwrap();
    let arguments = |place: &Path| {
        let words = [
            "verify",
            "key",
            "--signature",
            text(&signature),
            "--public_key",
        ];
        let words = words.into_iter().chain([text(&public), text(place)]);
        words.map(str::to_owned).collect::<Vec<_>>()
    };
    let verified = Command::new(&python)
        .args(arguments(&opened))
        .output()
        .unwrap();
    assert!(
        verified.status.success(),
        "{}",
        String::from_utf8_lossy(&verified.stderr)
    );
    let original = Command::new(&python)
        .args(arguments(&lab.source()))
        .output()
        .unwrap();
    assert!(
        original.status.success(),
        "{}",
        String::from_utf8_lossy(&original.stderr)
    );
    fs::write(opened.join("config.json"), "changed").unwrap();
    let refused = Command::new(&python)
        .args(arguments(&opened))
        .output()
        .unwrap();
    assert!(!refused.status.success());
}

#[test]
fn the_python_tool_verifies_our_signature_of_a_plain_directory() {
    let Some(python) = model_signing() else {
        return;
    };
    let lab = Lab::new();
    let bundle = sign_directory(&lab.source(), &lab.signer, &no_progress).unwrap();
    let (signature, public) = (lab.path("model.sig"), lab.path("signing.pub"));
    fs::write(&signature, bundle.to_json()).unwrap();
    fs::write(&public, lab.public().to_pem()).unwrap();
    let words = [
        "verify",
        "key",
        "--signature",
        text(&signature),
        "--public_key",
        text(&public),
    ];
    let verified = Command::new(&python)
        .args(words)
        .arg(lab.source())
        .output()
        .unwrap();
    assert!(
        verified.status.success(),
        "{}",
        String::from_utf8_lossy(&verified.stderr)
    );
}

#[test]
fn we_verify_what_the_python_tool_signs() {
    let Some(python) = model_signing() else {
        return;
    };
    let lab = Lab::new();
    let (private, public) = (lab.path("peer.key"), lab.path("peer.pub"));
    // The signature lies inside the model, as that tool does it by default.
    let signature = lab.source().join("model.sig");
    for curve in ["prime256v1", "secp384r1", "secp521r1"] {
        let openssl = Path::new("openssl");
        let made = run(
            openssl,
            &[
                "ecparam",
                "-name",
                curve,
                "-genkey",
                "-noout",
                "-out",
                text(&private),
            ],
        );
        assert!(made.status.success());
        run(
            openssl,
            &[
                "ec",
                "-in",
                text(&private),
                "-pubout",
                "-out",
                text(&public),
            ],
        );
        let words = [
            "sign",
            "key",
            "--signature",
            text(&signature),
            "--private_key",
        ];
        let signed = Command::new(&python)
            .args(words)
            .arg(&private)
            .arg(lab.source())
            .output()
            .unwrap();
        assert!(
            signed.status.success(),
            "{}",
            String::from_utf8_lossy(&signed.stderr)
        );
        let bundle = Bundle::parse(&fs::read(&signature).unwrap()).unwrap();
        let signers = [load_public(&public).unwrap()];
        let verify = |lab: &Lab| {
            verify_directory(
                &lab.source(),
                &bundle,
                &signers,
                Some(&signature),
                &no_progress,
            )
        };
        let manifest = verify(&lab).unwrap();
        assert_eq!(manifest.resources.len(), 6);
        lab.add("unsigned.py", b"import os");
        let refused = verify(&lab).unwrap_err();
        assert!(
            matches!(refused, ModelSigningError::Mismatch(_)),
            "{refused:?}"
        );
        fs::remove_file(lab.source().join("unsigned.py")).unwrap();
        fs::remove_file(&signature).unwrap();
        if curve == "prime256v1" {
            assert_eq!(load_private(&private).unwrap().public(), signers[0]);
        } else {
            assert!(load_private(&private).is_err());
        }
    }
}

#[test]
fn age_itself_unwraps_the_data_key() {
    let lab = Lab::new();
    lab.seal();
    let Ok(unwrapped) = Command::new("age")
        .args(["--decrypt", "--identity"])
        .arg(lab.identity())
        .arg(lab.sealed().join("key.age"))
        .output()
    else {
        return skip("age is not installed");
    };
    assert!(
        unwrapped.status.success(),
        "{}",
        String::from_utf8_lossy(&unwrapped.stderr)
    );
    assert_eq!(unwrapped.stdout, lab.key().expose());
}

#[test]
fn keys_made_here_are_read_by_openssl_and_back() {
    let lab = Lab::new();
    let path = lab.path("signing.key");
    casemate_weights::signing::save_private(&path, &lab.signer.to_pem().unwrap()).unwrap();
    assert!(casemate_weights::signing::save_private(&path, &lab.signer.to_pem().unwrap()).is_err());
    let Ok(printed) = Command::new("openssl")
        .args(["pkey", "-pubout", "-in"])
        .arg(&path)
        .output()
    else {
        return skip("openssl is not installed");
    };
    assert_eq!(
        String::from_utf8(printed.stdout).unwrap(),
        lab.public().to_pem()
    );
    assert_eq!(load_private(&path).unwrap().public(), lab.public());
}
