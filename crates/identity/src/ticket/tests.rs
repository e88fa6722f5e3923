use std::sync::atomic::{AtomicUsize, Ordering};

use casemate_core::ticket::{Confirmation, Grant, Limits};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::testing::{NOW, domain, id};

const TTL: Duration = Duration::from_secs(300);

fn settings() -> VerifierSettings {
    VerifierSettings {
        issuer: domain().issuer(),
        trust_domain: domain(),
        audience: Some(id("/enclosure/chat/stage/infer")),
        max_ticket_lifetime: TTL,
        max_transaction_lifetime: Duration::from_secs(60),
        cache_entries: 64,
    }
}

struct Bench {
    signer: TicketSigner,
    verifier: TicketVerifier,
}

fn bench() -> Bench {
    let key = SigningKey::generate().unwrap();
    let verifier = TicketVerifier::new(settings(), key.verifying_keys());
    Bench {
        signer: TicketSigner::new(key),
        verifier,
    }
}

fn grant() -> Grant {
    Grant {
        kind: GRANT_TYPE.to_owned(),
        stage: "infer".parse().unwrap(),
        routes: vec!["chat".parse().unwrap()],
        models: vec!["smollm2@1".parse().unwrap()],
        limits: Limits::default(),
    }
}

fn claims() -> TicketClaims {
    TicketClaims {
        iss: domain().issuer(),
        sub: id("/user/idp/alice"),
        aud: id("/enclosure/chat/stage/infer"),
        client_id: id("/user/idp/alice"),
        iat: NOW.minus(BACKDATE),
        exp: NOW.plus(TTL),
        jti: "ticket-1".to_owned(),
        cnf: Confirmation {
            thumbprint: "x".repeat(43),
        },
        groups: vec!["analysts".to_owned()],
        authorization_details: vec![grant()],
    }
}

fn transaction() -> TransactionClaims {
    TransactionClaims {
        iss: domain().issuer(),
        aud: domain().as_str().to_owned(),
        iat: NOW.minus(BACKDATE),
        exp: NOW.plus(Duration::from_secs(60)),
        txn: "txn-1".to_owned(),
        sub: id("/user/idp/alice"),
        scope: "chat".to_owned(),
        req_wl: id("/enclosure/chat/stage/redact"),
        tctx: grant(),
    }
}

/// A ticket with one claim replaced by any JSON at all, or removed.
fn with_claim(bench: &Bench, name: &str, value: Option<Value>) -> String {
    let mut claims = serde_json::to_value(claims()).unwrap();
    let members = claims.as_object_mut().unwrap();
    match value {
        Some(value) => drop(members.insert(name.to_owned(), value)),
        None => drop(members.remove(name)),
    }
    sign_es256(
        &bench.signer.key,
        TICKET_TYPE,
        claims.to_string().as_bytes(),
    )
    .unwrap()
}

fn refused(bench: &Bench, token: &str) -> TicketError {
    bench.verifier.verify_ticket(token, NOW).unwrap_err()
}

#[test]
fn a_ticket_verifies_and_says_what_was_signed() {
    let bench = bench();
    let token = bench.signer.sign_ticket(&claims()).unwrap();
    let verified = bench.verifier.verify_ticket(&token, NOW).unwrap();
    assert_eq!(*verified.claims(), claims());
    let token = bench.signer.sign_transaction(&transaction()).unwrap();
    let verified = bench.verifier.verify_transaction(&token, NOW).unwrap();
    assert_eq!(*verified.claims(), transaction());
}

#[test]
fn a_ticket_is_never_a_transaction_token_nor_the_other_way_round() {
    let bench = bench();
    let ticket = bench.signer.sign_ticket(&claims()).unwrap();
    let transaction = bench.signer.sign_transaction(&transaction()).unwrap();
    // Warm both caches first: a cached verdict is of one kind too.
    bench.verifier.verify_ticket(&ticket, NOW).unwrap();
    bench
        .verifier
        .verify_transaction(&transaction, NOW)
        .unwrap();
    assert_eq!(
        refused(&bench, &transaction),
        TicketError::Malformed("type")
    );
    let error = bench.verifier.verify_transaction(&ticket, NOW).unwrap_err();
    assert_eq!(error, TicketError::Malformed("type"));
    for typ in ["JWT", "wit+jwt", "dpop+jwt", "application/at+jwt"] {
        let body = serde_json::to_vec(&claims()).unwrap();
        let other = sign_es256(&bench.signer.key, typ, &body).unwrap();
        assert_eq!(
            refused(&bench, &other),
            TicketError::Malformed("type"),
            "{typ}"
        );
    }
}

