//! C29: a token of one kind is never taken for another, although the same key signed both.

use casemate_identity::jws::{SigningKey, VerifyingKeys, sign_es256, verify_es256};

use crate::lab::gate::scene;
use crate::lab::{Attempt, Reference, judge};

#[test]
fn c29_a_transaction_token_is_no_ticket() {
    let key = SigningKey::generate().unwrap();
    let keys: VerifyingKeys = key.verifying_keys();
    let claims = serde_json::to_vec(&scene().ticket).unwrap();
    let token = sign_es256(&key, "txntoken+jwt", &claims).unwrap();
    let ours = verify_es256("at+jwt", &token, &keys);
    // The verifier asks for the type that the token itself names.
    let without = verify_es256("txntoken+jwt", &token, &keys);
    let reference = Reference {
        what: "a check that ignores `typ`",
        attempt: Attempt::of(&without),
    };
    judge(
        "C29",
        &Attempt::of(&ours),
        &Attempt::of(&without),
        Some(reference),
    );
}
