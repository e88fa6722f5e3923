//! C23: a ticket is refused from the second it expires, whatever was remembered about it before.

use std::time::Duration;

use casemate_core::control::{self, Control};
use casemate_core::time::UnixTime;
use casemate_identity::jws::{SigningKey, VerifyingKeys};
use casemate_identity::ticket::{TicketSigner, TicketVerifier, VerifierSettings};

use crate::lab::gate::{NOW, id, scene};
use crate::lab::{Attempt, judge};

#[test]
fn c23_a_ticket_ends_on_time_even_when_its_verdict_was_remembered() {
    let signer = TicketSigner::new(SigningKey::generate().unwrap());
    let claims = scene().ticket;
    let token = signer.sign_ticket(&claims).unwrap();
    let verifier = TicketVerifier::new(
        VerifierSettings {
            issuer: id("/issuer"),
            trust_domain: "example.internal".parse().unwrap(),
            audience: Some(claims.aud.clone()),
            max_ticket_lifetime: Duration::from_secs(600),
            max_transaction_lifetime: Duration::from_secs(60),
            cache_entries: 16,
        },
        VerifyingKeys::from_jwks(&signer.jwks()),
    );
    // The verdict is in the cache from here on.
    verifier.verify_ticket(&token, NOW).unwrap();
    let ours = verifier.verify_ticket(&token, claims.exp);
    let last = UnixTime(claims.exp.0 - 1);
    let without = control::without(Control::TokenExpiry, || {
        verifier.verify_ticket(&token, claims.exp)
    });
    // A token that was refused is forgotten, so this is asked again from its bytes.
    verifier.verify_ticket(&token, last).unwrap();
    judge("C23", &Attempt::of(&ours), &Attempt::of(&without), None);
}
