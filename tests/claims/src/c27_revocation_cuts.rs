//! C27: a running answer is cut when its ticket or its holder is revoked.

use casemate_core::control::{self, Control};
use casemate_core::time::UnixTime;

use crate::lab::gate::{NOW, scene};
use crate::lab::{Attempt, Reference, judge};

#[test]
fn c27_a_revoked_ticket_loses_its_running_answer() {
    let mut scene = scene();
    let permit = scene.decide().unwrap();
    let later = UnixTime(NOW.0 + 5);
    scene
        .standing
        .revoked
        .revoke_token(scene.ticket.jti.clone(), later);
    let ours = permit.still_valid(&scene.standing, later);
    let without = control::without(Control::Revocation, || {
        permit.still_valid(&scene.standing, later)
    });
    // A gate that decides once, when the request comes in.
    let reference = Reference {
        what: "a decision made once",
        attempt: Attempt::of(&without),
    };
    judge(
        "C27 token",
        &Attempt::of(&ours),
        &Attempt::of(&without),
        Some(reference),
    );
}

#[test]
fn c27_a_revoked_person_loses_their_running_answer() {
    let mut scene = scene();
    let permit = scene.decide().unwrap();
    let later = UnixTime(NOW.0 + 5);
    scene
        .standing
        .revoked
        .revoke_subject(scene.peer.clone(), later);
    let ours = permit.still_valid(&scene.standing, later);
    let without = control::without(Control::Revocation, || {
        permit.still_valid(&scene.standing, later)
    });
    judge(
        "C27 subject",
        &Attempt::of(&ours),
        &Attempt::of(&without),
        None,
    );
}
