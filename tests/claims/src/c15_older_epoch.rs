//! C15: an older release of a model, correctly sealed and signed, is refused once a newer epoch is
//! demanded.

use casemate_weights::verify::verify;

use crate::lab::weights::Disk;
use crate::lab::{Attempt, Reference, judge};

#[test]
fn c15_an_older_epoch_is_refused() {
    let disk = Disk::new();
    disk.seal("older", 4, &disk.signer);
    let ours = disk.verify("older");
    let mut without = disk.expectation();
    without.minimum_epoch = 0;
    let without = verify(&disk.path("older"), &without);
    // A signature says who, not when: model-signing accepts any release that was ever signed.
    let reference = Reference {
        what: "a signature alone",
        attempt: Attempt::of(&without),
    };
    judge(
        "C15",
        &Attempt::of(&ours),
        &Attempt::of(&without),
        Some(reference),
    );
}