#[test]
fn a_ticket_is_refused_from_the_second_it_expires_even_when_remembered() {
    let bench = bench();
    let token = bench.signer.sign_ticket(&claims()).unwrap();
    let at = |now: u64| {
        bench
            .verifier
            .verify_ticket(&token, UnixTime(now))
            .map(drop)
    };
    assert_eq!(at(NOW.0), Ok(()));
    assert_eq!(at(NOW.0 + 299), Ok(()));
    assert_eq!(at(NOW.0 + 300), Err(TicketError::Expired));
    assert_eq!(at(NOW.0 + 10_000), Err(TicketError::Expired));
}

#[test]
fn a_clock_that_goes_back_cannot_stretch_a_ticket_beyond_its_own_window() {
    let bench = bench();
    let token = bench.signer.sign_ticket(&claims()).unwrap();
    let at = |now: u64| {
        bench
            .verifier
            .verify_ticket(&token, UnixTime(now))
            .map(drop)
    };
    assert_eq!(at(NOW.0), Ok(()));
    assert_eq!(at(NOW.0 - 10), Ok(()));
    assert_eq!(at(NOW.0 - 11), Err(TicketError::NotYetValid));
    assert_eq!(at(0), Err(TicketError::NotYetValid));
    // However far it jumps, what is issued anew is bounded by its lifetime.
    let mut long = claims();
    long.exp = NOW.plus(TTL).plus(Duration::from_secs(1));
    let token = bench.signer.sign_ticket(&long).unwrap();
    assert_eq!(refused(&bench, &token), TicketError::Malformed("lifetime"));
}

#[test]
fn what_was_revoked_stays_revoked_when_the_clock_goes_back() {
    let bench = bench();
    let token = bench.signer.sign_ticket(&claims()).unwrap();
    bench.verifier.verify_ticket(&token, NOW).unwrap();
    bench
        .verifier
        .revoke_id("ticket-1", NOW.plus(Duration::from_secs(200)));
    assert_eq!(refused(&bench, &token), TicketError::Revoked);
}

#[test]
fn dates_must_be_whole_seconds_and_nothing_else() {
    let bench = bench();
    for name in ["exp", "iat"] {
        for bad in [
            json!("1800000300"),
            json!(1_800_000_000.5),
            json!(-1),
            json!(null),
            json!([1_800_000_300]),
            json!({}),
            json!(true),
            json!(1e300),
        ] {
            let token = with_claim(&bench, name, Some(bad.clone()));
            assert_eq!(
                refused(&bench, &token),
                TicketError::Malformed("claims"),
                "{name} {bad}"
            );
        }
        let absent = with_claim(&bench, name, None);
        assert_eq!(
            refused(&bench, &absent),
            TicketError::Malformed("claims"),
            "{name} absent"
        );
    }
    // serde_json writes these two as they are.
    for raw in ["18e8", "1800000300.0", "99999999999999999999"] {
        let text = serde_json::to_string(&claims())
            .unwrap()
            .replace("1800000300", raw);
        let token = sign_es256(&bench.signer.key, TICKET_TYPE, text.as_bytes()).unwrap();
        assert_eq!(
            refused(&bench, &token),
            TicketError::Malformed("claims"),
            "{raw}"
        );
    }
    let huge = with_claim(&bench, "exp", Some(json!(u64::MAX)));
    assert_eq!(refused(&bench, &huge), TicketError::Malformed("lifetime"));
}

#[test]
fn exp_not_after_iat_is_refused() {
    let bench = bench();
    let token = with_claim(&bench, "exp", Some(json!(NOW.0 - 10)));
    assert_eq!(refused(&bench, &token), TicketError::Malformed("lifetime"));
}

#[test]
fn the_audience_is_one_stage_and_this_one() {
    let bench = bench();
    for (aud, error) in [
        (
            json!("spiffe://example.internal/enclosure/chat/stage/redact"),
            TicketError::WrongAudience,
        ),
        (
            json!("spiffe://example.internal/enclosure/other/stage/infer"),
            TicketError::WrongAudience,
        ),
        (
            json!("spiffe://other.internal/enclosure/chat/stage/infer"),
            TicketError::WrongAudience,
        ),
        (
            json!("spiffe://example.internal"),
            TicketError::WrongAudience,
        ),
        (json!([]), TicketError::Malformed("claims")),
        (
            json!(["spiffe://example.internal/enclosure/chat/stage/infer"]),
            TicketError::Malformed("claims"),
        ),
        (json!("infer"), TicketError::Malformed("claims")),
        (json!(null), TicketError::Malformed("claims")),
    ] {
        let token = with_claim(&bench, "aud", Some(aud.clone()));
        assert_eq!(refused(&bench, &token), error, "{aud}");
    }
}

