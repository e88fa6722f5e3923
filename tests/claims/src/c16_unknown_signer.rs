//! C16: a model that somebody else sealed, with everything else right, is refused.

use casemate_weights::key_release::unwrap_with;
use casemate_weights::signing::generate_key;
use casemate_weights::verify::{Expectation, verify};

use crate::lab::weights::Disk;
use crate::lab::{Attempt, Reference, judge};

#[test]
fn c16_another_signer_is_refused() {
    let disk = Disk::new();
    let attacker = generate_key().unwrap();
    disk.seal("forged", 5, &attacker);
    let ours = disk.verify("forged");
    let mut without = disk.expectation();
    without.signers.push(attacker.public());
    let without = verify(&disk.path("forged"), &without);
    // Encryption alone, as age does it: whoever has the recipient's public key can write a model.
    let opened = unwrap_with(without.as_ref().unwrap(), &disk.identity);
    let reference = Reference {
        what: "encryption alone",
        attempt: Attempt::of(&opened),
    };
    judge(
        "C16",
        &Attempt::of(&ours),
        &Attempt::of(&without),
        Some(reference),
    );
}

#[test]
fn c16_an_empty_list_of_signers_accepts_nobody() {
    let disk = Disk::new();
    let nobody = Expectation {
        signers: Vec::new(),
        ..disk.expectation()
    };
    let ours = verify(&disk.path("sealed"), &nobody);
    let without = disk.verify("sealed");
    judge(
        "C16 nobody",
        &Attempt::of(&ours),
        &Attempt::of(&without),
        None,
    );
}
