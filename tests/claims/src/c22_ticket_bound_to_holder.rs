//! C22: a ticket works only over the connection of the certificate that it was issued to.

use casemate_core::control::{self, Control};
use casemate_core::time::UnixTime;
use casemate_identity::jws::SigningKey;
use casemate_identity::ticket::TicketSigner;

use crate::lab::gate::{NOW, Scene, id, scene};
use crate::lab::{Attempt, Reference, judge};

#[test]
fn c22_a_copied_ticket_is_refused() {
    // Bob is entitled himself, and shows the ticket that he copied from Anna.
    let shows = |scene: &mut Scene| {
        scene.peer = id("/user/idp/bob");
        scene.thumbprint = "bobs-certificate".to_owned();
    };
    let ours = Scene::with(shows);
    let without = control::without(Control::TicketHolder, || Scene::with(shows));
    judge(
        "C22",
        &Attempt::of(&ours),
        &Attempt::of(&without),
        Some(bearer()),
    );
}

/// The usual check of a bearer token: signature, audience, time. Who sent it is not looked at.
fn bearer() -> Reference {
    let signer = TicketSigner::new(SigningKey::generate().unwrap());
    let claims = scene().ticket;
    let token = signer.sign_ticket(&claims).unwrap();
    let keys = casemate_identity::jws::VerifyingKeys::from_jwks(&signer.jwks());
    let shown = casemate_identity::jws::verify_es256("at+jwt", &token, &keys);
    let accepted = shown.is_ok_and(|shown| {
        shown["aud"] == claims.aud.to_string()
            && shown["exp"].as_u64().is_some_and(|exp| UnixTime(exp) > NOW)
    });
    Reference {
        what: "a bearer token",
        attempt: if accepted {
            Attempt::Worked
        } else {
            Attempt::Stopped("its check".to_owned())
        },
    }
}