#[test]
fn another_issuer_is_refused_even_with_our_key() {
    let bench = bench();
    let token = with_claim(
        &bench,
        "iss",
        Some(json!("spiffe://example.internal/user/idp/alice")),
    );
    assert_eq!(refused(&bench, &token), TicketError::WrongAudience);
}

#[test]
fn a_ticket_has_exactly_one_grant_of_our_kind_for_the_stage_it_names() {
    let bench = bench();
    let one = serde_json::to_value(grant()).unwrap();
    let mut wrong_kind = one.clone();
    wrong_kind["type"] = json!("other");
    let mut wrong_stage = one.clone();
    wrong_stage["stage"] = json!("redact");
    let mut unknown_member = one.clone();
    unknown_member["admin"] = json!(true);
    for bad in [
        json!([]),
        json!([one, one]),
        json!([wrong_kind]),
        json!([wrong_stage]),
        json!([unknown_member]),
        json!({}),
    ] {
        let token = with_claim(&bench, "authorization_details", Some(bad.clone()));
        assert!(
            matches!(refused(&bench, &token), TicketError::Malformed(_)),
            "{bad}"
        );
    }
    for name in ["cnf", "jti", "sub", "client_id", "groups", "iss"] {
        let token = with_claim(&bench, name, None);
        assert_eq!(
            refused(&bench, &token),
            TicketError::Malformed("claims"),
            "{name}"
        );
    }
}

#[test]
fn a_transaction_token_is_for_the_realm_and_for_the_stage_in_its_context() {
    let bench = bench();
    let verify = |change: &dyn Fn(&mut TransactionClaims)| {
        let mut claims = transaction();
        change(&mut claims);
        let token = bench.signer.sign_transaction(&claims).unwrap();
        bench.verifier.verify_transaction(&token, NOW).map(drop)
    };
    assert_eq!(verify(&|_| {}), Ok(()));
    let aud = |text: &str| {
        let text = text.to_owned();
        verify(&move |claims| claims.aud = text.clone())
    };
    assert_eq!(aud("other.internal"), Err(TicketError::WrongAudience));
    assert_eq!(
        aud("spiffe://example.internal"),
        Err(TicketError::WrongAudience)
    );
    let stage = verify(&|claims| claims.tctx.stage = "redact".parse().unwrap());
    assert_eq!(stage, Err(TicketError::WrongAudience));
    let foreign = verify(&|claims| {
        claims.req_wl = "spiffe://other.internal/enclosure/chat/stage/redact"
            .parse()
            .unwrap();
    });
    assert_eq!(foreign, Err(TicketError::Malformed("claims")));
    let long = verify(&|claims| claims.exp = NOW.plus(Duration::from_secs(61)));
    assert_eq!(long, Err(TicketError::Malformed("lifetime")));
}

#[test]
fn tokens_that_share_a_long_prefix_have_two_verdicts() {
    let bench = bench();
    let one = bench.signer.sign_ticket(&claims()).unwrap();
    let mut other = claims();
    other.sub = id("/user/idp/mallory");
    other.client_id = other.sub.clone();
    let two = bench.signer.sign_ticket(&other).unwrap();
    let shared = one
        .bytes()
        .zip(two.bytes())
        .take_while(|(a, b)| a == b)
        .count();
    assert!(
        shared > 100,
        "the tokens must look alike at the start: {shared}"
    );
    assert_eq!(
        bench
            .verifier
            .verify_ticket(&one, NOW)
            .unwrap()
            .claims()
            .sub,
        claims().sub
    );
    assert_eq!(
        bench
            .verifier
            .verify_ticket(&two, NOW)
            .unwrap()
            .claims()
            .sub,
        other.sub
    );
    // The good one is remembered; the same up to its last character is not it.
    let last = one.chars().last().unwrap();
    let other = if last == 'A' { 'Q' } else { 'A' };
    let forged = format!("{}{other}", one.strip_suffix(last).unwrap());
    assert!(bench.verifier.verify_ticket(&forged, NOW).is_err());
}

#[test]
fn refusals_are_not_remembered_and_do_not_displace_what_is() {
    let bench = bench();
    let token = bench.signer.sign_ticket(&claims()).unwrap();
    bench.verifier.verify_ticket(&token, NOW).unwrap();
    let before = bench.verifier.tickets.len();
    for number in 0..1000 {
        assert!(
            bench
                .verifier
                .verify_ticket(&format!("{token}{number}"), NOW)
                .is_err()
        );
    }
    assert_eq!(bench.verifier.tickets.len(), before);
}

