//! A wall clock that jumps.

use super::*;

#[test]
fn a_clock_that_goes_back_gives_nobody_back_what_was_revoked() {
    let anna = || id("/user/idp/anna");
    let mut revoked = Revocations::default();
    revoked.revoke_subject(anna(), NOW);
    // The clock went back an hour, and somebody revokes her again.
    revoked.revoke_subject(anna(), UnixTime(NOW.0 - 3600));
    let covers = |issued| revoked.covers("one", &anna(), &anna(), UnixTime(issued));
    // Issued before the jump, between, and anew after it.
    assert!(covers(NOW.0) && covers(NOW.0 - 1800) && covers(NOW.0 - 7200));
    assert!(!covers(NOW.0 + 1));
}

#[test]
fn a_jump_of_the_clock_refuses_and_never_stretches_a_ticket() {
    let at = |now: u64| {
        let mut scene = scene();
        scene.now = UnixTime(now);
        scene.admit(CHAT).map(drop)
    };
    let ticket = scene().ticket;
    assert_eq!(at(ticket.exp.0 - 1), Ok(()));
    for forward in [ticket.exp.0, ticket.exp.0 + 86_400 * 3650, u64::MAX] {
        let refused = at(forward).unwrap_err();
        assert!(
            matches!(
                refused,
                Refusal::TicketExpired | Refusal::CertificateExpired
            ),
            "{refused:?}"
        );
    }
    // Back to before it was issued: a ticket from the future is nobody's.
    for back in [ticket.iat.0 - 1, 0] {
        assert_eq!(at(back), Err(Refusal::TicketMalformed));
    }
}

#[test]
fn a_clock_that_was_far_ahead_locks_nobody_out_and_gives_nobody_more() {
    let (anna, year) = (id("/user/idp/anna"), 365 * 86_400);
    let mut rates = Rates::default();
    assert!(rates.take(&anna, 3, UnixTime(NOW.0 + year)));
    assert!(rates.take(&anna, 3, UnixTime(NOW.0 + year)));
    // Set right again: what was counted counts as if it were of now, and is forgotten a minute on.
    assert!(rates.take(&anna, 3, NOW));
    assert!(!rates.take(&anna, 3, NOW));
    assert!(!rates.take(&anna, 3, UnixTime(NOW.0 + 60)));
    assert!(rates.take(&anna, 3, UnixTime(NOW.0 + 61)));
    // Callers who were counted while it was ahead make room for others once they are over.
    let caller = |number: u64| id(&format!("/user/idp/caller{number}"));
    let mut rates = Rates::default();
    for number in 0..4096 {
        assert!(rates.take(&caller(number), 3, UnixTime(NOW.0 + year)));
    }
    assert!(!rates.take(&anna, 3, NOW));
    assert!(rates.take(&anna, 3, UnixTime(NOW.0 + 61)));
}
