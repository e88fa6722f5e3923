use proptest::prelude::*;

use super::*;

/// Stands for a signature: a keyed digest, which only the holder of the key can make here.
fn mark(bytes: &[u8]) -> Vec<u8> {
    Sha256::new()
        .chain_update(b"key")
        .chain_update(bytes)
        .finalize()
        .to_vec()
}

fn verify(bytes: &[u8], signature: &[u8]) -> bool {
    mark(bytes) == signature
}

fn draft(subject: &str) -> Draft {
    Draft {
        time: UnixTime(1_800_000_000),
        kind: ReceiptKind::TicketIssued,
        subject: subject.to_owned(),
        facts: BTreeMap::from([("stage".to_owned(), "infer".to_owned())]),
        assurance: Assurance::Software,
    }
}

fn chain(drafts: impl IntoIterator<Item = Draft>) -> Vec<Receipt> {
    let mut receipts: Vec<Receipt> = Vec::new();
    for draft in drafts {
        let head = receipts.last().map(Head::of);
        let signed = draft.sign(head.as_ref(), |bytes| {
            Ok::<_, std::convert::Infallible>(mark(bytes))
        });
        receipts.extend(signed);
    }
    receipts
}

fn any_chain() -> impl Strategy<Value = Vec<Receipt>> {
    let facts = prop::collection::btree_map(".{0,8}", ".{0,16}", 0..4);
    let one = (any::<u64>(), ".{0,20}", facts).prop_map(|(time, subject, facts)| Draft {
        time: UnixTime(time),
        kind: ReceiptKind::KeyReleased,
        subject,
        facts,
        assurance: Assurance::TeeGpuCc,
    });
    prop::collection::vec(one, 2..8).prop_map(chain)
}

#[test]
fn the_canonical_form_is_what_the_specification_shows() {
    let mut receipt = chain([draft("a \"quoted\"\n\u{1}é")]).remove(0);
    receipt.facts.insert("a".to_owned(), "\\".to_owned());
    let bytes = canonical_bytes(&receipt);
    assert_eq!(
        String::from_utf8(bytes).expect("is text"),
        format!(
            r#"{{"assurance":"software","facts":{{"a":"\\","stage":"infer"}},"kind":"ticket-issued","previous":"{GENESIS}","seq":0,"subject":"a \"quoted\"\n\u0001é","time":1800000000}}"#
        )
    );
}

#[test]
fn an_empty_chain_holds_and_has_no_head() {
    assert_eq!(verify_chain(&[], verify), Ok(None));
}

#[test]
fn a_chain_of_another_key_is_refused() {
    let receipts = chain([draft("a")]);
    let refused = verify_chain(&receipts, |_, _| false);
    assert_eq!(refused, Err(VerifyChainError::Signature { seq: 0 }));
}

#[test]
fn a_chain_whose_start_is_missing_is_refused() {
    let receipts = chain([draft("a"), draft("b")]);
    assert_eq!(
        verify_chain(&receipts[1..], verify),
        Err(VerifyChainError::Gap {
            expected: 0,
            found: 1
        })
    );
}

#[test]
fn a_cut_chain_is_refused_when_its_head_was_kept() {
    let receipts = chain([draft("a"), draft("b"), draft("c")]);
    let seen = Head::of(&receipts[2]);
    assert_eq!(
        verify_chain_from(&receipts, &seen, verify),
        Ok(seen.clone())
    );
    assert_eq!(
        verify_chain_from(&receipts[..2], &seen, verify),
        Err(VerifyChainError::Truncated {
            end: 1,
            expected: 2
        })
    );
    assert_eq!(
        verify_chain_from(&[], &seen, verify),
        Err(VerifyChainError::Truncated {
            end: 0,
            expected: 2
        })
    );
}

#[test]
fn a_chain_signed_anew_is_refused_when_its_head_was_kept() {
    let seen = Head::of(&chain([draft("a"), draft("b")])[1]);
    let other = chain([draft("a"), draft("x"), draft("c")]);
    assert_eq!(
        verify_chain_from(&other, &seen, verify),
        Err(VerifyChainError::Rewritten { seq: 1 })
    );
}

proptest! {
    #[test]
    fn a_chain_holds_and_survives_writing(receipts in any_chain()) {
        let text = serde_json::to_string(&receipts).expect("writes");
        let read: Vec<Receipt> = serde_json::from_str(&text).expect("reads");
        prop_assert_eq!(&read, &receipts);
        let head = verify_chain(&read, verify).expect("holds");
        prop_assert_eq!(head, receipts.last().map(Head::of));
    }

    #[test]
    fn the_canonical_form_is_json_that_says_the_same(receipts in any_chain()) {
        for receipt in &receipts {
            let mut whole = serde_json::to_value(receipt).expect("writes");
            whole.as_object_mut().expect("an object").remove("signature");
            let bytes = canonical_bytes(receipt);
            prop_assert_eq!(serde_json::from_slice::<serde_json::Value>(&bytes).expect("is JSON"), whole);
        }
    }

    #[test]
    fn two_exchanged_receipts_are_found(receipts in any_chain(), one in any::<prop::sample::Index>(), two in any::<prop::sample::Index>()) {
        let (one, two) = (one.index(receipts.len()), two.index(receipts.len()));
        prop_assume!(one != two);
        let mut other = receipts;
        other.swap(one, two);
        prop_assert!(verify_chain(&other, verify).is_err());
    }

    #[test]
    fn a_missing_receipt_is_found(receipts in any_chain(), gone in any::<prop::sample::Index>()) {
        let seen = Head::of(receipts.last().expect("not empty"));
        let gone = gone.index(receipts.len());
        let mut other = receipts;
        other.remove(gone);
        prop_assert!(verify_chain_from(&other, &seen, verify).is_err());
    }

    #[test]
    fn any_changed_member_is_found(receipts in any_chain(), which in any::<prop::sample::Index>(), member in 0..8_u8) {
        let which = which.index(receipts.len());
        let mut other = receipts;
        let one = &mut other[which];
        match member {
            0 => one.seq ^= 1,
            1 => one.time.0 ^= 1,
            2 => one.kind = ReceiptKind::Revoked,
            3 => one.subject.push('x'),
            4 => { one.facts.insert("added-fact".to_owned(), String::new()); }
            5 => one.assurance = Assurance::Software,
            6 => one.previous = digest(&chain([draft("z")])[0]),
            _ => one.signature.insert(0, 'A'),
        }
        prop_assert!(verify_chain(&other, verify).is_err());
    }
}