#[test]
fn the_cache_is_bounded() {
    let bench = bench();
    for number in 0..500 {
        let mut claims = claims();
        claims.jti = number.to_string();
        let token = bench.signer.sign_ticket(&claims).unwrap();
        bench.verifier.verify_ticket(&token, NOW).unwrap();
        assert!(
            bench.verifier.tickets.len() <= 64,
            "{}",
            bench.verifier.tickets.len()
        );
    }
}

#[test]
fn new_keys_void_every_remembered_verdict() {
    let bench = bench();
    let token = bench.signer.sign_ticket(&claims()).unwrap();
    bench.verifier.verify_ticket(&token, NOW).unwrap();
    bench
        .verifier
        .replace_keys(SigningKey::generate().unwrap().verifying_keys());
    assert_eq!(refused(&bench, &token), TicketError::Signature);
    bench.verifier.replace_keys(VerifyingKeys::default());
    assert_eq!(refused(&bench, &token), TicketError::Signature);
}

#[test]
fn a_verdict_reached_under_old_keys_never_counts_under_new_ones() {
    // A verdict stored late, by a thread that still held the old keys.
    let cache: Cache<&str> = Cache::new(16);
    cache.insert([1; 32], 0, Arc::new("old"));
    assert!(cache.find(&[1; 32], 1).is_none());
    assert!(cache.find(&[1; 32], 0).is_some());
}

#[test]
fn revoking_by_id_or_subject_works_on_remembered_tickets_at_once() {
    let bench = bench();
    let token = bench.signer.sign_ticket(&claims()).unwrap();
    let verified = bench.verifier.verify_ticket(&token, NOW).unwrap();
    bench.verifier.revoke_id("another", NOW);
    bench.verifier.verify_ticket(&token, NOW).unwrap();
    bench.verifier.revoke_subject(&id("/user/idp/alice"), NOW);
    assert_eq!(refused(&bench, &token), TicketError::Revoked);
    assert_eq!(
        bench.verifier.recheck(&verified, NOW),
        Err(TicketError::Revoked)
    );
    // What the subject gets after logging in anew is good again.
    let mut fresh = claims();
    fresh.iat = UnixTime(NOW.0 + 1);
    fresh.jti = "ticket-2".to_owned();
    let token = bench.signer.sign_ticket(&fresh).unwrap();
    assert!(
        bench
            .verifier
            .verify_ticket(&token, UnixTime(NOW.0 + 1))
            .is_ok()
    );
}

#[test]
fn many_threads_see_one_truth_while_keys_are_replaced() {
    let key = SigningKey::generate().unwrap();
    let verifier = Arc::new(TicketVerifier::new(settings(), key.verifying_keys()));
    let keys = key.verifying_keys();
    let token = Arc::new(TicketSigner::new(key).sign_ticket(&claims()).unwrap());
    let wrong = Arc::new(AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..300 {
                    match verifier.verify_ticket(&token, NOW) {
                        Ok(_) | Err(TicketError::Signature) => {}
                        Err(_) => drop(wrong.fetch_add(1, Ordering::SeqCst)),
                    }
                }
            });
        }
        for _ in 0..100 {
            verifier.replace_keys(VerifyingKeys::default());
            assert!(
                verifier.verify_ticket(&token, NOW).is_err(),
                "no key, no ticket"
            );
            verifier.replace_keys(keys.clone());
        }
    });
    assert_eq!(wrong.load(Ordering::SeqCst), 0);
    assert!(verifier.verify_ticket(&token, NOW).is_ok());
}

#[test]
fn an_overlong_ticket_is_refused_before_it_is_hashed_and_never_signed() {
    let bench = bench();
    let long = "a".repeat(MAX_TOKEN_BYTES + 1);
    assert_eq!(refused(&bench, &long), TicketError::Malformed("too long"));
    let mut many = claims();
    many.groups = vec!["g".repeat(200); 100];
    assert!(matches!(
        bench.signer.sign_ticket(&many),
        Err(SignTicketError::TooLong(_))
    ));
}

proptest! {
    #[test]
    fn validity_is_exactly_the_window_that_was_signed(offset in 0_u64..2000, lifetime in 1_u64..=300) {
        thread_local!(static BENCH: Bench = bench());
        BENCH.with(|bench| {
            let mut claims = claims();
            claims.exp = UnixTime(claims.iat.0 + lifetime);
            let token = bench.signer.sign_ticket(&claims).unwrap();
            let now = UnixTime(claims.iat.0 - 500 + offset);
            let expected = now >= claims.iat && now < claims.exp;
            for _ in 0..2 {
                prop_assert_eq!(bench.verifier.verify_ticket(&token, now).is_ok(), expected);
            }
            Ok(())
        })?;
    }
}
