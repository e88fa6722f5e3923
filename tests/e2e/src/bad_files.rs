//! Files that are wrong: refused with a reason and a documented exit code, and nothing is left up.

use std::fs;
use std::net::TcpListener;
use std::process::Output;

use casemate_testkit::oci::pack_layers;
use casemate_testkit::{IdentityProvider, Node, StandIn, Tools, needs_host};

/// `casemate up` after a change to the prepared files.
fn up(change: impl FnOnce(&Node, &StandIn)) -> (Output, String) {
    up_with(&[], change)
}

fn up_with(arguments: &[&str], change: impl FnOnce(&Node, &StandIn)) -> (Output, String) {
    let provider = IdentityProvider::start(&Tools::locate()).unwrap();
    let node = Node::start_with(arguments).unwrap();
    let stand_in = StandIn::prepare(&node, &provider, "answer").unwrap();
    change(&node, &stand_in);
    let mut command = node.casemate(&node.path("home"));
    let output = command.arg("up").arg(stand_in.file()).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    let status = node.run_casemate(&["status", "--json"]).unwrap();
    assert!(
        !status.contains("\"admitting\""),
        "something is up: {status}"
    );
    (output, words)
}

fn refused((output, words): &(Output, String), because: &[&str]) {
    assert_eq!(output.status.code(), Some(1), "{words}");
    for word in because {
        assert!(words.contains(word), "`{word}` is not in: {words}");
    }
}

#[test]
fn a_model_with_a_changed_byte_is_not_brought_up() {
    needs_host!();
    let outcome = up(|node, _| {
        let path = node.path("stand-in/model.sealed/tags");
        let mut bytes = fs::read(&path).unwrap();
        bytes[0] ^= 1;
        fs::write(path, bytes).unwrap();
    });
    refused(&outcome, &["tags"]);
}

#[test]
fn a_model_of_an_unknown_signer_is_not_brought_up() {
    needs_host!();
    let outcome = up(|node, _| {
        let other = node.path("other");
        fs::create_dir(&other).unwrap();
        node.run_casemate(&["model", "keygen", "--out", &other.display().to_string()])
            .unwrap();
        fs::copy(other.join("signing.pub"), node.path("stand-in/signing.pub")).unwrap();
    });
    refused(&outcome, &["sign"]);
}

#[test]
fn a_wrong_key_opens_nothing() {
    needs_host!();
    let outcome = up(|node, _| {
        let other = node.path("other");
        fs::create_dir(&other).unwrap();
        node.run_casemate(&["model", "keygen", "--out", &other.display().to_string()])
            .unwrap();
        fs::copy(
            other.join("identity.age"),
            node.path("stand-in/identity.age"),
        )
        .unwrap();
    });
    refused(&outcome, &["identity"]);
}

#[test]
fn an_image_that_climbs_out_is_refused_and_writes_nothing() {
    needs_host!();
    let outcome = up(|node, _| {
        let mut header = tar_header("../../../../../../../tmp/casemate-escaped", b"escaped");
        header.extend_from_slice(&[0; 1024]);
        let layout = node.path("stand-in/server.oci");
        fs::remove_dir_all(&layout).unwrap();
        let config = serde_json::json!({ "Entrypoint": ["/stand-in"] });
        pack_layers(&[header], &config, &layout).unwrap();
    });
    refused(&outcome, &["casemate-escaped"]);
    assert!(!std::path::Path::new("/tmp/casemate-escaped").exists());
}

#[test]
fn a_port_that_is_taken_is_named() {
    needs_host!();
    let mut taken = None;
    let outcome = up(|_, stand_in| taken = Some(TcpListener::bind(stand_in.gate()).unwrap()));
    let port = taken.unwrap().local_addr().unwrap().port().to_string();
    refused(&outcome, &[&port]);
}

#[test]
fn a_missing_runtime_is_named() {
    needs_host!();
    let outcome = up_with(&["--runtime", "/nonexistent/runc"], |_, _| {});
    refused(&outcome, &["/nonexistent/runc", "fix:"]);
}

#[test]
fn a_hostile_enclosure_file_is_refused_with_every_mistake_at_its_place() {
    needs_host!();
    let outcome = up(|_, stand_in| {
        let text = fs::read_to_string(stand_in.file()).unwrap();
        let text = text
            .replace("serves: 8000", "serve: 8000")
            .replace("pids: 64", "pids: many");
        fs::write(stand_in.file(), text).unwrap();
    });
    refused(&outcome, &["enclosure.yaml:", "serves", "pids"]);
}

/// One regular file in tar form, with a name that the usual writer would refuse.
fn tar_header(name: &str, content: &[u8]) -> Vec<u8> {
    let mut header = vec![0_u8; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..108].copy_from_slice(b"0000644\0");
    header[108..116].copy_from_slice(b"0000000\0");
    header[116..124].copy_from_slice(b"0000000\0");
    header[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
    header[136..148].copy_from_slice(b"00000000000\0");
    header[148..156].copy_from_slice(b"        ");
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header.extend_from_slice(content);
    header.resize(1024, 0);
    header
}
