//! C30: a receipt that was changed, left out or put in later is noticed, offline.

use std::collections::BTreeMap;

use casemate_core::receipt::{
    Assurance, Draft, Head, Receipt, ReceiptKind, verify_chain, verify_chain_from,
};
use casemate_identity::jws::SigningKey;
use casemate_identity::svid::KeyPair;

use crate::lab::gate::NOW;
use crate::lab::{Attempt, Reference, judge};

#[test]
fn c30_a_changed_chain_does_not_verify() {
    let pair = KeyPair::generate().unwrap();
    let public = pair.public_pem();
    let key = SigningKey::new(pair);
    let chain = chain(&key);
    let verify = |receipts: &[Receipt]| {
        verify_chain(receipts, |bytes, signature| {
            casemate_identity::jws::verify_detached(&public, bytes, signature)
        })
    };
    verify(&chain).unwrap();

    let mut changed = chain.clone();
    changed[1].subject = "somebody else".to_owned();
    let mut without = chain.clone();
    without.remove(1);
    let mut swapped = chain.clone();
    swapped.swap(1, 2);
    for (name, forged) in [
        ("changed", changed),
        ("left out", without),
        ("swapped", swapped),
    ] {
        let ours = verify(&forged);
        // A log that nothing signs or links: every line reads as well as the one before.
        let plain = Attempt::of(&serde_json::to_string(&forged));
        let reference = Reference {
            what: "a log file",
            attempt: plain.clone(),
        };
        judge(
            &format!("C30 {name}"),
            &Attempt::of(&ours),
            &plain,
            Some(reference),
        );
    }

    // Cutting off the end is seen by whoever kept a head from before.
    let head = Head::of(chain.last().unwrap());
    let cut = &chain[..2];
    let ours = verify_chain_from(cut, &head, |bytes, signature| {
        casemate_identity::jws::verify_detached(&public, bytes, signature)
    });
    judge(
        "C30 cut",
        &Attempt::of(&ours),
        &Attempt::of(&verify(cut)),
        None,
    );
}

fn chain(key: &SigningKey) -> Vec<Receipt> {
    let mut receipts: Vec<Receipt> = Vec::new();
    for subject in ["anna", "bob", "carol", "dave"] {
        let draft = Draft {
            time: NOW,
            kind: ReceiptKind::TicketIssued,
            subject: subject.to_owned(),
            facts: BTreeMap::new(),
            assurance: Assurance::Software,
        };
        let head = receipts.last().map(Head::of);
        receipts.push(draft.sign(head.as_ref(), |bytes| key.sign(bytes)).unwrap());
    }
    receipts
}
